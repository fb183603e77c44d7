"""Quadrants of frames against what a few lines of NumPy make of them."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.numerics import quadrants
from hpdp_dask.numerics.quadrants import (
    SIDE,
    plan_quadrants,
    pool_corner,
    pool_quadrants,
    pooling_factor,
    rooted,
)

SIGNS = ((1, 1), (-1, 1), (-1, -1), (1, -1))


def plan_of(detector):
    return plan_quadrants(
        *(detector.pixel_x, detector.pixel_y, detector.pixel_z),
        *(detector.mask, detector.pixel_size),
    )


def by_slices(frame, column, row, factor):
    """Cut a frame at the beam, turn each part, take the largest of each cell."""
    first, below = int(np.ceil(column)), int(np.ceil(row))
    halves = {1: slice(first, None), -1: slice(first - 1, None, -1)}
    downs = {1: slice(below, None), -1: slice(below - 1, None, -1)}
    found = np.zeros((4, SIDE, SIDE), np.uint8)
    for place, (x, y) in enumerate(SIGNS):
        part = frame[downs[y], halves[x]]
        for i in range(min(SIDE, -(-part.shape[0] // factor))):
            for j in range(min(SIDE, -(-part.shape[1] // factor))):
                cell = part[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
                found[place, i, j] = int(np.sqrt(min(int(cell.max()), 65025)))
    return found


@pytest.mark.parametrize("center", [(30.0, 17.0), (30.4, 16.6), (29.999999999, 17.0)])
def test_cells_hold_the_largest_count(center):
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 300, (2, 41, 57)).astype(np.int32)
    frames[0, 3, 4] = 10**6
    frames[1, 3, 4] = -2
    mask = rng.random((41, 57)) < 0.2
    plan = plan_of(flat_detector((41, 57), 1e-4, 0.2, 1.0, center=center, mask=2 * mask))
    clean = np.where(mask, 0, np.maximum(frames, 0))
    wanted = np.stack([by_slices(frame, *center, 1) for frame in clean])
    found = pool_quadrants(frames, plan)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(pool_quadrants(frames, plan, (3, 1)), wanted[:, [3, 1]])
    np.testing.assert_array_equal(pool_quadrants(frames.astype(np.float32), plan), wanted)
    assert (plan.pixel_size, plan.distance) == (1e-4, 0.2)


def test_a_large_detector_is_pooled():
    rng = np.random.default_rng(2)
    shape, center = (1400, 1330), (660.0, 705.5)
    frame = rng.poisson(3.0, shape).astype(np.uint16)
    plan = plan_of(flat_detector(shape, 75e-6, 0.2, 1.0, center=center))
    assert (plan.factor, plan.pixel_size) == (2, 150e-6)
    found = pool_quadrants(frame[None], plan)[0]
    assert found[0, 0, 0] == int(np.sqrt(frame[706:708, 660:662].max()))
    assert found[2, 1, 0] == int(np.sqrt(frame[702:704, 658:660].max()))
    # a quadrant that begins at the beam already is the same
    np.testing.assert_array_equal(pool_corner(frame[None, 706:, 660:], 2)[0], found[0])
    assert plan.covered[0] == pytest.approx((694 / 2) * (670 / 2) / SIDE**2)


@pytest.mark.parametrize(
    ("longest", "factor"),
    [(1065, 1), (2527, 2), (2167, 2), (3269, 3), (3840, 3), (4096, 4), (4371, 4), (200, 1)],
)
def test_detectors_are_pooled_to_about_a_quadrant(longest, factor):
    assert pooling_factor(longest) == factor


def test_modules_are_seen_where_they_are():
    """Three modules one below the other in the array, side by side in life, one of them nearer."""
    whole = flat_detector((40, 60), 1e-4, 0.2, 1.0, center=(29.5, 19.5))
    frame = np.random.default_rng(3).poisson(20.0, (40, 60))
    parts = [np.s_[:, 20 * place : 20 * place + 20] for place in range(3)]
    x, y, z, mask, together = (
        np.concatenate([values[part] for part in parts])
        for values in (whole.pixel_x, whole.pixel_y, whole.pixel_z, whole.mask, frame)
    )
    # at half the distance a pixel at half the place is where the ray passes
    for values in (x, y, z):
        values[80:] *= 0.5
    plan = plan_quadrants(x, y, z, mask, 1e-4)
    assert plan.distance == 0.2
    np.testing.assert_array_equal(
        pool_quadrants(together[None], plan), pool_quadrants(frame[None], plan_of(whole))
    )


def test_roots_are_floors():
    counts = np.arange(70_000)
    wanted = np.minimum([int(n) for n in np.sqrt(np.arange(70_000.0))], 255)
    np.testing.assert_array_equal(rooted(counts), wanted)
    assert rooted(np.array([-3.0, 0.5, 65025.0, 1e9])).tolist() == [0, 0, 255, 255]


def test_what_is_no_number_is_nothing():
    plan = plan_of(flat_detector((4, 4), 1e-4, 0.2, 1.0))
    frames = np.full((1, 4, 4), np.nan, np.float32)
    frames[0, 2, 2] = 9.0
    found = pool_quadrants(frames, plan)
    assert found[0, 0, 0, 0] == 3
    assert found.sum() == 3


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_kernel_of_the_gpu_on_the_cpu(tmp_path):
    """CUDA's few words in C++: threads run one after the other."""
    source = tmp_path / "pool.cpp"
    source.write_text(
        "#include <cmath>\n#define __global__\n"
        "static struct { int x; } threadIdx, blockIdx, blockDim;\n"
        + quadrants._SOURCE
        + 'extern "C" void run(const float* a, const int* b, const int* c, const long long* d,'
        " unsigned char* e, long long total, long long length, int wanted, int cells)\n"
        "{ blockDim.x = 1; for (blockIdx.x = 0; blockIdx.x < total; ++blockIdx.x)"
        " pool(a, b, c, d, e, total, length, wanted, cells); }\n"
    )
    library = tmp_path / "pool.so"
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    rng = np.random.default_rng(4)
    frames = rng.poisson(30.0, (2, 33, 47)).astype(np.float32)
    mask = 2 * (rng.random((33, 47)) < 0.3)
    plan = plan_of(flat_detector((33, 47), 1e-4, 0.2, 1.0, center=(20.0, 9.0), mask=mask))
    which = np.array([2, 0])
    found = np.empty((2, 2, SIDE, SIDE), np.uint8)
    pointers = (
        array.ctypes.data_as(ctypes.c_void_p)
        for array in (frames, plan.starts, plan.pixels, which, found)
    )
    ctypes.CDLL(str(library)).run(
        *pointers,
        *(ctypes.c_longlong(found.size), ctypes.c_longlong(33 * 47), 2, SIDE * SIDE),
    )
    np.testing.assert_array_equal(found, pool_quadrants(frames, plan, (2, 0)))


@pytest.mark.gpu
def test_on_a_gpu():
    import cupy

    rng = np.random.default_rng(5)
    frames = rng.poisson(30.0, (3, 600, 700)).astype(np.int32)
    plan = plan_of(
        flat_detector((600, 700), 1e-4, 0.2, 1.0, mask=2 * (rng.random((600, 700)) < 0.1))
    )
    found = pool_quadrants(cupy.asarray(frames), plan, (1, 3))
    np.testing.assert_array_equal(found.get(), pool_quadrants(frames, plan, (1, 3)))
