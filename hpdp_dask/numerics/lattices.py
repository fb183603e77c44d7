"""From lattice vectors to lattices, and how many of them the spots of an image are of."""

from __future__ import annotations

from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from hpdp_dask.numerics.lattice_search import lattice_vectors

#: How far all three indices of a spot may be from whole numbers, and in a refinement.
TOLERANCE, _NEAR = 0.15, 0.25

#: Vectors from which a cell is put together, and the flattest cell: volume over that of a box.
_VECTORS, _FLATTEST = 20, 0.15

#: Two vectors are the same if they differ by this share of their length.
_SAME = 0.03

#: A larger cell must index so many times the spots of a smaller one; cells that are tried.
_BETTER, _TRIES = 1.15, 10

#: Spots of a lattice at least: a number, a share of all spots, a share of those of the strongest
#: lattice, and standard deviations above what chance would index.
_FEWEST, _SHARE, _SHARE_OF_FIRST, _SIGMAS = 12, 0.10, 0.20, 6.0

#: Lengths of a turned cell may differ by so much of themselves, and its angles, in degrees.
_LENGTHS, _ANGLES = 0.04, 4.0

#: Degrees by which one crystal is turned against another; less is mosaicity.
_TURNED = 1.5

#: Lattices that are looked for.
_LATTICES = 4

_STEPS = (-1, 0, 1)


class Lattice(NamedTuple):
    """One orientation of a crystal.

    Attributes
    ----------
    vectors : (3, 3) ndarray
        Basis vectors in real space as rows, Å.
    offset : (3,) ndarray
        Of the indices: what is left of a beam that is not quite where the header says.
    indexed : (spots,) ndarray of bool
        Which of the spots it explains.
    """

    vectors: np.ndarray
    offset: np.ndarray
    indexed: np.ndarray

    @property
    def volume(self) -> float:
        """Give the volume of the cell, Å³."""
        return float(abs(np.linalg.det(self.vectors)))


def find_lattices(q: np.ndarray) -> list[Lattice]:
    """Find the lattices that the spots of an image are of.

    Parameters
    ----------
    q : (spots, 3) ndarray
        Scattering vectors, 1/Å, the strongest spots first.

    Returns
    -------
    list of Lattice
        Of one cell in several orientations, at least 1.5° apart, the one with the most spots
        first; empty if no cell is found.
    """
    if len(q) < _FEWEST:
        return []
    vectors, _ = lattice_vectors(q)
    first = _best_cell(q, vectors)
    if first is None:
        return []
    found = [first]
    left = ~first.indexed
    while len(found) < _LATTICES and left.sum() >= _least(q, found[0]):
        vectors, _ = lattice_vectors(q[left])
        turned = _turned_cell(q, left, vectors, found[0])
        if turned is None:
            break
        new = turned.indexed & left
        if new.sum() < _least(q, found[0]) or not _beyond_chance(new.sum(), left.sum()):
            break
        if all(misorientation(turned.vectors, other.vectors) > _TURNED for other in found):
            found.append(turned)
        left &= ~turned.indexed
    return found


def _least(q: np.ndarray, first: Lattice) -> float:
    return max(_FEWEST, _SHARE * len(q), _SHARE_OF_FIRST * first.indexed.sum())


def _beyond_chance(indexed: int, spots: int) -> bool:
    """Tell whether a lattice indexes more spots than any would index by chance."""
    share = (2.0 * TOLERANCE) ** 3
    expected = share * spots
    return bool(indexed > expected + _SIGMAS * np.sqrt(expected * (1.0 - share) + 1.0))


