"""Common mode: offsets that were put in come out, whatever the signal."""

import numpy as np
import pytest

from hpdp_dask.numerics.common_mode import (
    FEWEST_PIXELS,
    group_pixels,
    pixel_noise,
    subtract_common_mode,
)

SHAPE = (40, 256)
NOISE, GAIN = 1.6, 8.0


@pytest.fixture
def random():
    return np.random.default_rng(0)


def striped(random, lit=0.0, photons=1.0, frames=4):
    """Give frames with an offset in each half row, and these offsets."""
    offsets = random.normal(0.0, 3.0, (frames, SHAPE[0], 2))
    signal = random.poisson(photons, (frames, *SHAPE)) * (random.random((frames, *SHAPE)) < lit)
    adu = random.normal(0.0, NOISE, (frames, *SHAPE)) + GAIN * signal
    adu += np.repeat(offsets, SHAPE[1] // 2, axis=2)
    return adu.astype(np.float32), offsets.reshape(frames, -1)


def half_rows(good=None):
    good = np.ones(SHAPE, bool) if good is None else good
    return group_pixels(SHAPE, (1, SHAPE[1] // 2), good)


@pytest.mark.parametrize("lit", [0.0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("photons", [1.0, 20.0])
def test_offsets_come_out(random, lit, photons):
    adu, offsets = striped(random, lit, photons)
    found = subtract_common_mode(adu, half_rows(), NOISE)
    off = found - offsets
    # signal may pull an offset up by a few hundredths of a photon, and noise moves it
    assert abs(np.mean(off)) < 0.02 * GAIN
    assert np.std(off) < 4.0 * NOISE * (128 * (1 - lit)) ** -0.5


def test_what_is_subtracted_is_what_is_given(random):
    adu, _ = striped(random)
    before = adu.copy()
    found = subtract_common_mode(adu, half_rows(), NOISE)
    np.testing.assert_allclose(
        before - adu, np.repeat(found.reshape(4, 40, 2), 128, axis=2), atol=1e-4
    )


def test_bad_pixels_and_numbers_that_are_none_do_not_count(random):
    adu, offsets = striped(random)
    good = np.ones(SHAPE, bool)
    good[:, ::3] = False
    adu[:, ~good] = 5000.0
    adu[0, 3, 4], adu[1, 5, 7] = np.inf, np.nan
    found = subtract_common_mode(adu, half_rows(good), NOISE)
    assert np.abs(found - offsets).max() < 4.0 * NOISE * 80**-0.5
    assert np.isinf(adu[0, 3, 4])
    assert np.isnan(adu[1, 5, 7])


def test_a_group_with_few_pixels_is_left_alone(random):
    adu, _ = striped(random)
    good = np.ones(SHAPE, bool)
    good[7, FEWEST_PIXELS - 1 :] = False
    before = adu.copy()
    found = subtract_common_mode(adu, half_rows(good), NOISE)
    assert not found[:, 14:16].any()
    np.testing.assert_array_equal(adu[:, 7], before[:, 7])


@pytest.mark.parametrize(
    ("shape", "block", "groups"),
    [((8, 9), (1, 4), 16), ((8, 9), (8, 1), 9), ((128, 130), (64, 64), 4), ((5, 5), (5, 5), 1)],
)
def test_blocks(shape, block, groups):
    found = group_pixels(shape, block, np.ones(shape, bool))
    assert len(found.starts) == groups + 1
    assert sorted(found.order) == list(range(shape[0] * shape[1]))
    for group in range(groups):
        pixels = found.order[found.starts[group] : found.starts[group + 1]]
        assert set(found.member.reshape(-1)[pixels]) == {group}
        rows, columns = np.unravel_index(pixels, shape)
        assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) == len(pixels)


def test_noise_does_not_see_offsets_nor_signal(random):
    adu, _ = striped(random, lit=0.05, photons=5.0, frames=16)
    adu[:, 3, 3] = np.inf
    assert pixel_noise(adu, np.ones(SHAPE, bool)) == pytest.approx(NOISE, rel=0.15)
    empty, _ = striped(random)
    assert pixel_noise(empty, np.ones(SHAPE, bool)) == pytest.approx(NOISE, rel=0.02)
    assert np.isnan(pixel_noise(empty, np.zeros(SHAPE, bool)))
