"""Amplitudes of bodies against quadrature, analytic limits, volumes and symmetry."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import j0, j1, jn_zeros

from hpdp_dask.numerics.form_factors import (
    ICOSAHEDRON_VOLUME,
    ball,
    icosahedron,
    rod,
    sphere,
    spheroid,
)
from hpdp_dask.numerics.rotations import random_rotations
from hpdp_dask.numerics.symmetry import point_group

#: The first root of tan x = x, where the amplitude of a sphere vanishes for the first time.
FIRST_ZERO_OF_A_SPHERE = 4.493409457909064


def directions(number: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(3, number))
    return vectors / np.linalg.norm(vectors, axis=0)


def nodes(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre's on [0, 1]."""
    place, weight = np.polynomial.legendre.leggauss(number)
    return (place + 1.0) / 2.0, weight / 2.0


def integrate(q: np.ndarray, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of exp(2 pi i q r) over (3, n) points."""
    return np.exp(2j * np.pi * (q.T @ points)) @ weights


def cylinder_points(diameter: float, length: float) -> tuple[np.ndarray, np.ndarray]:
    radius, of_radius = nodes(30)
    height, of_height = nodes(40)
    angle = 2.0 * np.pi * np.arange(64) / 64
    r, a, z = np.meshgrid(radius * diameter / 2.0, angle, (height - 0.5) * length, indexing="ij")
    weights = (
        (of_radius * r[:, 0, 0] * diameter / 2.0)[:, None, None]
        * np.full(64, 2.0 * np.pi / 64)[None, :, None]
        * (of_height * length)[None, None, :]
    )
    return np.stack([r * np.cos(a), r * np.sin(a), z]).reshape(3, -1), weights.ravel()


def icosahedron_points(diameter: float) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature over the 20 tetrahedra between the centre and the faces."""
    golden = (1.0 + 5.0**0.5) / 2.0
    corners = [(0.0, a, b * golden) for a in (1.0, -1.0) for b in (1.0, -1.0)]
    vertices = np.concatenate([np.roll(corners, turn, axis=1) for turn in range(3)])
    vertices *= diameter / 2.0 / np.linalg.norm(vertices[0])
    apart = np.linalg.norm(vertices[:, None] - vertices, axis=2)
    edge = apart[apart > 0].min()
    u, of_u = nodes(14)
    a, b, c = np.meshgrid(u, u, u, indexing="ij")
    # Duffy's map of the cube onto the tetrahedron
    weights = (of_u[:, None, None] * of_u[None, :, None] * of_u[None, None, :] * a**2 * b).ravel()
    barycentric = np.stack([a * (1.0 - b), a * b * (1.0 - c), a * b * c]).reshape(3, -1)
    points, volumes = [], []
    for face in combinations(range(12), 3):
        if all(apart[i, j] < 1.01 * edge for i, j in combinations(face, 2)):
            matrix = vertices[list(face)].T
            points.append(matrix @ barycentric)
            volumes.append(weights * abs(np.linalg.det(matrix)))
    assert len(points) == 20
    return np.concatenate(points, axis=1), np.concatenate(volumes)


def test_a_sphere_is_rayleighs_function() -> None:
    length = np.geomspace(1e-5, 0.5, 400)
    x = np.pi * 120.0 * length
    volume = np.pi / 6.0 * 120.0**3
    radius, weight = nodes(200)
    # the integral over shells of 4 pi r² sin(2 pi q r) / (2 pi q r)
    shells = 4.0 * np.pi * (60.0 * radius) ** 2 * np.sinc(2.0 * length[:, None] * 60.0 * radius)
    expected = shells @ (60.0 * weight)
    found = sphere(directions(400) * length, 120.0)
    np.testing.assert_allclose(found, expected, atol=1e-9 * volume)
    assert abs(ball(np.array([FIRST_ZERO_OF_A_SPHERE]))[0]) < 1e-15
    # the envelope of the maxima: 3 cos x / x²
    assert abs(found / volume)[x > 50].max() < 3.01 / 50**2


def test_the_series_of_a_sphere_joins_the_formula() -> None:
    x = np.array([0.5 - 1e-9, 0.5 + 1e-9])
    below, above = ball(x)
    assert below == pytest.approx(above, rel=1e-9)


@pytest.mark.parametrize("axis", [(0, 0, 1), (1, 0, 0), (2.0, -1.0, 0.5)])
def test_a_spheroid_is_a_stretched_sphere(axis: tuple[float, float, float]) -> None:
    q = directions(300) * np.linspace(0.0, 0.1, 300)
    unit = np.array(axis) / np.linalg.norm(axis)
    along = unit @ q
    stretched = q + np.outer(unit, along * (2.5 - 1.0))
    expected = 2.5 * sphere(stretched, 80.0)  # the body is 2.5 times as long along the axis
    np.testing.assert_allclose(spheroid(q, 80.0, 200.0, axis), expected, rtol=1e-9, atol=1e-3)


def test_a_spheroid_of_equal_diameters_is_a_sphere() -> None:
    q = directions(50) * 0.02
    np.testing.assert_allclose(spheroid(q, 100.0, 100.0), sphere(q, 100.0), rtol=1e-10)


def test_a_rod_against_quadrature() -> None:
    q = directions(40) * np.linspace(0.0, 0.04, 40)
    points, weights = cylinder_points(90.0, 260.0)
    expected = integrate(q, points, weights)
    np.testing.assert_allclose(rod(q, 90.0, 260.0), expected.real, atol=1e-7 * weights.sum())
    turned = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]).T @ q  # z becomes x
    np.testing.assert_allclose(
        rod(turned, 90.0, 260.0, (0, 1, 0)), expected.real, atol=1e-7 * weights.sum()
    )


