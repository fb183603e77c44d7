"""Columns of numbers and text in Zarr, and the tables of a source file made of them.

Text is Zarr v3's `string` type, the only one of its text types that is in the specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import zarr

from hpdp_dask.formats.particles import SourceTables

#: Rows of an inner chunk of a column, and inner chunks of a file.
ROWS_PER_CHUNK = 65_536
CHUNKS_PER_FILE = 16


def write_column(
    group: zarr.Group,
    name: str,
    values: np.ndarray,
    dims: Sequence[str],
    attributes: dict[str, Any] | None = None,
) -> None:
    """Write a column as an array of a group.

    Parameters
    ----------
    group : zarr.Group
    name : str
        Name of the array.
    values : (n, ...) ndarray, or a single number
        Numbers or `str` objects.
    dims : sequence of str
        Name of each axis of `values`.
    attributes : dict, optional
        Kept with the array.
    """
    text = values.dtype.kind in "OUT"
    number = values.size if values.ndim == 0 else len(values)
    rows = max(1, min(number, ROWS_PER_CHUNK))
    chunks = min(-(-number // rows), CHUNKS_PER_FILE)
    inner = tuple(max(1, length) for length in values.shape[1:])
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=str if text else values.dtype.newbyteorder("="),
        chunks=(rows, *inner)[: values.ndim],
        shards=(rows * chunks, *inner) if chunks > 1 else None,
        dimension_names=tuple(dims),
        attributes=attributes or {},
        # A column of zeros is data like any other: what is not there on disk is lost, not zero.
        config={"write_empty_chunks": True},
    )
    if values.size:
        array[...] = values


def read_column(array: zarr.Array) -> np.ndarray:
    """Read what `write_column` wrote: numbers or `str` objects."""
    values = np.asarray(array[...])
    return values.astype(object) if values.dtype.kind in "OUT" else values


def write_source(root: zarr.Group, source: SourceTables) -> None:
    """Write the tables of a source file into the group `source` of a stack.

    Parameters
    ----------
    root : zarr.Group
        The stack.
    source : SourceTables
        Its column names become array names with everything but letters, digits and `_.-~`
        percent-encoded (`blob/path` is `blob%2Fpath`); their order is the attribute `columns`.
        A block without a name is `%`.
    """
    group = root.create_group("source", attributes={"format": source.format})
    _write_table(group, "particles", source.particles, "particle")
    _write_table(group, "optics", source.optics, "source_optics")
    blocks = group.create_group("blocks", attributes={"blocks": list(source.blocks)})
    for name, table in source.blocks.items():
        _write_table(blocks, _encode(name), table, "row")


def read_source(path: str | Path) -> SourceTables | None:
    """Read the tables of the file that a stack came from.

    Parameters
    ----------
    path : str or Path
        The stack.

    Returns
    -------
    SourceTables or None
        None if the stack has none.
    """
    root = zarr.open_group(path, mode="r")
    if "source" not in root:
        return None
    group = _group(root, "source")
    blocks = _group(group, "blocks")
    return SourceTables(
        format=str(group.attrs["format"]),
        particles=_read_table(_group(group, "particles")),
        optics=_read_table(_group(group, "optics")),
        blocks={
            str(name): _read_table(_group(blocks, _encode(str(name))))
            for name in _listed(blocks, "blocks")
        },
    )


def _write_table(parent: zarr.Group, name: str, table: dict[str, np.ndarray], dim: str) -> None:
    group = parent.create_group(name, attributes={"columns": list(table)})
    for column, values in table.items():
        values = np.asarray(values)
        dims = (dim, *(f"component_{length}" for length in values.shape[1:]))
        write_column(group, _encode(column), values, dims)


def _read_table(group: zarr.Group) -> dict[str, np.ndarray]:
    table = {}
    for column in _listed(group, "columns"):
        array = group[_encode(column)]
        assert isinstance(array, zarr.Array)
        table[column] = read_column(array)
    return table


def _group(parent: zarr.Group, name: str) -> zarr.Group:
    group = parent[name]
    assert isinstance(group, zarr.Group)
    return group


def _listed(group: zarr.Group, attribute: str) -> list[str]:
    names = group.attrs[attribute]
    assert isinstance(names, list)
    return [str(name) for name in names]


def _encode(name: str) -> str:
    """Give a name that Zarr takes and that only `name` has."""
    encoded = quote(name, safe="")
    # Zarr wants a name, not one of dots alone, and not that of its own file
    if not encoded.strip(".") or encoded == "zarr.json":
        return encoded.replace(".", "%2E") or "%"
    return encoded.replace("__", "%5F%5F", 1) if encoded.startswith("__") else encoded
