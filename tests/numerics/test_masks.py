"""Masks against their formula and against maps whose particle is known."""

import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.masks import low_pass_filter, soft_circle, soft_sphere, solvent_mask


def distances(box: int, ndim: int, centre: tuple[float, ...] | None = None) -> np.ndarray:
    grid = np.indices((box,) * ndim).astype(float)
    centre = centre or (box // 2,) * ndim
    return np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))


@pytest.mark.parametrize("box", [16, 17])
@pytest.mark.parametrize(("make", "ndim"), [(soft_circle, 2), (soft_sphere, 3)])
def test_soft_ball_is_a_raised_cosine(make, ndim: int, box: int) -> None:
    mask = make(box, 4.0, 3.0)
    radius = distances(box, ndim)
    assert mask.dtype == np.float32
    assert (mask[radius <= 4.0] == 1.0).all()
    assert (mask[radius >= 7.0] == 0.0).all()
    edge = (radius > 4.0) & (radius < 7.0)
    np.testing.assert_allclose(
        mask[edge], np.cos(np.pi * (radius[edge] - 4.0) / 6.0) ** 2, atol=1e-6
    )


def test_no_edge_is_a_hard_circle() -> None:
    np.testing.assert_array_equal(soft_circle(11, 3.0, 0.0), distances(11, 2) <= 3.0)


def test_low_pass_keeps_slow_waves_and_takes_fast_ones() -> None:
    box, pixel_size = 32, 2.0
    x = np.arange(box)
    for shell, expected in ((3, 1.0), (7, 1.0), (8, 0.5), (9, 0.0), (12, 0.0)):
        wave = np.broadcast_to(np.cos(2 * np.pi * shell * x / box), (box,) * 3)
        # 8 Å in a box of 64 Å is shell 8; the edge runs from 7 to 9.
        np.testing.assert_allclose(
            low_pass_filter(wave, pixel_size, 8.0), expected * wave, atol=1e-5
        )


def ball(box: int, radius: float, centre: tuple[float, ...] | None = None) -> np.ndarray:
    return (distances(box, 3, centre) <= radius).astype(np.float32)


def test_mask_of_a_ball_is_the_ball_extended() -> None:
    box = 48
    rng = np.random.default_rng(0)
    volume = ball(box, 10.0) + 0.3 * rng.standard_normal((box,) * 3)
    mask = solvent_mask(volume, 4.0, threshold=0.5, extend=3.0, edge=6.0)
    radius = distances(box, 3)
    # The low pass leaves the half height at 10 voxels, so 1 up to 13 and 0 from 19 on.
    assert (mask[radius < 11.5] == 1.0).all()
    assert (mask[radius > 20.5] == 0.0).all()
    assert mask[np.abs(radius - 16.0) < 0.5].mean() == pytest.approx(0.5, abs=0.12)


def test_default_threshold_finds_the_particle_in_noise() -> None:
    box = 48
    rng = np.random.default_rng(1)
    volume = ball(box, 10.0) + 0.3 * rng.standard_normal((box,) * 3)
    mask = solvent_mask(volume, 4.0)
    assert mask[distances(box, 3) < 10].min() == 1.0
    assert mask.sum() < 4.0 / 3.0 * np.pi * 20.0**3
    np.testing.assert_allclose(solvent_mask(100.0 * volume, 4.0), mask, atol=1e-3)


def test_only_the_largest_parts_are_kept() -> None:
    box = 48
    volume = ball(box, 8.0, (24, 24, 16)) + ball(box, 5.0, (24, 24, 38))
    one = solvent_mask(volume, 8.0, extend=0.0, edge=0.0)
    assert one[24, 24, 16] == 1.0
    assert one[24, 24, 38] == 0.0
    two = solvent_mask(volume, 8.0, extend=0.0, edge=0.0, components=2)
    assert two[24, 24, 38] == 1.0
    np.testing.assert_array_equal(two[..., :28], one[..., :28])


def test_what_lies_in_the_corners_is_left_out() -> None:
    volume = ball(32, 5.0)
    volume[1:4, 1:4, 1:4] = 50.0
    assert solvent_mask(volume, 8.0)[16, 16, 16] == 1.0


@pytest.mark.parametrize(("volume", "threshold"), [(np.zeros((16,) * 3), None), (ball(16, 4), 7.0)])
def test_an_empty_mask_is_refused(volume: np.ndarray, threshold: float | None) -> None:
    with pytest.raises(InputError, match=r"above the threshold"):
        solvent_mask(volume, 4.0, threshold=threshold)


def test_black_particles_are_refused() -> None:
    with pytest.raises(InputError, match=r"white on dark"):
        solvent_mask(-ball(16, 4) - 1.0, 4.0)
