"""Opening frames, whatever they lie in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.cxi import read_cxi
from hpdp_dask.formats.emc import read_emc
from hpdp_dask.formats.euxfel import read_run
from hpdp_dask.formats.hdf5_frames import read_hdf5
from hpdp_dask.formats.image_series import (
    IMAGE_KINDS,
    IMAGE_SUFFIXES,
    SeriesReader,
    natural_key,
    read_image_header,
    read_series,
    same_geometry,
    series_name,
)
from hpdp_dask.formats.nexus import linked_files, read_nexus
from hpdp_dask.formats.numpy_frames import read_numpy
from hpdp_dask.formats.packed_files import unpacked_name
from hpdp_dask.formats.panel_stills import read_panel_still
from hpdp_dask.formats.still_images import ImageHeader
from hpdp_dask.formats.stored_frames import StoredFrames, Unit
from hpdp_dask.frames.beam import check_beam
from hpdp_dask.frames.geometry import Given, with_detector
from hpdp_dask.frames.kinds import Kind, holds_frames, images_in, kind_of
from hpdp_dask.frames.stored_stacks import is_stack, read_stack

__all__ = [
    "check_complete",
    "data_set_name",
    "holds_frames",
    "kind_of",
    "lacking_options",
    "open_source",
    "open_sources",
]

_READ: dict[Kind, Callable[[Path, str | None], StoredFrames]] = {
    "cxi": read_cxi,
    "hdf5": read_hdf5,
    "nexus": read_nexus,
    "numpy": read_numpy,
    "panels": read_panel_still,
    "run": read_run,
}

#: Formats of crystallography, in which the beam must make sense.
OF_CRYSTALS = (*IMAGE_KINDS, "nexus", "panels")


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
    """Open the frames of a file, a run, or a folder of images of one series.

    Parameters
    ----------
    path : path
        A CBF, SMV, MarCCD, NeXus, CXI, `.emc`, HDF5 or NumPy file, a folder of images, or the
        folder of a run of European XFEL.
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
    found = open_sources(
        [path],
        geometry=geometry,
        mask=mask,
        wavelength=wavelength,
        distance=distance,
        pixel_size=pixel_size,
        center=center,
        dataset=dataset,
        unit=unit,
    )
    if len(found) > 1:
        names = ", ".join(data_set_name(source) for source in found[:4])
        raise InputError(
            f"{path}: holds {len(found)} sets of images ({names}{', ...' if found[4:] else ''}); "
            "name the files of one of them."
        )
    return found[0]


def open_sources(
    paths: Iterable[str | Path],
    *,
    geometry: str | Path | None = None,
    mask: str | Path | None = None,
    wavelength: float | None = None,
    distance: float | None = None,
    pixel_size: float | None = None,
    center: tuple[float, float] | None = None,
    dataset: str | None = None,
    unit: Unit | None = None,
) -> list[StoredFrames]:
    """Open frames as data sets: each a file of many frames, or a series of images.

    Images are of one series if they lie in one folder, have one name but for the last number in
    it, and agree in size and geometry. They are ordered by the numbers in their names.

    Parameters
    ----------
    paths : iterable of path
        Files and folders as for `open_source`, and stacks of frames.
    geometry, mask, wavelength, distance, pixel_size, center, dataset, unit
        As for `open_source`; of all data sets.

    Returns
    -------
    list of StoredFrames
        In the order in which they were named first. They can be pickled.

    Raises
    ------
    InputError
        What is wrong with the files or with what is said of them.
    """
    given = Given(
        geometry=None if geometry is None else Path(geometry),
        mask=None if mask is None else Path(mask),
        wavelength=wavelength,
        distance=distance,
        pixel_size=pixel_size,
        center=center,
    )
    found: list[StoredFrames] = []
    for (_, _, kind), members in _grouped(paths).items():
        if kind in IMAGE_KINDS:
            if dataset is not None:
                raise InputError(f"{members[0]}: holds one image; leave --dataset out.")
            series = _of_one_geometry([read_image_header(path, kind) for path in members])
            opened = [read_series(headers, kind) for headers in series]
        else:
            opened = [_read(path, kind, dataset) for path in members]
        found.extend(_completed(source, kind, given, unit) for source in opened)
    return found


