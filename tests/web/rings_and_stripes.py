"""Frames for the tests of the label page: rings and stripes, with features that tell them apart."""

import numpy as np

from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.shard_writer import write_shard
from hpdp_dask.stacks.store import staging
from hpdp_dask.web.label_source import FramesInMemory

SIDE = 48


def make_frames(number=120, seed=0):
    """Give frames, what they are, and what is known of them."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    radius = np.hypot(x, y)
    truth = rng.choice(["single", "other"], number)
    frames = np.empty((number, SIDE, SIDE), np.uint16)
    for i, name in enumerate(truth):
        wave = np.cos(rng.uniform(0.7, 0.9) * (radius if name == "single" else x))
        frames[i] = rng.poisson(8 * np.exp(-radius / 8) * (1 + wave))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[22:26, 22:26] = 2
    frames[:, mask > 0] = 0
    features = np.stack(
        [(truth == "single") * 3.0, rng.normal(size=number), rng.normal(size=number)], axis=1
    ) + rng.normal(0, 0.5, (number, 3))
    columns = {
        "lit_pixels": np.sum(frames > 0, axis=(1, 2)),
        "hit": (rng.random(number) < 0.8).astype(np.int8),
        "train_id": 1000 + np.arange(number),
        "particle_size": rng.normal(600, 10, number).astype(np.float32),
    }
    return frames, truth, features, columns, mask


def frames_in_memory(number=120, **options):
    frames, truth, features, columns, mask = make_frames(number, **options)
    return FramesInMemory(frames, columns, features, mask, name="some frames"), truth


def stored_frames(path, number=60):
    """Write a stack of frames; what they are."""
    frames, truth, features, columns, mask = make_frames(number)
    detector = flat_detector((SIDE, SIDE), 1e-4, 0.5, 7.75, mask=mask)
    table = frame_table(detector, columns | {"features": features.astype(np.float32)})
    with staging(path) as staged:
        new_frames(staged, table, number, (SIDE, SIDE), np.uint16, images_per_shard=number)
        write_shard(staged, 0, [frames])
    return truth
