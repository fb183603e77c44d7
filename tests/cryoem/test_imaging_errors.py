"""Directions of errors of the imaging, against images that have such errors."""

import numpy as np
import pytest

from hpdp_dask.cryoem.heterogeneity.directions import Directions, Seen
from hpdp_dask.cryoem.heterogeneity.imaging_errors import (
    ANGLE,
    BRIGHTNESS,
    CENTRE,
    DEFOCUS,
    ERRORS,
    imaging_errors,
)
from hpdp_dask.cryoem.heterogeneity.observations import Optics, observe
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.numerics.fourier import half_plane
from hpdp_dask.numerics.rotations import (
    euler_to_matrix,
    matrix_to_euler,
    rotation_vector_to_matrix,
)
from hpdp_dask.stacks.store import to_dataset

BOX, PIXEL, NUMBER, RADIUS = 24, 6.0, 8, 8


@pytest.fixture(scope="module")
def known():
    """A map, and what is known of images of it."""
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    centres = ((0, 0, 0), (4, 1, -3), (-3, 4, 1))
    volume = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4.0) for a, b, c in centres)
    volume = volume.astype(np.float32)
    table, images = simulate_particles(volume, NUMBER, BOX, pixel_size=PIXEL, snr=None, seed=3)
    block = to_dataset(table, 0).assign(images=(("particle", "y", "x"), images))
    none, noise = np.zeros((0, BOX, BOX, BOX), np.float32), np.linspace(1.0, 2.0, BOX // 2 + 1)
    return block, Seen(Directions(volume, none, noise, np.zeros(0), RADIUS), BOX)


def shown(block, seen):
    """What images of the map look like at poses, centres and defocus of a block, and the rows."""
    optics, plane = Optics.of(block), half_plane(BOX, RADIUS)
    rows = {name: block[name].values for name in optics.rows}
    observed = observe(block["images"].values, rows, optics, plane, seen.model.noise)
    return observed, observed.ctf * seen.mean(observed.rotations, plane)


def changed(block, kind, share):
    """The same images with something else stated of them."""
    if kind in (1, 2, 3):
        turn = rotation_vector_to_matrix(np.radians(share * ANGLE) * np.eye(3)[kind - 1])
        poses = matrix_to_euler(turn @ euler_to_matrix(block["euler_angles"].values))
        return block.assign(euler_angles=(block["euler_angles"].dims, poses))
    moved = {name: block[name] + share * DEFOCUS for name in ("defocus_u", "defocus_v")}
    return block.assign(moved)


@pytest.mark.parametrize("kind", [1, 2, 3, 6])
def test_slopes_are_those_of_the_images(known, kind):
    block, seen = known
    plane = half_plane(BOX, RADIUS)
    observed, before = shown(block, seen)
    found = imaging_errors(seen, observed, block, plane)
    assert found.shape == (NUMBER, ERRORS, len(plane))
    share = 0.4
    after = shown(changed(block, kind, share), seen)[1]
    slope = share * found[:, kind]
    if kind < 6:
        slope = slope + share**2 / np.sqrt(2.0) * found[:, 6 + kind]
    left = np.linalg.norm(after - before - slope) / np.linalg.norm(after - before)
    assert left < (0.02 if kind < 6 else 0.1)


def test_brightness_and_centre(known):
    block, seen = known
    plane = half_plane(BOX, RADIUS)
    observed, before = shown(block, seen)
    found = imaging_errors(seen, observed, block, plane)
    np.testing.assert_allclose(found[:, 0], BRIGHTNESS * before, rtol=1e-5)
    pixels = 0.4 * CENTRE * BOX
    for axis, along in enumerate((plane.x, plane.y)):
        moved = before * np.exp(-2j * np.pi * along * pixels / BOX)
        slope = 0.4 * found[:, 4 + axis] + 0.16 / np.sqrt(2.0) * found[:, 10 + axis]
        np.testing.assert_allclose(moved - before, slope, atol=1e-3 * np.abs(before).max())
