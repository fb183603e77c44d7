"""Real-space lattice vectors of the spots of one image, whatever the cell.

Along a lattice vector `v` the spots lie on planes: `q · v` is a whole number for all of them
(Steller, Bolotovsky & Rossmann 1997, J. Appl. Cryst. 30, 1036). Projections of the spots on many
directions are Fourier transformed, and the strongest waves refined.
"""

from __future__ import annotations

import numba
import numpy as np
import scipy.fft

#: Lengths of lattice vectors, Å.
SHORTEST, LONGEST = 15.0, 300.0

#: Directions of a half sphere that are tried, and vectors that are refined.
_DIRECTIONS, _CANDIDATES = 12000, 160

#: Standard deviation of the spots across planes, in their distances: what lies on one plane or two,
#: as across the beam, lies on planes of any distance.
_PLANES = 0.6

#: Directions whose transforms are in memory together.
_BLOCK = 1000

#: Spots that say enough for a first search: those of larger d, in Å, if there are so many.
_COARSE, _ENOUGH, _MOST = 3.0, 150, 1500

#: Directions whose waves are refined are so far apart, in radian, or their lengths by a tenth.
_APART = 0.03

#: A spot so far from a whole number says nothing in a refinement, of so many turns; a vector that
#: changes by more, in Å, has become another.
_FAR, _TURNS, _JUMP = 0.3, 6, 5.0


def hemisphere(number: int) -> np.ndarray:
    """Give evenly spread directions of a half sphere: (number, 3), by Fibonacci's spiral."""
    place = np.arange(number) + 0.5
    z = place / number
    turn = np.pi * (1.0 + np.sqrt(5.0)) * place
    around = np.sqrt(1.0 - z * z)
    return np.stack([around * np.cos(turn), around * np.sin(turn), z], axis=1)


def lattice_vectors(q: np.ndarray, longest: float = LONGEST) -> tuple[np.ndarray, np.ndarray]:
    """Find vectors along which spots lie on planes.

    Parameters
    ----------
    q : (spots, 3) ndarray
        Scattering vectors, 1/Å.
    longest : float, optional
        Å.

    Returns
    -------
    vectors : (n, 3) ndarray
        Å, the best first, no two alike up to their sign.
    score : (n,) ndarray
        From 0 to 1 for planes without any spread.
    """
    length = np.sqrt((q**2).sum(axis=1))
    coarse = length < 1.0 / _COARSE
    used = q[coarse] if coarse.sum() >= _ENOUGH else q
    start = _strongest_waves(used[:_MOST].astype(np.float32), longest)
    vectors, score = _refine_vectors(used, start)
    vectors, score = _refine_vectors(q, vectors)
    size = np.sqrt((vectors**2).sum(axis=1))
    spread = (q @ vectors.T).std(axis=0)
    kept = np.flatnonzero((size >= SHORTEST) & (size <= longest) & (spread >= _PLANES))
    kept = kept[np.argsort(-score[kept], kind="stable")]
    return _distinct(vectors[kept], score[kept])


def _strongest_waves(q: np.ndarray, longest: float) -> np.ndarray:
    """Give the strongest waves of the projections of spots, one for each of the best directions."""
    directions = hemisphere(_DIRECTIONS).astype(np.float32)
    reach = float(np.sqrt((q**2).sum(axis=1).max()))
    step = 1.0 / (2.5 * longest)
    bins = scipy.fft.next_fast_len(int(2.0 * reach / step) + 2, real=True)
    first = int(np.ceil(SHORTEST * bins * step))
    last = int(longest * bins * step) + 1
    covariance = np.cov(q.T)
    size, amplitude = np.empty(_DIRECTIONS), np.empty(_DIRECTIONS)
    for start in range(0, _DIRECTIONS, _BLOCK):
        some = directions[start : start + _BLOCK]
        counts = np.zeros((len(some), bins), np.float32)
        _project(q, some, reach, step, counts)
        power = np.abs(scipy.fft.rfft(counts, axis=1))[:, first:last]
        # waves too long to be any
        spread = np.sqrt(np.einsum("ij,jk,ik->i", some, covariance, some))
        shortest = _PLANES / np.maximum(spread, 1e-9)
        power[np.arange(first, last) < shortest[:, None] * (bins * step)] = 0.0
        place = power.argmax(axis=1)
        size[start : start + _BLOCK] = (place + first) / (bins * step)
        amplitude[start : start + _BLOCK] = power[np.arange(len(some)), place]
    found = []
    for _ in range(_CANDIDATES):
        top = int(amplitude.argmax())
        if amplitude[top] <= 0.0:
            break
        found.append(directions[top].astype(np.float64) * size[top])
        near = np.abs(directions @ directions[top]) > np.cos(_APART)
        amplitude[near & (np.abs(size - size[top]) <= 0.1 * size[top])] = 0.0
    return np.reshape(found, (-1, 3))


