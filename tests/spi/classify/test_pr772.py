"""Thirty real patterns of the coliphage PR772: each classified by a model trained on the others."""

from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.formats.frames import BAD, GOOD, flat_detector
from hpdp_dask.spi.classify import train
from hpdp_dask.spi.classify.scores import score
from hpdp_dask.spi.features import Features
from hpdp_dask.stacks.frames import frame_table

CLASSES = np.array(["other", "single"])


@pytest.fixture(scope="module")
def patterns(test_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features of the patterns and whether each is of a single particle."""
    data = np.load(test_data / "spi" / "pr772" / "pr772_30_labelled.npz")
    mask = np.where(data["mask"] == 1, BAD, GOOD)
    detector = flat_detector(mask.shape, 6e-4, 0.586, 7.75, mask=mask)
    frames = data["patterns"].astype(np.uint16)
    stack = frame_table(detector, {}).assign(photons=(("frame", "y", "x"), frames))
    measure = Features()
    features = measure.measure(stack, measure.prepare(stack))["features"]
    return features, (data["labels"] == 1).astype(int)


def leave_one_out(features: np.ndarray, truth: np.ndarray, method: str) -> np.ndarray:
    """Give the probabilities of each pattern by a model that has not seen its label."""
    given = np.empty((len(truth), 2))
    for frame in range(len(truth)):
        labels = CLASSES[truth]
        labels[frame] = ""
        given[frame] = train(features, labels, method=method).probabilities(features[[frame]])[0]
    return given


def test_the_support_vector_machine_tells_single_hits(patterns) -> None:
    features, truth = patterns
    given = leave_one_out(features, truth, "svm-threshold")
    every = score(given, truth, 0.0)
    assert every.accuracy >= 0.83
    accepted = score(given, truth, 0.75)
    assert accepted.precision[1] >= 0.95  # of single hits
    assert accepted.mean_precision >= 0.95
    assert accepted.accepted >= 0.6


@pytest.mark.parametrize("method", ["kmeans", "spectral"])
def test_clusters_are_better_than_chance(patterns, method: str) -> None:
    features, truth = patterns
    assert score(leave_one_out(features, truth, method), truth, 0.0).accuracy > 0.6
