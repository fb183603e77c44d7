"""Sharpening against what was put in: B-factors, noise, waves of one frequency."""

import numpy as np
import pytest
import scipy.fft

from hpdp_dask.numerics.masks import low_pass_filter, soft_sphere
from hpdp_dask.numerics.sharpening import (
    fit_guinier,
    fsc_weights,
    sharpen,
    shell_amplitudes,
    shell_frequencies,
)
from hpdp_dask.numerics.shells import fourier_shell_correlation, shell_radii

BOX, PIXEL_SIZE = 64, 1.5
FREQUENCIES = shell_frequencies(BOX, PIXEL_SIZE)
NYQUIST = 2 * PIXEL_SIZE


def blurred(volume: np.ndarray, b_factor: float) -> np.ndarray:
    """Damp a map by exp(B / (4 d²))."""
    squared = (shell_radii(BOX, 3) / (BOX * PIXEL_SIZE)) ** 2
    transform = scipy.fft.rfftn(volume) * np.exp(b_factor / 4 * squared)
    return scipy.fft.irfftn(transform, s=volume.shape)


def atoms(seed: int, radius: float = 18.0) -> np.ndarray:
    """Points at random in a sphere: beyond 10 Å amplitudes are the same at all frequencies."""
    generator = np.random.default_rng(seed)
    positions = generator.uniform(-radius, radius, (4000, 3))
    positions = positions[np.linalg.norm(positions, axis=1) < radius]
    volume = np.zeros((BOX,) * 3)
    np.add.at(volume, tuple(np.rint(positions.T).astype(int) + BOX // 2), 1.0)
    return volume


def wave(shell: int) -> np.ndarray:
    """A wave along x of a whole number of periods in the box."""
    return np.broadcast_to(np.cos(2 * np.pi * shell * np.arange(BOX) / BOX), (BOX,) * 3)


def test_amplitudes_are_those_of_the_transform() -> None:
    assert shell_amplitudes(wave(5))[5] == pytest.approx(
        0.5 * 2 / np.count_nonzero(np.rint(full_radii()) == 5)
    )
    point = np.zeros((BOX,) * 3)
    point[3, 4, 5] = BOX**3
    assert shell_amplitudes(point) == pytest.approx(np.ones(BOX // 2 + 1))


def full_radii() -> np.ndarray:
    axis = np.fft.fftfreq(BOX, 1 / BOX)
    return np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis)))


@pytest.mark.parametrize("b_factor", [-250.0, 0.0, 30.0])
def test_the_line_through_an_exact_fall_has_its_b_factor(b_factor: float) -> None:
    fit = fit_guinier(0.3 * np.exp(b_factor / 4 * FREQUENCIES**2), FREQUENCIES, 4.0)
    assert fit is not None
    assert fit.b_factor == pytest.approx(b_factor, abs=1e-9)
    assert fit.intercept == pytest.approx(np.log(0.3))
    assert fit.correlation == pytest.approx(1.0)


def test_only_shells_between_10_and_the_resolution_count() -> None:
    amplitudes = np.exp(-80.0 / 4 * FREQUENCIES**2)
    with np.errstate(divide="ignore"):
        resolution = 1 / FREQUENCIES
    inside = (resolution <= 10.0) & (resolution >= 4.0)
    fit = fit_guinier(np.where(inside, amplitudes, 1e3), FREQUENCIES, 4.0)
    assert fit is not None
    assert fit.b_factor == pytest.approx(-80.0)
    assert fit.shells == np.count_nonzero(inside)


def test_shells_without_amplitude_are_left_out() -> None:
    amplitudes = np.exp(-80.0 / 4 * FREQUENCIES**2)
    amplitudes[15] = 0.0
    fit = fit_guinier(amplitudes, FREQUENCIES, 4.0)
    assert fit is not None
    assert fit.b_factor == pytest.approx(-80.0)


def test_too_few_shells_give_no_line() -> None:
    assert fit_guinier(np.ones(BOX // 2 + 1), FREQUENCIES, 9.0) is None
    assert fit_guinier(np.ones(BOX // 2 + 1), FREQUENCIES, 20.0) is None


def test_weights() -> None:
    assert fsc_weights(np.array([1.0, 1 / 3, 0.0, -0.2])) == pytest.approx([1, 0.5**0.5, 0, 0])


@pytest.mark.parametrize("b_factor", [-120.0, -200.0])
def test_the_b_factor_of_points_is_found_through_noise_under_a_mask(b_factor: float) -> None:
    signal = blurred(atoms(seed=1), b_factor)
    generator = np.random.default_rng(2)
    half1, half2 = (signal + generator.normal(0, 0.04, signal.shape) for _ in range(2))
    mask = soft_sphere(BOX, 22, 5)
    weights = fsc_weights(fourier_shell_correlation(half1, half2, mask))
    average = (half1 + half2) / 2
    found, unweighted, unmasked = (
        fit_guinier(amplitudes, FREQUENCIES, 4.0).b_factor
        for amplitudes in (
            shell_amplitudes(average * mask) * weights,
            shell_amplitudes(average * mask),
            shell_amplitudes(average) * weights,
        )
    )
    assert found == pytest.approx(b_factor, abs=10.0)
    # noise that is not taken out, or not where the weights are for, hides the fall
    assert unweighted > b_factor + 15.0
    assert unmasked > b_factor + 15.0


def test_sharpening_undoes_a_blur() -> None:
    truth = atoms(seed=3)
    ones = np.ones(BOX // 2 + 1)
    again = sharpen(
        blurred(truth, -150.0), PIXEL_SIZE, gains=ones, b_factor=-150.0, low_pass=NYQUIST * 1.1
    )
    expected = low_pass_filter(truth, PIXEL_SIZE, NYQUIST * 1.1)
    assert np.abs(again - expected).max() < 1e-4 * expected.max()


@pytest.mark.parametrize("shell", [3, 9, 20])
def test_each_shell_gets_its_gain(shell: int) -> None:
    gains = np.linspace(1.0, 3.0, BOX // 2 + 1)
    b_factor = -90.0
    out = sharpen(wave(shell), PIXEL_SIZE, gains=gains, b_factor=b_factor, low_pass=NYQUIST)
    factor = gains[shell] * np.exp(-b_factor / 4 * FREQUENCIES[shell] ** 2)
    assert np.abs(out - factor * wave(shell)).max() < 1e-4


@pytest.mark.parametrize(("shell", "passed"), [(15, 1.0), (16, 0.5), (17, 0.0), (30, 0.0)])
def test_the_low_pass_falls_within_two_shells(shell: int, passed: float) -> None:
    ones = np.ones(BOX // 2 + 1)
    low_pass = BOX * PIXEL_SIZE / 16
    out = sharpen(wave(shell), PIXEL_SIZE, gains=ones, b_factor=0.0, low_pass=low_pass)
    assert np.abs(out - passed * wave(shell)).max() < 1e-5


def test_nothing_overflows_beyond_the_low_pass() -> None:
    ones = np.ones(BOX // 2 + 1)
    out = sharpen(atoms(seed=4), PIXEL_SIZE, gains=ones, b_factor=-6000.0, low_pass=12.0)
    assert np.isfinite(out).all()
