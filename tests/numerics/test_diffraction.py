"""Scattering vectors, solid angles and polarisation against their geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdp_dask.numerics.diffraction import (
    polarization_factor,
    scattering_vectors,
    solid_angles,
)

metres = st.floats(-0.4, 0.4)


def plane(size: int, pixel_size: float, distance: float) -> tuple[np.ndarray, ...]:
    edge = (np.arange(size) - (size - 1) / 2.0) * pixel_size
    y, x = np.meshgrid(edge, edge, indexing="ij")
    return x, y, np.full_like(x, distance)


@given(x=metres, y=metres, z=st.floats(0.05, 2.0), wavelength=st.floats(0.5, 20.0))
@settings(deadline=None)
def test_vectors_lie_on_the_ewald_sphere(x: float, y: float, z: float, wavelength: float) -> None:
    q = scattering_vectors(np.array([x]), np.array([y]), np.array([z]), wavelength)[:, 0]
    scattering_angle = np.arctan2(np.hypot(x, y), z)
    length = 2.0 * np.sin(scattering_angle / 2.0) / wavelength
    assert np.linalg.norm(q) == pytest.approx(length, rel=1e-9, abs=1e-12)
    # the sphere of radius 1 / wavelength through the origin, its centre upstream
    assert np.linalg.norm(q + np.array([0.0, 0.0, 1.0 / wavelength])) == pytest.approx(
        1.0 / wavelength
    )
    assert q[2] <= 0.0


def test_a_pixel_in_the_beam_has_no_scattering_vector() -> None:
    q = scattering_vectors(np.zeros(1), np.zeros(1), np.ones(1), 7.75)
    np.testing.assert_array_equal(q, np.zeros((3, 1)))


def test_the_shape_of_the_detector_is_kept_and_single_precision_is_lifted() -> None:
    x, y, z = (value.astype(np.float32) for value in plane(4, 6e-4, 0.5))
    q = scattering_vectors(x, y, z, 7.75)
    assert q.shape == (3, 4, 4)
    assert q.dtype == np.float64


def test_solid_angles_add_up_to_that_of_the_rectangle() -> None:
    """The solid angle of a square of edge 2a at a distance d is 4 asin(a² / (a² + d²))."""
    x, y, z = plane(400, 1e-3, 0.3)
    half = 0.2
    exact = 4.0 * np.arcsin(half**2 / (half**2 + 0.3**2))
    assert solid_angles(x, y, z, 1e-3).sum() == pytest.approx(exact, rel=1e-5)


@given(x=metres, y=metres, z=st.floats(0.05, 2.0))
@settings(deadline=None)
def test_unpolarised_light_is_the_mean_of_both_directions(x: float, y: float, z: float) -> None:
    place = np.array([x]), np.array([y]), np.array([z])
    both = [polarization_factor(*place, direction) for direction in ("x", "y")]
    np.testing.assert_allclose(polarization_factor(*place, "none"), np.mean(both, axis=0))


def test_nothing_is_scattered_along_the_field() -> None:
    along, across = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    np.testing.assert_allclose(polarization_factor(along, across, np.zeros(2), "x"), [0.0, 1.0])
    np.testing.assert_allclose(polarization_factor(along, across, np.zeros(2), "y"), [1.0, 0.0])


def test_another_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="not 'horizontal'"):
        polarization_factor(np.zeros(1), np.zeros(1), np.ones(1), "horizontal")
