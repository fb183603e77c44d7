"""What is known of each image after a training, in one table: a row an image, a column a number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.cryoem.heterogeneity.volumes import read_latent, read_points
from hpdp_dask.errors import InputError
from hpdp_dask.formats import star_labels
from hpdp_dask.formats.star_text import Columns, read_blocks
from hpdp_dask.numerics.latent_path import principal_axes
from hpdp_dask.stacks.layout import read_layout

if TYPE_CHECKING:
    import pandas as pd

#: What `hpdp cryoem heterogeneity analyze` writes, in the folder of a training.
ANALYSIS = "analysis"
TABLE_FILE = "table.parquet"

PARTICLES_FILE, _WIDTHS = "particles.star", "z_width.npy"

#: Columns of latent variables in a star file, with their number after it.
LATENT_COLUMN = "hpdpLatent"

#: Names of the columns of variables that are more than a number.
_PARTS = {
    "euler_angles": ("rot", "tilt", "psi"),
    "shift": ("shift_x", "shift_y"),
    "coordinate": ("coordinate_x", "coordinate_y"),
}

#: Columns of a star file that the table has under another name.
_TAKEN = {
    *(label for labels in star_labels.NUMBERS.values() for label in labels),
    *(star_labels.GROUP, star_labels.HALF_SET, star_labels.CLASS),
}


def read_table(folder: Path) -> pd.DataFrame:
    """Read the table of a training: as it was analysed, or what is known before that.

    Parameters
    ----------
    folder : Path
        That `hpdp cryoem heterogeneity train` made.

    Returns
    -------
    pandas.DataFrame
        A row for each image, in the order of the stack. `image` is its place there, from 0; `z1`,
        ... and `width1`, ... its latent variable and the standard deviation of the posterior;
        `pc1`, ... its principal components. Then what the particle has: `defocus_u` (Å),
        `rot` (degree), `micrograph`, `half_set` and others, by the names of the schema, and
        numbers that a star file came with. After `analyze` also `umap1`, `umap2`, `cluster` (from
        0), and `landscape1`, ..., `landscape_cluster`.

    Raises
    ------
    InputError
        The folder is none of a training, has no latent variable, or its files do not go together.
    """
    import pandas as pd

    analysed = folder / ANALYSIS / TABLE_FILE
    if not analysed.is_file():
        return new_table(folder)
    try:
        return pd.read_parquet(analysed)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{analysed}: cannot be read ({str(error).splitlines()[0]}); call hpdp cryoem "
            "heterogeneity analyze --overwrite."
        ) from error


def new_table(folder: Path) -> pd.DataFrame:
    """Make the table of a training that was not analysed; see `read_table`."""
    import pandas as pd

    if not (folder / "z.npy").is_file():
        raise InputError(
            f"{folder}: no z.npy, expected a folder that hpdp cryoem heterogeneity train made with "
            "a --zdim of 1 or more."
        )
    z = read_latent(folder)
    widths = read_points(folder / _WIDTHS)
    if widths.shape != z.shape:
        raise InputError(
            f"{folder / _WIDTHS}: its shape is {widths.shape}, that of z.npy {z.shape}; they are "
            "of different trainings, copy the whole folder again."
        )
    components = principal_axes(z)[0].astype(np.float32)
    columns: dict[str, Any] = {"image": np.arange(len(z))}
    for name, values in (("z", z), ("width", widths), ("pc", components)):
        columns |= {f"{name}{k}": values[:, k - 1] for k in range(1, z.shape[1] + 1)}
    return pd.DataFrame(columns | _particle_columns(folder / PARTICLES_FILE, len(z)))


def _particle_columns(path: Path, number: int) -> dict[str, Any]:
    import pandas as pd

    blocks, name = read_rows(path)
    rows = blocks[name]
    if len(rows[f"{LATENT_COLUMN}1"]) != number:
        raise InputError(
            f"{path}: has {len(rows[f'{LATENT_COLUMN}1']):,} particles, but z.npy {number:,} rows; "
            "they are of different trainings, copy the whole folder again."
        )
    columns: dict[str, Any] = {}
    for variable, labels in star_labels.NUMBERS.items():
        if all(label in rows for label in labels):
            parts = _PARTS.get(variable, (variable,))
            columns |= {part: rows[label] for part, label in zip(parts, labels, strict=True)}
    if star_labels.MICROGRAPH in rows:
        columns["micrograph"] = pd.Categorical(rows[star_labels.MICROGRAPH])
    if star_labels.CLASS in rows:
        columns["class_number"] = rows[star_labels.CLASS]
    if star_labels.HALF_SET in rows:
        columns["half_set"] = rows[star_labels.HALF_SET] - 1
    if star_labels.GROUP in rows:
        columns["optics_group"] = np.unique(rows[star_labels.GROUP], return_inverse=True)[1]
    others = {
        label: values
        for label, values in rows.items()
        if values.dtype != object and label not in _TAKEN and not label.startswith(LATENT_COLUMN)
    }
    return columns | others


def read_rows(path: Path) -> tuple[dict[str, Columns], str]:
    """Read the tables of a star file with latent variables, and which is that of the particles.

    Image names need not be in it, as `formats.star.read_particles` asks for: simulated stacks have
    none.

    Raises
    ------
    InputError
        It cannot be read, or has no latent variables.
    """
    blocks = read_blocks(path)
    for name, block in blocks.items():
        if f"{LATENT_COLUMN}1" in block:
            return blocks, name
    raise InputError(
        f"{path}: no table has the column {LATENT_COLUMN}1, expected what hpdp cryoem "
        "heterogeneity train wrote; copy the whole folder again."
    )


def stack_of(folder: Path, stack: Path | None = None) -> Path:
    """Find the stack that a training was of.

    Parameters
    ----------
    folder : Path
        That `hpdp cryoem heterogeneity train` made.
    stack : Path, optional
        Where it is now, if it was moved.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        It is not where it was, or has another number of particles.
    """
    recorded = trained_input(folder)["path"]
    path = Path(recorded) if stack is None else stack
    if not path.is_dir():
        raise InputError(
            f"{path}: there is no such stack."
            if stack is not None
            else f"{folder}: the stack that it was trained on, {path}, is not there any more; say "
            "with --stack where it is now."
        )
    number, trained = read_layout(path).number, len(read_latent(folder))
    if number != trained:
        raise InputError(
            f"{path}: has {number:,} particles, but {folder} was trained on {trained:,}; say with "
            "--stack where that stack is."
        )
    return path


def trained_input(folder: Path) -> dict[str, str]:
    """Give what `run.json` tells of the stack: its `path` and its digest, `sha256`."""
    path = folder / "run.json"
    try:
        first = json.loads(path.read_text(encoding="utf-8"))["inputs"][0]
        return {"path": str(first["path"]), "sha256": str(first["sha256"])}
    except (OSError, ValueError, LookupError, TypeError):
        raise InputError(
            f"{folder}: no folder that hpdp cryoem heterogeneity train made (run.json tells of no "
            "stack)."
        ) from None