def lacking_options(source: StoredFrames) -> list[str]:
    """Name the options that give what is not known of where on the detector which resolution is.

    Returns
    -------
    list of str
        With units; empty where all is known.
    """
    detector, partial = source.detector, source.partial
    wavelength = partial.wavelength if detector is None else detector.wavelength
    lacking = [] if np.isfinite(wavelength) else ["--wavelength (Å)"]
    if detector is None and source.modules > 1:
        lacking.append("--geometry")
    elif detector is None:
        lacking += [
            f"--{name.replace('_', '-')} (m)"
            for name in ("pixel_size", "distance")
            if not np.isfinite(getattr(partial, name))
        ]
    return lacking


def check_complete(source: StoredFrames) -> None:
    """Check that all is known of a source that says where on the detector which resolution is.

    Raises
    ------
    InputError
        Something is not known: it names the options that give it.
    """
    lacking = lacking_options(source)
    if lacking:
        raise InputError(
            f"{source.path}: the file does not say all of the geometry; give {', '.join(lacking)}."
        )


def data_set_name(source: StoredFrames) -> str:
    """Name a data set as a person would: what the names of its files share."""
    whole = unpacked_name(source.path)
    shared = series_name(source.path) if isinstance(source.reader, SeriesReader) else whole
    return Path(shared).stem.rstrip("_-.") or whole


def _grouped(paths: Iterable[str | Path]) -> dict[tuple[Path, str, Kind | None], list[Path]]:
    """Put files of single images together that belong to one series, each other path apart."""
    groups: dict[tuple[Path, str, Kind | None], list[Path]] = {}
    for number, given in enumerate(paths):
        path = Path(given).absolute()  # workers may be elsewhere
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder.")
        kind = None if is_stack(path) else kind_of(path)
        for file in images_in(path) if kind == "images" else [path]:
            of_file = kind_of(file) if kind == "images" else kind
            series = of_file in IMAGE_KINDS
            key = (file.parent, series_name(file)) if series else (file, str(number))
            groups.setdefault((*key, of_file), []).append(file)
    for members in groups.values():
        members.sort(key=lambda path: natural_key(path.name))
    return _without_linked(groups)


def _without_linked(
    groups: dict[tuple[Path, str, Kind | None], list[Path]],
) -> dict[tuple[Path, str, Kind | None], list[Path]]:
    """Leave data files out whose master file, which says more, is there too."""
    masters = {path for path, _, kind in groups if kind == "nexus"}
    linked = {file for path in masters for file in linked_files(path)} - masters
    return {key: members for key, members in groups.items() if key[0] not in linked}


def _of_one_geometry(headers: Sequence[ImageHeader]) -> list[list[ImageHeader]]:
    """Put images together that are of one detector at one place and of one wavelength."""
    series: list[list[ImageHeader]] = []
    for header in headers:
        for members in series:
            if same_geometry(members[0], header):
                members.append(header)
                break
        else:
            series.append([header])
    return series


def _read(path: Path, kind: Kind | None, dataset: str | None) -> StoredFrames:
    """Open a file or folder of many frames."""
    if is_stack(path):
        return read_stack(path)
    if kind is None:
        if unpacked_name(path).lower().endswith(IMAGE_SUFFIXES):
            raise InputError(
                f"{path}: begins as no image that is read; is it cut short? Copy the file again."
            )
        raise InputError(
            f"{path}: no frames that are read; expected CBF, SMV, MarCCD, CXI, .emc, HDF5 or "
            "NumPy, or the folder of a run of European XFEL."
        )
    if kind == "emc":
        if dataset is not None:
            raise InputError(f"{path}: an .emc file has one set of frames; leave --dataset out.")
        return read_emc(path)
    return _READ[kind](path, dataset)


def _completed(
    source: StoredFrames, kind: Kind | None, given: Given, unit: Unit | None
) -> StoredFrames:
    """Put what the user says to what the file says, and look at both."""
    told = source.detector is not None or source.partial.center is not None
    source = with_detector(source, given)
    notes = list(source.notes)
    if kind in OF_CRYSTALS:
        notes += check_beam(source, given.names())
        if not told and given.center is None and given.geometry is None:
            notes.append(
                f"{source.path}: does not say where the beam is; the middle of the detector is "
                "taken, --center tells"
            )
    if source.flat and source.shape[0] > 1 and given.geometry is None:
        rows, columns = source.shape
        notes.append(
            f"{source.path}: {rows * columns} pixels are taken for {rows} x {columns}; --geometry "
            "tells"
        )
    source = replace(source, notes=notes)
    return source if unit is None else replace(source, unit=unit)
