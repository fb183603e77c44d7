"""Frames in polar coordinates of reciprocal space: photons summed over rings of ``|q|`` and angles.

Each pixel belongs to one cell, by the place that it has in the laboratory, so that any layout of
modules with gaps is as good as a flat detector, and photons stay counts with Poisson's variance.
Beside the photons stands what a cell would count if every direction scattered alike: the sum of
its good pixels' shares of the solid angle. Gaps, beam stops and bad pixels are pixels without a
share.

At small angles a pattern looks the same from both sides (Friedel's law), and then a cell holds
the pixels of both: half the angles, twice the photons, and gaps that are filled from the other
side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from hpdp_dask.numerics.arrays import Array, csr_matrix, namespace


@dataclass(frozen=True)
class PolarCells:
    """Which cell each pixel is in, and what the cells are.

    Attributes
    ----------
    cell : (pixels,) ndarray of int32
        `ring * angles + angle` of each pixel, row by row; `rings * angles` of a pixel that
        counts nowhere.
    share : (pixels,) ndarray of float64
        What each pixel counts of an even illumination, 1 on average; 0 where it counts nowhere.
    edges : (rings + 1,) ndarray of float64
        Of the rings in ``|q|``, 1/Å, evenly spaced from 0.
    weight : (rings, angles) ndarray of float64
        Shares summed over the pixels of each cell.
    q : (pixels,) ndarray of float64
        ``|q|`` of each pixel, 1/Å; 0 where it counts nowhere.
    friedel : bool
        Angles go from 0 to pi instead of 2 pi, opposite pixels together.
    """

    cell: np.ndarray
    share: np.ndarray
    edges: np.ndarray
    weight: np.ndarray
    q: np.ndarray
    friedel: bool

    @property
    def rings(self) -> int:
        """Give the number of rings."""
        return int(self.weight.shape[0])

    @property
    def angles(self) -> int:
        """Give the number of angles in a ring."""
        return int(self.weight.shape[1])

    @property
    def width(self) -> float:
        """Give the width of a ring, 1/Å."""
        return float(self.edges[1] - self.edges[0])

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Sum values of pixels, a background for instance, over cells: (rings, angles) float64.

        Those of pixels without a share do not count.
        """
        good = np.where(self.share > 0.0, np.ravel(values), 0.0)
        total = np.bincount(self.cell, good, self.weight.size + 1)
        return total[:-1].reshape(self.weight.shape)


def polar_cells(
    q: np.ndarray,
    share: np.ndarray,
    *,
    angles: int = 32,
    width: float | None = None,
    friedel: bool = True,
) -> PolarCells:
    """Divide the pixels of a detector among rings and angles.

    Parameters
    ----------
    q : (3, y, x) ndarray
        Scattering vectors, `diffraction.scattering_vectors`, 1/Å.
    share : (y, x) ndarray
        What each pixel counts of an even illumination, in any unit: solid angle times
        polarisation. 0 for bad pixels.
    angles : int, optional
        In a ring: over half a turn with `friedel`, else over a whole one.
    width : float, optional
        Of a ring, 1/Å; by default the step from one pixel to the next.
    friedel : bool, optional
        Put opposite pixels together.

    Returns
    -------
    PolarCells
        Rings go from 0 to the outermost good pixel.

    Raises
    ------
    ValueError
        No pixel has a share.
    """
    share = np.ravel(np.asarray(share, np.float64))
    good = share > 0.0
    if not good.any():
        raise ValueError("no pixel counts")
    if width is None:
        width = _step(q)
    # pixels that do not count may be anywhere, or nowhere
    q = np.where(good, np.asarray(q, np.float64).reshape(3, -1), 0.0)
    length = np.sqrt(np.sum(q**2, axis=0))
    rings = int(length.max() / width) + 1
    around = np.arctan2(q[1], q[0]) / (np.pi if friedel else 2.0 * np.pi)
    place = np.minimum((around % 1.0 * angles).astype(np.int64), angles - 1)
    cell = (length / width).astype(np.int64) * angles + place
    cell[~good] = rings * angles
    share = np.where(good, share / share[good].mean(), 0.0)
    weight = np.bincount(cell, share, rings * angles + 1)[:-1]
    return PolarCells(
        cell=cell.astype(np.int32),
        share=share,
        edges=width * np.arange(rings + 1),
        weight=weight.reshape(rings, angles),
        q=length,
        friedel=friedel,
    )


def _step(q: np.ndarray) -> float:
    """Give the median distance in q between neighbours in a row or a column, 1/Å."""
    steps = (np.sqrt(np.sum(np.diff(q, axis=axis) ** 2, axis=0)).ravel() for axis in (1, 2))
    return float(np.nanmedian(np.concatenate([*steps])))


def gather(images: Array, cells: PolarCells) -> Array:
    """Sum the photons of frames over polar cells.

    Parameters
    ----------
    images : (n, y, x) array
        Photons; integers, or real numbers if something was subtracted.
    cells : PolarCells

    Returns
    -------
    (n, rings, angles) array of float32
        Exact below 2^24 photons in a cell.
    """
    xp = namespace(images)
    flat = images.reshape(len(images), -1)
    shape = (len(images), cells.rings, cells.angles)
    if xp is np:
        # small sums stay in the nearest cache; 32 bits hold those of a whole frame of 16
        kind = {"f": np.float64}.get(flat.dtype.kind, np.int64 if flat.itemsize > 2 else np.int32)
        out = np.empty((len(images), cells.weight.size), np.float32)
        total = np.empty(cells.weight.size + 1, kind)
        if flat.flags.c_contiguous and flat.shape[1] * flat.itemsize % 8 == 0:
            _gather_words(flat.view(np.uint64), flat, cells.cell, out, total)
        else:
            _gather(flat, cells.cell, out, total)
        return out.reshape(shape)
    pixel = xp.flatnonzero(xp.asarray(cells.share) > 0.0)
    ones = xp.ones(len(pixel), xp.float32)
    index = xp.asarray(cells.cell)[pixel]
    operator = csr_matrix(ones, index, pixel, (cells.weight.size, flat.shape[1]), xp)
    return (operator @ flat.T.astype(xp.float32)).T.reshape(shape)


_compiled = numba.njit(cache=True, nogil=True)


@_compiled
def _gather(images, cell, out, total):  # type: ignore[no-untyped-def]
    for i in range(len(images)):
        total[:] = 0
        for pixel in range(len(cell)):
            total[cell[pixel]] += images[i, pixel]
        for place in range(out.shape[1]):
            out[i, place] = total[place]


@_compiled
def _gather_words(words, images, cell, out, total):  # type: ignore[no-untyped-def]
    """Do the same, eight bytes at a time: where few photons are, most of these hold none."""
    pixels = images.shape[1] // words.shape[1]
    lit = np.empty(words.shape[1] + 1, np.int32)
    for i in range(len(images)):
        total[:] = 0
        number = 0
        for word in range(words.shape[1]):
            lit[number] = word  # without a branch, which nothing could predict
            number += np.int64(words[i, word] != 0)
        for word in lit[:number]:
            for pixel in range(word * pixels, (word + 1) * pixels):
                total[cell[pixel]] += images[i, pixel]
        for place in range(out.shape[1]):
            out[i, place] = total[place]
