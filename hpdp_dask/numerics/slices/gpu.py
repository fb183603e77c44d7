"""Slices on the GPU: CuPy launches the kernels of `slices.cu`."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import cupy
import numpy as np

_THREADS = 128
_MOST_BLOCKS_Y = 65535


@lru_cache(maxsize=1)
def _module() -> cupy.RawModule:
    source = files("hpdp_dask.numerics.slices").joinpath("slices.cu").read_text()
    return cupy.RawModule(code=source)


def _launch(
    name: str,
    values: cupy.ndarray,
    rotations: cupy.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    padding: int,
    limit: int,
    out: cupy.ndarray,
) -> None:
    axes = cupy.ascontiguousarray(padding * cupy.asarray(rotations)[:, :2], dtype=cupy.float32)
    x, y = cupy.asarray(x, dtype=cupy.float32), cupy.asarray(y, dtype=cupy.float32)
    blocks = ((len(x) + _THREADS - 1) // _THREADS, min(len(axes), _MOST_BLOCKS_Y))
    arguments = (values, axes, x, y, np.int32(len(x)), np.int32(len(axes)), np.int32(limit), out)
    _module().get_function(name)(blocks, (_THREADS,), arguments)


def insert_slices(
    accumulator: cupy.ndarray,
    contributions: cupy.ndarray,
    rotations: cupy.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    padding: int,
) -> None:
    """Add slices to an accumulator; see `hpdp_dask.numerics.slices.insert_slices`."""
    samples = contributions.shape[1]
    values = cupy.ascontiguousarray(contributions, dtype=cupy.float32)
    limit = accumulator.shape[2] - 1
    _launch(
        "insert_slices", values, rotations, x[:samples], y[:samples], padding, limit, accumulator
    )


def extract_slices(
    transform: cupy.ndarray, rotations: cupy.ndarray, x: np.ndarray, y: np.ndarray, padding: int
) -> cupy.ndarray:
    """Interpolate slices of a transform; see `hpdp_dask.numerics.slices.extract_slices`."""
    slices = cupy.empty((len(rotations), len(x)), dtype=cupy.complex64)
    limit = transform.shape[2] - 1
    _launch(
        "extract_slices", cupy.ascontiguousarray(transform), rotations, x, y, padding, limit, slices
    )
    return slices


def sum_rotated(accumulator: cupy.ndarray, rotations: cupy.ndarray) -> cupy.ndarray:
    """Sum an accumulator over rotations; see `hpdp_dask.numerics.slices.sum_rotated`."""
    total = cupy.zeros_like(accumulator)
    limit = accumulator.shape[2] - 1
    voxels = total.size // 3
    turns = cupy.ascontiguousarray(cupy.asarray(rotations), dtype=cupy.float32)
    arguments = (accumulator, turns, np.int32(len(turns)), np.int32(limit), total)
    blocks = ((voxels + _THREADS - 1) // _THREADS,)
    _module().get_function("sum_rotated")(blocks, (_THREADS,), arguments)
    return total
