"""Averages turned in their plane: right against blobs turned by hand, and summed back."""

import numpy as np
import pytest

from hpdp_dask.numerics.fourier import half_plane, pack, transform_images
from hpdp_dask.numerics.planar import (
    averages_of,
    fine_plane,
    in_plane_rotations,
    transform_averages,
)
from hpdp_dask.numerics.rotations import euler_to_matrix

BOX, RADIUS = 48, 16
#: Position, width and weight of blobs, pixels from the centre.
BLOBS = ((6.0, 2.0, 3.0, 1.0), (-4.0, 5.0, 2.5, 0.6), (-2.0, -7.0, 2.0, 0.8))


def picture(psi: float = 0.0) -> np.ndarray:
    """Draw the blobs as an image shows them that was taken at psi: exact, not interpolated."""
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    places = np.stack([x, y, 0 * x], axis=-1) @ euler_to_matrix(np.array([[0.0, 0.0, psi]]))[0]
    drawn = [
        weight * np.exp(-((places[..., 0] - cx) ** 2 + (places[..., 1] - cy) ** 2) / 2 / width**2)
        for cx, cy, width, weight in BLOBS
    ]
    return np.sum(drawn, axis=0, dtype=np.float32)


def test_turned_averages_are_the_picture_turned() -> None:
    angles = np.array([1.3, 77.0, 140.0, 185.5, 263.4, 331.0])
    rotations = in_plane_rotations(BOX, RADIUS, angles)
    found = rotations.extract(transform_averages(picture()[None], RADIUS))
    images = np.stack([picture(psi) for psi in angles])
    expected = pack(transform_images(images), half_plane(BOX, RADIUS))
    # bilinear samples of a transform that is twice as fine
    assert np.linalg.norm(found - expected) < 0.015 * np.linalg.norm(expected)


def test_rows_are_averages_times_angles() -> None:
    angles = np.array([0.0, 90.0, 215.0])
    rotations = in_plane_rotations(BOX, RADIUS, angles)
    averages = np.stack([picture(), np.zeros((BOX, BOX), np.float32)])
    rows = rotations.extract(transform_averages(averages, RADIUS))
    assert rows.shape == (6, len(half_plane(BOX, RADIUS)))
    assert not rows[3:].any()
    one = in_plane_rotations(BOX, RADIUS, angles[2:])
    np.testing.assert_array_equal(rows[2], one.extract(transform_averages(averages[:1], RADIUS))[0])


def test_inserting_is_the_transpose_of_extracting() -> None:
    random = np.random.default_rng(0)
    rotations = in_plane_rotations(BOX, RADIUS, random.uniform(0.0, 360.0, 5))
    fine, samples = len(fine_plane(BOX, RADIUS)), len(half_plane(BOX, RADIUS))

    def draw(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(np.complex64)

    averages, rows = draw(2, fine), draw(10, samples)
    inserted, weights = rotations.insert(rows, np.ones(rows.shape, np.float32))
    forth = np.vdot(rotations.extract(averages), rows).real
    back = np.vdot(averages, inserted).real
    assert forth == pytest.approx(back, rel=1e-4)
    assert weights.sum() == pytest.approx(rows.size, rel=1e-5)


def test_images_at_all_angles_sum_to_the_average() -> None:
    angles = np.arange(0.0, 360.0, 5.0)
    rotations = in_plane_rotations(BOX, RADIUS, angles)
    images = np.stack([picture(psi) for psi in angles])
    rows = pack(transform_images(images), half_plane(BOX, RADIUS)).astype(np.complex64)
    signal, weight = rotations.insert(rows, np.ones(rows.shape, np.float32))
    average = averages_of(signal / np.maximum(weight, 1e-3), BOX, RADIUS)[0]
    assert np.abs(average - picture()).max() < 0.03 * picture().max()
