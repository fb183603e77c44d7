"""Slices: kernels against the plain reference, projections against the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdp_dask.numerics import fourier, rotations, slices
from hpdp_dask.numerics.slices import reference

#: Rotations at which positions fall on the grid or on the edge between the halves.
AWKWARD = rotations.euler_to_matrix(
    [[0, 0, 0], [0, 90, 0], [90, 90, 0], [0, 180, 0], [45, 90, 45], [180, 0, 0]]
)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def contributions_of(number: int, samples: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((number, samples, 3)).astype(np.float32)


@settings(deadline=None, max_examples=10)
@given(st.sampled_from([8, 20, 32]), st.integers(0, 2**31))
def test_insertion_agrees_with_the_reference(box: int, seed: int) -> None:
    plane = fourier.half_plane(box)
    poses = np.concatenate([AWKWARD, rotations.random_rotations(6, seed)])
    contributions = contributions_of(len(poses), len(plane))
    found = np.zeros(slices.accumulator_shape(plane.radius), np.float32)
    expected = np.zeros(found.shape)
    slices.insert_slices(found, contributions, poses, plane)
    reference.insert_slices(expected, contributions, poses, plane.x, plane.y, 2)
    assert relative_error(found, expected) < 1e-5


def test_insertion_conserves_what_is_inserted() -> None:
    plane = fourier.half_plane(16)
    contributions = contributions_of(50, len(plane))
    accumulator = np.zeros(slices.accumulator_shape(plane.radius), np.float32)
    slices.insert_slices(accumulator, contributions, rotations.random_rotations(50, 1), plane)
    inserted, found = contributions.sum((0, 1)), accumulator.sum((0, 1, 2))
    # The imaginary part changes its sign where a sample is turned to the other half.
    np.testing.assert_allclose(found[[0, 2]], inserted[[0, 2]], rtol=1e-4)


def test_insertion_grows_its_list_of_runs_for_many_slices() -> None:
    plane = fourier.half_plane(64)
    contributions = np.ones((300, len(plane), 3), np.float32)
    accumulator = np.zeros(slices.accumulator_shape(plane.radius), np.float32)
    slices.insert_slices(accumulator, contributions, rotations.random_rotations(300, 1), plane)
    total = accumulator[..., 2].sum(dtype=np.float64)
    assert total == pytest.approx(300 * len(plane), rel=1e-5)


@settings(deadline=None, max_examples=10)
@given(st.sampled_from([8, 20]), st.integers(0, 2**31))
def test_samples_are_those_of_slices(box: int, seed: int) -> None:
    """At the frequencies of a slice with x >= 0, the conjugates of the others."""
    plane = fourier.half_plane(box)
    volume = np.random.default_rng(seed).standard_normal((box, box, box)).astype(np.float32)
    transform = fourier.transform_volume(volume)
    poses = np.concatenate([AWKWARD, rotations.random_rotations(6, seed)]).astype(np.float32)
    flat = np.stack([plane.x, plane.y], 1).astype(np.float32)
    frequencies = flat @ poses[:, :2]
    turned = frequencies[..., 0] < 0
    frequencies[turned] *= -1
    found = slices.extract_samples(transform, frequencies)
    found[turned] = found[turned].conj()
    expected = reference.extract_slices(transform, poses, plane.x, plane.y, 2)
    assert relative_error(found, expected) < 1e-5
    beyond = np.full((1, 1, 3), box, np.float32)
    assert slices.extract_samples(transform, beyond) == 0


@settings(deadline=None, max_examples=10)
@given(st.sampled_from([8, 20]), st.integers(0, 2**31))
def test_extraction_agrees_with_the_reference(box: int, seed: int) -> None:
    plane = fourier.half_plane(box)
    volume = np.random.default_rng(seed).standard_normal((box, box, box))
    transform = fourier.transform_volume(volume)
    poses = np.concatenate([AWKWARD, rotations.random_rotations(6, seed)])
    found = slices.extract_slices(transform, poses, plane)
    expected = reference.extract_slices(transform, poses, plane.x, plane.y, 2)
    assert relative_error(found, expected) < 1e-4


@pytest.mark.parametrize("count", [1, 3])
def test_sum_over_rotations_agrees_with_the_reference(count: int) -> None:
    accumulator = np.random.default_rng(2).standard_normal((21, 21, 11, 3)).astype(np.float32)
    turns = np.concatenate([AWKWARD, rotations.random_rotations(count, 4)])
    found = slices.sum_rotated(accumulator, turns)
    assert relative_error(found, reference.sum_rotated(accumulator, turns)) < 1e-5


def test_projections_of_gaussians_are_the_analytic_ones() -> None:
    box, width = 48, 1.6
    centres = np.array([[4.0, -7.0, 2.0], [-9.0, 3.0, 5.0], [0.5, 8.0, -6.0]])
    z, y, x = np.mgrid[-24:24, -24:24, -24:24]
    grid = np.stack([x, y, z], axis=-1)
    volume = sum(np.exp(-((grid - c) ** 2).sum(-1) / (2 * width**2)) for c in centres)
    plane = fourier.half_plane(box)
    poses = rotations.random_rotations(5, 3)
    images = fourier.unpack(
        slices.extract_slices(fourier.transform_volume(volume), poses, plane), plane
    )
    row, column = np.mgrid[-24:24, -24:24]
    for image, pose in zip(images, poses, strict=True):
        seen = centres @ pose.T
        expected = sum(
            np.sqrt(2 * np.pi)
            * width
            * np.exp(-((column - c[0]) ** 2 + (row - c[1]) ** 2) / (2 * width**2))
            for c in seen
        )
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("name", ["rln_proj_64", "rln_proj_64_centered", "rln_proj_64_shifted"])
def test_projections_agree_with_those_of_relion(test_data, name: str) -> None:
    """Golden for the conventions of Euler angles, shifts and the centre."""
    import mrcfile
    import starfile

    folder = test_data / "cryoem" / "goldens"
    table = starfile.read(folder / f"{name}.star", always_dict=True)["particles"]
    with mrcfile.open(folder / "clean70SRibosome_vol_65p.mrc", permissive=True) as opened:
        volume = opened.data.astype(np.float32)
    with mrcfile.open(folder / f"{name}.mrcs", permissive=True) as opened:
        golden = opened.data.astype(np.float32)
    # The goldens were made from the map of 65 pixels cropped to 64 in Fourier space; the first
    # set so that the middle of the box stayed where it was, half a pixel from pixel N//2.
    transform = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(volume)))[:64, :64, :64]
    if name == "rln_proj_64":
        frequency = np.arange(-32, 32)
        turns = np.add.outer(np.add.outer(frequency, frequency), frequency) * 0.5 / 65
        transform = transform * np.exp(2j * np.pi * turns)
    volume = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(transform)).real)
    poses = rotations.euler_to_matrix(
        table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    )
    origins = next(
        table[list(columns)].to_numpy()
        for columns in (("rlnOriginXAngst", "rlnOriginYAngst"), ("rlnOriginX", "rlnOriginY"))
        if columns[0] in table
    )  # at 1 Å a pixel
    plane = fourier.half_plane(64)
    samples = slices.extract_slices(fourier.transform_volume(volume), poses, plane)
    images = fourier.unpack(samples * fourier.shift_phases(plane, -origins), plane)
    for image, expected in zip(images, golden, strict=True):
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.999


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu() -> None:
    import cupy

    plane = fourier.half_plane(32)
    poses = np.concatenate([AWKWARD, rotations.random_rotations(20, 5)])
    contributions = contributions_of(len(poses), len(plane))
    shape = slices.accumulator_shape(plane.radius)
    on_cpu, on_gpu = np.zeros(shape, np.float32), cupy.zeros(shape, cupy.float32)
    slices.insert_slices(on_cpu, contributions, poses, plane)
    slices.insert_slices(on_gpu, cupy.asarray(contributions), cupy.asarray(poses), plane)
    assert relative_error(on_gpu.get(), on_cpu) < 1e-5
    transform = fourier.transform_volume(np.random.default_rng(1).standard_normal((32, 32, 32)))
    found = slices.extract_slices(cupy.asarray(transform), cupy.asarray(poses), plane)
    assert relative_error(found.get(), slices.extract_slices(transform, poses, plane)) < 1e-4
    summed = slices.sum_rotated(on_gpu, cupy.asarray(AWKWARD))
    assert relative_error(summed.get(), slices.sum_rotated(on_cpu, AWKWARD)) < 1e-5
