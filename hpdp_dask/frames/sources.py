"""Opening frames, whatever they lie in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.cxi import read_cxi
from hpdp_dask.formats.emc import read_emc
from hpdp_dask.formats.euxfel import read_run
from hpdp_dask.formats.frames import Detector
from hpdp_dask.formats.hdf5 import is_hdf5, open_hdf5
from hpdp_dask.formats.hdf5_frames import read_hdf5
from hpdp_dask.formats.numpy_frames import read_numpy
from hpdp_dask.formats.stored_frames import Reader, StoredFrames, Unit
from hpdp_dask.frames.geometry import Given, with_detector
from hpdp_dask.stacks.frame_schema import FRAME_KIND

Kind = Literal["run", "emc", "cxi", "hdf5", "numpy"]

_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".cxi")
_READ = {"cxi": read_cxi, "hdf5": read_hdf5, "numpy": read_numpy, "run": read_run}


def kind_of(path: Path) -> Kind | None:
    """Tell in which of the formats of frames a file or folder is.

    Parameters
    ----------
    path : Path
        Something that exists.

    Returns
    -------
    str or None
        None where it is none of them; a Zarr stack is none.
    """
    if path.is_dir():
        return None if (path / "zarr.json").exists() else "run"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] in ([".npy"], [".npz"]) or suffixes[-2:] == [".npy", ".gz"]:
        return "numpy"
    if suffixes[-1:] == [".emc"]:
        return "emc"
    if not is_hdf5(path):
        return "hdf5" if suffixes[-1:] and suffixes[-1] in _HDF5_SUFFIXES else None
    with open_hdf5(path) as file:
        if "place_ones" in file:
            return "emc"
        if "INDEX/trainId" in file:
            return "run"
        return "cxi" if "entry_1" in file or "cxi_version" in file else "hdf5"


def holds_frames(path: Path) -> bool:
    """Tell whether a path is a stack of frames, or a file or run in a format of frames.

    Parameters
    ----------
    path : Path
        Need not exist.
    """
    if not path.exists():
        return False
    try:
        described = json.loads((path / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return kind_of(path) is not None
    return isinstance(described, dict) and described.get("attributes", {}).get("kind") == FRAME_KIND


def open_source(
    path: str | Path,
    *,
    geometry: str | Path | None = None,
    mask: str | Path | None = None,
    wavelength: float | None = None,
    distance: float | None = None,
    pixel_size: float | None = None,
    center: tuple[float, float] | None = None,
    dataset: str | None = None,
    unit: Unit | None = None,
) -> StoredFrames:
    """Open the frames of a file or a run.

    Parameters
    ----------
    path : path
        A CXI, `.emc`, HDF5 or NumPy file, or the folder of a run of European XFEL.
    geometry : path, optional
        A CrystFEL `.geom` file, or a detector file of Dragonfly.
    mask : path, optional
        0 good, anything else bad.
    wavelength : float, optional
        Å.
    distance, pixel_size : float, optional
        m. Without a geometry file both make a flat detector across the beam.
    center : tuple of float, optional
        Column and row of the beam on such a detector; by default the middle.
    dataset : str, optional
        Of several stacks of frames in a file this one; of a run the name of the detector.
    unit : {"photons", "adu"}, optional
        What the numbers are. By default integers are photons, real numbers and raw data ADU.

    Returns
    -------
    StoredFrames

    Raises
    ------
    InputError
        What is wrong with the file or with what is said of it.
    """
    path = Path(path).absolute()  # workers may be elsewhere
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    kind = kind_of(path)
    if kind is None:
        raise InputError(
            f"{path}: no frames that are read; expected CXI, .emc, HDF5 or NumPy, or the folder of "
            "a run of European XFEL."
        )
    if kind == "emc":
        if dataset is not None:
            raise InputError(f"{path}: an .emc file has one set of frames; leave --dataset out.")
        source = read_emc(path)
    else:
        source = _READ[kind](path, dataset)
    source = with_detector(
        source,
        Given(
            geometry=None if geometry is None else Path(geometry),
            mask=None if mask is None else Path(mask),
            wavelength=wavelength,
            distance=distance,
            pixel_size=pixel_size,
            center=center,
        ),
    )
    if source.flat and source.shape[0] > 1 and geometry is None:
        rows, columns = source.shape
        note = f"{path}: {rows * columns} pixels are taken for {rows} x {columns}; --geometry tells"
        source = replace(source, notes=[*source.notes, note])
    return source if unit is None else replace(source, unit=unit)


@dataclass(frozen=True)
class JoinedReader:
    """Reads the frames of several sources one after another.

    Attributes
    ----------
    readers : tuple of callable
    ends : tuple of int
        The frame after the last of each.
    dtype : dtype
    """

    readers: tuple[Reader, ...]
    ends: tuple[int, ...]
    dtype: np.dtype

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        parts = []
        begin = 0
        for reader, end in zip(self.readers, self.ends, strict=True):
            if begin < stop and start < end:
                found = reader(max(start, begin) - begin, min(stop, end) - begin)
                parts.append(found.astype(self.dtype, copy=False))
            begin = end
        return np.concatenate(parts) if len(parts) != 1 else parts[0]


def join(sources: Sequence[StoredFrames]) -> StoredFrames:
    """Put the frames of several sources one after another.

    Parameters
    ----------
    sources : sequence of StoredFrames
        At least one.

    Returns
    -------
    StoredFrames
        With the columns that all of them have. A pixel is good where it is in all of them.

    Raises
    ------
    InputError
        They differ in pixels, unit or geometry.
    """
    first = sources[0]
    if len(sources) == 1:
        return first
    for other in sources[1:]:
        for what, here, there in (
            ("the frames", _pixels(first), _pixels(other)),
            ("the numbers", first.unit, other.unit),
        ):
            if here != there:
                raise InputError(
                    f"{other.path}: {what} are {there}, those of {first.path} {here}; import them "
                    "apart."
                )
        if not _same(first.detector, other.detector):
            raise InputError(
                f"{other.path}: has another geometry or wavelength than {first.path}; give one "
                "with --geometry and --wavelength, or import them apart."
            )
    ends = np.cumsum([source.number for source in sources])
    dtype = np.result_type(*(source.dtype for source in sources))
    detector, partial = first.detector, first.partial
    if detector is not None:
        masks = [source.detector.mask for source in sources if source.detector is not None]
        detector = replace(detector, mask=np.maximum.reduce(masks))
    known = [source.partial.mask for source in sources if source.partial.mask is not None]
    if known:
        partial = replace(partial, mask=np.maximum.reduce(known))
    return replace(
        first,
        number=int(ends[-1]),
        dtype=dtype,
        reader=JoinedReader(tuple(s.reader for s in sources), tuple(ends.tolist()), dtype),
        detector=detector,
        partial=partial,
        columns=_joined_columns(sources),
        notes=list(dict.fromkeys(note for source in sources for note in source.notes)),
    )


def _pixels(source: StoredFrames) -> str:
    rows, columns = source.shape
    return f"{rows} x {columns} pixels"


def _same(a: Detector | None, b: Detector | None) -> bool:
    if a is None or b is None:
        return a is b
    names = ("pixel_x", "pixel_y", "pixel_z", "wavelength")
    tolerance = 1e-3 * (a.pixel_size if np.isfinite(a.pixel_size) else 1e-4)
    return all(
        np.allclose(getattr(a, name), getattr(b, name), rtol=1e-3, atol=tolerance, equal_nan=True)
        for name in names
    )


def _joined_columns(sources: Sequence[StoredFrames]) -> dict[str, np.ndarray]:
    """Join columns; labels are counted along the classes of all."""
    shared = [name for name in sources[0].columns if all(name in s.columns for s in sources)]
    columns = {
        name: np.concatenate([source.columns[name] for source in sources])
        for name in shared
        if name not in ("label", "class_name")
    }
    if "label" in shared:
        names = sorted({str(name) for source in sources for name in source.columns["class_name"]})
        parts = []
        for source in sources:
            place = [names.index(str(name)) for name in source.columns["class_name"]]
            parts.append(np.array([*place, -1], np.int32)[source.columns["label"]])
        columns |= {"label": np.concatenate(parts), "class_name": np.array(names, object)}
    return columns
