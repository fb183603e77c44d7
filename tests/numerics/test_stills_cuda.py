"""Stills by the CUDA source: on the CPU through g++ beside Numba, through NVRTC, on a GPU."""

import importlib
import shutil
import sys
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from cuda_on_cpu import stand_in
from test_cuda_source import compile_to_ptx

import hpdp_dask.numerics.stills
from hpdp_dask.crystallography.simulate import Settings, crystals, shot, simulate_shot
from hpdp_dask.numerics.bragg_spots import Beam, Crystal, Plane, StructureFactors, bragg_spots
from hpdp_dask.numerics.crystal_lattice import cell_vectors
from hpdp_dask.numerics.poisson_counts import poisson_counts
from hpdp_dask.numerics.rotations import random_rotations
from hpdp_dask.numerics.stamped_spots import stamp_spots
from hpdp_dask.numerics.still_image import BeamStop, Diffuse, count_photons

SOURCE = files("hpdp_dask.numerics.stills").joinpath("stills.cu").read_text()
KERNELS = ("draw_counts", "find_spots", "stamp_spots", "count_photons")

#: From where the table is all there is to beyond where it ends, zero and its edges among them.
MEANS = np.concatenate(
    [[0.0, 1 / 16, 31.9999, 32.0, 32.0001, 5e4], np.geomspace(1e-6, 3e4, 300_000)]
).astype(np.float32)


KEY = 2**63 - 5


