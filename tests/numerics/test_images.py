"""Preparation of images against plain loops and against images known beforehand."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdp_dask.numerics.images import (
    background_mask,
    background_statistics,
    fourier_crop,
    normalize_background,
    remove_dust,
    subtract_ramp,
)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def outside(box: int, radius: float) -> np.ndarray:
    return np.array(
        [
            [(y - box // 2) ** 2 + (x - box // 2) ** 2 > radius**2 for x in range(box)]
            for y in range(box)
        ]
    )


@pytest.mark.parametrize("box", [20, 21])
def test_background_is_outside_the_circle(box: int) -> None:
    np.testing.assert_array_equal(background_mask(box, 7.5), outside(box, 7.5))
    images = 3.0 * noise((4, box, box)) + 100.0
    mean, std = background_statistics(images, 7.5)
    for image, m, s in zip(images.astype(np.float64), mean, std, strict=True):
        pixels = image[outside(box, 7.5)]
        assert m == pytest.approx(pixels.mean(), rel=1e-12)
        assert s == pytest.approx(np.sqrt(((pixels - pixels.mean()) ** 2).mean()), rel=1e-12)


def test_ramp_is_the_least_squares_plane() -> None:
    box = 24
    y, x = np.mgrid[:box, :box]
    images = 50.0 + noise((3, box, box)) + np.array([0.5, -0.2, 0.0])[:, None, None] * x + 0.3 * y
    pixels = outside(box, 9.0)
    design = np.column_stack([np.ones(pixels.sum()), x[pixels], y[pixels]])
    flat = subtract_ramp(images, 9.0)
    for image, result in zip(images, flat, strict=True):
        (a, b, c), *_ = np.linalg.lstsq(design, image[pixels], rcond=None)
        np.testing.assert_allclose(result, image - (a + b * x + c * y), atol=1e-5)


@pytest.mark.parametrize("ramp", [True, False])
def test_background_becomes_mean_0_std_1(ramp: bool) -> None:
    box = 32
    particle = 20.0 * np.exp(-(((np.indices((box, box)) - box // 2) / 4.0) ** 2).sum(axis=0))
    images = 4.0 * (noise((5, box, box), 1) + particle) + 1000.0
    done = normalize_background(images, 12.0, ramp=ramp)
    assert done.dtype == np.float32
    mean, std = background_statistics(done, 12.0)
    np.testing.assert_allclose(mean, 0.0, atol=1e-5)
    np.testing.assert_allclose(std, 1.0, atol=1e-5)
    if not ramp:
        before, scale = background_statistics(images, 12.0)
        expected = (images[2] - before[2]) / scale[2]
        np.testing.assert_allclose(done[2], expected, atol=1e-4)
    # Brightness and contrast of the camera make no difference.
    np.testing.assert_allclose(
        normalize_background(0.1 * images - 3.0, 12.0, ramp=ramp), done, atol=2e-3
    )


def test_constant_background_has_no_scale() -> None:
    box = 16
    images = np.stack([np.full((box, box), 5.3), np.add.outer(np.arange(16.0), np.arange(16.0))])
    images = np.concatenate([images, noise((1, box, box))]).astype(np.float32)
    done = normalize_background(images, 6.0)
    assert np.isnan(done[:2]).all()
    assert np.isfinite(done[2]).all()


def test_dust_becomes_the_mean_of_the_rest() -> None:
    images = noise((3, 32, 32), 2) + 7.0
    clean = images.copy()
    images[0, 3, 4] = 500.0
    images[0, 20, 20] = -90.0
    images[2, :3, :3] = 60.0
    done = remove_dust(images, 5.0)
    changed = done != images
    assert changed.sum() == 2 + 9
    assert (
        done[0, 3, 4] == done[0, 20, 20] == pytest.approx(np.delete(clean[0], [0]).mean(), abs=0.05)
    )
    np.testing.assert_array_equal(done[1], images[1])
    np.testing.assert_array_equal(done[~changed], images[~changed])


def test_a_bright_particle_is_no_dust() -> None:
    box = 64
    y, x = np.indices((box, box)) - box // 2
    height = np.sqrt(np.maximum(20.0**2 - x**2 - y**2, 0.0))  # a ball, no noise at all
    image = height[None].astype(np.float32)
    np.testing.assert_array_equal(remove_dust(image, 5.0), image)


@given(
    old=st.integers(8, 40),
    half=st.integers(2, 20),
    kx=st.integers(-9, 9),
    ky=st.integers(-9, 9),
    phase=st.floats(-3.0, 3.0),
)
@settings(deadline=None, max_examples=60)
def test_fourier_crop_samples_waves(old: int, half: int, kx: int, ky: int, phase: float) -> None:
    """A wave that the small box can hold is sampled at the new pixels, about the centre."""
    new = min(2 * half, old - old % 2)
    kx, ky = (int(np.clip(k, 1 - new // 2, new // 2 - 1)) for k in (kx, ky))

    def wave(box: int) -> np.ndarray:
        axis = (np.arange(box) - box // 2) / box
        return 3.0 + np.cos(2 * np.pi * (ky * axis[:, None] + kx * axis) + phase)

    done = fourier_crop(wave(old)[None].astype(np.float32), new)
    assert done.dtype == np.float32
    np.testing.assert_allclose(done[0], wave(new), atol=2e-5)


@pytest.mark.parametrize(("old", "box"), [(20, 20), (20, 14), (20, 6), (21, 20), (21, 8)])
def test_fourier_crop_is_a_sum_of_waves(old: int, box: int) -> None:
    """The frequencies from -box/2 to box/2, the two outermost halved, at the new pixels."""
    images = noise((2, old, old), 4)
    k = np.arange(-(box // 2), box // 2 + 1)
    weights = np.where(np.abs(k) == box // 2, 0.5, 1.0)
    forward = np.exp(-2j * np.pi * np.outer(k, np.arange(old) - old // 2) / old) / old
    backward = np.exp(2j * np.pi * np.outer(np.arange(box) - box // 2, k) / box) * weights
    sampling = backward @ forward
    expected = (sampling @ images @ sampling.T).real
    np.testing.assert_allclose(fourier_crop(images, box), expected, atol=1e-6)


def test_fourier_crop_keeps_mean_and_scales_noise() -> None:
    images = noise((50, 60, 60), 3) + 11.0
    done = fourier_crop(images, 24)
    np.testing.assert_allclose(done.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=1e-4)
    assert done.std() == pytest.approx(23.5 / 60, rel=0.02)


@pytest.mark.parametrize("box", [15, 0, -2, 18])
def test_fourier_crop_refuses_other_boxes(box: int) -> None:
    with pytest.raises(ValueError, match=r"even and at most 16"):
        fourier_crop(np.zeros((1, 16, 16)), box)


@pytest.mark.parametrize("name", ["sample.mrcs", "empiar_10076_7.mrc"])
def test_real_particles_come_out_normalized(test_data: Path, name: str) -> None:
    images = mrcfile.read(test_data / "cryoem" / "real" / name)
    done = normalize_background(fourier_crop(remove_dust(images, 5.0), 128), 48.0)
    mean, std = background_statistics(done, 48.0)
    np.testing.assert_allclose(mean, 0.0, atol=1e-5)
    np.testing.assert_allclose(std, 1.0, atol=1e-5)


def test_normalization_is_relions(test_data: Path) -> None:
    """Values of relion_preprocess 3.1.3 --operate_on sample.mrcs --norm --bg_radius 75."""
    images = mrcfile.read(test_data / "cryoem" / "real" / "sample.mrcs")
    done = normalize_background(images, 75.0)
    for place, value in {
        (0, 0, 0): -2.06178236,
        (0, 100, 100): -0.29453292,
        (3, 20, 180): 0.42309472,
        (9, 199, 1): -0.99545246,
        (16, 57, 143): 0.28077972,
    }.items():
        assert done[place] == pytest.approx(value, abs=2e-6)


@pytest.mark.gpu
def test_a_device_gives_the_same() -> None:
    import cupy

    images = 3.0 * noise((4, 40, 40), 6) + 20.0
    images[1, 2, 3] = 900.0

    def prepare(stack):
        return normalize_background(fourier_crop(remove_dust(stack, 5.0), 24), 9.0)

    there = prepare(cupy.asarray(images))
    assert isinstance(there, cupy.ndarray)
    np.testing.assert_allclose(there.get(), prepare(images), atol=1e-4)
