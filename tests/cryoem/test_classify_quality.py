"""Scores of classes: central lines of one molecule agree, those of another do not."""

import numpy as np

from hpdp_dask.cryoem.classify.quality import (
    agreement_of,
    clarity_of,
    disagreements,
    resolved_shells,
)
from hpdp_dask.numerics.rotations import euler_to_matrix

BOX = 48


def projections(seed: int, number: int, blobs: int = 8) -> np.ndarray:
    """Project a random heap of blobs, all of one width, along random directions: exact."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(blobs, 3)) * 5.0
    weights = random.uniform(0.5, 1.5, blobs)
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    images = []
    for angles in random.uniform(0, 360, (number, 3)):
        seen = places @ euler_to_matrix(angles[None])[0].T
        images.append(
            sum(
                weight * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 2 / 2.0**2)
                for weight, (px, py, _) in zip(weights, seen, strict=True)
            )
        )
    return np.array(images, dtype=np.float32)


def test_central_lines_tell_molecules_apart() -> None:
    images = np.concatenate([projections(1, 6), 1.3 * projections(2, 3)])
    found = disagreements(images, 8)
    one = np.arange(9) < 6
    same = found[np.ix_(one, one)][np.triu_indices(6, 1)]
    assert same.max() < 0.01
    assert np.median(found[np.ix_(one, ~one)]) > 4 * np.median(same)


def test_the_molecule_of_most_images_agrees() -> None:
    images = np.concatenate([projections(1, 6), 1.3 * projections(2, 3)])
    agreement = agreement_of(images, np.full(9, 100), np.full(9, 8))
    assert agreement[:6].min() > 0.5
    assert agreement[6:].max() < 0.5


def test_a_few_classes_are_not_judged_by_each_other() -> None:
    np.testing.assert_array_equal(
        agreement_of(projections(1, 3), np.full(3, 100), np.full(3, 8)), 1.0
    )


def test_clarity_is_the_mean_certainty_that_there_is_something() -> None:
    evidence = np.array([50.0, 60.0, 0.0, -3.0, np.log(3.0)])
    clarity = clarity_of(evidence, np.array([0, 0, 1, 1, 3]), 4)
    np.testing.assert_allclose(clarity, [1.0, 0.0, 0.0, 0.5])


def test_resolution_ends_where_noise_begins() -> None:
    ssnr = np.array([[0.0, 5, 3, 0.9, 4], [0.0, 0.5, 9, 9, 9], [0.0, 2, 2, 2, 2]])
    np.testing.assert_array_equal(resolved_shells(ssnr), [2, 0, 4])
