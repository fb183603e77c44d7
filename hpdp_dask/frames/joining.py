"""The frames of several files as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import Detector
from hpdp_dask.formats.stored_frames import Reader, StoredFrames


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
