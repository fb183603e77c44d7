"""Photons of pixels and frames, against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpdp_dask.numerics.photon_counts import (
    count_photons,
    log_shape,
    score_shape,
    subtract_photons,
    sum_frames,
)

ALL = np.ones((3, 4), bool)
FRAMES = arrays(np.uint16, (5, 3, 4), elements=st.integers(0, 10_000))
MASKS = arrays(np.bool_, (3, 4))


def test_counts_are_rounded():
    adu = np.array([[[-30.0, 3.9, 4.1, 11.9], [12.1, 800.0, np.inf, np.nan], [1e9, -np.inf, 0, 8]]])
    good = ALL.copy()
    good[2, 3] = False
    photons = count_photons(adu.astype(np.float32), good, 8.0, np.uint8)
    assert photons.dtype == np.uint8
    np.testing.assert_array_equal(photons[0], [[0, 0, 1, 1], [2, 100, 0, 0], [255, 0, 0, 0]])


def test_a_photon_may_be_counted_later():
    adu = np.array([[[0.5, 0.65, 0.75, 1.0], [1.65, 1.75, 2.6, 2.8]]], np.float32) * 7.0
    photons = count_photons(adu, np.ones((2, 4), bool), 7.0, from_share=0.7)
    np.testing.assert_array_equal(photons[0], [[0, 0, 1, 1], [1, 2, 2, 3]])


@settings(max_examples=30, deadline=None)
@given(photons=FRAMES, good=MASKS, lit_from=st.integers(1, 5))
def test_sums_are_those_of_numpy(photons, good, lit_from):
    lit, total = sum_frames(photons, good, lit_from)
    np.testing.assert_array_equal(lit, (photons[:, good] >= lit_from).sum(axis=1))
    np.testing.assert_array_equal(total, photons[:, good].sum(axis=1, dtype=np.int64))


@settings(max_examples=30, deadline=None)
@given(photons=FRAMES, good=MASKS, seed=st.integers(0, 100))
def test_scores_are_those_of_the_formula(photons, good, seed):
    background = np.random.default_rng(seed).uniform(0.5, 2.0, (3, 4))
    shape = log_shape(background, good)
    k = photons[:, good].astype(float)
    share = background[good] / background[good].sum()
    expected = np.sum(np.where(k > 0, k * np.log(np.maximum(k, 1.0)), 0.0) - k * np.log(share), 1)
    np.testing.assert_allclose(score_shape(photons, good, shape), expected, rtol=1e-5, atol=1e-3)


def test_scores_are_least_where_frames_look_like_the_background():
    random = np.random.default_rng(0)
    background = np.geomspace(0.1, 10.0, 400).reshape(20, 20)
    good = np.ones((20, 20), bool)
    shape = log_shape(background, good)
    alike = random.poisson(background, (200, 20, 20)).astype(np.uint8)
    even = random.poisson(background.mean(), (200, 20, 20)).astype(np.uint8)
    scores = []
    for photons in (alike, even):
        number = photons.sum(axis=(1, 2))
        scores.append(score_shape(photons, good, shape) - number * np.log(number))
    assert scores[0].max() < scores[1].min()


def test_a_photon_where_there_is_no_background_says_much_but_not_everything():
    background = np.ones((4, 4))
    background[0] = 0.0
    shape = log_shape(background, np.ones((4, 4), bool))
    assert np.isfinite(shape).all()
    assert shape[0, 0] - shape[1, 0] == pytest.approx(np.log(0.75e-3), abs=0.01)
    assert not log_shape(np.zeros((4, 4)), np.ones((4, 4), bool)).any()


@settings(max_examples=30, deadline=None)
@given(photons=FRAMES, good=MASKS, seed=st.integers(0, 100))
def test_whole_photons_are_taken_off(photons, good, seed):
    random = np.random.default_rng(seed)
    background, scale = random.uniform(0, 300, (3, 4)), random.uniform(0.5, 1.5, 5)
    left = subtract_photons(photons, good, background, scale, overflow=5000)
    whole = np.floor(scale[:, None, None] * background)
    expected = np.where(photons > 5000, photons, np.maximum(photons - whole, 0))
    np.testing.assert_array_equal(left, np.where(good, expected, 0))
    assert left.dtype == photons.dtype
