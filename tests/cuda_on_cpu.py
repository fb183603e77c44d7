"""A stand-in for CuPy on machines without a GPU: arrays of NumPy, kernels compiled by g++.

The CUDA source runs as it is, behind a shim for the few words of CUDA that it uses; threads run
one after the other. Arguments are held against the types of the kernel, as CuPy does not.
"""

import ctypes
import re
import subprocess
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np

_SHIM = """
#include <algorithm>
#include <cmath>
using std::max;
using std::min;
struct Index { unsigned int x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;
#define __global__
#define __device__ static
template <typename T> static T atomicAdd(T* to, T value) { T old = *to; *to += value; return old; }
"""

_LAUNCH = """
extern "C" void launch_{name}(unsigned int blocks, unsigned int threads, {declared})
{{
    blockDim = {{threads, 1, 1}};
    gridDim = {{blocks, 1, 1}};
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) {name}({names});
}}
"""

_TYPES = {
    "bool": np.bool_,
    "double": np.float64,
    "float": np.float32,
    "int": np.int32,
    "long long": np.int64,
    "unsigned char": np.uint8,
    "unsigned int": np.uint32,
    "unsigned long long": np.uint64,
}


class Array(np.ndarray):
    """What `numerics.arrays.namespace` takes for an array on a device."""

    def get(self) -> np.ndarray:
        return np.array(self, copy=True, subok=False)


Array.__module__ = "cupy"


class RawModule:
    """Kernels that depend on `blockIdx.x` and `threadIdx.x` alone."""

    def __init__(self, folder: Path, code: str) -> None:
        self.parameters: dict[str, list[str]] = {}
        launchers = ""
        for name, declared in re.findall(r'extern "C" __global__ void (\w+)\(([^)]*)\)', code):
            parameters = [" ".join(each.split()) for each in declared.split(",")]
            names = ", ".join(re.findall(r"\w+$", each)[0] for each in parameters)
            self.parameters[name] = [re.sub(r"\w+$", "", each).strip() for each in parameters]
            launchers += _LAUNCH.format(name=name, declared=declared, names=names)
        (folder / "kernels.cpp").write_text(_SHIM + code + launchers)
        # no product is rounded together with a sum, as is asked of NVRTC
        command = "g++ -O1 -ffp-contract=off -shared -fPIC -o kernels.so kernels.cpp"
        subprocess.run(command.split(), cwd=folder, check=True)
        self.library = ctypes.CDLL(str(folder / "kernels.so"))

    def get_function(self, name):
        def launch(blocks, threads, arguments):
            kinds = self.parameters[name]
            assert len(arguments) == len(kinds), f"{name} takes {len(kinds)} arguments"
            assert len(blocks) == len(threads) == 1
            pairs = zip(arguments, kinds, strict=True)
            given = [_argument(value, kind) for value, kind in pairs]
            sizes = ctypes.c_uint(blocks[0]), ctypes.c_uint(threads[0])
            getattr(self.library, f"launch_{name}")(*sizes, *given)

        return launch


def _argument(value, kind):
    wanted = np.dtype(_TYPES[kind.removeprefix("const ").removesuffix("*")])
    assert value.dtype == wanted, f"{value.dtype} for {kind}"
    if not kind.endswith("*"):
        assert isinstance(value, np.generic), f"no scalar for {kind}"
        return np.ctypeslib.as_ctypes_type(wanted)(value.item())
    assert isinstance(value, Array), f"an array on the host for {kind}"
    assert value.flags.c_contiguous
    return value.ctypes.data_as(ctypes.c_void_p)


def stand_in(folder: Path) -> ModuleType:
    """Make a module to put in the place of `cupy`; kernels are compiled in a folder, once."""
    cupy = ModuleType("cupy")

    def on_device(function):
        return lambda *given, **options: function(*given, **options).view(Array)

    for name in ("asarray", "ascontiguousarray", "cumsum", "ones", "zeros", "zeros_like"):
        setattr(cupy, name, on_device(getattr(np, name)))
    for name in ("float32", "float64", "int32", "int64", "uint64"):
        setattr(cupy, name, getattr(np, name))
    cupy.ndarray = Array
    cupy.is_available = lambda: False
    compiled = lru_cache(lambda code: RawModule(folder, code))
    cupy.RawModule = lambda code, options=(): compiled(code)
    return cupy
