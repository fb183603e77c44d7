"""Many files of one image each as one set of frames."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats import cbf, marccd, smv
from hpdp_dask.formats.frames import BAD, GOOD
from hpdp_dask.formats.packed_files import read_bytes, unpacked_name
from hpdp_dask.formats.still_images import ImageHeader
from hpdp_dask.formats.stored_frames import StoredFrames

ImageKind = Literal["cbf", "smv", "marccd"]

IMAGE_KINDS: Final = ("cbf", "smv", "marccd")

#: Endings of the names of files of single images, packed or not, that are looked for in folders.
IMAGE_SUFFIXES = (".cbf", ".img", ".smv", ".mccd", ".marccd")

_HEADERS: dict[ImageKind, Callable[[Path], ImageHeader]] = {
    "cbf": cbf.read_header,
    "smv": smv.read_header,
    "marccd": marccd.read_header,
}
_IMAGES: dict[ImageKind, Callable[[Path], np.ndarray]] = {
    "cbf": cbf.read_image,
    "smv": smv.read_image,
    "marccd": marccd.read_image,
}


def image_kind(path: Path) -> ImageKind | None:
    """Tell in which of the formats of single images a file is, by its first bytes.

    Parameters
    ----------
    path : Path
        A file.

    Returns
    -------
    str or None
        None where it is none of them.
    """
    first = read_bytes(path, marccd.FIRST_BYTES)
    if first.startswith(cbf.SIGNATURE):
        return "cbf"
    if smv.is_smv(first):
        return "smv"
    return "marccd" if marccd.is_marccd(first) else None


def natural_key(name: str) -> tuple[tuple[str, int], ...]:
    """Give what to sort names by, so that x_2 is before x_10."""
    return tuple(
        (text, int(digits or 0))
        for text, digits in re.findall(r"(\D*)(\d*)", name)
        if text or digits
    )


def series_name(path: Path) -> str:
    """Give what the names of the files of a series share: all before the last number."""
    return re.sub(r"\d+(?=\D*$)", "", unpacked_name(path))


def same_geometry(one: ImageHeader, other: ImageHeader) -> bool:
    """Tell whether two images are of one detector at one place, and of one wavelength.

    Numbers may differ in a thousandth, and the centre by a tenth of a pixel.
    """
    if (one.shape, one.unit) != (other.shape, other.unit):
        return False
    here, there = one.partial, other.partial
    numbers = ("wavelength", "pixel_size", "distance")
    return np.allclose(
        [getattr(here, name) for name in numbers],
        [getattr(there, name) for name in numbers],
        rtol=1e-3,
        equal_nan=True,
    ) and np.allclose(
        here.center or (np.nan, np.nan), there.center or (np.nan, np.nan), atol=0.1, equal_nan=True
    )


def read_image_header(path: Path, kind: ImageKind) -> ImageHeader:
    """Read the header of a file of one image."""
    return _HEADERS[kind](path)


def read_series(headers: Sequence[ImageHeader], kind: ImageKind) -> StoredFrames:
    """Make one set of frames of files of one image each.

    Parameters
    ----------
    headers : sequence of ImageHeader
        Of the files, in the order of the frames; at least one, all of one folder.
    kind : str
        Their format.

    Returns
    -------
    StoredFrames
        With `source_file` and `source_index` as columns. Pixels that have no counts in the
        first image are masked.

    Raises
    ------
    InputError
        An image has another size or geometry than the first, or the first cannot be read.
    """
    first = headers[0]
    for header in headers:
        check_same(first, header)
    reader = SeriesReader(
        folder=str(first.path.parent),
        packed_names=zlib.compress("\n".join(header.path.name for header in headers).encode()),
        kind=kind,
        shape=first.shape,
        dtype=first.dtype,
        counts=first.unit == "photons",
    )
    partial = first.partial
    if first.unit == "photons":
        mask = np.where(_IMAGES[kind](first.path) < 0, BAD, GOOD).astype(np.uint8)
        partial = replace(partial, mask=mask)
    return StoredFrames(
        path=first.path,
        number=len(headers),
        shape=first.shape,
        dtype=first.dtype,
        unit=first.unit,
        reader=reader,
        partial=partial,
        columns={
            "source_file": np.array([str(header.path) for header in headers], object),
            "source_index": np.zeros(len(headers), np.int64),
        },
        notes=list(first.notes),
        saturation=first.saturation,
    )


def check_same(first: ImageHeader, other: ImageHeader) -> None:
    """Check that an image belongs to the series of another.

    Raises
    ------
    InputError
        It differs in size or geometry.
    """
    if first.shape != other.shape:
        sizes = [f"{rows} x {columns}" for rows, columns in (other.shape, first.shape)]
        raise InputError(
            f"{other.path}: has {sizes[0]} pixels, {first.path} before it {sizes[1]}; take images "
            "of one detector together."
        )
    if not same_geometry(first, other):
        raise InputError(
            f"{other.path}: is of another wavelength, distance or beam centre than {first.path}; "
            "take images of one geometry together."
        )


@dataclass(frozen=True)
class SeriesReader:
    """Reads frames of files of one image each; what is no count is 0.

    Attributes
    ----------
    folder : str
    packed_names : bytes
        Of the files, small since it goes into each task.
    kind : str
    shape : tuple of int
        Rows and columns.
    dtype : dtype
    counts : bool
        The detector counts photons.
    """

    folder: str
    packed_names: bytes
    kind: ImageKind
    shape: tuple[int, int]
    dtype: np.dtype
    counts: bool

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        frames = np.empty((stop - start, *self.shape), self.dtype)
        for frame, name in zip(frames, _names(self.packed_names)[start:stop], strict=True):
            path = Path(self.folder, name)
            image = _IMAGES[self.kind](path)
            if image.shape != self.shape:
                found, expected = (f"{y} x {x}" for y, x in (image.shape, self.shape))
                raise InputError(
                    f"{path}: has {found} pixels, expected {expected}; it changed since the "
                    "series was opened."
                )
            if self.counts:
                np.maximum(image, 0, out=frame)  # gaps and bad pixels are negative
            else:
                frame[...] = image
        return frames


@lru_cache(maxsize=4)
def _names(packed: bytes) -> list[str]:
    return zlib.decompress(packed).decode().split("\n")
