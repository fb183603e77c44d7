"""Unpacking of the byte-offset compression, in which CBF files keep counts.

Each number is kept as its difference from the one before: in one byte, or after the byte 0x80 in
two, or after 0x8000 in four, or after 0x80000000 in eight, little-endian and signed. Source:
CBFlib's manual, "Byte_offset compression".
"""

from __future__ import annotations

import numba
import numpy as np


def unpack_byte_offset(packed: np.ndarray, number: int) -> np.ndarray:
    """Unpack numbers.

    Parameters
    ----------
    packed : (m,) ndarray of uint8
    number : int
        How many numbers there are.

    Returns
    -------
    (number,) ndarray of int32

    Raises
    ------
    ValueError
        There are fewer or more numbers, or one that does not fit 32 bits.
    """
    numbers = np.empty(number, np.int32)
    used = _unpack(packed, numbers)
    if used != len(packed):
        raise ValueError(f"{number} numbers do not fill {len(packed)} bytes")
    return numbers


@numba.njit(cache=True, nogil=True)
def _unpack(packed: np.ndarray, numbers: np.ndarray) -> int:
    """Fill `numbers`; give the bytes that were used, or -1 where they do not make the numbers."""
    size = packed.size
    at = 0
    value = np.int64(0)
    for index in range(numbers.size):
        if at >= size:
            return -1
        if packed[at] != 0x80:
            value += np.int8(packed[at])
            at += 1
        else:
            at += 1
            # as many bytes as the mark before them says: itself is the smallest number of its size
            width = 2
            while True:
                if at + width > size:
                    return -1
                step = np.int64(np.int8(packed[at + width - 1]))
                for byte in range(width - 2, -1, -1):
                    step = (step << 8) | np.int64(packed[at + byte])
                at += width
                if width == 8 or step != -(np.int64(1) << (8 * width - 1)):
                    break
                width *= 2
            value += step
        if value < -2147483648 or value > 2147483647:
            return -1
        numbers[index] = value
    return at
