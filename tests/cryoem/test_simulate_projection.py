"""Projections against sums over voxels, and against those of RELION."""

from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.cryoem.simulate import projection
from hpdp_dask.cryoem.simulate.projection import (
    image_plane,
    project_map,
    slice_frequencies,
    transform_at,
)
from hpdp_dask.formats.mrc import MrcStack, read_map
from hpdp_dask.formats.star import read_table
from hpdp_dask.numerics.rotations import euler_to_matrix, matrix_to_euler, random_rotations


def test_transform_is_the_sum_over_voxels() -> None:
    rng = np.random.default_rng(3)
    volume = rng.standard_normal((24, 24, 24)).astype(np.float32)
    plane = image_plane(24)
    frequencies = slice_frequencies(plane, random_rotations(3, 4))
    z, y, x = np.mgrid[:24, :24, :24].reshape(3, -1) - 12
    k = frequencies.reshape(-1, 3)
    phases = np.exp(-2j * np.pi * (k @ np.stack([x, y, z])))
    expected = (phases @ volume.ravel().astype(np.float64)).reshape(3, len(plane))
    found = transform_at(volume, frequencies)
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


def test_projection_along_z_is_the_sum_along_z() -> None:
    smooth = _blob(32, (3.0, -2.0, 5.0), 2.0)
    image = project_map(smooth, [[0.0, 0.0, 0.0]])[0]
    np.testing.assert_allclose(image, smooth.sum(axis=0), atol=1e-4 * image.max())


def test_a_blob_is_where_the_pose_and_the_shift_say() -> None:
    place = np.array([5.0, -3.0, 7.0])
    volume = _blob(48, place, 1.5)
    angles = matrix_to_euler(random_rotations(6, 5))
    shifts = np.random.default_rng(6).uniform(-4.0, 4.0, (6, 2))
    images = project_map(volume, angles, shifts)
    pixels = np.arange(48) - 24
    total = images.sum(axis=(1, 2))
    found = np.stack(
        [(images.sum(axis=1) @ pixels) / total, (images.sum(axis=2) @ pixels) / total], axis=1
    )
    expected = (euler_to_matrix(angles) @ place)[:, :2] - shifts
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("box", [20, 25, 41, 48])
def test_other_boxes_hold_the_same_projection(box: int) -> None:
    volume = _blob(32, (2.0, 3.0, -1.0), 1.5)
    angles = [[10.0, 50.0, 120.0]]
    image, reference = project_map(volume, angles, box=box)[0], project_map(volume, angles)[0]
    side = min(box, 32)
    start, other = box // 2 - side // 2, 16 - side // 2
    np.testing.assert_allclose(
        image[start : start + side, start : start + side],
        reference[other : other + side, other : other + side],
        atol=2e-3 * reference.max(),
    )


def test_odd_maps_have_their_centre_at_half_the_side() -> None:
    image = project_map(_blob(31, (0.0, 0.0, 0.0), 1.5), [[77.0, 33.0, 11.0]])[0]
    assert np.unravel_index(image.argmax(), image.shape) == (15, 15)


def test_batches_do_not_change_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = _blob(32, (2.0, 3.0, -1.0), 1.5)
    angles = matrix_to_euler(random_rotations(7, 8))
    whole = project_map(volume, angles)
    monkeypatch.setattr(projection, "FREQUENCIES_PER_CALL", 1000)
    np.testing.assert_allclose(project_map(volume, angles), whole, atol=1e-6 * whole.max())


def test_a_map_that_is_no_cube_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a cube"):
        project_map(np.zeros((8, 8, 9)), [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize("name", ["64_centered", "64_shifted", "65_centered", "64", "65"])
def test_projections_are_those_of_relion(test_data: Path, name: str) -> None:
    """The goldens of 64 pixels are of the map resampled to 64 voxels.

    Two differences are known. In odd boxes `relion_project` displaces images by a pixel. The
    set `64` was made when the resampling kept (N - 1) / 2 as the centre instead of N // 2,
    which displaces its map by 0.5 * 64 / 65 voxels along each axis.
    """
    goldens = test_data / "cryoem" / "goldens"
    volume, _ = read_map(goldens / "clean70SRibosome_vol_65p.mrc")
    stack = MrcStack(goldens / f"rln_proj_{name}.mrcs")
    expected = stack.read(0, stack.info.shape[0])
    rows = read_table(goldens / f"rln_proj_{name}.star", "particles")
    angles = np.stack([rows[f"rlnAngle{angle}"] for angle in ("Rot", "Tilt", "Psi")], axis=1)
    shifts = np.zeros((len(angles), 2))
    if "rlnOriginX" in rows:
        shifts = np.stack([rows["rlnOriginX"], rows["rlnOriginY"]], axis=1)
    box = expected.shape[1]
    if box == 64:
        volume = _resample(volume, 64)
    if name == "64":
        shifts = (euler_to_matrix(angles) @ np.full(3, 0.5 * 64 / 65))[:, :2]
    images = project_map(volume, angles, shifts, box)
    if box == 65:
        images = np.roll(images, (1, 1), (1, 2))
    for image, golden in zip(images, expected, strict=True):
        assert np.corrcoef(image.ravel(), golden.ravel())[0, 1] > 0.9995
        slope = (image * golden).sum() / np.square(golden).sum()
        assert slope == pytest.approx(1.0, abs=0.01)


def _blob(side: int, place: tuple[float, float, float] | np.ndarray, width: float) -> np.ndarray:
    """Give a map of a Gaussian at a place (x, y, z) from the central voxel."""
    z, y, x = np.mgrid[:side, :side, :side] - side // 2
    distance = (x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2
    return np.exp(-distance / (2.0 * width**2)).astype(np.float32)


def _resample(volume: np.ndarray, side: int) -> np.ndarray:
    """Crop a map's transform, the central voxel staying at N // 2."""
    first = volume.shape[0] // 2 - side // 2
    inner = slice(first, first + side)
    transform = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(volume)))[inner, inner, inner]
    smaller = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(transform))).real
    return smaller * (side / volume.shape[0]) ** 3
