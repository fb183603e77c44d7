"""Hits among frames whose hits are known."""

import numpy as np
import pytest
import xarray as xr
from clean_frames import SHAPE, known_frames, known_stack

from hpdp_dask.errors import InputError
from hpdp_dask.spi.background import estimate_background
from hpdp_dask.spi.frame_groups import dimmer_part, group_frames, usual_values
from hpdp_dask.spi.hits import HitRule, find_hits
from hpdp_dask.stacks.frames import frame_table, new_frames, open_frames
from hpdp_dask.stacks.store import staging, write_images


@pytest.fixture(scope="module")
def known():
    return known_frames()


def test_hits_are_found(tmp_path, known):
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, 5] = 2
    stack = known_stack(tmp_path / "frames.zarr", known, mask=mask)
    found = find_hits(stack, client=None, history={"command": "hpdp spi hits"})
    opened = open_frames(stack)
    hit = opened["hit"].values == 1
    assert found.number == 600
    assert found.hits == hit.sum()
    assert found.groups == "6 trains"
    assert (hit & ~known.hit).sum() <= 1
    assert (hit & known.hit).sum() > 0.97 * known.hit.sum()
    good = mask == 0
    np.testing.assert_array_equal(
        opened["lit_pixels"].values, (known.photons[:, good] > 0).sum(axis=1)
    )
    np.testing.assert_array_equal(opened["photon_count"].values, known.photons[:, good].sum(axis=1))
    assert "lambda_score" not in opened
    assert opened.attrs["history"][-1]["sigmas"] == 4.0
    assert opened.attrs["history"][-1]["command"] == "hpdp spi hits"


def test_lambda_score_finds_what_lit_pixels_cannot(tmp_path):
    # where nearly all pixels are lit in any frame, how many are says little
    known = known_frames(level=6.0, spread=0.1)
    stack = known_stack(tmp_path / "frames.zarr", known)
    by_lit = find_hits(stack, client=None)
    estimate_background(stack, "mode", client=None)
    by_lambda = find_hits(stack, HitRule(by="lambda_score"), client=None, overwrite=True)
    assert by_lambda.scored
    hit = open_frames(stack)["hit"].values == 1
    assert (hit & ~known.hit).sum() <= 2
    assert by_lit.hits < 0.1 * known.hit.sum()
    assert by_lambda.hits > 0.95 * known.hit.sum()


def test_lambda_score_is_the_likelihood_ratio(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known, columns={})
    estimate_background(stack, "mode", client=None)
    find_hits(stack, client=None)
    opened = open_frames(stack)
    misses = opened["hit"].values == 0
    expected = opened["photon_count"].values[misses].mean()
    background = opened["background"].values.astype(float)
    k = known.photons.astype(float)
    share = background / background.sum()
    terms = np.where(k > 0, k * (np.log(np.maximum(k, 1)) - np.log(share) - np.log(expected)), 0)
    score = opened["lambda_score"].values
    np.testing.assert_allclose(score, terms.sum(axis=(1, 2)), rtol=1e-3, atol=0.5)


def test_the_same_on_a_cluster(tmp_path, known, client):
    columns = []
    for name, where in (("here", None), ("there", client)):
        stack = known_stack(tmp_path / f"{name}.zarr", known)
        find_hits(stack, choose_misses=True, seed=3, client=where)
        columns.append(open_frames(stack)[["lit_pixels", "hit_score", "hit", "miss"]].load())
    xr.testing.assert_equal(columns[0].drop_attrs(), columns[1].drop_attrs())


def test_misses_are_as_many_as_hits_in_each_train(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known)
    found = find_hits(stack, choose_misses=True, client=None)
    opened = open_frames(stack)
    hit, miss = opened["hit"].values == 1, opened["miss"].values == 1
    assert found.misses == miss.sum() == hit.sum()
    assert not (hit & miss).any()
    train = opened["train_id"].values
    for one in np.unique(train):
        assert hit[train == one].sum() == miss[train == one].sum()


def test_misses_of_another_rule_do_not_stay(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known)
    find_hits(stack, choose_misses=True, client=None)
    find_hits(stack, HitRule(sigmas=2.0), client=None, overwrite=True)
    assert not open_frames(stack)["miss"].values.any()


