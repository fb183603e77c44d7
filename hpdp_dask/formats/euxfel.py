"""Runs of European XFEL: folders of HDF5 files, one or more for each module of the detector.

extra_data says which detector a run has and where its data are. Frames of the modules are matched
by train and pulse here, once, so that tasks on workers need no index; a module that is missing
keeps its place. Source: the documentation of EXtra-data, "Data files format".
"""

from __future__ import annotations

import contextlib
import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.euxfel_index import Rows, match_modules, read_rows
from hpdp_dask.formats.frame_masks import common_mask, without_masked
from hpdp_dask.formats.frames import BAD, GOOD
from hpdp_dask.formats.hdf5 import open_hdf5, read_range
from hpdp_dask.formats.stored_frames import PartialDetector, StoredFrames, unit_of_numbers

if TYPE_CHECKING:
    import h5py
    from extra_data import DataCollection


@dataclass(frozen=True)
class ModuleRows:
    """Where the frames of a module are.

    Attributes
    ----------
    module : int
    source : str
        Its name in the files.
    rows : Rows
    """

    module: int
    source: str
    rows: Rows


@dataclass(frozen=True)
class RunReader:
    """Reads frames of a run: modules one after another along the rows, zeros where one is missing.

    Attributes
    ----------
    path : Path
    files : tuple of Path
        All files that `modules` count.
    modules : tuple of ModuleRows
    slots : int
        Modules that the detector has.
    shape : tuple of int
        Rows and columns of a module.
    dtype : dtype
    part : tuple
        What to take of the axes after the first: raw data have the gain beside the signal.
    masked : bool
        Whether there is a mask of each frame.
    """

    path: Path
    files: tuple[Path, ...]
    modules: tuple[ModuleRows, ...]
    slots: int
    shape: tuple[int, int]
    dtype: np.dtype
    part: tuple[Any, ...]
    masked: bool

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        out = np.zeros((stop - start, self.slots, *self.shape), self.dtype)
        for module, path, image, row, first, last in self._parts(start, stop):
            frames = read_range(path, image["data"], row, row + last - first, self.part)
            if self.masked:
                masked = read_range(path, image["mask"], row, row + last - first)
                frames = without_masked(frames, masked != 0)
            out[first - start : last - start, module] = frames
        return out.reshape(stop - start, -1, self.shape[1])

    def mask(self, start: int, stop: int) -> np.ndarray:
        """Read what is masked of frames, (n, y, x) of bool."""
        out = np.zeros((stop - start, self.slots, *self.shape), bool)
        for module, path, image, row, first, last in self._parts(start, stop):
            masked = read_range(path, image["mask"], row, row + last - first)
            out[first - start : last - start, module] = masked != 0
        return out.reshape(stop - start, -1, self.shape[1])

    def _parts(
        self, start: int, stop: int
    ) -> Iterator[tuple[int, Path, h5py.Group, int, int, int]]:
        """Give module, file, its images, their first row, and the frames these are."""
        for module in self.modules:
            for index, row, first, last in module.rows.between(start, stop):
                path = self.files[index]
                with open_hdf5(path) as file:
                    image = file[f"INSTRUMENT/{module.source}/image"]
                    yield module.module, path, image, row, first, last


def read_run(path: Path, detector: str | None = None) -> StoredFrames:
    """Open the frames of a run.

    Parameters
    ----------
    path : Path
        The folder of the run, or one of its files.
    detector : str, optional
        Name of the detector, where the run has several.

    Returns
    -------
    StoredFrames
        Ordered by train and pulse. Raw data and real numbers are ADU, integers photons. Frames
        that a module lacks are left out; a module that lacks more than half of them counts as
        missing.

    Raises
    ------
    InputError
        extra_data is not installed, a file is damaged, there is no such detector, or trains and
        pulses contradict each other.
    """
    run = _open(path)
    name, modules, slots = _detector(path, run, detector)
    files = tuple(Path(file.filename) for file in run.files)
    indexed = {
        number: read_rows(path, [file for file in run.files if source in file.all_sources], source)
        for number, source in modules.items()
    }
    matched = match_modules(path, indexed, files)
    present = {number: modules[number] for number in matched.rows}
    data_shape, dtype, masked = _data_of(files, present, matched.rows)
    raw = len(data_shape) == 4
    shape = data_shape[-2], data_shape[-1]
    reader = RunReader(
        path=path,
        files=files,
        modules=tuple(ModuleRows(n, present[n], matched.rows[n]) for n in sorted(present)),
        slots=slots,
        shape=shape,
        dtype=dtype.newbyteorder("="),
        part=(0,) if raw else (),
        masked=masked,
    )
    whole = slots * shape[0], shape[1]
    mask = _mask(reader, matched.number, slots, whole)
    missing = [str(number) for number in range(slots) if number not in present]
    notes = list(matched.notes)
    if missing:
        notes.insert(
            0,
            f"{path}: {'modules' if len(missing) > 1 else 'module'} {', '.join(missing)} of "
            f"{name} {'are' if len(missing) > 1 else 'is'} missing; masked, in "
            f"{'their places' if len(missing) > 1 else 'its place'}",
        )
    if raw:
        notes.append(f"{path}: raw data; the gain of each pixel is left out")
    return StoredFrames(
        path=path,
        number=matched.number,
        shape=whole,
        dtype=reader.dtype,
        unit="adu" if raw else unit_of_numbers(dtype),
        reader=reader,
        partial=PartialDetector(mask=mask),
        columns=matched.columns,
        notes=notes,
        modules=slots,
    )


