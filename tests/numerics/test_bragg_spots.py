"""Bragg spots, against the C program nanoBragg and against the sum over pixels."""

import numpy as np
import pytest

from hpdp_dask.numerics.bragg_spots import Beam, Crystal, Plane, StructureFactors, bragg_spots
from hpdp_dask.numerics.crystal_lattice import cell_vectors, reciprocal_vectors
from hpdp_dask.numerics.diffraction import ELECTRON_RADIUS
from hpdp_dask.numerics.rotations import random_rotations
from hpdp_dask.numerics.stamped_spots import spot_areas, stamp_spots

#: nanoBragg spreads orientations over a cap of its full width; so much of it is the standard
#: deviation about each axis.
MOSAIC = 0.496


@pytest.fixture(scope="module")
def golden(test_data):
    with np.load(test_data / "crystallography/nanobragg/nanobragg_c_golden.npz") as file:
        return dict(file)


def picture(golden, beam, mosaicity=0.0):
    """Simulate what the golden images show."""
    hkl = golden["hkl"].astype(int)
    most = np.abs(hkl).max(axis=0)
    table = np.zeros(2 * most + 1, np.float32)
    table[tuple((hkl + most).T)] = golden["F"] ** 2
    size = float(golden["pixel_mm"]) * 1e-3
    # nanoBragg counts from the corner of the first pixel
    origin = np.append((0.5 - golden["beam_xy"]) * size, float(golden["distance_mm"]) * 1e-3)
    plane = Plane(origin, np.array([size, 0, 0]), np.array([0, size, 0]), (384, 384))
    spots = bragg_spots(
        Crystal(golden["A_rows"], golden["Nabc"], mosaicity),
        StructureFactors(np.ones(2), 1.0, table=table),
        beam,
        plane,
        float(golden["fluence"]) * 1e-20,
        finest=1.2,
        faintest=1e-9,
    )
    image = np.zeros(plane.shape, np.float32)
    stamp_spots(image, spots, 1e-9)
    return image


def compare(image, wanted):
    ratio = image.sum(dtype=np.float64) / wanted.sum(dtype=np.float64)
    return np.corrcoef(image.ravel(), wanted.ravel())[0, 1], ratio


@pytest.mark.parametrize(
    ("name", "polarization", "mosaicity", "least"),
    [
        ("img_gauss_hkl", np.nan, 0.0, 0.9999),
        ("img_gauss_hkl_polar0.9", 0.9, 0.0, 0.9999),
        ("img_gauss_hkl_mos0.5_200dom", np.nan, 0.5, 0.998),
    ],
)
def test_is_what_nanobragg_simulates(golden, name, polarization, mosaicity, least):
    beam = Beam(float(golden["wavelength_A"]), polarization=polarization)
    image = picture(golden, beam, np.radians(MOSAIC * mosaicity))
    correlation, ratio = compare(image, golden[name])
    assert correlation >= least
    assert ratio == pytest.approx(1.0, abs=0.01)


def test_a_band_of_wavelengths_is_what_nanobragg_sums(golden):
    middle, wanted = float(golden["wavelength_A"]), golden["img_gauss_hkl_disp"]
    # one per cent in ten steps, as nanoBragg does
    lines = middle * (1.0 + 0.01 * np.linspace(-0.5, 0.5, 10))
    summed = sum(picture(golden, Beam(line, polarization=np.nan)) for line in lines) / 10.0
    correlation, ratio = compare(summed, wanted)
    assert correlation >= 0.9999
    assert ratio == pytest.approx(1.0, abs=0.01)
    # and a Gaussian of the same variance in one go, which is not quite the same band
    smooth = picture(golden, Beam(middle, bandwidth=0.01 / np.sqrt(12.0), polarization=np.nan))
    correlation, ratio = compare(smooth, wanted)
    assert correlation >= 0.9998
    assert ratio == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("name", "least", "most_off"), [("img_square", 0.985, 0.015), ("img_round", 0.98, 0.085)]
)
def test_other_crystal_shapes_are_nearly_gaussian(golden, name, least, most_off):
    image = picture(golden, Beam(float(golden["wavelength_A"]), polarization=np.nan))
    correlation, ratio = compare(image, golden[name])
    assert correlation >= least
    assert ratio == pytest.approx(1.0, abs=most_off)


def pixel_sum(crystal, factor, beam, plane, photons, most):
    """Add up the clouds of all reciprocal-lattice points at each pixel, one by one."""
    rows, columns = np.indices(plane.shape)
    place = plane.origin + columns[..., None] * plane.fast + rows[..., None] * plane.slow
    distance = np.linalg.norm(place, axis=-1)
    direction = place / distance[..., None]
    k = 1.0 / beam.wavelength
    q = k * (direction - np.array([0.0, 0.0, 1.0]))
    star = reciprocal_vectors(crystal.vectors)
    shape = 0.63 / 4.0 * (star.T / crystal.cells**2) @ star
    normal = np.cross(plane.fast, plane.slow) / plane.pixel_size**2
    angle = plane.pixel_size**2 * (direction @ normal) / distance**2
    total = np.zeros(plane.shape)
    across = np.eye(3) - np.diag([0.0, 0.0, 1.0])
    for index in np.ndindex(*(2 * most + 1,) * 3):
        g = (np.array(index) - most) @ star
        miss = np.linalg.norm(g + np.array([0.0, 0.0, k])) - k
        # far from the sphere nothing is to be added
        if not 0.0 < np.linalg.norm(g) < 1.0 / 3.0 or abs(miss) > 0.02:
            continue
        along = np.outer(g, g)
        cloud = shape + crystal.mosaicity**2 * (g @ g * np.eye(3) - along)
        cloud += (beam.divergence * k) ** 2 * across + beam.bandwidth**2 * along
        off = q - g
        height = np.sqrt(np.linalg.det(shape) / np.linalg.det(cloud))
        height *= np.exp(-crystal.b_factor * (g @ g) / 2.0)
        total += height * np.exp(-0.5 * np.einsum("yxi,ij,yxj->yx", off, np.linalg.inv(cloud), off))
    brightness = ELECTRON_RADIUS**2 * photons * np.prod(crystal.cells) ** 2
    return brightness * factor * angle * total


