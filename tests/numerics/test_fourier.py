"""Packed half-transforms of images and padded transforms of volumes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdp_dask.numerics import fourier


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def blob(box: int, centre: tuple[float, float, float], width: float) -> np.ndarray:
    """A Gaussian at (x, y, z) from the central pixel."""
    z, y, x = np.mgrid[-(box // 2) : box // 2, -(box // 2) : box // 2, -(box // 2) : box // 2]
    squared = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return np.exp(-squared / (2 * width**2)).astype(np.float32)


@pytest.mark.parametrize("radius", [3, 15, 16])
def test_half_plane_holds_one_sample_of_each_conjugate_pair_in_order_of_shells(radius: int) -> None:
    plane = fourier.half_plane(32, radius)
    found = set(zip(plane.x.tolist(), plane.y.tolist(), strict=True))
    assert len(found) == len(plane)
    everything = {
        (x, y)
        for x in range(-15, 16)
        for y in range(-15, 16)
        if round(float(np.hypot(x, y))) <= radius
    }
    assert found | {(-x, -y) for x, y in found} == everything
    assert found & {(-x, -y) for x, y in found} == {(0, 0)}
    assert np.all(np.diff(plane.shell) >= 0)
    assert plane.up_to(2) == np.count_nonzero(plane.shell <= 2)


def test_half_plane_refuses_odd_boxes_and_frequencies_beyond_nyquist() -> None:
    with pytest.raises(ValueError, match="even"):
        fourier.half_plane(31)
    with pytest.raises(ValueError, match=r"1\.\.16"):
        fourier.half_plane(32, 17)


def test_pack_agrees_with_the_sum_that_defines_it(random: np.random.Generator) -> None:
    box = 12
    images = random.standard_normal((2, box, box)).astype(np.float32)
    plane = fourier.half_plane(box)
    y, x = np.mgrid[-(box // 2) : box // 2, -(box // 2) : box // 2]
    kernel = np.exp(
        -2j * np.pi / box * (np.multiply.outer(plane.x, x) + np.multiply.outer(plane.y, y))
    )
    expected = np.einsum("kyx,nyx->nk", kernel, images)
    packed = fourier.pack(fourier.transform_images(images), plane)
    np.testing.assert_allclose(packed, expected, atol=1e-4)


def test_unpack_is_the_inverse_within_the_circle(random: np.random.Generator) -> None:
    plane = fourier.half_plane(24, 9)
    samples = random.standard_normal((3, len(plane))) + 1j * random.standard_normal((3, len(plane)))
    samples[:, 0] = samples[:, 0].real
    again = fourier.pack(fourier.transform_images(fourier.unpack(samples, plane)), plane)
    np.testing.assert_allclose(again, samples, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(-5, 5), st.integers(-5, 5))
def test_shift_phases_move_the_content(dx: int, dy: int) -> None:
    box = 16
    image = np.random.default_rng(3).standard_normal((1, box, box)).astype(np.float32)
    plane = fourier.half_plane(box, 7)
    packed = fourier.pack(fourier.transform_images(image), plane)
    moved = fourier.pack(fourier.transform_images(np.roll(image, (dy, dx), axis=(1, 2))), plane)
    phases = fourier.shift_phases(plane, np.array([[dx, dy]]))
    np.testing.assert_allclose(packed * phases, moved, atol=1e-4)


def test_transform_of_a_gaussian_volume_is_the_analytic_one() -> None:
    box, width, centre = 32, 2.0, (1.0, -2.0, 3.0)
    transform = fourier.transform_volume(
        blob(box, centre, width)
        * np.multiply.outer(
            np.multiply.outer(fourier.gridding_window(box), fourier.gridding_window(box)),
            fourier.gridding_window(box),
        )
    )
    limit = transform.shape[2] - 1
    z, y, x = np.mgrid[-limit : limit + 1, -limit : limit + 1, 0 : limit + 1] / (2 * box)
    amplitude = (2 * np.pi * width**2) ** 1.5
    expected = amplitude * np.exp(
        -2 * (np.pi * width) ** 2 * (x * x + y * y + z * z)
        - 2j * np.pi * (x * centre[0] + y * centre[1] + z * centre[2])
    )
    assert np.abs(transform - expected).max() < 2e-5 * amplitude


def test_volume_of_inverts_transform_volume_but_for_the_window_of_both(
    random: np.random.Generator,
) -> None:
    volume = blob(16, (0, 1, -1), 1.5)
    window = fourier.gridding_window(16)
    cube = np.multiply.outer(np.multiply.outer(window, window), window)
    again = fourier.volume_of(fourier.transform_volume(volume), 16) * cube * cube
    np.testing.assert_allclose(again, volume, atol=1e-5)


def test_cropped_volume_keeps_the_samples_of_its_transform():
    volume = np.random.default_rng(3).standard_normal((24, 24, 24), np.float32)
    small = fourier.crop_volume(volume, 16)
    assert small.shape == (16, 16, 16)
    whole, low = (np.fft.fftn(np.fft.ifftshift(each)) for each in (volume, small))
    kept = np.arange(-7, 8)
    assert np.allclose(
        low[np.ix_(kept % 16, kept % 16, kept % 16)],
        whole[np.ix_(kept % 24, kept % 24, kept % 24)],
        atol=1e-3,
    )
    assert fourier.crop_volume(volume, 24) is volume
