"""Random and sequential reading of a stack: `ImageReader` against zarr-python's own call.

    python benchmarks/random_access.py [--number 4096] [--box 128] [--batch 64]

Prints images per second of each and their ratio, on a stack it makes in a temporary folder;
the page cache is warm. The random ratio is the reason why training reads through `take`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import xarray as xr
import zarr

from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import new_stack, write_images


def rate(read: Callable[[], int], seconds: float = 2.0) -> float:
    """Give the images per second of a call that reads some and says how many."""
    read()
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += read()
    return images / (time.perf_counter() - start)


def main() -> None:
    """Make a stack, read it both ways, print the rates and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=4096)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    number, box, batch = given.number, given.box, given.batch
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.zarr"
        table = xr.Dataset({"half_set": ("particle", np.arange(number) % 2)})
        new_stack(path, table, number, box)
        reader = ImageReader(path)
        for start in range(0, number, reader.images_per_shard):
            count = min(reader.images_per_shard, number - start)
            write_images(path, start, random.standard_normal((count, box, box), np.float32))
        array = zarr.open_array(path / "images", mode="r")

        def indices() -> np.ndarray:
            return random.integers(0, number, batch)

        block = min(1024, number)
        starts = iter(lambda: int(random.integers(0, number - block + 1)), -1)
        figures: dict[str, object] = {"box": box, "images at random, at once": batch}
        for kind, ours, theirs in (
            (
                "at random",
                lambda: len(reader.take(indices())),
                lambda: len(array.oindex[indices()]),
            ),
            (
                "in order",
                lambda: len(reader.read(s := next(starts), s + block)),
                lambda: len(array[(s := next(starts)) : s + block]),
            ),
        ):
            rates = rate(ours), rate(theirs)
            figures[f"{kind}, ImageReader, images/s"] = rates[0]
            figures[f"{kind}, zarr, images/s"] = rates[1]
            figures[f"{kind}, ratio"] = rates[0] / rates[1]
    common.record("random_access", figures)


if __name__ == "__main__":
    main()