@numba.njit(cache=True, nogil=True, fastmath=True)
def _project(q, directions, reach, step, counts):  # type: ignore[no-untyped-def]
    inverse = np.float32(1.0 / step)
    shift = np.float32(reach)
    for place in range(len(directions)):
        x, y, z = directions[place, 0], directions[place, 1], directions[place, 2]
        row = counts[place]
        for spot in range(len(q)):
            value = q[spot, 0] * x + q[spot, 1] * y + q[spot, 2] * z
            row[int((value + shift) * inverse)] += np.float32(1.0)


def _refine_vectors(q: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Refine vectors by least squares of `q · v + c` to whole numbers, and give their scores."""
    vectors, score = start.copy(), np.zeros(len(start))
    order = np.argsort((q**2).sum(axis=1), kind="stable")
    _refine(np.ascontiguousarray(q[order]), vectors, score)
    return vectors, score


@numba.njit(cache=True, nogil=True)
def _refine(q, vectors, score):  # type: ignore[no-untyped-def]
    spots = len(q)
    for place in range(len(vectors)):
        v = vectors[place].copy()
        # spots of small angle first: they tell the whole number however rough the vector is
        for turn in range(_TURNS):
            upto = min(spots, max(20, spots * (turn + 3) // (_TURNS + 1)))
            real = imaginary = 0.0
            for spot in range(upto):
                phase = 2.0 * np.pi * (q[spot, 0] * v[0] + q[spot, 1] * v[1] + q[spot, 2] * v[2])
                real += np.cos(phase)
                imaginary += np.sin(phase)
            offset = np.arctan2(imaginary, real) / (2.0 * np.pi)
            score[place] = np.sqrt(real * real + imaginary * imaginary) / upto
            normal = np.zeros((4, 4))
            right = np.zeros(4)
            line = np.ones(4)
            for spot in range(upto):
                line[0], line[1], line[2] = q[spot, 0], q[spot, 1], q[spot, 2]
                value = line[0] * v[0] + line[1] * v[1] + line[2] * v[2] - offset
                rest = np.round(value) - value
                if abs(rest) < _FAR:
                    # what is far off counts little
                    weight = (1.0 - (rest / _FAR) ** 2) ** 2
                    for one in range(4):
                        right[one] += weight * line[one] * rest
                        for two in range(4):
                            normal[one, two] += weight * line[one] * line[two]
            for one in range(4):
                normal[one, one] *= 1.0 + 1e-6
                normal[one, one] += 1e-12
            change = np.linalg.solve(normal, right)
            if np.sqrt((change[:3] ** 2).sum()) > _JUMP:
                break
            v += change[:3]
        vectors[place] = v


def _distinct(vectors: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out what is like a better vector, up to its sign."""
    kept: list[int] = []
    size = np.sqrt((vectors**2).sum(axis=1))
    for place in range(len(vectors)):
        chosen = vectors[kept]
        apart = np.minimum(
            np.sqrt(((chosen - vectors[place]) ** 2).sum(axis=1)),
            np.sqrt(((chosen + vectors[place]) ** 2).sum(axis=1)),
        )
        if not np.any(apart < 0.03 * size[place] + 0.5):
            kept.append(place)
    return vectors[kept], score[kept]
