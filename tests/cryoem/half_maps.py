"""Half-maps whose B-factor is known: points at random, blurred, with noise."""

from pathlib import Path

import numpy as np
import scipy.fft

from hpdp_dask.formats.mrc import write_map
from hpdp_dask.numerics.shells import shell_radii

BOX, PIXEL_SIZE, B_FACTOR = 64, 1.5, -120.0
EXTENT = BOX * PIXEL_SIZE


def filtered(volume: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Multiply a map's half transform."""
    transform = scipy.fft.rfftn(volume) * factors
    return scipy.fft.irfftn(transform, s=volume.shape).astype(np.float32)


def frequencies() -> np.ndarray:
    """1/Å of each sample of a half transform."""
    return shell_radii(BOX, 3) / EXTENT


def points() -> np.ndarray:
    """A specimen of points, whose amplitudes do not fall beyond 10 Å."""
    generator = np.random.default_rng(1)
    positions = generator.uniform(-18, 18, (4000, 3))
    positions = positions[np.linalg.norm(positions, axis=1) < 18]
    volume = np.zeros((BOX,) * 3, dtype=np.float32)
    np.add.at(volume, tuple(np.rint(positions.T).astype(int) + BOX // 2), 1.0)
    return volume


def write_half_maps(
    folder: Path, *, noise: float = 0.04, extra: np.ndarray | float = 1.0, seed: int = 2
) -> Path:
    """Write the points, blurred by the B-factor and `extra` factors, as two noisy half-maps."""
    folder.mkdir(exist_ok=True)
    signal = filtered(points(), np.exp(B_FACTOR / 4 * frequencies() ** 2) * extra)
    generator = np.random.default_rng(seed)
    for name in ("half1", "half2"):
        half = signal + generator.normal(0, noise, signal.shape)
        write_map(folder / f"{name}.mrc", half.astype(np.float32), PIXEL_SIZE)
    return folder
