"""How the images of a stack lie on disk: precision, inner chunks, shards.

`images` of particles, or `photons` or `adu` of frames, is a sharded Zarr v3 array
(specification: zarr-specs, codecs/sharding-indexed). A shard is one file and one task; it is a
row of inner chunks of about 1 MB, each raw little-endian numbers and their crc32c, and an index
of (offset, bytes) pairs at the end. Noise does not compress, and what is not compressed can be
read without a detour through Zarr. Counts of photons are small integers and do compress.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

from hpdp_dask.errors import InputError

#: How images may be kept: `float32`; `float16`; `rounded`, float32 with 10 of its 23 mantissa
#: bits (a relative error of 5e-4 at most, far below the noise), compressed to about half.
PRECISIONS: Mapping[str, np.dtype] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "rounded": np.dtype("<f4"),
}

#: What frames may hold: counts of photons, or the numbers of the detector.
COUNTS = tuple(np.dtype(f"<u{size}") for size in (1, 2, 4))

#: How Blosc packs what is kept compressed, after it is shuffled by bits: method and level. Counts
#: are read by every stage, and LZ4 unpacks them two to three times as fast as Zstandard does.
PACKED: dict[str, tuple[Literal["zstd", "lz4hc"], int]] = {
    "rounded": ("zstd", 1),
    "counts": ("lz4hc", 3),
}

#: The array that holds the images of a stack.
IMAGE_ARRAYS = ("images", "photons", "adu")

#: The crc32c after each inner chunk and after the index of a shard.
CHECKSUM_BYTES = 4
CHUNK_BYTES = 2**20
SHARD_BYTES = 64 * 2**20
#: A stack larger than one shard has at least this many, so that all workers have work.
FEWEST_SHARDS = 8


@dataclass(frozen=True)
class Layout:
    """What the `zarr.json` of the array of images says.

    Attributes
    ----------
    path : Path
        The stack.
    array : str
        One of `IMAGE_ARRAYS`.
    number : int
        Images.
    image_shape : tuple of int
        Rows and columns.
    dtype : dtype
        As stored.
    images_per_shard, images_per_chunk : int
    raw : bool
        Inner chunks are plain little-endian numbers followed by their crc32c.
    packed : bool
        Inner chunks are such numbers through Blosc, followed by their crc32c.
    precision : str or None
        One of `PRECISIONS`, `counts` or `adu`; None for an array that this package did not make.
    """

    path: Path
    array: str
    number: int
    image_shape: tuple[int, int]
    dtype: np.dtype
    images_per_shard: int
    images_per_chunk: int
    raw: bool
    packed: bool
    precision: str | None

    @property
    def box(self) -> int:
        """Give the edge of a square image, pixels."""
        return self.image_shape[0]

    @property
    def image_bytes(self) -> int:
        """Give the size of an image in memory, as stored."""
        return self.image_shape[0] * self.image_shape[1] * self.dtype.itemsize

    @property
    def dimension(self) -> str:
        """Give the name of the axis along which images follow each other."""
        return dimension_of(self.array)

    @property
    def shards(self) -> int:
        """Give the number of shards."""
        return -(-self.number // self.images_per_shard)

    @property
    def chunks_per_shard(self) -> int:
        """Give the number of inner chunks of a whole shard."""
        return self.images_per_shard // self.images_per_chunk

    def shard_file(self, shard: int) -> Path:
        """Give the file of a shard."""
        return self.path / self.array / "c" / str(shard) / "0" / "0"

    def shard_range(self, shard: int) -> tuple[int, int]:
        """Give the first image of a shard and the one after its last."""
        start = shard * self.images_per_shard
        return start, min(start + self.images_per_shard, self.number)


def read_layout(path: str | Path) -> Layout:
    """Read how the images of a stack lie on disk.

    Parameters
    ----------
    path : str or Path
        The stack.

    Returns
    -------
    Layout

    Raises
    ------
    InputError
        There is no stack, it has no images, or they are not square.
    """
    path = Path(path).absolute()
    there = (name for name in IMAGE_ARRAYS if (path / name / "zarr.json").is_file())
    name = next(there, IMAGE_ARRAYS[0])
    try:
        array = json.loads((path / name / "zarr.json").read_bytes())
    except FileNotFoundError:
        if (path / "zarr.json").is_file():
            raise InputError(
                f"{path}: the stack has no images (imported with --metadata-only?); import it "
                "again with its images."
            ) from None
        raise InputError(f"{path}: not a Zarr particle stack; make one with hpdp import.") from None
    except ValueError:
        raise InputError(f"{path}: {name}/zarr.json is damaged; import the stack again.") from None
    shape = array["shape"]
    if len(shape) != 3 or (name == "images" and shape[1] != shape[2]):
        raise InputError(
            f"{path}: {name} has the shape {tuple(shape)}, expected "
            f"{'(particles, box, box)' if name == 'images' else '(frames, rows, columns)'}."
        )
    grid = array["chunk_grid"]["configuration"]["chunk_shape"]
    codecs = array["codecs"]
    inner = grid[0]
    raw = packed = False
    if codecs[0]["name"] == "sharding_indexed":
        sharding = codecs[0]["configuration"]
        inner = sharding["chunk_shape"][0]
        plain = (
            grid[1:] == shape[1:] == sharding["chunk_shape"][1:]
            and len(codecs) == 1
            and _are(sharding["index_codecs"], "bytes", "crc32c")
            and sharding.get("index_location", "end") == "end"
            and array["chunk_key_encoding"]
            == {"name": "default", "configuration": {"separator": "/"}}
        )
        raw = plain and _are(sharding["codecs"], "bytes", "crc32c")
        packed = plain and _are(sharding["codecs"], "bytes", "blosc", "crc32c")
    return Layout(
        path=path,
        array=name,
        number=shape[0],
        image_shape=(shape[1], shape[2]),
        dtype=np.dtype(array["data_type"]).newbyteorder("<"),
        images_per_shard=grid[0],
        images_per_chunk=inner,
        raw=raw,
        packed=packed,
        precision=array.get("attributes", {}).get("precision"),
    )


def _are(codecs: list[dict[str, Any]], *names: str) -> bool:
    """Tell whether codecs are of these names, the first of little-endian numbers."""
    return tuple(codec["name"] for codec in codecs) == names and (
        codecs[0].get("configuration", {}).get("endian", "little") == "little"
    )


def plan(
    number: int, box: int, precision: str, images_per_shard: int | None = None
) -> dict[str, Any]:
    """Plan the array of images of particles: the arguments of `zarr.Group.create_array`.

    Parameters
    ----------
    number : int
        Images.
    box : int
        Pixels along a side.
    precision : str
        One of `PRECISIONS`.
    images_per_shard : int, optional
        By default a shard holds 64 MB, or an eighth of the stack if that is less, or the whole
        of a stack below 64 MB; in whole inner chunks of 1 MB or one image, whichever is more.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        The precision is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"the precision {precision!r} is not known; choose one of {', '.join(PRECISIONS)}."
        )
    return _plan(
        number, (box, box), PRECISIONS[precision], "images", precision, np.nan, images_per_shard
    )


