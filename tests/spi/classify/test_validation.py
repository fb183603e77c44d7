"""Cross-validation and learning curves: who judges whom, and what comes of it."""

import numpy as np
import pytest
from distributed import Client
from test_svm import blobs

from hpdp_dask.spi.classify import validation
from hpdp_dask.spi.classify.labelled import find_labelled
from hpdp_dask.spi.classify.trainings import Training, judge_all
from hpdp_dask.spi.classify.validation import (
    LearningCurve,
    can_validate,
    cross_validate,
    learning_curve,
)

NAMES = np.array(["a", "b", "c"])


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats and draws by the dozen are for figures, not for tests."""
    monkeypatch.setattr(validation, "REPEATS", 2)
    monkeypatch.setattr(validation, "DRAWS", 3)
    monkeypatch.setattr(validation, "SIZES", 4)


def labelled_blobs(number: int, labelled: int, apart: float = 1.0):
    features, indices = blobs(3, number, apart=apart)
    labels = np.where(np.arange(number) < labelled, NAMES[indices], "")
    return features, labels, find_labelled(labels)


def test_every_labelled_frame_is_held_out_once_a_repeat() -> None:
    features, labels, known = labelled_blobs(200, 60)
    found = cross_validate("svm", features, labels, known)
    frames, times = np.unique(found.frames, return_counts=True)
    np.testing.assert_array_equal(frames, np.arange(60))
    assert set(times) == {found.repeats}
    np.testing.assert_array_equal(NAMES[found.indices], labels[found.frames])
    assert found.score(0.0).accuracy > 0.8


def test_nobody_is_judged_by_what_it_has_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels at random: whoever has not seen them cannot know them."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 5))
    labels = NAMES[rng.integers(0, 3, 120)]
    found = cross_validate("svm", features, labels, find_labelled(labels))
    assert abs(found.score(0.0).accuracy - 1 / 3) < 0.15
    seen: list[Training] = []
    monkeypatch.setattr(
        validation,
        "judge_all",
        lambda trainings, inputs, labels, **_: (
            seen.extend(trainings) or [np.full((len(each.judged), 3), 1 / 3) for each in trainings]
        ),
    )
    learning_curve("svm", features, labels, find_labelled(labels), threshold=0.0)
    for training in seen:
        assert not set(training.learnt) & set(training.judged)
        assert np.unique(labels[training.learnt], return_counts=True)[1].min() >= 2
        assert set(labels[training.judged]) == {"a", "b", "c"}


def test_the_cluster_says_the_same(client: Client) -> None:
    features, labels, known = labelled_blobs(90, 45)
    here = cross_validate("svm-threshold", features, labels, known)
    there = cross_validate("svm-threshold", features, labels, known, client=client)
    np.testing.assert_allclose(here.probabilities, there.probabilities, atol=1e-9)


def test_more_labels_teach_more() -> None:
    features, labels, known = labelled_blobs(300, 240, apart=0.6)
    curve = learning_curve("svm", features, labels, known, threshold=0.0)
    assert curve is not None
    assert curve.sizes[0] == 9
    assert curve.sizes[-1] == 180
    assert curve.precision[-1] > curve.precision[0] + 0.05
    assert curve.enough in curve.sizes


def test_enough_is_where_the_precision_stays() -> None:
    sizes, recall = np.array([10, 20, 40, 80]), np.ones(4)
    assert LearningCurve(sizes, np.array([0.7, 0.95, 0.9, 0.95]), recall).enough == 80
    assert LearningCurve(sizes, np.array([0.7, 0.945, 0.96, 0.95]), recall).enough == 20
    assert LearningCurve(sizes, np.array([0.97, 0.97, 0.97, 0.95]), recall).enough == 10


def test_too_few_labels_are_told() -> None:
    known = find_labelled(np.array(["a", "a", "b", "b", "b"]))
    assert can_validate(known) == "1 more of a"
    features, labels, enough = labelled_blobs(30, 9)
    assert can_validate(enough) == ""
    assert cross_validate("svm", features, labels, enough).folds == 3
    assert learning_curve("svm", features, labels, enough, threshold=0.0) is None


def test_trainings_come_back_in_their_order() -> None:
    features, labels, _ = labelled_blobs(60, 60)
    parts = [np.arange(0, 30), np.arange(30, 60)]
    found = judge_all(
        [Training("svm", parts[1], parts[0][:3], 0), Training("svm", parts[0], parts[1], 0)],
        features,
        labels,
    )
    assert [len(each) for each in found] == [3, 30]
