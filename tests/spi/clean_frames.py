"""Frames with a known background and known hits, for tests of what cleans them."""

from dataclasses import dataclass

import numpy as np
from frame_stacks import make_frames

from hpdp_dask.stacks.frames import add_variables

SHAPE = (24, 32)


@dataclass
class Known:
    """What the frames were made of."""

    photons: np.ndarray
    background: np.ndarray
    scale: np.ndarray
    hit: np.ndarray
    columns: dict


def known_frames(*, number=600, share=0.3, level=0.3, brightness=10.0, trains=6, spread=0.2):
    """Draw frames: hits, and a background that differs by train and with pulse energy."""
    random = np.random.default_rng(7)
    y, x = np.indices(SHAPE)
    background = level * (0.3 + 1.4 * x / SHAPE[1] + 0.5 * np.exp(-(((y - 12) / 4) ** 2)))
    train = np.arange(number) * trains // number
    energy = np.clip(2e-3 * (1.0 + 0.1 * random.standard_normal(number)), 5e-4, None)
    of_train = 1.0 + spread * np.sin(train * 2.0)
    scale = of_train * energy / energy.mean()
    hit = random.random(number) < share
    radius = np.hypot(y - 11.6, x - 15.8)
    signal = brightness * np.exp(-radius / 8.0) * (1.1 + np.cos(radius))
    expected = scale[:, None, None] * background
    expected = (
        expected + (hit * random.exponential(1.0, number) + 0.3 * hit)[:, None, None] * signal
    )
    photons = random.poisson(expected).astype(np.uint16)
    columns = {"train_id": 1000 + train, "pulse_energy": energy}
    return Known(photons, background * scale[~hit].mean(), scale / scale[~hit].mean(), hit, columns)


def known_stack(path, known, *, columns=None, mask=None):
    """Store known frames in shards of 100."""
    given = known.columns if columns is None else columns
    return make_frames(path, known.photons, images_per_shard=100, columns=given, mask=mask)


def true_hits(path, known):
    """Tell a stack its hits."""
    columns = {"hit": known.hit.astype(np.uint8), "photon_count": known.photons.sum(axis=(1, 2))}
    add_variables(path, {name: (("frame",), values) for name, values in columns.items()})
