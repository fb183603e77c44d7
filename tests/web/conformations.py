"""A folder as `hpdp cryoem heterogeneity train` leaves it, with conformations that are known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from hpdp_dask.cryoem.export_particles import export_particles
from hpdp_dask.cryoem.heterogeneity.architecture import Architecture
from hpdp_dask.cryoem.heterogeneity.table import new_table
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.formats.particles import SourceTables
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images

NUMBER, BOX, PIXEL = 240, 24, 8.0


def blob(x, y, z, size=6.0):
    """Give a ball of density about a place, from the middle, in a box: [z, y, x]."""
    grid = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    return np.exp(-((grid[0] - z) ** 2 + (grid[1] - y) ** 2 + (grid[2] - x) ** 2) / size)


def conformations():
    """Give networks that add nothing to a linear model: an arm goes from one side to the other."""
    from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

    architecture = Architecture(BOX, 2, width=8, layers=1)
    network = HeterogeneityNetwork(architecture, [1.0, 1.0]).eval()
    mean = blob(0, 0, 0) + blob(4, 0, 0) + 0.5 * (blob(0, 5, 2) + blob(0, -5, 2))
    directions = np.stack([0.5 * (blob(0, 5, 2) - blob(0, -5, 2)), 0.2 * blob(0, 0, -5)])
    return Conformations(
        architecture,
        network,
        np.ones(BOX // 2 + 1, np.float32),
        mean.astype(np.float32),
        directions.astype(np.float32),
        PIXEL,
    )


def trained_folder(place: Path) -> Path:
    """Write a stack, `particles.zarr`, and the folder of a training of it; give the folder.

    Every third image is of the conformation at z1 = 1, the others of that at -1.
    """
    made = conformations()
    random = np.random.default_rng(3)
    is_open = np.arange(NUMBER) % 3 == 0
    z = random.normal(0.0, [0.08, 0.3], (NUMBER, 2))
    z[:, 0] += np.where(is_open, 1.0, -1.0)
    stack = place / "particles.zarr"
    table, images = simulate_particles(
        made.volume([0.0, 0.0]), NUMBER, BOX, pixel_size=PIXEL, snr=1.0, shift_sigma=10.0
    )
    new_stack(stack, to_dataset(table, 0), NUMBER, BOX)
    write_images(stack, 0, images)
    folder = place / "conformations"
    folder.mkdir()
    np.save(folder / "z.npy", z.astype(np.float32))
    np.save(folder / "z_width.npy", np.full(z.shape, 0.1, np.float32))
    source = SourceTables("relion-3.1", {f"hpdpLatent{k}": z[:, k - 1] for k in (1, 2)})
    rows = place / "rows.zarr"
    new_stack(rows, open_stack(stack).drop_vars("images"), NUMBER, None, source=source)
    export_particles(rows, folder / "particles.star", images=False)
    record = {
        "inputs": [{"path": str(stack), "sha256": "of no matter here"}],
        "results": {"networks": made.save(folder)},
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def analyse(folder: Path) -> pd.DataFrame:
    """Write the table of an analysis: a map that is turned, and the two groups."""
    table = new_table(folder)
    table["umap1"], table["umap2"] = table["z2"], -3.0 * table["z1"]
    table["cluster"] = (table["z1"] > 0).astype(np.int64)
    (folder / "analysis").mkdir()
    table.to_parquet(folder / "analysis" / "table.parquet")
    return table
