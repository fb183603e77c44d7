"""Shell sums against whole transforms, FSC against a plain loop and against what it must give."""

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.masks import soft_sphere
from hpdp_dask.numerics.shells import (
    corrected_fsc,
    fourier_shell_correlation,
    power_spectrum,
    radial_mean,
    radial_sum,
    randomize_phases,
    resolution_at,
    shell_correlation_of_pairs,
    shell_indices,
)


def whole_shells(box: int, ndim: int) -> np.ndarray:
    """Shell of every sample of a whole transform."""
    axis = np.fft.fftfreq(box) * box
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(*[axis] * ndim, indexing="ij")))
    return np.floor(radius + 0.5).astype(int)


def plain_fsc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The definition, over whole transforms."""
    fa, fb, shells = np.fft.fftn(a), np.fft.fftn(b), whole_shells(len(a), a.ndim)
    curve = []
    for shell in range(len(a) // 2 + 1):
        x, y = fa[shells == shell], fb[shells == shell]
        curve.append((x * y.conj()).sum().real / np.sqrt((abs(x) ** 2).sum() * (abs(y) ** 2).sum()))
    return np.array(curve)


def noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@given(st.integers(4, 13), st.sampled_from([2, 3]))
@settings(deadline=None, max_examples=20)
def test_half_transform_sums_are_those_of_the_whole(box: int, ndim: int) -> None:
    whole = np.abs(np.fft.fftn(noise((box,) * ndim, 0).astype(np.float64))) ** 2
    shells = whole_shells(box, ndim)
    half = whole[..., : box // 2 + 1]
    np.testing.assert_array_equal(shell_indices(box, ndim), shells[..., : box // 2 + 1])
    sums = np.bincount(shells.ravel(), whole.ravel())[: box // 2 + 1]
    counts = np.bincount(shells.ravel())[: box // 2 + 1]
    np.testing.assert_allclose(radial_sum(half, ndim), sums, rtol=1e-10)
    np.testing.assert_allclose(radial_mean(half, ndim), sums / counts, rtol=1e-10)


def test_leading_axes_are_a_batch() -> None:
    values = np.abs(noise((2, 3, 8, 5), 1))
    means = radial_mean(values, 2)
    assert means.shape == (2, 3, 5)
    np.testing.assert_allclose(means[1, 2], radial_mean(values[1, 2], 2))
    volumes = np.abs(noise((2, 8, 8, 5), 2))
    np.testing.assert_allclose(radial_sum(volumes, 3)[1], radial_sum(volumes[1], 3))


def test_power_of_white_noise_is_its_variance() -> None:
    spectrum = power_spectrum(3.0 * noise((200, 32, 32), 3), 2)
    assert spectrum.shape == (200, 17)
    np.testing.assert_allclose(spectrum.mean(axis=0)[1:], 9.0, rtol=0.1)
    np.testing.assert_allclose(power_spectrum(np.full((8, 8, 8), 2.0), 3), [4 * 8**3, 0, 0, 0, 0])


@pytest.mark.parametrize("shape", [(12,) * 3, (13,) * 3, (20,) * 2])
def test_fsc_is_its_definition(shape: tuple[int, ...]) -> None:
    a, b = noise(shape, 4), noise(shape, 5)
    b += a
    mask = np.abs(noise(shape, 6))
    np.testing.assert_allclose(fourier_shell_correlation(a, b), plain_fsc(a, b), atol=1e-6)
    np.testing.assert_allclose(
        fourier_shell_correlation(a, b, mask), plain_fsc(a * mask, b * mask), atol=1e-6
    )


def test_correlation_of_pairs_is_that_of_their_sums() -> None:
    (a, b), (c, d) = noise((2, 16, 16, 16), 7), 3.0 * noise((2, 16, 16, 16), 8)
    alone = shell_correlation_of_pairs([(a, b)])
    np.testing.assert_array_equal(alone, fourier_shell_correlation(a, b))
    cross, powers = np.zeros(9), np.zeros((2, 9))
    shell = whole_shells(16, 3)
    for pair in ((a, b), (c, d)):
        one, other = (np.fft.fftn(each) for each in pair)
        for k in range(9):
            here = shell == k
            cross[k] += (one * other.conj()).real[here].sum()
            powers[:, k] += [(np.abs(each[here]) ** 2).sum() for each in (one, other)]
    expected = cross / np.sqrt(powers[0] * powers[1])
    found = shell_correlation_of_pairs(iter([(a, b), (c, d)]))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(InputError):
        shell_correlation_of_pairs([(a, b[:8])])


def test_fsc_of_a_map_with_itself_and_its_negative() -> None:
    a = noise((16,) * 3, 7)
    np.testing.assert_allclose(fourier_shell_correlation(a, 3.0 * a + 1.0)[1:], 1.0, atol=1e-6)
    np.testing.assert_allclose(fourier_shell_correlation(a, -a), -1.0, atol=1e-6)
    np.testing.assert_array_equal(fourier_shell_correlation(a, np.zeros_like(a)), 0.0)


def test_fsc_of_signal_in_noise_is_its_expectation() -> None:
    """Two maps of one signal and noise of a k-th its power correlate to 1 / (1 + k)."""
    signal = noise((48,) * 3, 8)
    a, b = (signal + np.sqrt(0.5) * noise(signal.shape, seed) for seed in (9, 10))
    np.testing.assert_allclose(fourier_shell_correlation(a, b)[8:], 1 / 1.5, atol=0.06)


def test_shapes_that_do_not_fit_are_refused() -> None:
    a = np.zeros((8, 8, 8), dtype=np.float32)
    with pytest.raises(InputError, match=r"not a cube"):
        fourier_shell_correlation(a[:4], a[:4])
    with pytest.raises(InputError, match=r"the second map"):
        fourier_shell_correlation(a, np.zeros((6, 6, 6)))
    with pytest.raises(InputError, match=r"the mask"):
        fourier_shell_correlation(a, a, np.zeros((6, 6, 6)))


def test_resolution_lies_on_the_line_between_shells() -> None:
    fsc = np.array([1.0, 0.9, 0.7, 0.3, 0.1, 0.6])
    # From 0.7 at shell 2 to 0.3 at shell 3: 0.5 at 2.5; the box is 20 Å.
    assert resolution_at(fsc, 0.5, 2.0, 10) == pytest.approx(20.0 / 2.5)
    assert resolution_at(fsc, 0.143, 2.0, 10) == pytest.approx(20.0 / (3 + 0.157 / 0.2))
    assert resolution_at(fsc, 0.7, 2.0, 10) == pytest.approx(20.0 / 2.0)  # at, not below


def test_resolution_at_the_ends() -> None:
    assert resolution_at(np.ones(6), 0.143, 2.0, 10) == pytest.approx(4.0)  # Nyquist
    # Below from shell 1 on, there is none to read; at the threshold there is.
    assert resolution_at(np.zeros(6), 0.5, 2.0, 10) == np.inf
    assert resolution_at([1.0, 0.49, 0.9], 0.5, 1.0, 4) == np.inf
    assert resolution_at([1.0, 0.5, 0.0], 0.5, 1.0, 4) == pytest.approx(4.0)
    # Shell 0 is the mean of the map; its sign tells nothing.
    assert resolution_at([-1.0, 1.0, 0.0], 0.5, 1.0, 4) == pytest.approx(4.0 / 1.5)


def test_random_phases_keep_amplitudes_and_low_shells() -> None:
    volume = noise((16,) * 3, 11)
    changed = randomize_phases(volume, 4, 1)
    assert changed.dtype == np.float32
    before, after = np.fft.rfftn(volume), np.fft.rfftn(changed)
    np.testing.assert_allclose(np.abs(after), np.abs(before), atol=1e-3)
    kept = shell_indices(16, 3) < 4
    np.testing.assert_allclose(after[kept], before[kept], atol=1e-3)
    fsc = fourier_shell_correlation(volume, changed)
    np.testing.assert_allclose(fsc[:4], 1.0, atol=1e-5)
    assert np.abs(fsc[4:]).max() < 0.25
    np.testing.assert_array_equal(changed, randomize_phases(volume, 4, 1))


def test_correction_takes_out_what_a_tight_mask_makes() -> None:
    """Noise under a sharp mask correlates; the correction brings it back to nothing."""
    box = 40
    signal = fourier_low_pass(noise((box,) * 3, 12), 5)
    signal *= 4.0 / signal.std()
    a, b = (signal + noise(signal.shape, seed) for seed in (13, 14))
    mask = soft_sphere(box, 9, 0)
    told = corrected_fsc(a, b, mask, seed=0)
    np.testing.assert_allclose(told.unmasked, plain_fsc(a, b), atol=1e-5)
    np.testing.assert_allclose(told.masked, plain_fsc(a * mask, b * mask), atol=1e-5)
    assert told.unmasked[told.randomized_from] < 0.8
    assert (told.unmasked[1 : told.randomized_from] >= 0.8).all()
    first = told.randomized_from + 2
    np.testing.assert_array_equal(told.corrected[:first], told.masked[:first])
    np.testing.assert_allclose(
        told.corrected[first:],
        (told.masked[first:] - told.randomized[first:]) / (1 - told.randomized[first:]),
    )
    # Strong low shells leak through the mask's edge into all others, which agree in nothing.
    assert told.masked[9:].mean() > 0.6
    assert abs(told.corrected[9:].mean()) < 0.15


def test_correction_of_equal_maps_changes_nothing() -> None:
    a = noise((12,) * 3, 15)
    told = corrected_fsc(a, a, soft_sphere(12, 4, 2), seed=0)
    assert told.randomized_from == 7
    np.testing.assert_allclose(told.corrected, 1.0, atol=1e-6)


@pytest.mark.gpu
def test_a_device_gives_the_same() -> None:
    import cupy

    a, b = noise((20,) * 3, 16), noise((20,) * 3, 17)
    b += a
    mask = soft_sphere(20, 6, 3)
    here = corrected_fsc(a, b, mask, seed=0)
    there = corrected_fsc(cupy.asarray(a), cupy.asarray(b), soft_sphere(20, 6, 3, xp=cupy), seed=0)
    np.testing.assert_allclose(there.corrected, here.corrected, atol=1e-4)
    np.testing.assert_allclose(there.unmasked, here.unmasked, atol=1e-5)
    spectrum = power_spectrum(cupy.asarray(a), 3)
    np.testing.assert_allclose(spectrum.get(), power_spectrum(a, 3), rtol=1e-4)


def fourier_low_pass(volume: np.ndarray, shell: int) -> np.ndarray:
    transform = np.fft.rfftn(volume)
    transform[shell_indices(len(volume), volume.ndim) > shell] = 0.0
    return scipy.fft.irfftn(transform, s=volume.shape).astype(np.float32)
