"""The choice of frames to label, and the estimate that goes with it."""

import numpy as np
import pytest

from hpdp_dask.spi.choose import CANDIDATES, choose_frames, describe_by_columns, draw_candidates
from hpdp_dask.spi.classify import train
from hpdp_dask.spi.label_estimate import LEAST_OF_A_CLASS, _wilson, estimate, missing_labels


def make_frames(number, seed=0, spread=0.6):
    """Features of two common classes that touch, and a rare one far away."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(["single", "other", "droplet"], number, p=[0.48, 0.48, 0.04])
    middles = {"single": (0.0, 0.0), "other": (2.0, 0.0), "droplet": (1.0, 6.0)}
    features = np.array([middles[name] for name in truth]) + rng.normal(0, spread, (number, 2))
    return np.hstack([features, rng.normal(0, 0.3, (number, 3))]), truth


def test_the_first_frames_are_of_all_parts():
    features, truth = make_frames(500)
    chosen = choose_frames(features, np.full(500, ""), 12)
    assert len(set(chosen.tolist())) == 12
    assert set(truth[chosen]) == {"single", "other", "droplet"}
    # one in each part of the plane, none a copy of another
    apart = np.linalg.norm(features[chosen][:, None] - features[chosen], axis=-1)
    assert apart[~np.eye(12, dtype=bool)].min() > 0.3


def test_then_those_at_the_boundary_that_are_not_alike():
    features, truth = make_frames(500)
    labels = np.full(500, "", dtype="<U7")
    first = choose_frames(features, labels, 16)
    labels[first] = truth[first]
    chosen = choose_frames(features, labels, 12)
    assert not np.intersect1d(chosen, first).size
    model = train(features, labels, method="svm-threshold")
    sure = np.sort(model.probabilities(features), axis=1)
    margin = sure[:, -1] - sure[:, -2]
    # three of four are among the least sure, the others from where nobody has labelled
    unsure = margin[chosen] <= np.sort(margin[labels == ""])[60]
    assert 9 <= unsure.sum() <= 12
    assert not unsure[3]


def test_same_input_same_choice():
    features, truth = make_frames(300)
    labels = np.where(np.arange(300) < 20, truth, "")
    first, again, other = (choose_frames(features, labels, 10, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_is_excluded_or_labelled_or_unknown_is_not_chosen():
    features, truth = make_frames(60)
    labels = np.where(np.arange(60) < 20, truth, "")
    excluded = np.zeros(60, bool)
    excluded[20:40] = True
    features[40:50] = np.nan
    chosen = choose_frames(features, labels, 15, excluded=excluded)
    assert set(chosen[:10].tolist()) == set(range(50, 60))
    # frames without features come last
    assert set(chosen[10:].tolist()) <= set(range(40, 50))
    assert sorted(choose_frames(features, labels, 99, excluded=excluded).tolist()) == [
        *range(40, 60)
    ]
    assert len(choose_frames(features, truth, 5)) == 0


def test_one_class_alone_is_no_reason_to_stop():
    features, truth = make_frames(200)
    labels = np.where(truth == "single", "single", "")
    labels[np.flatnonzero(truth == "single")[20:]] = ""
    chosen = choose_frames(features, labels, 10)
    assert np.mean(truth[chosen] != "single") > 0.5


def test_frames_that_are_all_alike():
    chosen = choose_frames(np.ones((50, 4)), np.full(50, ""), 10)
    assert len(set(chosen.tolist())) == 10


def test_without_features_by_chance():
    labels = np.full(100, "")
    chosen = choose_frames(None, labels, 10, seed=3)
    assert len(set(chosen.tolist())) == 10
    assert np.array_equal(chosen, choose_frames(None, labels, 10, seed=3))


def test_columns_stand_in_for_features():
    rng = np.random.default_rng(0)
    lit = np.concatenate([rng.integers(10, 30, 180), rng.integers(3000, 9000, 20)])
    size = np.full(200, np.nan)
    size[5] = 600.0
    described = describe_by_columns({"lit_pixels": lit, "particle_size": size, "train_id": lit})
    assert described.shape == (200, 2)
    assert np.isfinite(described).all()
    chosen = choose_frames(described, np.full(200, ""), 12)
    assert 3 <= np.sum(chosen >= 180) <= 11
    assert describe_by_columns({"train_id": lit}) is None
    assert describe_by_columns({"particle_size": np.full(3, np.nan)}) is None


def test_candidates_are_few_and_the_same():
    few, many = np.arange(0, 50, 2), np.arange(0, 20 * CANDIDATES, 2)
    assert np.array_equal(draw_candidates(few), few)
    drawn = draw_candidates(many, seed=4)
    assert len(np.unique(drawn)) == CANDIDATES
    assert not np.any(drawn % 2)
    assert np.array_equal(drawn, draw_candidates(many, seed=4))


def test_chosen_labels_teach_more_than_random_ones():
    def accuracy(labels, features, truth):
        model = train(features, labels, method="svm-threshold")
        right = np.array(model.classes)[model.probabilities(features).argmax(1)] == truth
        return np.mean(right[labels == ""])

    reached = {"chosen": [], "random": []}
    for seed in range(6):
        features, truth = make_frames(600, seed)
        rng = np.random.default_rng(seed)
        for how, found in reached.items():
            labels = np.full(600, "", dtype="<U7")
            for _ in range(4):
                chosen = (
                    choose_frames(features, labels, 10, seed=seed)
                    if how == "chosen"
                    else rng.permutation(np.flatnonzero(labels == ""))[:10]
                )
                labels[chosen] = truth[chosen]
            # a class of which nobody has seen two cannot be learned
            names, counts = np.unique(labels[labels != ""], return_counts=True)
            labels[np.isin(labels, names[counts < 2])] = ""
            found.append(accuracy(labels, features, truth))
    assert np.mean(reached["chosen"]) > np.mean(reached["random"]) + 0.01


def test_missing_labels():
    labels = np.array(["single"] * 6 + ["other"] * 3 + ["", "rod"])
    assert missing_labels(labels) == {"other": 1}
    assert missing_labels(labels[:6], ("single", "other")) == {"other": LEAST_OF_A_CLASS}
    assert missing_labels(np.array(["", ""]), ("single", "other")) == {"single": 4, "other": 4}
    assert missing_labels(np.array(["single"] * 4 + ["other"] * 4)) == {}


def test_estimate_tells_what_comes_true():
    """Of frames drawn at random the estimate holds, most often within its own interval."""
    features, truth = make_frames(1200, seed=5)
    features, truth = features[truth != "droplet"], truth[truth != "droplet"]
    inside, errors, shares = [], [], []
    for draw in range(6):
        labels = np.full(len(truth), "", dtype="<U7")
        shown = np.random.default_rng(draw).permutation(len(truth))[:120]
        labels[shown] = truth[shown]
        found = estimate(features, labels)
        assert found.labelled == 120
        others = labels == ""
        predicted, _ = train(features, labels, method="svm-threshold").predict(features[others])
        accepted = predicted != ""
        precision = np.mean(predicted[accepted] == truth[others][accepted])
        inside.append(found.interval[0] <= precision <= found.interval[1])
        errors.append(found.precision - precision)
        shares.append(found.accepted - accepted.mean())
    assert np.sum(inside) >= 4
    assert abs(np.mean(errors)) < 0.02
    assert np.abs(shares).max() < 0.03
    assert estimate(features, labels) == found


def test_estimate_with_a_class_of_one_frame_and_with_all_labelled():
    features, truth = make_frames(80)
    labels = np.where(truth == "droplet", "other", truth).astype("<U8")
    labels[3] = "aggregate"
    found = estimate(features, labels)
    assert found.labelled == 80
    assert 0.5 < found.accepted <= 1.0
    assert estimate(features, np.where(labels == "single", labels, "")) is None


def test_frames_without_features_do_not_count():
    features, truth = make_frames(60)
    features[:5] = np.nan
    assert estimate(features, np.where(truth == "droplet", "", truth)).labelled < 60


def test_interval_of_a_share():
    # Newcombe 1998, Stat. Med. 17, 857, table I: 81 of 263, 0 of 20
    assert _wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert _wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert _wilson(0, 0) == (0.0, 1.0)
