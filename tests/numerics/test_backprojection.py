"""Weights and division: images of a known volume give the volume back."""

import numpy as np
import pytest

from hpdp_dask.numerics import backprojection, fourier, rotations, slices
from hpdp_dask.numerics.ctf import ctf_coefficients


def coefficients_of(number: int, seed: int = 0):
    random = np.random.default_rng(seed)
    return ctf_coefficients(
        defocus_u=random.uniform(8e3, 3e4, number),
        defocus_v=random.uniform(8e3, 3e4, number),
        defocus_angle=random.uniform(0, 180, number),
        voltage=300.0,
        spherical_aberration=2.7,
        amplitude_contrast=0.1,
        pixel_size=2.0,
        phase_shift=random.uniform(0, 90, number),
    )


def test_the_compiled_weighing_agrees_with_the_arrays() -> None:
    random = np.random.default_rng(1)
    plane = fourier.half_plane(24)
    images = random.standard_normal((9, 24, 24)).astype(np.float32)
    transforms = fourier.transform_images(images)
    shifts = random.normal(0, 4, (9, 2))
    found = backprojection.weigh_images(transforms, plane, shifts, coefficients_of(9))
    expected = backprojection.weigh_images_reference(transforms, plane, shifts, coefficients_of(9))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.gpu
def test_weighing_on_the_gpu_agrees_with_the_cpu() -> None:
    import cupy

    plane = fourier.half_plane(24)
    images = np.random.default_rng(1).standard_normal((9, 24, 24)).astype(np.float32)
    shifts = np.random.default_rng(2).normal(0, 4, (9, 2))
    on_cpu = backprojection.weigh_images(
        fourier.transform_images(images), plane, shifts, coefficients_of(9)
    )
    on_gpu = backprojection.weigh_images(
        fourier.transform_images(cupy.asarray(images)),
        plane,
        cupy.asarray(shifts),
        coefficients_of(9),
    )
    np.testing.assert_allclose(on_gpu.get(), on_cpu, atol=1e-5 * np.abs(on_cpu).max())


def smooth_volume(box: int) -> np.ndarray:
    random = np.random.default_rng(5)
    z, y, x = np.mgrid[-(box // 2) : box // 2, -(box // 2) : box // 2, -(box // 2) : box // 2]
    volume = np.zeros((box, box, box))
    for centre in random.uniform(-box / 5, box / 5, (12, 3)):
        squared = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
        volume += random.uniform(0.5, 1.5) * np.exp(-squared / (2 * 1.5**2))
    return volume.astype(np.float32)


def test_ideal_images_give_the_volume_back_on_an_absolute_scale() -> None:
    box, number = 32, 1500
    truth = smooth_volume(box)
    plane = fourier.half_plane(box)
    poses = rotations.random_rotations(number, 2)
    samples = slices.extract_slices(fourier.transform_volume(truth), poses, plane)
    contributions = np.stack(
        [samples.real, samples.imag, np.ones(samples.shape, np.float32)], axis=-1
    ).astype(np.float32)
    accumulator = np.zeros(slices.accumulator_shape(plane.radius), np.float32)
    slices.insert_slices(accumulator, contributions, poses, plane)
    backprojection.complete(accumulator)
    means = backprojection.mean_weights(accumulator, plane.radius)
    transform = backprojection.divide(accumulator, means, np.zeros_like(means))
    found = fourier.volume_of(transform, box)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.999
    slope = float((found * truth).sum() / (truth * truth).sum())
    assert slope == pytest.approx(1.0, abs=0.02)


def test_the_completed_plane_is_hermitian() -> None:
    accumulator = np.random.default_rng(0).standard_normal((11, 11, 6, 3)).astype(np.float32)
    backprojection.complete(accumulator)
    plane = accumulator[:, :, 0]
    np.testing.assert_allclose(plane[::-1, ::-1] * [1, -1, 1], plane, atol=1e-6)


def test_mean_weights_are_those_of_a_plain_loop() -> None:
    accumulator = np.random.default_rng(0).random((11, 11, 6, 3)).astype(np.float32)
    sums, counts = np.zeros(3), np.zeros(3)
    for z in range(-5, 6):
        for y in range(-5, 6):
            for x in range(6):
                shell = round(np.sqrt(x * x + y * y + z * z) / 2)
                if shell <= 2:
                    sums[shell] += accumulator[z + 5, y + 5, x, 2]
                    counts[shell] += 1
    np.testing.assert_allclose(backprojection.mean_weights(accumulator, 2), sums / counts)


def test_division_leaves_out_what_has_no_weight() -> None:
    accumulator = np.zeros((11, 11, 6, 3), np.float32)
    accumulator[5, 5, 2] = 6.0, 4.0, 2.0
    transform = backprojection.divide(accumulator, np.array([0.0, 2.0, 0.0]), np.zeros(3))
    assert transform[5, 5, 2] == 3 + 2j
    assert np.count_nonzero(transform) == 1


def test_the_wiener_term_is_one_over_the_ssnr() -> None:
    fsc = np.array([1.0, 0.5, 0.143, -0.2])
    term = backprojection.wiener_term(fsc, joined=True)
    assert term[1] == pytest.approx(0.5)
    assert term[2] == pytest.approx((1 - 0.143) / 0.143 / 2)
    assert np.all(np.diff(term) > 0)
    np.testing.assert_allclose(backprojection.wiener_term(fsc, joined=False), 2 * term)


def test_the_wiener_filter_damps_shells_and_mixes_none() -> None:
    box = 16
    volume = np.random.default_rng(3).standard_normal((box, box, box)).astype(np.float32)
    wiener = np.array([0.0, 1.0, 3.0])
    found = np.fft.rfftn(backprojection.wiener_filter(volume, wiener))
    radii = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(box, 1 / box)] * 3)))
    shells = np.rint(radii[:, :, : box // 2 + 1])
    factors = np.select([shells == 0, shells == 1, shells == 2], [1.0, 0.5, 0.25], 0.0)
    np.testing.assert_allclose(found, np.fft.rfftn(volume) * factors, atol=1e-3)


def test_a_sample_of_mean_weight_keeps_its_value_in_the_division() -> None:
    accumulator = np.zeros((11, 11, 6, 3), np.float32)
    accumulator[5, 5, 2] = 6.0, 4.0, 2.0
    accumulator[5, 5, 4] = 6.0, 4.0, 1.0
    means = np.array([0.0, 2.0, 2.0])
    transform = backprojection.divide(accumulator, means, np.array([0.0, 9.0, 9.0]))
    assert transform[5, 5, 2] == pytest.approx(3 + 2j)
    # With half the mean weight the quotient is damped: 6 (1 + 9) / (1 + 18) and not 6 / 1.
    assert transform[5, 5, 4].real == pytest.approx(60 / 19)
