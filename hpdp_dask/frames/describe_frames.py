"""What files or stacks of frames hold, as a person would ask for it: `hpdp info` of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpdp_dask.formats.frames import BAD, GOOD, MERGE_ONLY, Detector
from hpdp_dask.formats.stored_frames import StoredFrames
from hpdp_dask.frames.sources import kind_of, open_source
from hpdp_dask.frames.stored_stacks import known_of_stack
from hpdp_dask.stacks.frame_schema import FRAME_VARIABLES
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.stacks.layout import read_layout


def describe_frames(path: str | Path) -> dict[str, Any]:
    """Tell what a stack, file or run of frames holds.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        In the order in which to print it; what is not known is not there. Lengths are in m
        (`distance`, `pixel_size`) and Å (`wavelength`, `resolution_at_edge`).

    Raises
    ------
    InputError
        There is no such file, or it cannot be read.
    """
    path = Path(path)
    if path.is_dir() and (path / "zarr.json").exists():
        return _describe_stack(path)
    source = open_source(path)
    return {
        "kind": f"frames ({kind_of(path)})",
        "number": source.number,
        "shape": list(source.shape),
        "unit": source.unit,
        "dtype": str(source.dtype),
        "modules": source.modules,
        **_describe_detector(*known_of(source)),
        **_describe_beam(source),
        **_describe_columns(dict(source.columns)),
        **({"notes": list(source.notes)} if source.notes else {}),
        "bytes_on_disk": _size(path),
    }


def _describe_beam(source: StoredFrames) -> dict[str, Any]:
    """Tell what files of crystals say beside: where the beam is, how far pixels count."""
    found: dict[str, Any] = {}
    if source.partial.center is not None:
        found["center"] = list(source.partial.center)
    if np.isfinite(source.saturation):
        found["saturation"] = source.saturation
    return found


def known_of(source: StoredFrames) -> tuple[Detector | None, np.ndarray | None, float]:
    """Give the detector of a source, its mask and wavelength, as far as they are known."""
    if source.detector is not None:
        return source.detector, source.detector.mask, source.detector.wavelength
    return None, source.partial.mask, source.partial.wavelength


def _describe_stack(path: Path) -> dict[str, Any]:
    stack = open_frames(path)
    layout = read_layout(path)
    stored = _size(path / layout.array)
    raw = layout.number * layout.image_bytes
    columns = {
        str(name): stack[name].values
        for name in stack.data_vars
        if stack[name].dims == ("frame",) or name == "class_name"
    }
    return {
        "kind": "stack of frames",
        "number": layout.number,
        "shape": list(layout.image_shape),
        "unit": layout.array,
        "dtype": str(layout.dtype),
        "compression": raw / stored if stored else 1.0,
        "modules": int(stack.attrs.get("modules", 1)),
        "images_per_shard": layout.images_per_shard,
        "shards": layout.shards,
        **_describe_detector(*known_of_stack(stack)),
        **_describe_columns(columns),
        "variables": [str(name) for name in stack.data_vars],
        "steps": [_spoken_step(step) for step in stack.attrs.get("history", [])],
        "source_file": stack.attrs.get("source_file", "not known"),
        "bytes_on_disk": _size(path),
    }


def _spoken_step(step: dict[str, Any]) -> str:
    """Tell a step by its command, or by what it did."""
    if "command" in step:
        return str(step["command"])
    if "added" in step:
        return "added " + " ".join(step["added"])
    return f"selected {step['selected']}" if "selected" in step else "imported"


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _describe_detector(
    detector: Detector | None, mask: np.ndarray | None, wavelength: float
) -> dict[str, Any]:
    found: dict[str, Any] = {"geometry": detector is not None}
    if np.isfinite(wavelength):
        found["wavelength"] = wavelength
    if detector is not None:
        found["distance"] = detector.distance
        if np.isfinite(detector.pixel_size):
            found["pixel_size"] = detector.pixel_size
        edge = _finest(detector, wavelength)
        if np.isfinite(edge):
            found["resolution_at_edge"] = edge
    if mask is not None:
        found["pixels_good"] = int((mask == GOOD).sum())
        found["pixels_bad"] = int((mask == BAD).sum())
        if (mask == MERGE_ONLY).any():
            found["pixels_for_merging_only"] = int((mask == MERGE_ONLY).sum())
    return found


def _finest(detector: Detector, wavelength: float) -> float:
    """Give the resolution, Å, of the good pixel at the widest angle; NaN if there is none.

    Row by row, since some detectors have many pixels.
    """
    least = 1.0
    for x, y, z, mask in zip(
        detector.pixel_x, detector.pixel_y, detector.pixel_z, detector.mask, strict=True
    ):
        good = mask == GOOD
        if good.any():
            cosine = z[good] / np.sqrt(x[good] ** 2 + y[good] ** 2 + z[good] ** 2)
            least = min(least, float(cosine.min()))
    # the sine of half the angle of scattering
    sine = np.sqrt((1 - least) / 2)
    return float(wavelength / (2 * sine)) if sine > 0 else float("nan")


def _describe_columns(columns: dict[str, np.ndarray]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "train_id" in columns:
        trains = columns["train_id"]
        found["trains"] = f"{len(np.unique(trains))} ({trains.min()} to {trains.max()})"
    if "label" in columns and "class_name" in columns:
        label, names = columns["label"], columns["class_name"]
        found["labels"] = [
            f"{name}: {int((label == index).sum())}" for index, name in enumerate(names)
        ] + ([f"none: {int((label < 0).sum())}"] if (label < 0).any() else [])
    known = [name for name in FRAME_VARIABLES if name in columns and name != "class_name"]
    if known:
        found["of_each_frame"] = known
    return found
