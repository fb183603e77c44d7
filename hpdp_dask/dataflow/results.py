"""The results of single images, which the workers write, leaf by leaf."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpdp_dask.dataflow.leaves import Leaf
from hpdp_dask.formats.writing import write_whole

#: Columns with one row for each image; `image` is its place in the stack.
Rows = dict[str, np.ndarray]


def write_results(file: Path, blocks: Sequence[Rows]) -> None:
    """Write the results of the blocks of a leaf, whole or not at all.

    Parameters
    ----------
    file : Path
        Named as a leaf's accumulator, but with the suffix .npz.
    blocks : sequence of dict of arrays
        In order; none if no image of the leaf took part.
    """
    if not blocks:
        return
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    size = sum(column.nbytes for column in columns.values())
    with write_whole(file.with_suffix(".npz"), size) as stream:
        np.savez(stream, allow_pickle=False, **columns)


def read_results(folder: Path, images: np.ndarray) -> Rows:
    """Read the results of some images, all of which must be there.

    Parameters
    ----------
    folder : Path
    images : (n,) ndarray of int
        Their places in the stack, in order.
    """
    found = [
        _load(file)
        for file in _files(folder)
        if (span := Leaf.of_file(file)).start <= images[-1] and images[0] < span.stop
    ]
    columns = _join(found)
    at = np.searchsorted(columns["image"], images)
    return {name: column[at] for name, column in columns.items() if name != "image"}


def count_results(folder: Path) -> int:
    """Count the images that there are results of."""
    number = 0
    for file in _files(folder):
        with np.load(file, allow_pickle=False) as columns:
            number += len(columns["image"])
    return number


def gather(folder: Path) -> Rows:
    """Read all results in a folder, sorted by image."""
    return _join([_load(file) for file in _files(folder)])


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("leaf-*.npz"))


def _load(file: Path) -> Rows:
    with np.load(file, allow_pickle=False) as columns:
        return dict(columns)


def _join(parts: Sequence[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
