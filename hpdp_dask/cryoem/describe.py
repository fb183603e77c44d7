"""What a file or stack holds, as a person would ask for it: the data of `hpdp info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpdp_dask.cryoem.particle_files import IMAGE_SUFFIXES, read_particle_files
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_info
from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.stacks.layout import read_layout
from hpdp_dask.stacks.schema import CTF_VARIABLES, POSE_VARIABLES
from hpdp_dask.stacks.store import open_stack, to_table


def describe(
    path: str | Path,
    pixel_size: float | None = None,
    image_folder: str | Path | None = None,
) -> dict[str, Any]:
    """Tell what a file of particles, an mrc file or a stack holds.

    Parameters
    ----------
    path : path
        `.star`, `.cs`, `.mrc`, `.mrcs`, `.map`, or a stack.
    pixel_size : float, optional
        Å, for a star or cs file that does not give it.
    image_folder : path, optional
        A further folder to look for the stacks of a star or cs file in.

    Returns
    -------
    dict
        In the order in which to print it; what is not known is not there. `kind` says what it
        is: `stack`, `particles (relion-3.1)`, `images` or `volume`. Sizes are in pixels
        (`box`), Å (`pixel_size`) and bytes (`bytes_on_disk`).

    Raises
    ------
    InputError
        There is no such file, or it is of no kind that is read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file.")
    if path.is_dir():
        return _describe_stack(path)
    if path.suffix.lower() in (*IMAGE_SUFFIXES, ".map"):
        return _describe_mrc(path)
    table = read_particle_files([path], pixel_size, image_folder)
    return {
        "kind": f"particles ({table.source.format})",
        "number": len(table),
        **_describe_table(table),
        **_describe_image_files(table),
        "bytes_on_disk": path.stat().st_size,
    }


def _describe_stack(path: Path) -> dict[str, Any]:
    stack = open_stack(path)
    table = to_table(stack, with_source=False)
    found: dict[str, Any] = {"kind": "stack", "number": len(table)}
    if "images" in stack:
        layout = read_layout(path)
        found |= {
            "box": layout.box,
            "precision": layout.precision or str(layout.dtype),
            "normalized": bool(stack.attrs.get("normalized", False)),
            "contrast_inverted": bool(stack.attrs.get("contrast_inverted", False)),
            "images_per_shard": layout.images_per_shard,
            "shards": layout.shards,
        }
    return {
        **found,
        **_describe_table(table),
        "half_set_source": stack.attrs.get("half_set_source", "not known"),
        "source_file": stack.attrs.get("source_file", "not known"),
        "images_dropped": len(stack.attrs.get("dropped", [])),
        "bytes_on_disk": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
    }


def _describe_mrc(path: Path) -> dict[str, Any]:
    info = read_info(path)
    number, rows, columns = info.shape
    found: dict[str, Any] = {"kind": "volume" if info.is_volume else "images", "number": number}
    if info.is_volume:
        found = {"kind": "volume", "shape": list(info.shape)}
    elif rows == columns:
        found["box"] = rows
    else:
        found["shape"] = [rows, columns]
    if info.pixel_size is not None:
        found["pixel_size"] = [info.pixel_size]
    return {**found, "mode": info.mode, "bytes_on_disk": path.stat().st_size}


def _describe_table(table: ParticleTable) -> dict[str, Any]:
    """Tell of optics, poses, half-sets and the rest of a table."""
    known = {*table.particles, *(name for name, v in table.optics.items() if np.isfinite(v).all())}
    found: dict[str, Any] = {
        name: [float(value) for value in np.unique(values)]
        for name, values in table.optics.items()
        if np.isfinite(values).any()
    }
    found["optics_groups"] = len(table.optics["pixel_size"])
    found["poses"] = all(name in known for name in POSE_VARIABLES)
    found["ctf"] = all(name in known for name in CTF_VARIABLES)
    if "defocus_u" in known:
        defocus = (table.particles["defocus_u"] + table.particles["defocus_v"]) / 2
        found["defocus_range"] = [float(defocus.min()), float(defocus.max())]
    if "half_set" in known:
        found["half_sets"] = np.bincount(table.particles["half_set"], minlength=2).tolist()
    if "class_number" in known:
        found["classes"] = len(np.unique(table.particles["class_number"]))
    if "micrograph" in known:
        found["micrographs"] = len(np.unique(table.particles["micrograph"].astype(str)))
    return found


def _describe_image_files(table: ParticleTable) -> dict[str, Any]:
    """Tell of the files that a table names."""
    present = [file for file in table.image_files if file.is_file()]
    found: dict[str, Any] = {
        "image_files": len(table.image_files),
        "image_files_missing": len(table.image_files) - len(present),
    }
    if present:
        found["box"] = read_info(present[0]).shape[1]
    return found