@pytest.fixture(scope="module")
def cupy_on_cpu(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("needs g++ to run the CUDA source on the CPU")
    return stand_in(tmp_path_factory.mktemp("stills"))


@pytest.fixture
def device(cupy_on_cpu, monkeypatch):
    """Put what compiles for the CPU in the place of CuPy."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_on_cpu)
    monkeypatch.delitem(sys.modules, "hpdp_dask.numerics.stills.gpu", raising=False)
    gpu = importlib.import_module("hpdp_dask.numerics.stills.gpu")
    monkeypatch.setattr(hpdp_dask.numerics.stills, "gpu", gpu, raising=False)
    yield cupy_on_cpu
    del sys.modules["hpdp_dask.numerics.stills.gpu"]


def crystal_and_plane():
    turn = random_rotations(1, 3)[0]
    vectors = cell_vectors([78.0, 52.0, 61.0, 83.0, 97.0, 100.0]) @ turn.T
    crystal = Crystal(vectors, np.array([20.0, 30.0, 25.0]), 3e-3, 12.0)
    size = 2e-4
    tilted = size * np.array([np.cos(0.05), 0.0, np.sin(0.05)])
    plane = Plane(np.array([-0.01, -0.02, 0.15]), tilted, np.array([0.0, size, 0.0]), (480, 500))
    return crystal, plane


def spots_of(xp, table=None, **options):
    crystal, plane = crystal_and_plane()
    profile = 1e5 * xp.asarray(np.exp(-np.linspace(0.0, 3.0, 64)))
    table = None if table is None else xp.asarray(table)
    factors = StructureFactors(profile, 0.02, 4242, table)
    beam = Beam(1.0, 3e-4, 2e-3, 0.9)
    return bragg_spots(crystal, factors, beam, plane, 1e6, finest=1.6, **options)


def picture(xp, spots):
    image = xp.zeros((480, 500), np.float32)
    stamp_spots(image, spots)
    return image


def counted(spots, factor, stop):
    plane = crystal_and_plane()[1]
    even = (900.0 * np.exp(-np.linspace(0.0, 9.0, 800))).astype(np.float32)
    diffuse = Diffuse(even, -0.3 * even, 0.3 / 800, (3.0, -2.0), 0.05)
    good = np.ones(480, np.bool_), np.ones(500, np.bool_)
    good[0][100:117] = False
    good[1][240:247] = False
    return count_photons(spots, plane, diffuse, stop, *good, 987654321, factor)


def compare_all(xp, most_differ):
    """Hold what comes from a device against what comes from Numba."""

    def get(array):
        return array.get()

    # counts of equal means are equal, draw by draw; beyond the table a logarithm in single
    # precision tells whether a draw is taken, of which the last digit is up to the machine
    counts, alike = get(poisson_counts(xp.asarray(MEANS), KEY)), poisson_counts(MEANS, KEY)
    np.testing.assert_array_equal(counts[MEANS < 32], alike[MEANS < 32])
    assert (counts != alike).sum() <= most_differ

    # spots: the same, in the same order
    rng = np.random.default_rng(2)
    table = rng.exponential(1e5, (41, 31, 35)).astype(np.float32)
    for options in ({}, {"table": table, "blur": 0.6, "parallax": 4e-4, "coarsest": 20.0}):
        found, wanted = spots_of(xp, **options), spots_of(np, **options)
        assert len(wanted) > 200
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-10)

    # stamps
    image, expected = picture(xp, wanted), picture(np, wanted)
    np.testing.assert_allclose(get(image), expected, rtol=3e-6, atol=1e-6)

    # counts of cells; means differ in their last digit
    stop = BeamStop(1e-3, 2e-3, 2e-3, 3e-4, 0.1, arm=4e-4, arm_x=0.6, arm_y=0.8, arm_leak=0.5)
    for factor in (1, 2, 4):
        counts = get(counted(xp.asarray(expected), factor, stop))
        alike = counted(expected, factor, stop)
        assert counts.dtype == np.int32
        assert (counts != alike).mean() < 1e-4
        np.testing.assert_array_equal(counts == 0, alike == 0)


def test_cuda_source_on_the_cpu_agrees_with_numba(device):
    compare_all(device, most_differ=0)


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu():
    import cupy

    compare_all(cupy, most_differ=30)


def compare_shots(xp, monkeypatch):
    """Hold whole shots against each other: what is drawn for them is the same."""
    settings = Settings(number=2, seed=11, detectors=("pilatus-6m",))
    expected = [simulate_shot(settings, index) for index in range(2)]
    for module in (crystals, shot):
        monkeypatch.setattr(module, "fast_namespace", lambda: xp)
    for index, (quadrant, truth) in enumerate(expected):
        found, same = simulate_shot(settings, index)
        assert (found != quadrant).mean() < 1e-4
        assert same == pytest.approx(truth, rel=1e-6, nan_ok=True)


def test_shots_by_the_cuda_source_are_those_of_numba(device, monkeypatch):
    compare_shots(device, monkeypatch)


@pytest.mark.gpu
def test_shots_of_a_gpu_are_those_of_the_cpu(monkeypatch):
    import cupy

    monkeypatch.setattr(shot, "fast_namespace", lambda: np)
    monkeypatch.setattr(crystals, "fast_namespace", lambda: np)
    compare_shots(cupy, monkeypatch)


def test_no_spots_are_none_on_a_device(device):
    crystal, plane = crystal_and_plane()
    # a detector behind the crystal
    behind = replace(plane, origin=plane.origin * np.array([1.0, 1.0, -1.0]))
    factors = StructureFactors(device.ones(2), 1.0)
    found = bragg_spots(crystal, factors, Beam(1.0), behind, 1.0, finest=8.0)
    assert found.shape == (0, 7)
    image = device.zeros((5, 5), np.float32)
    stamp_spots(image, found)
    assert not image.any()
    assert poisson_counts(device.zeros(0, np.float32), 1).shape == (0,)


def test_stamps_do_not_depend_on_their_order(device):
    spots = spots_of(np)
    order = np.random.default_rng(0).permutation(len(spots))
    np.testing.assert_array_equal(picture(device, spots), picture(device, spots[order]))


def test_nvrtc_compiles_every_kernel_to_ptx():
    code, log, ptx = compile_to_ptx(SOURCE)
    assert code == 0, log
    for kernel in KERNELS:
        assert f".entry {kernel}(" in ptx
