"""Bad pixels: those that were spoilt are found, and no others."""

import numpy as np
import pytest

from hpdp_dask.numerics.bad_pixels import (
    REASONS,
    add_frames,
    add_range,
    is_whole,
    judge_pixels,
    merge_statistics,
    no_statistics,
)

SHAPE = (48, 64)
NOISE, GAIN = 1.6, 8.0
SPOILT = {"not finite": (5, 6), "dead": (10, 50), "noisy": (44, 8), "hot": (46, 60)}


def pattern():
    """Give what a bright hit and its fringes scatter, from 0.02 to hundreds of photons."""
    y, x = np.indices(SHAPE)
    radius = np.hypot(x - 30, y - 22)
    return 0.02 + 300.0 * np.exp(-radius / 3.0) * (1.0 + np.cos(radius)) ** 2


def spoilt_frames(frames):
    random = np.random.default_rng(frames)
    hit = random.random((frames, 1, 1)) < 0.5
    photons = random.poisson(pattern() * hit + 0.02)
    adu = (GAIN * photons + random.normal(0.0, NOISE, photons.shape)).astype(np.float32)
    adu[:: max(1, frames // 10), 5, 6] = np.inf
    adu[:, 10, 50] = 3.0
    adu[:, 44, 8] += random.normal(0.0, 6.0 * NOISE, frames)
    adu[:, 46, 60] += 3.0 * GAIN
    return adu


def judged(adu, bad=None):
    bad = np.zeros(SHAPE, bool) if bad is None else bad
    half = len(adu) // 2
    parts = []
    for part in (adu[:half], adu[half:]):
        statistics = no_statistics(SHAPE)
        add_range(statistics, part)
        add_frames(statistics, part, ~bad, NOISE)
        parts.append(statistics)
    return judge_pixels(merge_statistics(*parts), bad, NOISE, GAIN)


@pytest.mark.parametrize("frames", [20, 400])
def test_spoilt_pixels_are_found_and_no_others(frames):
    bad = np.zeros(SHAPE, bool)
    bad[:, 3] = True
    reason = judged(spoilt_frames(frames), bad)
    for name, place in SPOILT.items():
        assert REASONS[reason[place]] == name
    assert (reason[:, 3] == REASONS.index("masked before")).all()
    assert (reason > 0).sum() == len(SPOILT) + SHAPE[0]


def test_a_noisy_line_goes_as_a_whole():
    random = np.random.default_rng(1)
    adu = random.normal(0.0, NOISE, (10, *SHAPE))
    # an offset of each pixel, too little to call one of them bad
    adu[:, 12] += random.normal(0.0, 4.0 * NOISE, SHAPE[1])
    statistics = no_statistics(SHAPE)
    add_range(statistics, adu.astype(np.float32))
    add_frames(statistics, adu.astype(np.float32), np.ones(SHAPE, bool), NOISE)
    lines = np.repeat(np.arange(SHAPE[0])[:, None], SHAPE[1], axis=1)
    nothing = np.zeros(SHAPE, bool)
    assert 0 < (judge_pixels(statistics, nothing, NOISE, GAIN) > 0).sum() < SHAPE[1]
    reason = judge_pixels(statistics, nothing, NOISE, GAIN, lines)
    assert (reason[12] == REASONS.index("noisy")).all()
    assert (reason > 0).sum() == SHAPE[1]


def test_noise_that_makes_no_photons_is_forgiven():
    random = np.random.default_rng(1)
    adu = random.normal(0.0, NOISE, (50, *SHAPE))
    adu[:, 12] *= 3.0
    statistics = no_statistics(SHAPE)
    add_range(statistics, adu.astype(np.float32))
    add_frames(statistics, adu.astype(np.float32), np.ones(SHAPE, bool), NOISE)
    lines = np.repeat(np.arange(SHAPE[0])[:, None], SHAPE[1], axis=1)
    nothing = np.zeros(SHAPE, bool)
    assert (judge_pixels(statistics, nothing, NOISE, 10.0, lines) > 0).sum() == SHAPE[1]
    assert not judge_pixels(statistics, nothing, NOISE, 20.0, lines).any()


def test_few_frames_tell_only_what_is_not_finite():
    reason = judged(spoilt_frames(6))
    assert (reason > 0).sum() == 1
    assert REASONS[reason[5, 6]] == "not finite"


def test_one_value_in_many_frames_is_forgiven():
    adu = np.random.default_rng(0).normal(0.0, NOISE, (2000, 4, 4)).astype(np.float32)
    adu[7, 1, 1] = np.nan
    statistics = no_statistics((4, 4))
    add_range(statistics, adu)
    add_frames(statistics, adu, np.ones((4, 4), bool), NOISE)
    assert not judge_pixels(statistics, np.zeros((4, 4), bool), NOISE, GAIN).any()
    assert statistics.not_finite[1, 1] == 1


def test_frames_that_are_not_whole():
    adu = np.zeros((3, 4, 4), np.float32)
    adu[1] = np.nan
    adu[2, :1] = np.inf
    assert list(is_whole(adu, np.ones((4, 4), bool))) == [True, False, True]
