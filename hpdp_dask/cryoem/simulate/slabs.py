"""The images of a simulation on disk: made in slabs, each written by its own task."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpdp_dask.cryoem.simulate.imaging import Microscope
from hpdp_dask.cryoem.simulate.truth import Truth
from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.futures import RETRIES, follow
from hpdp_dask.formats.mrc_header import HEADER_BYTES, new_header
from hpdp_dask.formats.writing import write_whole

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


class Statistics(NamedTuple):
    """Of the pixels of some images, for the header of their file."""

    least: float
    most: float
    total: float
    squares: float


def write_images(
    path: Path,
    microscope: Microscope,
    truth: Truth,
    *,
    client: Client | None,
    progress: Progress | None,
) -> None:
    """Make the images of particles and write them as an MRC stack, whole or not at all.

    Parameters
    ----------
    path : Path
    microscope : Microscope
    truth : Truth
        About all particles.
    client : distributed.Client or None
        Its workers write to the file, so they must see its folder. None: here.
    progress : Progress or None

    Raises
    ------
    InputError
        The disk is full, or the folder cannot be written to.
    """
    box = microscope.box
    size = HEADER_BYTES + 4 * len(truth) * box**2
    slabs = microscope.batches(len(truth))
    with (
        write_whole(path, size) as file,
        shown("simulate", len(truth), client=client, progress=progress) as advance,
    ):

        def done(slab: int) -> None:
            advance(slabs[slab].stop - slabs[slab].start)

        file.truncate(size)
        file.flush()
        hidden = Path(file.name)
        parts = [truth.rows(rows.start, rows.stop) for rows in slabs]
        found: list[Statistics] = []
        if client is None:
            for slab, part in enumerate(parts):
                found.append(_write_slab(part, slabs[slab].start, hidden, microscope))
                done(slab)
        else:
            run = f"simulate-{secrets.token_hex(4)}"
            futures = client.map(
                _write_slab,
                parts,
                [rows.start for rows in slabs],
                path=hidden,
                microscope=client.scatter(microscope, broadcast=True, hash=False),
                key=[f"{run}-{slab}" for slab in range(len(slabs))],
                pure=False,
                retries=RETRIES,
            )
            follow(client, list(futures), done, "simulate")
            found = client.gather(futures)
        least, most, total, squares = np.array(found).T
        pixels = len(truth) * box**2
        mean = total.sum() / pixels
        shape = (len(truth), box, box)
        header = new_header(shape, microscope.potential.pixel_size, np.float32, is_volume=False)
        header["dmin"], header["dmax"], header["dmean"] = least.min(), most.max(), mean
        header["rms"] = np.sqrt(max(squares.sum() / pixels - mean**2, 0.0))
        file.seek(0)
        file.write(header.tobytes())


def _write_slab(truth: Truth, first: int, path: Path, microscope: Microscope) -> Statistics:
    images = microscope.images(truth, first)
    with open(path, "r+b") as file:
        file.seek(HEADER_BYTES + first * images[0].nbytes)
        file.write(images.data)
    return Statistics(
        float(images.min()),
        float(images.max()),
        float(images.sum(dtype=np.float64)),
        float(np.square(images, dtype=np.float64).sum()),
    )
