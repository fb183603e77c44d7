"""Small stacks of frames with features of three classes, for classifiers."""

from pathlib import Path

import numpy as np
from frame_stacks import make_frames

from hpdp_dask.stacks.frames import add_variables

CLASSES = np.array(["double", "rod", "virus"])
RECIPE = {"kind": "features", "number": 8, "version": 1}


def make_labelled(path: Path, number: int = 120, seed: int = 0, recipe=RECIPE) -> np.ndarray:
    """Write frames with features, and give the class of each by name.

    A frame shows a disc whose size tells its class; its features are blobs.
    """
    rng = np.random.default_rng(seed)
    indices = rng.permutation(np.arange(number) % 3)
    y, x = np.mgrid[:20, :20] - 9.5
    disc = np.hypot(x, y) < (3.0 + 3.0 * indices)[:, None, None]
    make_frames(path, rng.poisson(4.0 * disc + 0.1).astype(np.uint8), images_per_shard=50)
    if recipe is not None:
        centers = np.random.default_rng(1).normal(0.0, 3.0, (3, recipe["number"]))
        features = centers[indices] + rng.normal(size=(number, recipe["number"]))
        columns = {"features": (("frame", "feature"), features.astype(np.float32))}
        add_variables(path, columns, history={"recipe": recipe})
    return CLASSES[indices]


def write_labels(path: Path, labels: np.ndarray, frames: np.ndarray) -> Path:
    """Write the labels of some frames as a table."""
    rows = [f"{frame},{labels[frame]}" for frame in frames.tolist()]
    path.write_text("\n".join(["frame,label", *rows]) + "\n")
    return path