def plan_frames(
    number: int,
    shape: tuple[int, int],
    dtype: np.dtype,
    unit: str,
    images_per_shard: int | None = None,
) -> dict[str, Any]:
    """Plan the array of frames: the arguments of `zarr.Group.create_array`.

    Parameters
    ----------
    number : int
        Frames.
    shape : tuple of int
        Rows and columns.
    dtype : dtype
        For photons an unsigned integer, which is stored compressed; ADU are float32.
    unit : {"photons", "adu"}
    images_per_shard : int, optional
        As for `plan`, by the size in memory.

    Returns
    -------
    dict
    """
    if unit == "adu":
        return _plan(number, shape, np.dtype("<f4"), unit, "adu", np.nan, images_per_shard)
    stored = np.dtype(dtype).newbyteorder("<")
    if stored not in COUNTS:
        raise ValueError(f"counts of photons as {dtype}; expected unsigned integers")
    return _plan(number, shape, stored, unit, "counts", 0, images_per_shard)


def dimension_of(array: str) -> str:
    """Give the name of the axis along which the images of an array follow each other."""
    return "particle" if array == "images" else "frame"


def _plan(
    number: int,
    shape: tuple[int, int],
    dtype: np.dtype,
    array: str,
    precision: str,
    fill_value: float,
    images_per_shard: int | None,
) -> dict[str, Any]:
    image_bytes = shape[0] * shape[1] * dtype.itemsize
    chunk = min(max(1, CHUNK_BYTES // image_bytes), number)
    if images_per_shard is None:
        total = number * image_bytes
        if total <= SHARD_BYTES:
            chunks = -(-number // chunk)
        else:
            target = min(SHARD_BYTES, total // FEWEST_SHARDS)
            chunks = max(1, target // (chunk * image_bytes))
        images_per_shard = chunk * chunks
    else:
        chunk = max(n for n in range(1, chunk + 1) if images_per_shard % n == 0)
    compressors: list[Any] = [Crc32cCodec()]
    if precision in PACKED:
        method, level = PACKED[precision]
        blosc = BloscCodec(
            typesize=dtype.itemsize, cname=method, clevel=level, shuffle="bitshuffle", blocksize=0
        )
        compressors.insert(0, blosc)
    return {
        "shape": (number, *shape),
        "dtype": dtype,
        "chunks": (chunk, *shape),
        "shards": (images_per_shard, *shape),
        "serializer": BytesCodec(endian="little")
        if dtype.itemsize > 1
        else BytesCodec(endian=None),
        "filters": [],
        "compressors": compressors,
        "fill_value": fill_value,
        "dimension_names": (dimension_of(array), "y", "x"),
        "attributes": {"precision": precision},
    }


def round_mantissa(images: np.ndarray, bits: int = 10) -> np.ndarray:
    """Round float32 numbers to fewer mantissa bits, to the nearest, ties to even.

    Parameters
    ----------
    images : ndarray of float32
        Finite.
    bits : int, optional
        Mantissa bits to keep, below 23.

    Returns
    -------
    ndarray of float32
        Relative error at most 2**-(bits + 1); the bits cut off are zero, so they compress.
    """
    cut = 23 - bits
    pattern = np.ascontiguousarray(images, dtype=np.float32).view(np.uint32).copy()
    pattern += ((pattern >> np.uint32(cut)) & np.uint32(1)) + np.uint32((1 << (cut - 1)) - 1)
    pattern &= np.uint32((0xFFFFFFFF << cut) & 0xFFFFFFFF)
    return pattern.view(np.float32)


def to_precision(images: np.ndarray, precision: str) -> np.ndarray:
    """Turn images into what is stored of them.

    Parameters
    ----------
    images : ndarray
        Real numbers.
    precision : str
        As `Layout` has it.

    Returns
    -------
    ndarray
        Of the dtype of the precision; not a copy where nothing changes.

    Raises
    ------
    InputError
        A number is too large for float16.
    """
    if precision == "counts":
        return images
    if precision == "adu":
        return np.asarray(images, dtype=np.dtype("<f4"))
    if precision == "rounded":
        return round_mantissa(images)
    with np.errstate(over="ignore"):
        stored = np.asarray(images, dtype=PRECISIONS[precision])
    if precision == "float16":
        largest = float(max(np.max(images, initial=0.0), -np.min(images, initial=0.0)))
        if np.isfinite(largest) and largest > float(np.finfo(np.float16).max):
            raise InputError(
                f"the images hold values up to {largest:.6g}, more than float16 can keep "
                "(65504); choose the precision float32 or rounded."
            )
    return stored


def checksum(data: np.ndarray) -> bytes:
    """Give the crc32c of a contiguous array, as Zarr stores it."""
    return int(google_crc32c.value(data)).to_bytes(CHECKSUM_BYTES, "little")