def index_spots(q: np.ndarray, vectors: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Tell which spots are of a lattice: (spots,) ndarray of bool."""
    place = q @ vectors.T + offset
    return np.asarray((np.abs(place - np.round(place)) < TOLERANCE).all(axis=1))


def refine_lattice(q: np.ndarray, vectors: np.ndarray, turns: int = 6) -> Lattice:
    """Refine a lattice by least squares of the indices to whole numbers.

    Parameters
    ----------
    q : (spots, 3) ndarray
        1/Å.
    vectors : (3, 3) ndarray
        As rows, Å.
    turns : int, optional

    Returns
    -------
    Lattice
    """
    lines = np.hstack([q, np.ones((len(q), 1))])
    order = np.argsort((q**2).sum(axis=1), kind="stable")
    offset = np.zeros(3)
    for turn in range(turns):
        # spots of small angle first: they tell the index however rough the lattice is
        some = order[: max(12, len(order) * (turn + 2) // (turns + 1))]
        place = q[some] @ vectors.T + offset
        rest = np.round(place) - place
        near = (np.abs(rest) < _NEAR).all(axis=1)
        if near.sum() < 8:
            break
        used = lines[some][near]
        change = np.linalg.lstsq(used, rest[near], rcond=None)[0]
        vectors, offset = vectors + change[:3].T, offset + change[3]
    return Lattice(vectors, offset, index_spots(q, vectors, offset))


def _best_cell(q: np.ndarray, vectors: np.ndarray) -> Lattice | None:
    """Put together the smallest cell that indexes most of what any indexes."""
    some = _generating(vectors)
    size = _sizes(some)
    place = q @ some.T
    # the phase that a beam off its place gives
    phase = np.angle(np.exp(2j * np.pi * place).mean(axis=0)) / (2.0 * np.pi)
    near = np.abs(place - phase - np.round(place - phase)) < TOLERANCE
    threes = np.array(list(combinations(range(len(some)), 3))).reshape(-1, 3)
    volume = np.abs(np.linalg.det(some[threes]))
    indexed = np.array([near[:, three].all(axis=1).sum() for three in threes])
    indexed[volume < _FLATTEST * size[threes].prod(axis=1)] = 0
    for _ in range(_TRIES):
        if not np.any(indexed >= max(_FEWEST, _SHARE * len(q))):
            break
        # as good as the best; of those the smallest; of these the best
        good = indexed * _BETTER >= indexed.max()
        small = good & (volume <= 1.3 * volume[good].min())
        chosen = int(np.where(small, indexed, 0).argmax())
        lattice = refine_lattice(q, reduced(some[threes[chosen]]))
        number = int(lattice.indexed.sum())
        # one that has grown or shrunk was none
        if 0.8 < lattice.volume / volume[chosen] < 1.25 and _beyond_chance(number, len(q)):
            return lattice
        indexed[chosen] = 0
    return None


def _generating(vectors: np.ndarray) -> np.ndarray:
    """Leave out vectors that are whole sums of two better ones: all that are in one plane."""
    kept = vectors[:2]
    for vector in vectors[2:]:
        one, two = np.triu_indices(len(kept), 1)
        pairs = np.stack([kept[one], kept[two]], axis=2)
        count = np.round(np.linalg.pinv(pairs) @ vector)
        rest = vector - (pairs @ count[:, :, None])[..., 0]
        if np.all((rest**2).sum(axis=1) > _SAME**2 * (vector @ vector)):
            kept = np.vstack([kept, vector])
        if len(kept) == _VECTORS:
            break
    return kept


def reduced(vectors: np.ndarray) -> np.ndarray:
    """Give the shortest basis of the lattice of three vectors, as rows, the shortest first."""
    basis = np.array(vectors, np.float64)
    while True:
        basis = basis[np.argsort((basis**2).sum(axis=1), kind="stable")]
        a, b, c = basis
        b = b - np.round(a @ b / (a @ a)) * a
        options = [c + i * a + j * b for i in _STEPS for j in _STEPS]
        # close to the plane of the first two, then at most one step of each away
        flat = np.linalg.lstsq(np.stack([a, b], axis=1), c, rcond=None)[0].round()
        options = [option - flat[0] * a - flat[1] * b for option in options]
        c = min(options, key=lambda option: float(option @ option))
        new = np.array([a, b, c])
        if (new**2).sum() >= (basis**2).sum() * (1.0 - 1e-9):
            return basis
        basis = new


def _turned_cell(
    q: np.ndarray, left: np.ndarray, vectors: np.ndarray, first: Lattice
) -> Lattice | None:
    """Find the cell of a lattice in another orientation, among vectors of what it left over."""
    rest = q[left]
    size, edges = _sizes(vectors), _sizes(first.vectors)
    alike = [np.flatnonzero(np.abs(size - edge) < _LENGTHS * edge) for edge in edges]
    best, turned = 0, None
    for one, two in combinations(range(3), 2):
        pair = first.vectors[[one, two]]
        for i, j, sign in product(alike[one], alike[two], (1.0, -1.0)):
            found = np.array([vectors[i], sign * vectors[j]])
            if i == j or abs(_angle(*found) - _angle(*pair)) > _ANGLES:
                continue
            tried = first.vectors @ _rotation(pair, found).T
            number = int(index_spots(rest, tried, np.zeros(3)).sum())
            if number > best:
                best, turned = number, tried
    if turned is None:
        return None
    refined = refine_lattice(rest, turned)
    if not 0.8 < refined.volume / first.volume < 1.25:
        return None
    return refined._replace(indexed=index_spots(q, refined.vectors, refined.offset))


def _sizes(vectors: np.ndarray) -> np.ndarray:
    """Give the lengths of rows."""
    return np.asarray(np.sqrt((vectors**2).sum(axis=1)))


def _angle(one: np.ndarray, two: np.ndarray) -> float:
    """Give the angle between two vectors, degrees."""
    cosine = one @ two / np.sqrt((one @ one) * (two @ two))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def misorientation(one: np.ndarray, two: np.ndarray) -> float:
    """Give the least angle that turns one lattice into another of the same cell, degrees.

    All bases of the second lattice with the edges of the first are tried, so that symmetry, seen
    or only of the lattice, does not count as a turn.

    Parameters
    ----------
    one, two : (3, 3) ndarray
        Basis vectors as rows, Å.

    Returns
    -------
    float
    """
    lattice = np.array(list(product(_STEPS, repeat=3))) @ two
    edges, metric = _sizes(one), one @ one.T
    allowed = 0.1 * np.outer(edges, edges)
    choices = [lattice[np.abs(_sizes(lattice) - edge) < _LENGTHS * edge] for edge in edges]
    least = 180.0
    for three in product(*choices):
        other = np.array(three)
        alike = np.all(np.abs(other @ other.T - metric) < allowed)
        if alike and np.linalg.det(other) * np.linalg.det(one) > 0.0:
            cosine = 0.5 * (np.trace(_rotation(one, other)) - 1.0)
            least = min(least, float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))))
    return least


def _rotation(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Give the rotation that takes vectors, as rows, to others as nearly as one can (Kabsch)."""
    u, _, v = np.linalg.svd(after.T @ before)
    return np.asarray(u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v)
