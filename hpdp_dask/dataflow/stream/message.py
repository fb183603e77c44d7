"""What a message of frames is, for who sends them and who receives them.

A message has two parts: a header in JSON and the numbers of one or more frames, bare. Nothing in
it is ever executed, whoever sent it. The header is an object of

`id`
    Whole number from 0: of the first frame; the others of the message follow. Whoever sends counts
    frames in their order; a frame that is sent again has the same number.
`shape`
    `[frames, y, x]`, or `[y, x]` for one frame.
`dtype`
    As NumPy writes it with its byte order: `"|u1"`, `"<u2"`, `"<u4"`, `"<i4"`, `"<f4"`. The second
    part is as long as shape and dtype say, in C order.
`columns`
    May be left out. What is known of each frame, a list of numbers under each name of the schema:
    `{"train_id": [17, 17], "pulse_id": [0, 4]}`.

A message of the header `{"end": true}` alone ends the stream. With PUB and SUB a topic may stand
in front as a part of its own.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from hpdp_dask.stacks.frame_schema import FRAME_VARIABLES

#: Kinds of numbers that frames may be of.
DTYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "i8", "u8", "f4", "f8")

#: Bytes of a header that are shown when it cannot be read.
_SHOWN = 200


class Frames(NamedTuple):
    """The frames of a message, or of a part of one."""

    ids: np.ndarray
    photons: np.ndarray
    columns: dict[str, np.ndarray]

    def take(self, rows: slice | np.ndarray) -> Frames:
        """Give some of them."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Frames(self.ids[rows], self.photons[rows], columns)

    @property
    def kind(self) -> tuple[Any, ...]:
        """Tell what must be equal for frames to be in one batch."""
        return self.photons.shape[1:], self.photons.dtype, tuple(self.columns)


def encode(first: int, photons: np.ndarray, **columns: np.ndarray) -> list[bytes]:
    """Make a message of frames, for programs that send them.

    Parameters
    ----------
    first : int
        Number of the first frame.
    photons : (n, y, x) ndarray
    **columns : (n,) ndarray

    Returns
    -------
    list of bytes
        For `zmq.Socket.send_multipart`.
    """
    header = {
        "id": int(first),
        "shape": list(photons.shape),
        "dtype": photons.dtype.str,
        "columns": {name: np.asarray(values).tolist() for name, values in columns.items()},
    }
    return [json.dumps(header).encode(), np.ascontiguousarray(photons).tobytes()]


def decode(parts: list[bytes]) -> Frames | None:
    """Read a message.

    Parameters
    ----------
    parts : list of bytes

    Returns
    -------
    Frames or None
        None: the message says that the stream ends.

    Raises
    ------
    ValueError
        It is not as it should be; says how.
    """
    if len(parts) not in (1, 2, 3):
        raise ValueError(f"a message of {len(parts)} parts, expected header and numbers")
    raw = parts[-2] if len(parts) > 1 else parts[0]
    try:
        header = json.loads(raw)
        assert isinstance(header, dict)
    except (ValueError, AssertionError):
        raise ValueError(f"a header that is no JSON object: {raw[:_SHOWN]!r}") from None
    if header.get("end") is True:
        return None
    if len(parts) == 1:
        raise ValueError(f"a message without numbers: {raw[:_SHOWN]!r}")
    first: Any = header.get("id")
    shape, kind = header.get("shape"), header.get("dtype")
    if not _whole([first]):
        raise ValueError(f"the id {first!r}, expected a whole number from 0")
    if not isinstance(shape, list) or len(shape) not in (2, 3) or not _whole(shape):
        raise ValueError(f"frames {first}: the shape {shape!r}, expected [frames, y, x]")
    if not isinstance(kind, str) or kind[1:] not in DTYPES or kind[0] not in "<>|":
        raise ValueError(f"frames {first}: the dtype {kind!r}, expected one as '<u2'")
    dtype = np.dtype(kind)
    full = (1, *shape) if len(shape) == 2 else tuple(shape)
    expected = int(np.prod(full, dtype=object)) * dtype.itemsize
    if len(parts[-1]) != expected or 0 in full:
        raise ValueError(f"frames {first}: {len(parts[-1])} bytes of numbers, expected {expected}")
    photons = np.frombuffer(parts[-1], dtype).reshape(full)
    columns = {}
    given = header.get("columns", {})
    for name, values in given.items() if isinstance(given, dict) else ():
        column = np.asarray(values)
        if name not in FRAME_VARIABLES or FRAME_VARIABLES[name].dims != ("frame",):
            raise ValueError(f"frames {first}: the column {name!r} is none of the schema")
        if column.shape != full[:1] or column.dtype.kind not in "iuf":
            raise ValueError(f"frames {first}: the column {name!r} is not {full[0]} numbers")
        columns[name] = column
    return Frames(np.arange(first, first + full[0], dtype=np.int64), photons, columns)


def _whole(numbers: list[Any]) -> bool:
    """Tell whether all are whole numbers from 0 that a frame's id may be."""
    return all(type(number) is int and 0 <= number < 2**62 for number in numbers)
