"""Frames of spheres of two sizes, and dark ones, as a stack to replay."""

from pathlib import Path

import numpy as np

from hpdp_dask.formats.frames import Detector, flat_detector
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.store import staging, write_images

SHAPE = (48, 48)

#: Diameters, Å, of what is in the frames; 0 for nothing.
SIZES = {"small": 400.0, "large": 700.0, "dark": 0.0}
NAMES = tuple(SIZES)

#: Photons a pixel, and the lit pixels that hits have more of.
BACKGROUND, LEAST = 0.03, 140


def detector() -> Detector:
    return flat_detector(SHAPE, 1.6e-3, 0.586, 7.75)


def draw(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give photons, and the index of what is in each frame along NAMES."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, number, p=[0.4, 0.4, 0.2])
    here = detector()
    radius = np.hypot(here.pixel_x, here.pixel_y)
    q = 2 * np.sin(0.5 * np.arctan2(radius, here.distance)) / here.wavelength
    expected = np.zeros((3, *SHAPE))
    for index, size in enumerate(SIZES.values()):
        if size:
            x = np.maximum(np.pi * q * size, 1e-6)
            shape = (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2
            expected[index] = 6000 * shape / shape.sum()
    fluence = generator.gamma(16.0, 1 / 16, number)[:, None, None]
    return generator.poisson(expected[truth] * fluence + BACKGROUND).astype(np.uint16), truth


def make_stack(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a stack; gives photons and truth."""
    photons, truth = draw(number)
    with staging(path) as staged:
        new_frames(staged, frame_table(detector(), {}), number, SHAPE, np.uint16)
        write_images(staged, 0, photons)
    return photons, truth
