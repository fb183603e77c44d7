"""The text of STAR files: blocks of columns, read and written.

Two passes: the first goes through the lines, finds the tables and names the line that is wrong;
the second has pandas parse the rows, which by then are known to be of one length.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from hpdp_dask.errors import InputError
from hpdp_dask.formats.star_labels import IMAGE
from hpdp_dask.formats.writing import write_whole

#: A block: one array a column, under the label without its leading underscore.
Columns = dict[str, np.ndarray]

#: How RELION knows a file with a table of optics groups; it converts files without this line, so
#: one table of RELION 3.0 must not have it.
_VERSION = "# version 30001"

_ROWS_AT_A_TIME = 50_000

#: What every file of gzip begins with.
_GZIP = b"\x1f\x8b"

_FIELD = re.compile(r'"[^"]*"|\S+')


@dataclass
class _Block:
    """Where a block is in a file.

    Attributes
    ----------
    name : str
        After `data_`.
    labels : list of str
    in_loop : bool
        Rows follow the labels; else each label has its value on its line.
    first_line : int
        Of the rows, from 1.
    rows : int
    values : list of str
        Of a block without a loop, as written.
    comments : list of int
        Lines of comment between the rows, from 1.
    """

    name: str
    labels: list[str] = field(default_factory=list)
    in_loop: bool = False
    first_line: int = 0
    rows: int = 0
    values: list[str] = field(default_factory=list)
    comments: list[int] = field(default_factory=list)


def read_blocks(path: Path) -> dict[str, Columns]:
    """Read all blocks of a STAR file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to dict of str to ndarray
        By the name after `data_`, in the order of the file. Numbers are int64 or float64; a
        column that holds anything else, or that RELION uses for names, is of `str` (dtype
        object). A block without a loop is a table of one row.

    Raises
    ------
    InputError
        Missing, not text, no block, a block or a column twice, a row with the wrong number of
        fields: the line is named.
    """
    path = Path(path)
    blocks = {}
    for block in _find_blocks(path):
        if block.in_loop:
            with open(path, encoding="utf-8-sig") as file:
                for _ in range(block.first_line - 1):
                    next(file)
                blocks[block.name] = _parse(file, block)
        else:
            blocks[block.name] = _parse(io.StringIO(" ".join(block.values)), block)
    return blocks


def _find_blocks(path: Path) -> list[_Block]:
    """Go through the lines of a file and check that it is well-formed."""
    blocks: list[_Block] = []
    for number, text in _lines(path):
        block = blocks[-1] if blocks else None
        if text.startswith("#"):
            if block is not None and block.rows:
                block.comments.append(number)
        elif text.startswith("data_") and len(text.split()) == 1:
            if any(text[5:] == other.name for other in blocks):
                raise InputError(
                    f"{path}: line {number} begins the table {text} a second time; give each "
                    "table a name of its own."
                )
            blocks.append(_Block(text[5:]))
        elif block is not None and text.startswith("loop_") and not block.labels:
            block.in_loop = True
        elif block is not None and text.startswith("_") and not (block.in_loop and block.rows):
            label = text.split()[0][1:]
            if label in block.labels:
                raise InputError(
                    f"{path}: line {number} names the column {label} a second time; take one of "
                    "the two away."
                )
            block.labels.append(label)
            if not block.in_loop:
                block.values.append(_split_row(path, number, text, 2)[1])
                block.rows = 1
        elif block is not None and block.in_loop and block.labels:
            _split_row(path, number, text, len(block.labels))
            block.first_line = block.first_line or number
            block.rows += 1
        else:
            raise InputError(
                f"{path}: line {number} is outside any table; expected a STAR file: data_, loop_, "
                "the labels of the columns and rows."
            )
    if not blocks:
        raise InputError(f"{path}: holds no table; expected a STAR file with data_ and loop_.")
    for block in blocks:
        if not block.rows:
            raise InputError(
                f"{path}: the table data_{block.name} has no rows; expected loop_, the labels of "
                "the columns and rows."
            )
    return blocks


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give number and text of the lines that are not empty."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if text:
                    yield number, text
    except UnicodeDecodeError as error:
        if path.read_bytes()[:2] == _GZIP:
            raise InputError(
                f"{path}: is compressed with gzip, expected a STAR file; unpack it with gunzip."
            ) from error
        raise InputError(f"{path}: not a text file, expected a STAR file.") from error
    except IsADirectoryError as error:
        raise InputError(
            f"{path}: is a folder, expected a STAR file; name the file in it."
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _split_row(path: Path, number: int, text: str, expected: int) -> list[str]:
    """Split a line into its fields and check their number."""
    fields = _FIELD.findall(text) if '"' in text else text.split()
    if len(fields) != expected:
        raise InputError(
            f"{path}: line {number} has {len(fields)} fields, expected {expected}, one for each "
            "column; mend or remove the line."
        )
    return fields


def _parse(file: TextIO, block: _Block) -> Columns:
    """Parse the rows of a block, with the file at the first of them."""
    table = pd.read_csv(
        file,
        sep=r"\s+",
        header=None,
        names=block.labels,
        index_col=False,
        skiprows=[line - block.first_line for line in block.comments],
        nrows=block.rows,
        dtype={label: str for label in block.labels if is_name(label)},
        keep_default_na=False,
        na_values={label: ["nan", "-nan"] for label in block.labels if not is_name(label)},
        low_memory=False,
    )
    return {
        label: table[label].to_numpy()
        if table[label].dtype.kind in "if"
        else table[label].fillna("nan").astype(str).to_numpy(dtype=object)
        for label in block.labels
    }


def is_name(label: str) -> bool:
    """Tell whether RELION keeps names under a label, which stay text even if they are `1`, `2`."""
    return "Name" in label or label.endswith(("Image", "Path", "File", "Metadata", "Comment"))


def split_image_names(names: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Split names like `000001@folder/stack.mrcs`.

    Parameters
    ----------
    names : (n,) object ndarray of str
    path : Path
        The file that has them, for messages.

    Returns
    -------
    stacks : (n,) object ndarray of str
    indices : (n,) ndarray of int64
        Which image of its stack, from 0.

    Raises
    ------
    InputError
        Names the first row that is written otherwise.
    """
    parts = pd.Series(names, dtype=object).str.partition("@")
    numbers = pd.to_numeric(parts[0], errors="coerce").fillna(0).to_numpy()
    whole = (numbers >= 1) & (numbers < 2**53) & (numbers == np.floor(numbers))
    bad = ~(whole & (parts[2] != "").to_numpy())
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{path}: {IMAGE} of row {row + 1} is {names[row]}, expected the number of an image, "
            "from 1, and its stack, like 000001@particles.mrcs."
        )
    return parts[2].to_numpy(dtype=object), numbers.astype(np.int64) - 1


