"""What two half-volumes share, place by place, against the truth that both were made from."""

import numpy as np
import pytest

from hpdp_dask.numerics.half_agreement import last_shared_shell, shared_parts
from hpdp_dask.numerics.shells import fourier_shell_correlation, shell_radii

BOX = 32
RANDOM = np.random.default_rng(0)


def local_signal():
    """Detail of many sizes in one place of the volume, little elsewhere."""
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    here = np.exp(-((x - 6) ** 2 + (y + 3) ** 2 + z**2) / 50.0)
    transform = np.fft.rfftn(here * RANDOM.standard_normal((BOX,) * 3))
    coarse = transform * (shell_radii(BOX, 3) <= 0.4 * BOX)
    return np.fft.irfftn(coarse, s=(BOX,) * 3, axes=(0, 1, 2))


def by_shell(first, second):
    """The mean of both, filtered by their correlation in each shell."""
    fsc = np.clip(fourier_shell_correlation(first, second), 0.0, 1.0)
    shells = np.minimum(np.rint(shell_radii(BOX, 3)).astype(int), BOX // 2)
    transform = np.fft.rfftn(0.5 * (first + second)) * (2.0 * fsc / (1.0 + fsc))[shells]
    return np.fft.irfftn(transform, s=first.shape, axes=(0, 1, 2))


def test_what_is_shared_in_one_place_is_kept_and_noise_elsewhere_is_not():
    truth = local_signal()
    first, second = (truth + 0.3 * RANDOM.standard_normal(truth.shape) for _ in range(2))
    halves, joined = shared_parts(first, second)

    def error(volume):
        return np.square(volume - truth).sum() / np.square(truth).sum()

    assert error(joined) < 0.7 * error(by_shell(first, second))
    assert error(joined) < 0.1 * error(0.5 * (first + second))
    assert error(joined) < min(error(each) for each in halves)
    for mine, given in zip(halves, (first, second), strict=True):
        assert error(mine) < 0.1 * error(given)


def test_volumes_that_are_alike_come_back():
    truth = RANDOM.standard_normal((BOX,) * 3)
    halves, joined = shared_parts(truth, truth)
    inside = shell_radii(BOX, 3) <= BOX // 2
    expected = np.fft.irfftn(np.fft.rfftn(truth) * inside, s=truth.shape, axes=(0, 1, 2))
    for found in (joined, *halves):
        transform = np.fft.rfftn(found) * inside
        again = np.fft.irfftn(transform, s=truth.shape, axes=(0, 1, 2))
        np.testing.assert_allclose(again, expected, atol=1e-4)


def test_noise_alone_shares_little():
    first, second = RANDOM.standard_normal((2, BOX, BOX, BOX))
    joined = shared_parts(first, second)[1]
    assert joined.std() < 0.2 * (0.5 * (first + second)).std()


@pytest.mark.parametrize("shell", [4, 9])
def test_the_last_shared_shell(shell):
    truth = np.fft.rfftn(RANDOM.standard_normal((BOX,) * 3)) * (shell_radii(BOX, 3) <= shell)
    signal = np.fft.irfftn(truth, s=(BOX,) * 3, axes=(0, 1, 2))
    first, second = (signal + 0.05 * RANDOM.standard_normal(signal.shape) for _ in range(2))
    # a shell and its neighbours are looked at together
    assert last_shared_shell(first, second, 0.2) - shell in (0, 1)
