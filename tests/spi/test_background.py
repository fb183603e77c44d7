"""Backgrounds against those that were put in, with hits among the frames."""

import numpy as np
import pytest
from clean_frames import SHAPE, known_frames, known_stack, true_hits

from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.errors import InputError
from hpdp_dask.spi.background import PhotonHistogram, estimate_background
from hpdp_dask.spi.frame_sums import FrameSum
from hpdp_dask.spi.hits import find_hits
from hpdp_dask.spi.subtract import subtract_background
from hpdp_dask.stacks.frames import add_variables, open_frames
from hpdp_dask.stacks.shards import ImageReader


@pytest.fixture(scope="module")
def known():
    return known_frames(number=3000, trains=30)


def within(found, true):
    """Give the root mean square of what is missed, and the sum's, relative."""
    off = found / true - 1.0
    return float(np.sqrt(np.mean(off**2))), float(found.sum() / true.sum() - 1.0)


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("level", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("method", ["mode", "weight"])
def test_background_within_five_percent(tmp_path, method, level, share):
    known = known_frames(number=3000, trains=30, level=level, share=share)
    stack = known_stack(tmp_path / "frames.zarr", known)
    true_hits(stack, known)
    estimate_background(stack, method, client=None)
    each, total = within(open_frames(stack)["background"].values, known.background)
    assert abs(total) < 0.05
    # half of the pixels' own are the noise of photons
    assert each < 0.05 + 1.5 * (3000 * 0.7 * 0.3 * level) ** -0.5


@pytest.mark.parametrize("method", ["mode", "weight"])
def test_background_with_hits_that_were_found(tmp_path, known, method):
    stack = known_stack(tmp_path / "frames.zarr", known)
    find_hits(stack, client=None)
    estimate_background(stack, method, client=None)
    each, total = within(open_frames(stack)["background"].values, known.background)
    assert abs(total) < 0.05
    assert each < 0.15


def test_mode_without_knowing_the_hits(tmp_path):
    # brighter hits than the background nearly everywhere, and none in seven tenths of the frames
    known = known_frames(number=3000, trains=30, level=2.0, brightness=300.0)
    stack = known_stack(tmp_path / "frames.zarr", known)
    found = estimate_background(stack, client=None)
    assert found.of == "all"
    background = open_frames(stack)["background"].values
    bright = np.hypot(*(np.indices(SHAPE) - np.array([11.6, 15.8])[:, None, None])) < 12
    off = background[bright] / known.background[bright] - 1.0
    assert abs(np.median(off)) < 0.05
    assert abs(background.sum() / known.background.sum() - 1.0) < 0.1


def test_scales_of_frames(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known)
    true_hits(stack, known)
    found = estimate_background(stack, client=None)
    assert found.groups == "30 trains"
    scale = open_frames(stack)["background_scale"].values
    np.testing.assert_allclose(scale, known.scale, rtol=0.05)
    assert found.scales == (pytest.approx(scale.min()), pytest.approx(scale.max()))


def test_scales_without_trains_and_energies(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known, columns={})
    true_hits(stack, known)
    estimate_background(stack, "weight", window=100, client=None)
    scale = open_frames(stack)["background_scale"].values.reshape(30, 100)
    assert np.ptp(scale, axis=1).max() == 0.0
    np.testing.assert_allclose(scale[:, 0], known.scale.reshape(30, 100).mean(axis=1), rtol=0.05)


def test_chosen_misses_are_used(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known)
    hits = find_hits(stack, choose_misses=True, client=None)
    found = estimate_background(stack, client=None)
    assert (found.of, found.frames) == ("chosen misses", hits.misses)
    assert abs(found.photons / known.background.sum() - 1.0) < 0.03


def test_the_same_on_a_cluster(tmp_path, known, client):
    stack = known_stack(tmp_path / "frames.zarr", known)
    for reduction in (PhotonHistogram(SHAPE, 20), FrameSum(SHAPE, groups=3)):
        here = reduce_images(stack, reduction)
        there = reduce_images(stack, reduction, client=client)
        for one, other in zip(here, there, strict=True):
            np.testing.assert_array_equal(one, other)


def test_sums_of_chosen_frames(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known)
    add_variables(stack, {"hit": (("frame",), known.hit.astype(np.uint8))})
    sums, numbers = reduce_images(stack, FrameSum(SHAPE, "hit", groups=4))
    for group in range(4):
        chosen = known.hit & (np.arange(3000) % 4 == group)
        assert numbers[group] == chosen.sum()
        np.testing.assert_array_equal(sums[group], known.photons[chosen].sum(axis=0))


def test_masked_pixels_have_none_and_bright_ones_are_told_of(tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3] = 2
    bright = known_frames(level=3.0)
    stack = known_stack(tmp_path / "frames.zarr", bright, mask=mask)
    found = estimate_background(stack, "mode", largest=4, client=None)
    background = open_frames(stack)["background"].values
    assert not background[3].any()
    assert found.beyond == (background[mask == 0] == 4).sum() > 0


def test_subtraction_follows_the_rule(tmp_path, known):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3] = 2
    stack = known_stack(tmp_path / "frames.zarr", known, mask=mask)
    find_hits(stack, client=None)
    estimate_background(stack, "weight", client=None)
    opened = open_frames(stack)
    subtract_background(stack, tmp_path / "clean.zarr", overflow=90, client=None)
    whole = np.floor(
        opened["background_scale"].values.astype(float)[:, None, None] * opened["background"].values
    )
    expected = np.maximum(known.photons - whole, 0)
    expected = np.where(known.photons > 90, known.photons, expected)
    expected[:, mask != 0] = 0
    clean = open_frames(tmp_path / "clean.zarr")
    np.testing.assert_array_equal(ImageReader(tmp_path / "clean.zarr").read(0, 3000), expected)
    assert "background" not in clean
    np.testing.assert_array_equal(clean["hit"].values, opened["hit"].values)
    assert clean.attrs["history"][-1]["overflow"] == 90


def test_a_scale_of_another_background_does_not_stay(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known)
    true_hits(stack, known)
    estimate_background(stack, "mode", client=None)
    np.testing.assert_allclose(
        open_frames(stack)["background_scale"].values, known.scale, rtol=0.06
    )
    found = estimate_background(stack, "mode", all_frames=True, client=None, overwrite=True)
    assert found.groups == ""
    assert (open_frames(stack)["background_scale"].values == 1).all()


def test_refused(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known)
    with pytest.raises(InputError, match="run hpdp spi hits first, or take --method mode"):
        estimate_background(stack, "weight", client=None)
    with pytest.raises(InputError, match=r"no background .* hpdp spi background estimates it"):
        subtract_background(stack, tmp_path / "clean.zarr", client=None)
    hit = (np.arange(3000) > 4).astype(np.uint8)
    add_variables(stack, {"hit": (("frame",), hit)})
    with pytest.raises(InputError, match="no photon_count"):
        estimate_background(stack, client=None)
    add_variables(stack, {"photon_count": (("frame",), hit.astype(int))})
    with pytest.raises(InputError, match="5 of its frames are no hits, expected 10 or more"):
        estimate_background(stack, client=None)
    estimate_background(stack, "mode", all_frames=True, client=None)
    with pytest.raises(InputError, match="has background already; --overwrite"):
        estimate_background(stack, "mode", client=None)