def write_blocks(path: Path, blocks: Mapping[str, Columns]) -> None:
    """Write blocks as a STAR file, each as a loop; as of version 3.1 if there is one `optics`.

    Parameters
    ----------
    path : Path
    blocks : mapping of str to dict of str to ndarray
        As `read_blocks` gives them, or with numbers of less precision. Numbers are written with
        the fewest digits that give the same number again.

    Raises
    ------
    InputError
        The disk is full, or the folder cannot be written to.
    """
    # about: twelve characters for each number
    size = sum(12 * len(block) * len(next(iter(block.values()))) for block in blocks.values())
    with write_whole(path, size) as file:
        for name, block in blocks.items():
            head = [_VERSION, ""] if "optics" in blocks else []
            head += [f"data_{name}", "", "loop_"]
            head += [f"_{label} #{number}" for number, label in enumerate(block, start=1)]
            file.write("\n".join(["", *head, ""]).encode())
            number = len(next(iter(block.values())))
            for start in range(0, number, _ROWS_AT_A_TIME):
                stop = start + _ROWS_AT_A_TIME
                columns = (_format(values[start:stop]) for values in block.values())
                file.writelines(
                    (" ".join(row) + "\n").encode() for row in zip(*columns, strict=True)
                )
            file.write(b"\n")


def _format(values: np.ndarray) -> list[str]:
    """Write the values of a column; text that is empty or has blanks in quotation marks."""
    if values.dtype == np.float32:
        return list(map(str, values))
    if values.dtype != object:
        return list(map(repr, values.tolist()))
    return [f'"{text}"' if not text or len(text.split()) != 1 else text for text in values]
