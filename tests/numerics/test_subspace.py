"""The linear model of volumes: weights of images, directions, and what is chosen of transforms."""

import numpy as np
import pytest

from hpdp_dask.numerics.fourier import half_plane, transform_volume, volume_of
from hpdp_dask.numerics.frequency_choice import choose, inclusion_probabilities
from hpdp_dask.numerics.latent_path import points_along, principal_axes
from hpdp_dask.numerics.masks import soft_sphere
from hpdp_dask.numerics.rotations import random_rotations
from hpdp_dask.numerics.shells import shell_radii
from hpdp_dask.numerics.slices import accumulator_shape, extract_slices
from hpdp_dask.numerics.subspace import (
    grids_of,
    insert_moments,
    insert_squares,
    posterior,
    solve_directions,
    standardize,
)

RANDOM = np.random.default_rng(0)


def noise(*shape):
    """Complex noise of the variance 1."""
    parts = RANDOM.standard_normal((2, *shape)) / np.sqrt(2)
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def test_the_posterior_is_that_of_bayes():
    """Against the density itself on a grid of weights."""
    basis, z = 0.4 * noise(1, 2, 12), np.array([0.7, -1.1])
    seen = np.einsum("j,njm->nm", z, basis) + noise(1, 12)
    mean, covariance = posterior(seen, basis)
    grid = np.linspace(-6, 6, 241)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    left = seen[0] - a[..., None] * basis[0, 0] - b[..., None] * basis[0, 1]
    density = np.exp(-(np.abs(left) ** 2).sum(-1) - 0.5 * (a**2 + b**2))
    density /= density.sum()
    found = np.array([(density * a).sum(), (density * b).sum()])
    np.testing.assert_allclose(mean[0], found, atol=1e-4)
    variance = (density * (a - found[0]) ** 2).sum()
    assert covariance[0, 0, 0] == pytest.approx(variance, abs=1e-4)
    crossed = (density * (a - found[0]) * (b - found[1])).sum()
    assert covariance[0, 0, 1] == pytest.approx(crossed, abs=1e-4)


def test_directions_come_back_from_images_with_known_weights():
    box, radius, count, number = 20, 7, 3, 800
    volumes = RANDOM.standard_normal((count, box, box, box)).astype(np.float32)
    volumes *= soft_sphere(box, 5, 3)
    plane = half_plane(box, radius)
    rotations = random_rotations(number, RANDOM)
    transforms = [transform_volume(each, radius) for each in volumes]
    slices = np.stack([extract_slices(each, rotations, plane) for each in transforms], 1)
    z = RANDOM.standard_normal((number, count)) @ np.array([[1, 0.5, 0], [0, 1, 0.3], [0, 0, 1]])
    ctf = RANDOM.uniform(0.3, 1, (number, len(plane))).astype(np.float32)
    seen = (np.einsum("nj,njm->nm", z, slices) * ctf).astype(np.complex64)
    grids = np.zeros((grids_of(count), *accumulator_shape(radius)), np.float32)
    insert_moments(grids, seen, ctf, z, z[:, :, None] * z[:, None, :], rotations, plane)
    found = solve_directions(grids, count, np.full(radius + 1, 1e-3))
    for mine, truth in zip(found, volumes, strict=True):
        # the outermost shells lack neighbours on one side
        a, b = (_coarse(each, radius - 2) for each in (volume_of(mine, box), truth))
        assert np.corrcoef(a, b)[0, 1] > 0.98
        assert np.dot(a, b) / np.dot(b, b) == pytest.approx(1.0, abs=0.05)


