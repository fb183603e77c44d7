"""Polar cells: every photon of a good pixel in one cell, wherever the pixel is kept."""

import numpy as np
import pytest
from diffraction_patterns import shares, small_detector
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdp_dask.formats.frames import Detector
from hpdp_dask.numerics.diffraction import scattering_vectors
from hpdp_dask.numerics.polar import gather, polar_cells


def cells_of(detector, **options):
    q = scattering_vectors(
        detector.pixel_x, detector.pixel_y, detector.pixel_z, detector.wavelength
    )
    return polar_cells(q, shares(detector), **options)


def modules(columns=24, rows=16):
    """Two tilted modules with a gap between, one below the other in the array."""
    place = np.stack(np.meshgrid(np.arange(columns) + 3.0, np.arange(rows) - 7.5), axis=0)
    x, y = [], []
    for turn, shift in ((0.1, 0.0), (np.pi + 0.05, 1.0)):
        x.append(np.cos(turn) * place[0] - np.sin(turn) * place[1] + shift)
        y.append(np.sin(turn) * place[0] + np.cos(turn) * place[1])
    x, y = 1e-3 * np.concatenate(x), 1e-3 * np.concatenate(y)
    mask = np.zeros(x.shape, np.uint8)
    mask[3:5] = 2
    return Detector(x, y, np.full(x.shape, 0.5), mask, 5.0, 1e-3)


@pytest.mark.parametrize("detector", [small_detector(40), modules()], ids=["flat", "modules"])
@pytest.mark.parametrize("friedel", [True, False])
def test_photons_are_where_their_pixels_are(detector, friedel):
    cells = cells_of(detector, friedel=friedel, angles=16)
    photons = np.random.default_rng(0).poisson(2.0, (3, *detector.shape)).astype(np.uint8)
    found = gather(photons, cells)
    q = scattering_vectors(
        detector.pixel_x, detector.pixel_y, detector.pixel_z, detector.wavelength
    )
    ring = (np.hypot(np.hypot(q[0], q[1]), q[2]) / cells.width).astype(int)
    turn = np.pi if friedel else 2 * np.pi
    angle = np.floor((np.arctan2(q[1], q[0]) % turn) / turn * 16).astype(int) % 16
    expected = np.zeros_like(found)
    good = detector.mask == 0
    for frame in range(3):
        np.add.at(expected[frame], (ring[good], angle[good]), photons[frame][good])
    np.testing.assert_array_equal(found, expected)
    assert found.sum() == photons[:, good].sum()
    np.testing.assert_allclose(cells.weight.sum(), good.sum())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_pixels_in_the_array_does_not_matter(seed):
    detector = modules()
    random = np.random.default_rng(seed)
    order = random.permutation(detector.mask.size)
    photons = random.poisson(1.0, detector.shape).astype(np.uint8)

    def shuffled(values):
        return values.ravel()[order].reshape(values.shape)

    other = Detector(
        *(shuffled(getattr(detector, f"pixel_{axis}")) for axis in "xyz"),
        shuffled(detector.mask),
        detector.wavelength,
        detector.pixel_size,
    )
    width = cells_of(detector).width
    found = gather(shuffled(photons)[None], cells_of(other, width=width))
    np.testing.assert_array_equal(found, gather(photons[None], cells_of(detector)))


def test_kinds_of_numbers_that_frames_come_in():
    detector = small_detector(40)
    cells = cells_of(detector)
    photons = np.random.default_rng(1).poisson(3.0, (2, 40, 40))
    expected = gather(photons, cells)
    for kind in (np.uint8, np.uint16, np.uint32, np.int32, np.float32):
        np.testing.assert_array_equal(gather(photons.astype(kind), cells), expected)
    full = np.full((1, 40, 40), 255, np.uint8)
    assert gather(full, cells).sum() == 255 * np.count_nonzero(detector.mask == 0)


def test_a_background_is_spread_like_photons():
    detector = small_detector(40)
    cells = cells_of(detector)
    image = np.random.default_rng(2).random((40, 40))
    np.testing.assert_allclose(
        cells.spread(image), gather(image.astype(np.float32)[None], cells)[0], rtol=1e-5
    )


def test_rings_are_one_pixel_wide_and_reach_the_corner():
    detector = small_detector(40)
    cells = cells_of(detector)
    assert cells.width == pytest.approx(0.84e-3 / (7.75 * 0.586), rel=1e-3)
    assert cells.rings == pytest.approx(19.5 * np.sqrt(2), abs=1.0)


def test_no_pixel_counts():
    with pytest.raises(ValueError, match="no pixel"):
        polar_cells(np.zeros((3, 4, 4)), np.zeros((4, 4)))


@pytest.mark.gpu
def test_the_device_gathers_alike():
    import cupy

    detector = small_detector(40)
    cells = cells_of(detector)
    photons = np.random.default_rng(3).poisson(1.0, (5, 40, 40)).astype(np.uint8)
    found = gather(cupy.asarray(photons), cells)
    np.testing.assert_array_equal(found.get(), gather(photons, cells))
