"""Spots of stills as points in reciprocal space, for tests."""

import numpy as np
from scipy.spatial.transform import Rotation


def still_spots(
    vectors: np.ndarray,
    random: np.random.Generator,
    *,
    finest: float = 2.0,
    wavelength: float = 1.0,
    mosaicity: float = 0.002,
) -> np.ndarray:
    """Give the spots of a crystal on Ewald's sphere, (n, 3), 1/Å.

    Reflections are as thick as domains of some hundred Å and mosaicity (radian) make them, fewer
    of them are seen at larger angles, and their places are known to a third of a pixel or so.
    """
    most = np.ceil(np.sqrt((vectors**2).sum(axis=1)) / finest).astype(int)
    indices = np.stack(
        np.meshgrid(*[np.arange(-n, n + 1) for n in most], indexing="ij"), axis=-1
    ).reshape(-1, 3)
    q = indices @ np.linalg.inv(vectors).T
    length = np.sqrt((q**2).sum(axis=1))
    beam = np.array([0.0, 0.0, 1.0 / wavelength])
    off = np.sqrt(((q + beam) ** 2).sum(axis=1)) - beam[2]
    seen = random.random(len(q)) < 0.6 * np.exp(-3.0 * (length * finest) ** 2)
    seen &= (length > 0.02) & (length < 1.0 / finest)
    q = q[seen & (np.abs(off) < 8e-4 + mosaicity * length)]
    out = q + beam
    out *= beam[2] / np.sqrt((out**2).sum(axis=1))[:, None]
    return out - beam + random.normal(0.0, 3e-4, q.shape)


def random_cell(random: np.random.Generator) -> np.ndarray:
    """Give the cell of a protein in some orientation, basis vectors as rows, Å."""
    a, b, c = random.uniform(40, 90), random.uniform(40, 90), random.uniform(60, 200)
    alpha, beta, gamma = np.radians(
        [90.0 if random.random() < 0.6 else random.uniform(75, 110) for _ in range(3)]
    )
    x = np.cos(beta)
    y = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
    cell = np.array(
        [
            [a, 0.0, 0.0],
            [b * np.cos(gamma), b * np.sin(gamma), 0.0],
            [c * x, c * y, c * np.sqrt(1.0 - x * x - y * y)],
        ]
    )
    return cell @ Rotation.random(rng=random).as_matrix().T


def turned(vectors: np.ndarray, degrees: float, random: np.random.Generator) -> np.ndarray:
    """Turn a crystal by an angle about any axis."""
    axis = random.normal(size=3)
    rotation = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis))
    return vectors @ rotation.as_matrix().T


def false_spots(number: int, random: np.random.Generator) -> np.ndarray:
    """Give spots anywhere on Ewald's sphere of 1 Å, (n, 3)."""
    out = random.normal(size=(number, 3)) * [0.15, 0.15, 0.0] + np.array([0.0, 0.0, 1.0])
    return out / np.sqrt((out**2).sum(axis=1))[:, None] - np.array([0.0, 0.0, 1.0])