def test_directions_of_independent_weights_come_back_one_by_one():
    """With weights of the covariance 1 in all combinations, about as well as together."""
    box, radius, number = 20, 6, 3000
    random = np.random.default_rng(7)
    volumes = random.standard_normal((2, box, box, box)).astype(np.float32)
    volumes *= soft_sphere(box, 5, 3)
    plane, rotations = half_plane(box, radius), random_rotations(number, random)
    slices = np.stack(
        [extract_slices(transform_volume(each, radius), rotations, plane) for each in volumes], 1
    )
    z = random.standard_normal((number, 2))
    ctf = random.uniform(0.3, 1, (number, len(plane))).astype(np.float32)
    seen = (np.einsum("nj,njm->nm", z, slices) * ctf).astype(np.complex64)
    grids = np.zeros((2, *accumulator_shape(radius)), np.float32)
    insert_squares(grids, seen, ctf, z, z**2, rotations, plane)
    for grid, truth in zip(grids, volumes, strict=True):
        found = solve_directions(grid[None], 1, np.full(radius + 1, 1e-3))[0]
        a, b = (_coarse(each, radius - 2) for each in (volume_of(found, box), truth))
        assert np.corrcoef(a, b)[0, 1] > 0.98
        assert np.dot(a, b) / np.dot(b, b) == pytest.approx(1.0, abs=0.05)


def test_the_penalty_is_that_of_a_sample_whatever_the_padding():
    """A sample's weight goes to as many voxels as the padding makes of one."""
    radius, padding = 4, 2
    grid = np.zeros((1, *accumulator_shape(radius)), np.float32)
    weight = 3.0 / padding**3
    grid[..., 0] = grid[..., 2] = weight
    found = solve_directions(grid, 1, np.full(radius + 1, 1.0))[0]
    centre = len(found) // 2
    assert found[centre, centre, 2] == pytest.approx(3.0 / (3.0 + 1.0))


def _coarse(volume, radius):
    transform = np.fft.rfftn(volume)
    kept = shell_radii(len(volume), 3) <= radius + 0.5
    return np.fft.irfftn(transform * kept, s=volume.shape, axes=(0, 1, 2)).ravel()


def test_standard_directions_span_the_same_volumes():
    volumes = RANDOM.standard_normal((3, 6, 6, 6))
    root = RANDOM.standard_normal((3, 3))
    moments = root @ root.T + np.eye(3)
    found = standardize(volumes, moments).reshape(3, -1).astype(np.float64)
    flat = volumes.reshape(3, -1)
    # the covariance of volumes is the same, and now weights have the covariance 1
    np.testing.assert_allclose(found.T @ found, flat.T @ moments @ flat, atol=1e-4)
    gram = found @ found.T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-3)
    assert (np.diff(np.diag(gram)) < 0).all()


@pytest.mark.parametrize("number", [1, 7, 39, 40])
def test_chosen_samples_tell_sums_without_bias(number):
    random = np.random.default_rng(number)
    worth = random.exponential(size=(3, 40)) ** 3
    worth[1, 5:] = 0.0
    chances = inclusion_probabilities(worth, number, 0.3)
    assert (chances <= 1).all()
    np.testing.assert_allclose(chances.sum(1), number, rtol=1e-6)
    values, starts = random.standard_normal((3, 40)), (np.arange(20_000) + 0.5) / 20_000
    for each, chance in zip(values, chances, strict=True):
        places = choose(np.tile(chance, (len(starts), 1)), number, starts)
        assert (np.diff(np.sort(places, axis=1)) > 0).all()
        sums = (each / chance)[places].sum(1)
        assert sums.mean() == pytest.approx(each.sum(), abs=0.1)


def test_points_follow_a_curved_cloud():
    angle = RANDOM.uniform(-1.2, 1.2, 2000)
    z = np.stack([np.sin(angle), np.cos(angle)], 1) + 0.01 * RANDOM.standard_normal((2000, 2))
    points = points_along(z.astype(np.float32), 5)
    np.testing.assert_allclose(np.hypot(*points.T), 1.0, atol=0.03)
    assert (np.diff(points[:, 0]) > 0).all()
    components, shares = principal_axes(z)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] > 0.8
    np.testing.assert_allclose(components.mean(0), 0, atol=1e-9)
