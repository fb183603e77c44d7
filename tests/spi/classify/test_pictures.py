"""Pictures of frames: photons where the pixels stand, whatever module they are on."""

from dataclasses import replace

import numpy as np

from hpdp_dask.formats.frames import BAD, Detector, flat_detector
from hpdp_dask.spi.classify.pictures import SIDE, plan_pictures


def test_a_cell_holds_the_photons_of_its_pixels() -> None:
    detector = flat_detector((2 * SIDE, 2 * SIDE), 1e-3, 0.5, 8.0)
    photons = np.random.default_rng(0).poisson(3.0, (5, 2 * SIDE, 2 * SIDE)).astype(np.uint8)
    pictures = plan_pictures(detector)(photons)
    expected = photons.reshape(5, SIDE, 2, SIDE, 2).sum(axis=(2, 4))
    assert pictures.dtype == np.float32
    np.testing.assert_allclose(pictures, np.sqrt(expected), rtol=1e-6)


def test_gaps_show_the_other_side_of_the_beam() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:14, 5:20] = BAD
    detector = flat_detector((SIDE, SIDE), 1e-3, 0.5, 8.0, mask=mask)
    half = np.random.default_rng(0).poisson(20.0, (1, SIDE, SIDE))
    even = half + half[:, ::-1, ::-1]  # as Friedel has it
    whole = plan_pictures(flat_detector((SIDE, SIDE), 1e-3, 0.5, 8.0))(even)
    np.testing.assert_allclose(plan_pictures(detector)(even * (mask == 0)), whole, rtol=1e-6)


def test_modules_count_where_they_stand() -> None:
    flat = flat_detector((64, 64), 1e-3, 0.5, 8.0)
    photons = np.random.default_rng(1).poisson(2.0, (3, 64, 64))

    def cut(values: np.ndarray) -> np.ndarray:
        """Put the left half of the detector under the right one, as modules are stored."""
        return np.concatenate([values[..., 32:], values[..., :32]], axis=-2)

    places = (cut(getattr(flat, f"pixel_{axis}")) for axis in "xyz")
    modules = Detector(*places, mask=cut(flat.mask), wavelength=8.0, pixel_size=1e-3)
    np.testing.assert_allclose(
        plan_pictures(modules)(cut(photons)), plan_pictures(flat)(photons), rtol=1e-6
    )


def test_the_recipe_tells_detectors_apart() -> None:
    near = flat_detector((96, 96), 1e-3, 0.5, 8.0)
    far = flat_detector((96, 96), 1e-3, 0.7, 8.0)
    shifted = replace(near, pixel_x=near.pixel_x + 2e-5)
    recipe = plan_pictures(near).recipe
    assert recipe != plan_pictures(far).recipe
    assert recipe == plan_pictures(shifted).recipe
