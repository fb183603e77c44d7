"""Small diffraction images in CBF files, and a measure that stands for a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import Column

SHAPE = (60, 48)

#: Counts that make an image a hit.
LEAST = 50

_HEADER = """###CBF: VERSION 1.5
data_image
_array_data.header_contents
;
# Detector: TEST
# Pixel_size 172e-6 m x 172e-6 m
# Count_cutoff 1000000 counts
# Wavelength {wavelength:.5f} A
# Detector_distance {distance:.5f} m
# Beam_xy ({across:.2f}, {up:.2f}) pixels
;
_array_data.data
;
--CIF-BINARY-FORMAT-SECTION--
Content-Type: application/octet-stream;
     conversions="x-CBF_BYTE_OFFSET"
X-Binary-Size: {size}
X-Binary-Element-Type: "signed 32-bit integer"
X-Binary-Element-Byte-Order: LITTLE_ENDIAN
X-Binary-Number-of-Elements: {number}
X-Binary-Size-Fastest-Dimension: {columns}
X-Binary-Size-Second-Dimension: {rows}

"""


def draw(number: int, seed: int = 0) -> np.ndarray:
    """Draw images: background and, but for every third, spots of a brightness of their own."""
    generator = np.random.default_rng(seed)
    images = generator.poisson(2.0, (number, *SHAPE)).astype(np.int32)
    for place in range(number):
        if place % 3:
            rows, columns = (generator.integers(5, size - 5, 12) for size in SHAPE)
            images[place, rows, columns] += 100 + 37 * place
    return images


def pack(image: np.ndarray) -> bytes:
    """Pack counts by their differences: in a byte each, or two or four after a mark."""
    parts = []
    for step in np.diff(image.ravel(), prepend=0).tolist():
        if abs(step) < 128:
            parts.append(step.to_bytes(1, "little", signed=True))
        elif abs(step) < 2**15:
            parts.append(b"\x80" + step.to_bytes(2, "little", signed=True))
        else:
            parts.append(b"\x80\x00\x80" + step.to_bytes(4, "little", signed=True))
    return b"".join(parts)


def write_image(
    path: Path, image: np.ndarray, distance: float = 0.1, wavelength: float = 1.0
) -> Path:
    """Write a CBF file, which has its name when it is whole."""
    packed = pack(image)
    rows, columns = image.shape
    header = _HEADER.format(
        wavelength=wavelength,
        distance=distance,
        size=len(packed),
        number=image.size,
        rows=rows,
        columns=columns,
        across=columns / 2,
        up=rows / 2,
    )
    hidden = path.with_name(f".{path.name}")
    hidden.write_bytes(
        header.replace("\n", "\r\n").encode() + b"\x0c\x1a\x04\xd5" + packed + b"\r\n;\r\n"
    )
    os.replace(hidden, path)
    return path


def expected_resolution(image: np.ndarray, distance: float = 0.1) -> float:
    """Give what `Brightness` finds of an image."""
    return 1.0 + 1000.0 * distance / float(image.max())


@dataclass(frozen=True)
class Brightness:
    """Stands for a network: bright images are hits, and the brighter the better they diffract."""

    name: str = "brightness"
    needs: tuple[str, ...] = ()
    images: tuple[str, ...] = ("photons", "adu")

    @property
    def columns(self) -> Mapping[str, Column]:
        names = ("resolution", "several_lattices_probability", "hit_probability")
        return {name: Column(np.float32) for name in names}

    def prepare(self, stack: xr.Dataset) -> float:
        return float(np.median(stack["pixel_z"].values))

    def measure(self, block: xr.Dataset, distance: float) -> dict[str, np.ndarray]:
        name = next(name for name in ("photons", "adu") if name in block)
        brightest = block[name].values.max(axis=(1, 2)).astype(float)
        hit = brightest > LEAST
        resolution = np.where(hit, 1.0 + 1000.0 * distance / np.maximum(brightest, 1.0), np.nan)
        several = np.where(hit, (brightest % 100) / 100, np.nan)
        return {
            "resolution": resolution,
            "several_lattices_probability": several,
            "hit_probability": np.where(hit, 0.9, 0.1),
        }