def test_a_rod_along_and_across_its_axis() -> None:
    length = np.linspace(1e-4, 0.05, 200)
    zero = np.zeros_like(length)
    volume = np.pi / 4.0 * 80.0**2 * 300.0
    along = rod(np.stack([zero, zero, length]), 80.0, 300.0)
    np.testing.assert_allclose(along, volume * np.sinc(300.0 * length), atol=1e-9 * volume)
    x = np.pi * 80.0 * length
    across = rod(np.stack([length, zero, zero]), 80.0, 300.0)
    np.testing.assert_allclose(across, volume * 2.0 * j1(x) / x, atol=1e-9 * volume)
    # a disc's amplitude vanishes at the zeros of J1, and J1' = J0 - J1 / x there
    first = jn_zeros(1, 1)[0]
    assert rod(np.array([[first / np.pi / 80.0], [0.0], [0.0]]), 80.0, 300.0) == pytest.approx(
        [0.0], abs=1e-9 * volume
    )
    assert j0(first) < 0


def test_an_icosahedron_against_quadrature() -> None:
    q = directions(60) * np.linspace(0.0, 0.04, 60)  # up to 8 fringes
    points, weights = icosahedron_points(200.0)
    expected = integrate(q, points, weights)
    volume = weights.sum()
    assert volume == pytest.approx(ICOSAHEDRON_VOLUME * 200.0**3, rel=1e-12)
    np.testing.assert_allclose(expected.imag, 0.0, atol=1e-9 * volume)
    np.testing.assert_allclose(icosahedron(q, 200.0), expected.real, atol=1e-9 * volume)


