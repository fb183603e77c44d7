"""Scattering amplitudes of homogeneous bodies: sphere, spheroid, icosahedron, rod.

An amplitude is the Fourier transform of a body of density 1 with its centre at the origin,
`F(q) = integral over the body of exp(2 pi i q r) dr`, in Å³: the volume at q = 0. All bodies here
have a centre of inversion, so it is real. Times a density in electrons/Å³ it counts electrons.

Scattering vectors are in the frame of the body: those of the laboratory, turned. With `A` the
matrix from the body's frame to the laboratory's they are `einsum("ij,i...->j...", A, q)`.
Amplitudes come in the precision of the vectors.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from types import ModuleType
from typing import NamedTuple

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

from hpdp_dask.numerics.arrays import Array, namespace

#: Volume of a regular icosahedron over the cube of its diameter from vertex to vertex.
ICOSAHEDRON_VOLUME = (5.0 / 12.0) * (3.0 + 5.0**0.5) / (0.5 * (10.0 + 2.0 * 5.0**0.5) ** 0.5) ** 3

#: Vectors that a processor works on at once, so that what comes in between stays in its cache.
_BATCH = 2_048


def sphere(q: Array, diameter: Array) -> Array:
    """Give the amplitude of a sphere.

    Parameters
    ----------
    q : (3, ...) array of float
        Scattering vectors, 1/Å without 2 pi.
    diameter : array_like
        Å; broadcasts against the vectors.

    Returns
    -------
    (...) array of float
        Å³: `V 3 (sin x - x cos x) / x³` with `x = pi diameter |q|` (Rayleigh 1911).
    """
    xp = namespace(q)
    diameter = xp.asarray(diameter, dtype=q.dtype)
    return _volume_of_sphere(diameter**3) * ball(np.pi * diameter * _length(q))


def spheroid(q: Array, equatorial: Array, polar: Array, axis: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """Give the amplitude of an ellipsoid of revolution.

    Parameters
    ----------
    q : (3, ...) array of float
        Scattering vectors, 1/Å.
    equatorial, polar : array_like
        Diameters across and along the axis of revolution, Å; they broadcast against the vectors.
    axis : (3,) array_like, optional
        Of revolution, of any length.

    Returns
    -------
    (...) array of float
        Å³: that of the sphere which the spheroid becomes by a stretch along its axis.
    """
    xp = namespace(q)
    equatorial, polar = (xp.asarray(value, dtype=q.dtype) for value in (equatorial, polar))
    along, across = _split(q, axis)
    x = np.pi * xp.sqrt((equatorial * across) ** 2 + (polar * along) ** 2)
    return _volume_of_sphere(equatorial**2 * polar) * ball(x)


def rod(q: Array, diameter: Array, length: Array, axis: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """Give the amplitude of a cylinder with flat ends.

    Parameters
    ----------
    q : (3, ...) array of float
        Scattering vectors, 1/Å.
    diameter, length : array_like
        Å; they broadcast against the vectors.
    axis : (3,) array_like, optional
        Of the cylinder, of any length.

    Returns
    -------
    (...) array of float
        Å³: `V 2 J1(x) / x sinc(length q_along)`, `x = pi diameter q_across` (Fournet 1951).
    """
    xp = namespace(q)
    diameter, length = (xp.asarray(value, dtype=q.dtype) for value in (diameter, length))
    along, across = _split(q, axis)
    volume = (0.25 * np.pi) * diameter**2 * length
    return volume * _disc(np.pi * diameter * across) * xp.sinc(length * along)


def icosahedron(q: Array, diameter: Array) -> Array:
    """Give the amplitude of a regular icosahedron, exactly.

    It stands as RELION's group I1: twofold axes along x, y and z, a vertex at (0, 1, 1.618).

    Parameters
    ----------
    q : (3, ...) array of float
        Scattering vectors, 1/Å.
    diameter : array_like
        From vertex to opposite vertex, Å; broadcasts against the vectors.

    Returns
    -------
    (...) array of float
        Å³. Gauss' theorem takes the integral over the body to its faces and from there to their
        edges (Wuttke 2021, J. Appl. Cryst. 54, 580), which opposite ones share.
    """
    xp = namespace(q)
    diameter = xp.asarray(diameter, dtype=q.dtype)
    # k for a diameter of 1, which is all that the shape depends on
    k = xp.asarray(2.0 * np.pi, dtype=q.dtype) * diameter * q
    vectors = k.reshape(3, -1)
    solid = _icosahedron()
    projections = xp.asarray(solid.projections, dtype=q.dtype)
    unit = xp.empty(vectors.shape[1], dtype=q.dtype)
    step = _BATCH if xp is np else max(1, len(unit))
    for first in range(0, len(unit), step):
        batch = slice(first, first + step)
        unit[batch] = _unit_icosahedron(vectors[:, batch], projections, solid)
    return diameter**3 * unit.reshape(k.shape[1:])


def ball(x: Array) -> Array:
    """Give the amplitude of a sphere over its volume, `3 (sin x - x cos x) / x³`.

    Parameters
    ----------
    x : array of float
        `pi diameter |q|`.

    Returns
    -------
    array of float
        1 at 0. Near it by a series: the difference above loses all its digits there.
    """
    xp = namespace(x)
    square = x * x
    series = 1.0 - square / 10.0 * (
        1.0 - square / 28.0 * (1.0 - square / 54.0 * (1.0 - square / 88.0))
    )
    away = xp.maximum(x, 0.5)
    return xp.where(x < 0.5, series, 3.0 * (xp.sin(away) - away * xp.cos(away)) / away**3)


def _disc(x: Array) -> Array:
    """Give `2 J1(x) / x`, 1 at 0."""
    xp = namespace(x)
    away = xp.maximum(x, 1e-3)
    return xp.where(x < 1e-3, 1.0 - x * x / 8.0, 2.0 * _special_of(xp).j1(away) / away)


def _special_of(xp: ModuleType) -> ModuleType:
    if xp is np:
        return scipy.special
    import cupyx.scipy.special

    return cupyx.scipy.special


def _volume_of_sphere(cube: Array) -> Array:
    return (np.pi / 6.0) * cube


def _length(q: Array) -> Array:
    return namespace(q).sqrt((q * q).sum(axis=0))


def _split(q: Array, axis: ArrayLike) -> tuple[Array, Array]:
    """Give the parts of vectors along an axis, signed, and across it."""
    xp = namespace(q)
    unit = np.asarray(axis, dtype=np.float64)
    unit = unit / np.linalg.norm(unit)
    # across by the cross product: what is left of the square would lose digits along the axis
    x, y, z = (q.dtype.type(value) for value in unit)
    along = x * q[0] + y * q[1] + z * q[2]
    across = xp.sqrt(
        (y * q[2] - z * q[1]) ** 2 + (z * q[0] - x * q[2]) ** 2 + (x * q[1] - y * q[0]) ** 2
    )
    return along, across


class _Icosahedron(NamedTuple):
    """A regular icosahedron of diameter 1, one of each pair of opposite edges and faces."""

    projections: np.ndarray  # (70, 3): 15 half edges, 15 middles, 10 normals, 3 times 10 outwards
    edges: np.ndarray  # (3, 10): those of each face
    edge: float  # length
    face: float  # area
    height: float  # of a face above the centre


@lru_cache(maxsize=1)
def _icosahedron() -> _Icosahedron:
    golden = 0.5 * (1.0 + 5.0**0.5)
    upper = [(0.0, sign, golden) for sign in (1.0, -1.0)]
    axes = np.array([corner[turn:] + corner[:turn] for turn in range(3) for corner in upper])
    axes /= 2.0 * np.linalg.norm(axes[0])
    vertices = np.concatenate([axes, -axes])
    apart = np.linalg.norm(vertices[:, None] - vertices, axis=2)
    edge = float(apart[apart > 0.0].min())
    joined = np.isclose(apart, edge)

    # any two axes have one pair of opposite edges, between their nearer ends
    number_of = {pair: number for number, pair in enumerate(combinations(range(6), 2))}
    ends = [(a, b if joined[a, b] else b + 6) for a, b in number_of]
    halves = np.array([vertices[b] - vertices[a] for a, b in ends]) / 2.0
    middles = np.array([vertices[b] + vertices[a] for a, b in ends]) / 2.0

    centres, outwards, edges = [], [], []
    for face in combinations(range(12), 3):
        sides = list(combinations(face, 2))
        centre = vertices[list(face)].mean(axis=0)
        # of two opposite faces the one that points along x, or else along y, or z
        if all(joined[a, b] for a, b in sides) and tuple(np.round(centre, 6)) > (0.0, 0.0, 0.0):
            centres.append(centre)
            outwards.append([(vertices[a] + vertices[b]) / 2.0 - centre for a, b in sides])
            edges.append([number_of[a % 6, b % 6] for a, b in map(_by_axis, sides)])
    return _Icosahedron(
        projections=np.concatenate(
            [halves, middles, _directions(centres), *_directions(np.swapaxes(outwards, 0, 1))]
        ),
        edges=np.array(edges).T,
        edge=edge,
        face=0.25 * 3.0**0.5 * edge**2,
        height=float(np.linalg.norm(centres[0])),
    )


def _by_axis(side: tuple[int, int]) -> tuple[int, int]:
    a, b = sorted(side, key=lambda vertex: vertex % 6)
    return a, b


def _directions(vectors: ArrayLike) -> np.ndarray:
    array = np.asarray(vectors, dtype=np.float64)
    return np.asarray(array / np.linalg.norm(array, axis=-1, keepdims=True))


def _unit_icosahedron(k: Array, projections: Array, solid: _Icosahedron) -> Array:
    """Give the amplitude of an icosahedron of diameter 1 at (3, n) vectors `k`, 2 pi in them.

    The amplitude is the sum over faces of `k n / (i k²)` times the integral over the face, and
    that is the sum over its edges of `k m / (i κ²)` times the integral over the edge, with `n` and
    `m` the normals of face and edge, and `κ` the part of `k` in the plane of the face. Opposite
    faces differ in the sign of the phase alone.
    """
    xp = namespace(k)
    projected = projections @ k
    halves, middles = projected[:15], projected[15:30]
    normals, outwards = projected[30:40], projected[40:].reshape(3, 10, -1)
    across = xp.where(halves == 0, 1e-20, halves).astype(k.dtype, copy=False)
    waves = xp.sin(across) / across * xp.cos(middles)
    halves *= halves
    around, in_plane = xp.zeros_like(normals), xp.zeros_like(normals)
    for outward, edges in zip(outwards, solid.edges, strict=True):
        of_face = xp.asarray(edges)
        around += outward * waves[of_face]
        in_plane += halves[of_face]  # for a regular triangle 3 edge² κ² / 8; no digits are lost
    in_plane *= 8.0 / (3.0 * solid.edge**2)
    # along the normal of a face the sum over its edges vanishes with κ²: take its series there
    near = (0.1 if k.dtype.itemsize == 4 else 2e-3) / solid.edge
    faces = -solid.edge * around / xp.maximum(in_plane, near**2)
    flat = in_plane < near**2
    series = xp.sin(solid.height * normals) * (1.0 - in_plane * (solid.edge**2 / 48.0))
    faces = xp.where(flat, solid.face * series, faces)
    square = (k * k).sum(axis=0)
    total = 2.0 * (normals * faces).sum(axis=0) / xp.maximum(square, 1e-12)
    return xp.where(square < 1e-12, ICOSAHEDRON_VOLUME, total)