def test_a_pulse_energy_that_is_not_known(tmp_path, known):
    energy = known.columns["pulse_energy"].copy()
    energy[::50] = np.nan
    columns = {**known.columns, "pulse_energy": energy}
    stack = known_stack(tmp_path / "frames.zarr", known, columns=columns)
    estimate_background(stack, "mode", client=None)
    find_hits(stack, HitRule(by="lambda_score"), client=None)
    opened = open_frames(stack)
    assert np.isfinite(opened["lambda_score"].values).all()
    assert (opened["hit"].values == known.hit).mean() > 0.99


@pytest.mark.parametrize(
    ("rule", "hits"),
    [
        (HitRule(min_median=700.0), False),
        (HitRule(min_sigma=1000.0), False),
        (HitRule(min_pulse_energy=1.0), False),
        (HitRule(min_median=20.0, min_sigma=5.0, min_pulse_energy=1e-3), True),
    ],
)
def test_conditions(tmp_path, known, rule, hits):
    stack = known_stack(tmp_path / "frames.zarr", known)
    assert (find_hits(stack, rule, client=None).hits > 0) == hits


def test_refused(tmp_path, known):
    stack = known_stack(tmp_path / "frames.zarr", known, columns={})
    with pytest.raises(InputError, match="not known yet; find hits by lit pixels first"):
        find_hits(stack, HitRule(by="lambda_score"), client=None)
    with pytest.raises(InputError, match="no pulse_energy"):
        find_hits(stack, HitRule(min_pulse_energy=1e-3), client=None)
    find_hits(stack, client=None)
    with pytest.raises(InputError, match="has hit already; --overwrite"):
        find_hits(stack, client=None)
    find_hits(stack, HitRule(sigmas=3.0), client=None, overwrite=True)
    masked = known_stack(tmp_path / "masked.zarr", known, mask=np.full(SHAPE, 2, np.uint8))
    with pytest.raises(InputError, match="all pixels are masked"):
        find_hits(masked, client=None)


def test_frames_without_a_mask(tmp_path, known):
    with staging(tmp_path / "bare.zarr") as folder:
        new_frames(folder, frame_table(None, {}), 600, SHAPE, np.uint16)
        write_images(folder, 0, known.photons)
    find_hits(tmp_path / "bare.zarr", client=None)
    np.testing.assert_array_equal(
        open_frames(tmp_path / "bare.zarr")["photon_count"].values, known.photons.sum(axis=(1, 2))
    )


def test_groups():
    stack = xr.Dataset({"train_id": (("frame",), [5, 5, 3, 3, 3])})
    assert group_frames(stack).words == "the whole stack"
    long = xr.Dataset({"train_id": (("frame",), np.repeat([9, 2, 4], 25))})
    groups = group_frames(long)
    assert (groups.number, groups.words) == (3, "3 trains")
    assert list(groups.member[[0, 25, 50]]) == [2, 0, 1]
    windows = group_frames(long, 30)
    assert list(np.bincount(windows.member)) == [30, 45]
    assert group_frames(long, 0).number == 1


def test_where_most_frames_are_hits(tmp_path):
    known = known_frames(share=0.8, brightness=30.0)
    path = known_stack(tmp_path / "frames.zarr", known)
    found = find_hits(path, client=None)
    assert "dimmest frames, since most are hits" in found.groups
    hit = open_frames(path)["hit"].values == 1
    assert (hit & known.hit).sum() > 0.95 * known.hit.sum()
    assert (hit & ~known.hit).sum() <= 2


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_the_median_tells_where_most_frames_are_misses(share):
    known = known_frames(share=share)
    assert dimmer_part((known.photons > 0).sum(axis=(1, 2))) is None


def test_frames_of_one_kind_have_no_dimmer_part():
    random = np.random.default_rng(0)
    assert dimmer_part(random.poisson(300, 5000)) is None
    assert dimmer_part(random.gamma(2.0, 500.0, 5000)) is None


def test_usual_values_do_not_see_hits():
    random = np.random.default_rng(0)
    stack = xr.Dataset({"train_id": (("frame",), np.repeat([1, 2], 5000))})
    values = random.normal(100.0, 10.0, 10_000)
    values[5000:] += 100.0
    values[::5] += random.uniform(60, 500, 2000)
    median, sigma = usual_values(values, group_frames(stack))
    np.testing.assert_allclose(median, [103.2, 203.2], atol=1.0)
    np.testing.assert_allclose(sigma, [11.5, 11.5], atol=1.0)