def test_an_icosahedron_along_its_axes_and_close_by() -> None:
    """Where terms of the formula have no value of their own: along normals, edges, in planes."""
    points, weights = icosahedron_points(200.0)
    golden = (1.0 + 5.0**0.5) / 2.0
    axes = [(1, 1, 1), (0, 1, golden), (0, golden, 1), (1, 0, 0), (0, 1.0 / golden, golden)]
    for axis in axes:
        for off in (0.0, 1e-12, 1e-9, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
            q = np.array(axis)[:, None] / np.linalg.norm(axis) * np.array([1e-9, 0.01, 0.03])
            q = q + off * np.linalg.norm(q, axis=0) * np.array([[0.3], [-0.7], [0.5]])
            expected = integrate(q, points, weights).real
            np.testing.assert_allclose(
                icosahedron(q, 200.0), expected, atol=1e-9 * weights.sum(), err_msg=f"{axis} {off}"
            )


def test_an_icosahedron_has_its_symmetry() -> None:
    q = directions(50) * np.linspace(0.0, 0.03, 50)
    operators = point_group("I1")
    turned = np.einsum("gij,jn->ign", operators, q)
    amplitudes = icosahedron(turned, 300.0)
    np.testing.assert_allclose(
        amplitudes, np.broadcast_to(amplitudes[0], (60, 50)), atol=1e-9 * amplitudes.max()
    )


@given(
    diameter=st.floats(20.0, 3000.0),
    aspect=st.floats(0.1, 10.0),
    size=st.floats(0.0, 5e-2),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=50)
def test_no_amplitude_exceeds_the_volume_and_friedel_holds(
    diameter: float, aspect: float, size: float, seed: int
) -> None:
    q = size * directions(3, seed)
    for body, dimensions, volume in (
        (sphere, (diameter,), np.pi / 6.0 * diameter**3),
        (spheroid, (diameter, aspect * diameter), np.pi / 6.0 * aspect * diameter**3),
        (rod, (diameter, aspect * diameter), np.pi / 4.0 * aspect * diameter**3),
        (icosahedron, (diameter,), ICOSAHEDRON_VOLUME * diameter**3),
    ):
        here, zero, mate = (body(value, *dimensions) for value in (q, 0.0 * q, -q))
        assert zero == pytest.approx(np.full(3, volume), rel=1e-9)
        assert abs(here).max() <= volume * (1.0 + 1e-9)
        np.testing.assert_allclose(here, mate, atol=1e-9 * volume)


@pytest.mark.parametrize(
    ("body", "dimensions"),
    [
        (sphere, (600.0,)),
        (spheroid, (500.0, 800.0)),
        (rod, (300.0, 900.0)),
        (icosahedron, (700.0,)),
    ],
)
def test_single_precision_is_enough(body, dimensions) -> None:  # type: ignore[no-untyped-def]
    q = directions(20_000) * np.linspace(0.0, 0.03, 20_000)
    exact, rounded = body(q, *dimensions), body(q.astype(np.float32), *dimensions)
    assert rounded.dtype == np.float32
    length = np.linalg.norm(q, axis=0)
    # against the typical size of an amplitude there, that of a sphere's maxima
    typical = exact[0] / np.maximum(1.0, (np.pi * 600.0 * length) ** 2 / 3.0)
    assert (abs(rounded - exact) / typical).max() < 2e-3
    assert np.median(abs(rounded - exact) / typical) < 2e-5


def test_batches_of_orientations_and_sizes() -> None:
    q = directions(70) * 0.01
    matrices = random_rotations(4, 1)
    sizes = np.array([300.0, 400.0, 500.0, 600.0])
    turned = np.einsum("nij,ip->jnp", matrices, q)
    for body in (sphere, icosahedron):
        batch = body(turned, sizes[:, None])
        assert batch.shape == (4, 70)
        for matrix, size, row in zip(matrices, sizes, batch, strict=True):
            np.testing.assert_allclose(row, body(matrix.T @ q, size), rtol=1e-9, atol=1e-3)


@pytest.mark.gpu
def test_the_device_gives_the_same() -> None:
    cupy = pytest.importorskip("cupy")
    q = directions(1000) * 0.01
    for body, dimensions in (
        (sphere, (600.0,)),
        (spheroid, (500.0, 800.0)),
        (rod, (300.0, 900.0)),
        (icosahedron, (700.0,)),
    ):
        expected = body(q, *dimensions)
        found = body(cupy.asarray(q), *dimensions).get()
        np.testing.assert_allclose(found, expected, atol=1e-9 * abs(expected).max())
