"""Small stacks of random images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hpdp_dask.stacks.store import new_stack, write_images

MakeStack = Callable[..., tuple[Path, np.ndarray]]


@pytest.fixture
def make_stack(tmp_path: Path) -> MakeStack:
    """Make a stack; gives its path and its images."""

    def make(
        number: int = 60, box: int = 8, images_per_shard: int = 5, name: str = "a.zarr"
    ) -> tuple[Path, np.ndarray]:
        path = tmp_path / name
        generator = np.random.default_rng(number)
        images = generator.standard_normal((number, box, box), dtype=np.float32)
        table = xr.Dataset(
            {
                "euler_angles": (("particle", "angle"), generator.uniform(0, 90, (number, 3))),
                "defocus_u": ("particle", np.arange(number, dtype=np.float64)),
                "optics_group": ("particle", np.zeros(number, np.int32)),
                "pixel_size": ("optics", np.array([1.5])),
                "micrograph_name": ("micrographs", np.array(["a.mrc", "b.mrc"], object)),
            },
            attrs={"kind": "particles"},
        )
        new_stack(path, table, number, box, images_per_shard=images_per_shard)
        for start in range(0, number, images_per_shard):
            write_images(path, start, images[start : start + images_per_shard])
        return path, images

    return make
