"""The CUDA source without a GPU: compiled to PTX by NVRTC, and run on the CPU through g++."""

import ctypes
import importlib.util
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.numerics import fourier, rotations, slices
from hpdp_dask.numerics.slices import reference

SOURCE = files("hpdp_dask.numerics.slices").joinpath("slices.cu").read_text()
KERNELS = ("insert_slices", "extract_slices", "sum_rotated")

#: The few words of CUDA that the kernels use, in C++; threads run one after the other.
SHIM = """
#include <algorithm>
using std::max;
using std::min;
struct Index { int x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;
#define __global__
#define __device__ static
static float atomicAdd(float* to, float value) { float old = *to; *to += value; return old; }
"""
LAUNCH = """
#define EACH_THREAD(call)                                                                    \\
    blockDim = {threads, 1, 1};                                                              \\
    gridDim = {blocks_x, blocks_y, 1};                                                       \\
    for (blockIdx.y = 0; blockIdx.y < blocks_y; blockIdx.y++)                                \\
        for (blockIdx.x = 0; blockIdx.x < blocks_x; blockIdx.x++)                            \\
            for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) call;
extern "C" void run_slices(int insert, int blocks_x, int blocks_y, int threads,
    const float* in, const float* axes, const float* x, const float* y, int samples, int slices,
    int limit, float* out)
{
    if (insert) { EACH_THREAD(insert_slices(in, axes, x, y, samples, slices, limit, out)) }
    else { EACH_THREAD(extract_slices(in, axes, x, y, samples, slices, limit, out)) }
}
extern "C" void run_sum(int blocks_x, int threads, const float* in, const float* rotations,
    int count, int limit, float* out)
{
    int blocks_y = 1;
    EACH_THREAD(sum_rotated(in, rotations, count, limit, out))
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("g++") is None:
        pytest.skip("needs g++ to run the CUDA source on the CPU")
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "kernels.cpp").write_text(SHIM + SOURCE + LAUNCH)
    subprocess.run(
        ["g++", "-O1", "-shared", "-fPIC", "-o", "kernels.so", "kernels.cpp"],
        cwd=folder,
        check=True,
    )
    return ctypes.CDLL(str(folder / "kernels.so"))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return array.ctypes.data_as(ctypes.c_void_p)


def run_slices(library, insert: bool, values, poses, plane, limit: int, out) -> None:
    axes = np.ascontiguousarray(2 * poses[:, :2], dtype=np.float32)
    x, y = plane.x.astype(np.float32), plane.y.astype(np.float32)
    # Fewer rows of blocks than slices: each block takes several.
    library.run_slices(
        int(insert),
        (len(x) + 63) // 64,
        5,
        64,
        pointer(values),
        pointer(axes),
        pointer(x),
        pointer(y),
        len(x),
        len(axes),
        limit,
        pointer(out),
    )


def test_cuda_insertion_on_the_cpu_agrees_with_the_reference(library: ctypes.CDLL) -> None:
    plane = fourier.half_plane(16)
    poses = np.concatenate([np.eye(3)[None], rotations.random_rotations(12, 1)])
    values = np.random.default_rng(0).standard_normal((13, len(plane), 3)).astype(np.float32)
    found = np.zeros(slices.accumulator_shape(plane.radius), np.float32)
    run_slices(library, True, values, poses, plane, found.shape[2] - 1, found)
    expected = np.zeros(found.shape)
    reference.insert_slices(expected, values, poses, plane.x, plane.y, 2)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_cuda_extraction_on_the_cpu_agrees_with_the_reference(library: ctypes.CDLL) -> None:
    plane = fourier.half_plane(16)
    poses = np.concatenate([np.eye(3)[None], rotations.random_rotations(12, 1)])
    volume = np.random.default_rng(0).standard_normal((16, 16, 16))
    transform = fourier.transform_volume(volume)
    found = np.zeros((13, len(plane)), np.complex64)
    run_slices(library, False, transform, poses, plane, transform.shape[2] - 1, found)
    expected = reference.extract_slices(transform, poses, plane.x, plane.y, 2)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_cuda_sum_over_rotations_on_the_cpu_agrees_with_the_reference(
    library: ctypes.CDLL,
) -> None:
    accumulator = np.random.default_rng(0).standard_normal((17, 17, 9, 3)).astype(np.float32)
    turns = np.concatenate([np.eye(3)[None], rotations.random_rotations(3, 2)])
    flat = np.ascontiguousarray(turns, dtype=np.float32)
    found = np.zeros_like(accumulator)
    library.run_sum(
        (found.size // 3 + 63) // 64,
        64,
        pointer(accumulator),
        pointer(flat),
        len(flat),
        8,
        pointer(found),
    )
    np.testing.assert_allclose(found, reference.sum_rotated(accumulator, turns), atol=1e-4)


def compile_to_ptx(source: str) -> tuple[int, str, str]:
    """Compile with NVRTC: the error code, the log, the PTX."""
    spec = importlib.util.find_spec("nvidia.cuda_nvrtc") if _has("nvidia") else None
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs NVRTC: pip install nvidia-cuda-nvrtc-cu12")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("lib/libnvrtc.so*"))
    nvrtc = ctypes.CDLL(str(found[0]))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert not nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"slices.cu", 0, None, None
    )
    options = (ctypes.c_char_p * 1)(b"-arch=compute_80")
    code = nvrtc.nvrtcCompileProgram(program, 1, options)

    def text(size_of: str, get: str) -> str:
        getattr(nvrtc, size_of)(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(nvrtc, get)(program, buffer)
        return buffer.value.decode()

    log = text("nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
    return code, log, "" if code else text("nvrtcGetPTXSize", "nvrtcGetPTX")


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def test_nvrtc_compiles_every_kernel_to_ptx() -> None:
    code, log, ptx = compile_to_ptx(SOURCE)
    assert code == 0, log
    for kernel in KERNELS:
        assert f".entry {kernel}(" in ptx


def test_nvrtc_finds_a_mistake() -> None:
    code, log, _ = compile_to_ptx(SOURCE.replace("float fx = px", "float fx = qx"))
    assert code != 0
    assert "qx" in log
