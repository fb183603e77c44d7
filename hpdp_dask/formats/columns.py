"""Columns of particle tables: numbers checked, changes merged, rows grouped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hpdp_dask.errors import InputError

#: Numbers that agree to this relative difference are the same number: what a file says stays.
SAME = 1e-6


def read_numbers(columns: Mapping[str, np.ndarray], label: str, path: Path) -> np.ndarray:
    """Give a column as finite numbers.

    Parameters
    ----------
    columns : mapping of str to ndarray
        The table.
    label : str
        Its column.
    path : Path
        The file, for messages.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    InputError
        Names the column and the first row (from 1) that holds no finite number.
    """
    values = columns[label]
    if values.dtype == object:
        # what is no number at all becomes NaN, and is named below
        values = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy()
    numbers = values.astype(np.float64)
    bad = ~np.isfinite(numbers)
    if bad.any():
        row = int(np.argmax(bad.any(axis=tuple(range(1, bad.ndim)))))
        raise InputError(
            f"{path}: {label} of row {row + 1} is {columns[label][row]}, expected a finite number; "
            "mend or remove the row."
        )
    return numbers


def read_integers(columns: Mapping[str, np.ndarray], label: str, path: Path) -> np.ndarray:
    """Give a column as int64; `read_numbers` of whole numbers.

    Raises
    ------
    InputError
        Names the column and the first row (from 1) that holds no whole number.
    """
    numbers = read_numbers(columns, label, path)
    whole = numbers == np.rint(numbers)
    if not whole.all():
        row = int(np.argmin(whole))
        raise InputError(
            f"{path}: {label} of row {row + 1} is {columns[label][row]}, expected a whole number; "
            "mend or remove the row."
        )
    return numbers.astype(np.int64)


def merge_column(before: np.ndarray | None, after: np.ndarray) -> np.ndarray:
    """Put new values into a column of a file where they differ from the old ones.

    Parameters
    ----------
    before : ndarray or None
        As the file had it; None for a column that is new.
    after : ndarray
        What it shall say, in the unit of the file; NaN where that is not known.

    Returns
    -------
    ndarray
        `before`, in its dtype if that can hold the new values, with numbers replaced that differ
        by more than 1e-6 relative, and text that differs.
    """
    if before is None:
        return after
    if after.dtype == object or before.dtype == object:
        return np.where(before == after, before, after)
    unchanged = np.isclose(after, before, rtol=SAME, atol=0.0) | np.isnan(after)
    if unchanged.all():
        return before
    return np.where(unchanged, before, after)


def group_rows(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Group rows that agree in all columns.

    Parameters
    ----------
    columns : sequence of (n,) ndarray

    Returns
    -------
    first : (groups,) ndarray of int64
        The first row of each group; groups come in the order in which they first occur.
    group : (n,) ndarray of int64
        The group of each row.
    """
    table = pd.DataFrame(dict(enumerate(columns)))
    group = table.groupby(list(table.columns), sort=False, dropna=False).ngroup().to_numpy()
    return np.unique(group, return_index=True)[1], group