def _open(path: Path) -> DataCollection:
    """Open a run; say which file is unusable, which extra_data leaves out."""
    try:
        import extra_data
    except ImportError as error:
        raise InputError(
            f"{path}: runs of European XFEL need the package extra-data; install it with "
            "pip install 'hpdp-dask[xfel]'."
        ) from error
    with contextlib.redirect_stderr(io.StringIO()):
        if path.is_file():
            with open_hdf5(path):
                return extra_data.H5File(path)
        given = sorted(file for file in path.glob("*.h5") if file.name.lower() != "overview.h5")
        try:
            # not RunDirectory, which leaves a cache of its own in the folder
            run = extra_data.DataCollection.from_paths(
                [str(file) for file in given], is_single_run=True, parallelize=False
            )
        except Exception as error:  # extra_data has no error of its own for this
            _check_files(path, given)
            why = textwrap.shorten(str(error), 160, placeholder=" ...")
            raise InputError(
                f"{path}: extra_data does not take it for a run ({why}); move files that do not "
                "belong to it out of the folder."
            ) from error
    opened = {Path(file.filename).name for file in run.files}
    left_out = [file for file in given if file.name not in opened]
    _check_files(path, left_out)
    if left_out:
        raise InputError(f"{left_out[0]}: extra_data cannot read it; copy the file again.")
    return run


def _check_files(path: Path, files: Sequence[Path]) -> None:
    """Say what is wrong with files that extra_data does not read."""
    for file in files:
        with open_hdf5(file) as opened:
            if "INDEX/trainId" not in opened:
                raise InputError(
                    f"{file}: no file of European XFEL (no INDEX/trainId); move it out of {path}."
                )
    if not files and not any(path.glob("*.h5")):
        raise InputError(f"{path}: no HDF5 files in this folder; is it that of a run?")


def _detector(
    path: Path, run: DataCollection, wanted: str | None
) -> tuple[str, dict[int, str], int]:
    """Give the name of the detector, its sources by the number of the module, and its modules."""
    from extra_data import components

    known = [components.AGIPD1M, components.AGIPD500K, components.DSSC1M, components.LPD1M]
    found = dict(components.identify_multimod_detectors(run, clses=known))
    if wanted is not None and wanted not in found:
        raise InputError(
            f"{path}: no detector {wanted}; it has {', '.join(sorted(found)) or 'none'}."
        )
    if wanted is None and len(found) != 1:
        others = sorted(dict(components.identify_multimod_detectors(run)))
        raise InputError(
            f"{path}: has {len(found) or 'no'} detectors of those that are read (AGIPD, DSSC, LPD)"
            f"{': ' + ', '.join(sorted(found or others)) if found or others else ''}; "
            + ("name one with --dataset." if found else "write its frames as CXI or HDF5 first.")
        )
    name = wanted or next(iter(found))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of raw data, which are told of here
        try:
            detector = found[name](run, name)
        except ValueError as error:
            raise InputError(f"{path}: {name}: {error}.".replace("..", ".")) from error
    modules = {number: source for source, number in detector.source_to_modno.items()}
    return name, modules, detector.n_modules


def _data_of(
    files: Sequence[Path], modules: dict[int, str], rows: dict[int, Rows]
) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Give shape and dtype of the data of a module, and whether frames have masks."""
    number = min(modules)
    with open_hdf5(files[int(rows[number].segments[0, 0])]) as file:
        image = file[f"INSTRUMENT/{modules[number]}/image"]
        return image["data"].shape, image["data"].dtype, "mask" in image


def _mask(reader: RunReader, number: int, slots: int, shape: tuple[int, int]) -> np.ndarray:
    """Make the mask of the detector: what is masked in frames, and modules that are missing."""
    mask = (
        common_mask(reader.mask, number, shape) if reader.masked else np.full(shape, GOOD, np.uint8)
    ).reshape(slots, -1)
    present = [module.module for module in reader.modules]
    mask[[slot for slot in range(slots) if slot not in present]] = BAD
    return mask.reshape(shape)
