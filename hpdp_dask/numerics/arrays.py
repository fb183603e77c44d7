"""The namespace of an array, and moves between host and device.

One code path serves NumPy and CuPy: a function asks its input for the namespace and goes on
with that. CuPy is imported only where a device is there, so everything runs without it.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse

#: A NumPy or a CuPy array.
Array = Any


@lru_cache(maxsize=1)
def has_gpu() -> bool:
    """Tell whether CuPy can be imported and sees a CUDA device."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.is_available())


def namespace(*arrays: Array) -> ModuleType:
    """Give `cupy` if any of the arrays lives on a device, else `numpy`."""
    if any(type(array).__module__.partition(".")[0] == "cupy" for array in arrays):
        import cupy

        return cupy
    return np


def fast_namespace() -> ModuleType:
    """Give `cupy` where there is a device for it, else `numpy`: where heavy work should run."""
    if has_gpu():
        import cupy

        return cupy
    return np


def fft_of(xp: ModuleType) -> ModuleType:
    """Give the FFT module of a namespace, one that keeps single precision."""
    if xp is np:
        return scipy.fft
    import cupyx.scipy.fft

    return cupyx.scipy.fft


def to_host(array: Array) -> np.ndarray:
    """Give a NumPy array: the array itself, or a copy from its device."""
    return array.get() if namespace(array) is not np else np.asarray(array)


def csr_matrix(
    values: Array, row: Array, column: Array, shape: tuple[int, int], xp: ModuleType
) -> Array:
    """Make a sparse matrix of entries, those in the same place added up.

    Parameters
    ----------
    values, row, column : (q,) arrays
        Of a namespace.
    shape : tuple of int
    xp : module
        Where the matrix should live.

    Returns
    -------
    scipy.sparse or cupyx.scipy.sparse csr_matrix
    """
    entries = values, (row, column)
    if xp is np:
        return scipy.sparse.csr_matrix(entries, shape=shape)
    import cupyx.scipy.sparse

    return cupyx.scipy.sparse.csr_matrix(entries, shape=shape)
