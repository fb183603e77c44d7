"""HDF5 files: opened and read so that what is wrong with one is said in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.stored_frames import spoken_frames

if TYPE_CHECKING:
    import h5py

#: The first bytes of an HDF5 file.
SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read, with the filters that detectors' files use.

    Parameters
    ----------
    path : Path

    Yields
    ------
    h5py.File

    Raises
    ------
    InputError
        There is no such file, or it is cut short, or none of HDF5; or hdf5plugin is not installed.
    """
    import h5py

    try:
        import hdf5plugin  # noqa: F401 importing it registers bitshuffle, Blosc, LZ4 and Zstandard
    except ImportError as error:
        raise InputError(f"{path}: needs hdf5plugin; pip install hdf5plugin.") from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _cannot_open(path, str(error)) from error
    with file:
        yield file


def _cannot_open(path: Path, why: str) -> InputError:
    if not path.exists():
        return InputError(f"{path}: there is no such file.")
    cut = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", why)
    if cut:
        return InputError(
            f"{path}: truncated: expected {cut[2]} bytes, found {cut[1]}; copy the file again."
        )
    if "signature not found" in why:
        return InputError(f"{path}: not an HDF5 file, or its beginning is damaged.")
    return InputError(f"{path}: cannot be opened as HDF5 ({why}); copy the file again.")


#: Filters that detectors' files use, by their number in the registry of the HDF Group, and what
#: brings them.
_FILTERS = {
    2: ("shuffle", "h5py"),
    32000: ("LZF", "h5py"),
    32001: ("Blosc", "hdf5plugin"),
    32004: ("LZ4", "hdf5plugin"),
    32008: ("bitshuffle", "hdf5plugin"),
    32013: ("ZFP", "hdf5plugin"),
    32015: ("Zstandard", "hdf5plugin"),
    32017: ("SZ", "hdf5plugin"),
    32024: ("SZ3", "hdf5plugin"),
    32026: ("Blosc2", "hdf5plugin"),
}


def check_filters(path: Path, dataset: h5py.Dataset) -> None:
    """Check that what a dataset is packed with can be unpacked here.

    Parameters
    ----------
    path : Path
        Its file, for messages.
    dataset : h5py.Dataset

    Raises
    ------
    InputError
        It cannot: names the filter and the package that has it.
    """
    import h5py

    described = dataset.id.get_create_plist()
    for index in range(described.get_nfilters()):
        number, _, _, spoken = described.get_filter(index)
        if h5py.h5z.filter_avail(number):
            continue
        name, package = _FILTERS.get(number, (spoken.decode(errors="replace"), None))
        advice = (
            f"pip install --upgrade {package}"
            if package
            else "put its plugin where HDF5_PLUGIN_PATH names, or pip install --upgrade hdf5plugin"
        )
        raise InputError(
            f"{path}: {dataset.name} is packed with {name} (HDF5 filter {number}), which is not "
            f"installed here; {advice}."
        )


def read_range(
    path: Path, dataset: h5py.Dataset, start: int, stop: int, part: tuple[Any, ...] = ()
) -> np.ndarray:
    """Read frames of a dataset.

    Parameters
    ----------
    path : Path
        Its file, for messages.
    dataset : h5py.Dataset
        First axis the frames.
    start, stop : int
    part : tuple, optional
        What to take of the further axes.

    Returns
    -------
    (stop - start, ...) ndarray

    Raises
    ------
    InputError
        They cannot be read.
    """
    try:
        return np.asarray(dataset[(slice(start, stop), *part)])
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path}: {spoken_frames(start, stop)} of {dataset.name} cannot be read ({error}); "
            "copy the file again."
        ) from error


def read_whole(path: Path, dataset: h5py.Dataset) -> np.ndarray:
    """Read a whole dataset; text as `str` objects.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        text = dataset.dtype.kind in "SO"
        return np.asarray(dataset.asstr()[()] if text else dataset[()])
    except (OSError, RuntimeError, TypeError) as error:
        raise InputError(
            f"{path}: {dataset.name} cannot be read ({error}); copy the file again."
        ) from error


def read_number(path: Path, group: h5py.Group, name: str) -> float:
    """Read a number that may stand alone or once for each frame: the median of what is finite.

    Returns
    -------
    float
        NaN where there is none.
    """
    found = group.get(name)
    if found is None or getattr(found, "dtype", np.dtype("S1")).kind not in "iuf":
        return float("nan")
    values = read_whole(path, found).astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else float("nan")


def is_hdf5(path: Path) -> bool:
    """Tell whether a file begins as HDF5 files do.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def missing_sources(path: Path, dataset: h5py.Dataset) -> list[Path]:
    """Give the files that a virtual dataset is made of and that are not there.

    HDF5 reads what is missing as the fill value, in silence.
    """
    if not dataset.is_virtual:
        return []
    names = {source.file_name for source in dataset.virtual_sources()} - {"."}
    # names with % stand for a series of files
    files = (path.parent / name for name in names if "%" not in name)
    return sorted(file for file in files if not file.exists())


@dataclass(frozen=True)
class DatasetReader:
    """Reads frames of a dataset, its further axes made one of rows and one of columns.

    Attributes
    ----------
    path : Path
    dataset : str
    shape : tuple of int
        Rows and columns.
    part : tuple, optional
        What to take of the axes after the first.
    """

    path: Path
    dataset: str
    shape: tuple[int, int]
    part: tuple[Any, ...] = ()

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        with open_hdf5(self.path) as file:
            frames = read_range(self.path, file[self.dataset], start, stop, self.part)
        native = frames.astype(frames.dtype.newbyteorder("="), copy=False)
        return native.reshape(stop - start, *self.shape)