def test_is_the_sum_over_pixels_on_a_tilted_detector():
    cells = np.array([9.0, 8.0, 10.0])
    vectors = cell_vectors([30.0, 36.0, 33.0, 90.0, 100.0, 85.0]) @ random_rotations(1, 4)[0]
    crystal = Crystal(vectors, cells, np.radians(0.3), b_factor=20.0)
    beam = Beam(1.1, np.radians(0.05), 1e-3, polarization=np.nan)
    tilt = np.radians(8.0)
    fast = 4e-4 * np.array([np.cos(tilt), 0.0, np.sin(tilt)])
    slow = np.array([0.0, 4e-4, 0.0])
    plane = Plane(np.array([0.0, 0.0, 0.1]) - 40 * fast - 40 * slow, fast, slow, (81, 81))
    factors = StructureFactors(np.ones(2), 1.0, table=np.full((31, 31, 31), 100.0, np.float32))
    spots = bragg_spots(crystal, factors, beam, plane, 1e9, finest=3.0, faintest=1e-7)
    image = np.zeros(plane.shape, np.float32)
    stamp_spots(image, spots, 1e-7)
    wanted = pixel_sum(crystal, 100.0, beam, plane, 1e9, 14)
    correlation, ratio = compare(image, wanted)
    assert correlation >= 0.9995
    assert ratio == pytest.approx(1.0, abs=0.01)


def still(factors, **options):
    vectors = cell_vectors([60.0, 70.0, 80.0, 90.0, 95.0, 90.0]) @ random_rotations(1, 7)[0]
    crystal = Crystal(vectors, np.array([10.0, 10.0, 10.0]), np.radians(0.2))
    size = 2e-4
    plane = Plane(np.array([0, 0, 0.2]), np.array([size, 0, 0]), np.array([0, size, 0]), (500, 500))
    return bragg_spots(crystal, factors, Beam(1.0), plane, 1e7, finest=2.5, **options)


def test_wilsons_intensities_are_of_the_key_and_exponential():
    profile = np.full(4, 50.0)
    first = still(StructureFactors(profile, 0.1, key=1), faintest=0.0)
    again = still(StructureFactors(profile, 0.1, key=1), faintest=0.0)
    other = still(StructureFactors(profile, 0.1, key=2), faintest=0.0)
    even = still(
        StructureFactors(profile, 0.1, table=np.full((81,) * 3, 50.0, np.float32)), faintest=0.0
    )
    np.testing.assert_array_equal(first, again)
    assert len(even) == len(first) == len(other) > 300
    # the same places, whatever the intensities
    np.testing.assert_allclose(first[:, :5], even[:, :5])
    relative = first[:, 5] / even[:, 5]
    assert relative.mean() == pytest.approx(1.0, abs=0.2)
    assert relative.std() == pytest.approx(1.0, abs=0.25)
    assert abs(np.corrcoef(relative, other[:, 5] / even[:, 5])[0, 1]) < 0.15


def test_blur_and_parallax_keep_the_photons_and_widen_spots():
    factors = StructureFactors(np.full(4, 50.0), 0.1, key=1)
    sharp = still(factors, faintest=0.0)
    blurred = still(factors, faintest=0.0, blur=1.5, parallax=5e-4)
    before, after = (spots[:, 5] * spot_areas(spots) for spots in (sharp, blurred))
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert np.all(spot_areas(blurred) > spot_areas(sharp))


def test_stamps_hold_the_photons_of_their_spots():
    spots = np.array(
        [[50.2, 40.7, 0.3, 0.1, 0.2, 30.0, 2.0], [20.0, 70.4, 0.1, 0.0, 0.4, 5.0, 2.0]]
    )
    image = np.zeros((100, 100), np.float32)
    stamp_spots(image, spots, 1e-6)
    assert image.sum(dtype=np.float64) == pytest.approx(
        (spots[:, 5] * spot_areas(spots)).sum(), rel=1e-3
    )
    y, x = np.indices(image.shape)
    wanted = sum(
        peak * np.exp(-0.5 * (a * (x - cx) ** 2 + 2 * b * (x - cx) * (y - cy) + c * (y - cy) ** 2))
        for cx, cy, a, b, c, peak, _ in spots
    )
    np.testing.assert_allclose(image, wanted, atol=1e-5)


def test_cells_and_reciprocal_vectors_are_dual():
    vectors = cell_vectors([40.0, 52.0, 61.0, 80.0, 97.0, 100.0])
    np.testing.assert_allclose(vectors @ reciprocal_vectors(vectors).T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [40.0, 52.0, 61.0])
    cosine = vectors[1] @ vectors[2] / 52.0 / 61.0
    assert np.degrees(np.arccos(cosine)) == pytest.approx(80.0)
    with pytest.raises(ValueError, match="no cell"):
        cell_vectors([40.0, 50.0, 60.0, 10.0, 120.0, 100.0])
