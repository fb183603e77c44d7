"""Images that were chosen in the latent space, as a stack or a star file of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.cryoem.heterogeneity.table import (
    LATENT_COLUMN,
    PARTICLES_FILE,
    read_rows,
    stack_of,
    trained_input,
)
from hpdp_dask.cryoem.heterogeneity.volumes import read_latent
from hpdp_dask.cryoem.subset import keep_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.star_text import write_blocks
from hpdp_dask.stacks.store import check_output, open_stack

if TYPE_CHECKING:
    from hpdp_dask.dataflow.progress import Progress

#: What can be written, by the end of the name.
SUFFIXES = (".zarr", ".star")


def check_chosen(folder: Path, output: Path, stack: Path | None, overwrite: bool) -> None:
    """See that chosen images could be written, before anything is done.

    Raises
    ------
    InputError
        The name ends in something else than `SUFFIXES`, the output is there, has no folder to hold
        it or would harm the training or its stack, or the stack is gone.
    """
    if output.suffix not in SUFFIXES:
        raise InputError(
            f"{output}: the name must end in .zarr (a stack with the images) or .star (the "
            "particles alone, for other programs)."
        )
    if not os.path.isdir(output.absolute().parent):
        raise InputError(
            f"{output}: the folder {output.parent} to hold it does not exist; make it first."
        )
    _check_inputs_stay(folder, output, stack)
    if output.suffix == ".zarr":
        check_output(output, overwrite)
        stack_of(folder, stack)
    elif output.exists() and not (overwrite and output.is_file()):
        raise InputError(f"{output} exists; give another name, or --overwrite to replace a file.")


def _check_inputs_stay(folder: Path, output: Path, stack: Path | None) -> None:
    """Refuse an output that would take the place of an input, or be put into one."""
    # the stack of the record too: one that is given may be a copy of it
    stacks = [Path(trained_input(folder)["path"]), *([stack] if stack is not None else [])]
    target = output.resolve()
    for source in (folder / PARTICLES_FILE, folder, *stacks):
        if source.resolve().is_relative_to(target):
            raise InputError(
                f"{output}: replacing this would remove the input {source}; choose another name "
                "for the output."
            )
        if target.is_relative_to(source.resolve()):
            raise InputError(
                f"{output}: is inside the input {source}, which must stay as it is; choose another "
                "place for the output."
            )


def write_chosen(
    folder: Path,
    rows: np.ndarray,
    output: Path,
    chosen: str,
    *,
    stack: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write images that were chosen in the latent space.

    Parameters
    ----------
    folder : Path
        That `hpdp cryoem heterogeneity train` made.
    rows : (m,) ndarray of int
        Places in the stack, in order.
    output : Path
        `.zarr`: a stack, images copied as they are, with all variables and the half-sets. `.star`:
        the rows of `particles.star`. Both have the latent variables as columns `hpdpLatent1`, ...
    chosen : str
        What was chosen, for the stack's attribute `selected`.
    stack : Path, optional
        Where the stack is now, if it was moved.
    overwrite : bool, optional
    progress : Progress, optional
        Told of images.

    Raises
    ------
    InputError
        See `check_chosen`; or the disk is full.
    """
    check_chosen(folder, output, stack, overwrite)
    if output.suffix == ".star":
        blocks, name = read_rows(folder / PARTICLES_FILE)
        kept = {label: values[rows] for label, values in blocks[name].items()}
        write_blocks(output, {**blocks, name: kept})
        return
    z = read_latent(folder).astype(np.float64)
    keep_particles(
        open_stack(stack_of(folder, stack)),
        rows,
        output,
        f"{chosen} of {folder}",
        columns={f"{LATENT_COLUMN}{k}": z[:, k - 1] for k in range(1, z.shape[1] + 1)},
        overwrite=overwrite,
        progress=progress,
    )
