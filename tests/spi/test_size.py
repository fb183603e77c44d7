"""Sizes of the frames of a stack."""

import numpy as np
import pytest
import xarray as xr
from diffraction_patterns import Patterns, small_detector

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import Detector, flat_detector
from hpdp_dask.spi.size import SphereSize, SpheroidSize, find_sizes, size_measure
from hpdp_dask.stacks.frames import add_variables, frame_table, new_frames, open_frames
from hpdp_dask.stacks.store import staging, write_images

TRUE = np.geomspace(250.0, 1800.0, 12)


def stack_of(path, photons, detector, **columns):
    with staging(path) as folder:
        table = frame_table(detector, columns)
        new_frames(folder, table, len(photons), photons.shape[1:], photons.dtype)
        write_images(folder, 0, photons)
    return path


@pytest.fixture(scope="module")
def detector():
    return small_detector()


@pytest.fixture(scope="module")
def photons(detector):
    patterns = Patterns(detector, seed=2)
    return np.array([patterns.photons(patterns.sphere(size), 2000, 0.1) for size in TRUE])


@pytest.fixture
def stack(tmp_path, photons, detector):
    return stack_of(tmp_path / "frames.zarr", photons, detector)


@pytest.mark.parametrize("shape", ["sphere", "icosahedron", "spheroid"])
def test_sizes_are_added_to_the_stack(stack, shape):
    found = find_sizes(stack, size_measure(shape), history={"command": "test"})
    opened = open_frames(stack)
    np.testing.assert_allclose(opened["particle_size"], TRUE, rtol=0.05)
    assert found.number == 12
    assert found.sized > 8
    assert found.quartiles[1] == pytest.approx(np.median(TRUE), rel=0.3)
    assert opened["particle_size"].attrs["units"] == "Å"
    assert opened.attrs["history"][-1]["command"] == "test"
    if shape == "spheroid":
        assert np.all(opened["particle_elongation"] < 1.2)


def test_workers_find_the_same(stack, client):
    find_sizes(stack, SphereSize())
    inline = open_frames(stack)["particle_size"].values
    find_sizes(stack, SphereSize(), client=client, overwrite=True)
    np.testing.assert_array_equal(open_frames(stack)["particle_size"].values, inline)


def test_bad_pixels_and_those_for_merging_alone_do_not_count(detector, photons):
    hot = photons.copy()
    hot[:, 40, 50], hot[:, 100, 20] = 5000, 9000
    mask = detector.mask.copy()
    mask[40, 50], mask[100, 20] = 2, 1
    without = Detector(
        detector.pixel_x,
        detector.pixel_y,
        detector.pixel_z,
        mask,
        detector.wavelength,
        detector.pixel_size,
    )
    measure = SphereSize()
    block = xr.Dataset({"photons": (("frame", "y", "x"), hot)})
    found = measure.measure(block, measure.prepare(frame_table(without, {})))
    np.testing.assert_allclose(found["particle_size"], TRUE, rtol=0.05)


def test_the_beam_is_where_it_was_found(tmp_path, detector, photons):
    moved = flat_detector(
        detector.shape,
        detector.pixel_size,
        detector.distance,
        detector.wavelength,
        center=(70.0, 85.0),
        mask=detector.mask,
    )
    path = stack_of(tmp_path / "moved.zarr", photons, moved)
    beam = (79.5 - np.array([70.0, 85.0])) * detector.pixel_size
    add_variables(path, {"beam_center": (("axis",), beam)})
    find_sizes(path, SphereSize())
    np.testing.assert_allclose(open_frames(path)["particle_size"], TRUE, rtol=0.05)


def test_a_background_that_is_known_is_used(tmp_path, detector):
    patterns = Patterns(detector, seed=4)
    radius = np.hypot(detector.pixel_x, detector.pixel_y)
    halo = np.exp(-radius / 7e-3) * (patterns.share > 0)
    halo *= 3000 / halo.sum()
    frames = np.array(
        [
            patterns.photons(patterns.sphere(size), 3000) + patterns.random.poisson(halo)
            for size in TRUE
        ]
    ).astype(np.uint16)
    path = stack_of(tmp_path / "halo.zarr", frames, detector)
    find_sizes(path, SphereSize())
    before = open_frames(path)["size_score"].values
    add_variables(path, {"background": (("y", "x"), halo.astype(np.float32))})
    find_sizes(path, SphereSize(), overwrite=True)
    opened = open_frames(path)
    assert np.median(opened["size_score"]) > np.median(before) + 0.1
    assert np.median(np.abs(opened["particle_size"] / TRUE - 1.0)) < 0.01


def test_frames_without_photons_have_no_size(tmp_path, detector, photons):
    empty = photons.copy()
    empty[3] = 0
    path = stack_of(tmp_path / "empty.zarr", empty, detector)
    for measure in (SphereSize(), SpheroidSize()):
        find_sizes(path, measure, overwrite=True)
        opened = open_frames(path)
        np.testing.assert_array_equal(np.isnan(opened["particle_size"]), np.arange(12) == 3)
        assert opened["size_score"][3] == 0.0


@pytest.mark.parametrize(
    ("shape", "smallest", "largest", "words"),
    [
        ("cube", None, None, "sphere, icosahedron or spheroid"),
        ("sphere", 800.0, 300.0, "not below the largest"),
        ("sphere", -5.0, None, "above 0"),
        ("spheroid", None, float("nan"), "above 0"),
    ],
)
def test_options_that_cannot_be(shape, smallest, largest, words):
    with pytest.raises(InputError, match=words):
        size_measure(shape, smallest, largest)


def test_what_a_stack_must_have(tmp_path, detector, photons):
    blind = Detector(
        detector.pixel_x, detector.pixel_y, detector.pixel_z, detector.mask, float("nan"), 1e-3
    )
    with pytest.raises(InputError, match="wavelength"):
        find_sizes(stack_of(tmp_path / "blind.zarr", photons, blind), SphereSize())
    with pytest.raises(InputError, match="no sizes from 9000"):
        find_sizes(stack_of(tmp_path / "a.zarr", photons, detector), SphereSize(smallest=9000.0))
    dark = small_detector()
    dark.mask[:] = 2
    with pytest.raises(InputError, match="masked"):
        find_sizes(stack_of(tmp_path / "dark.zarr", photons, dark), SphereSize())


def test_pr772(test_data):
    """Coliphage PR772 (LCLS): single hits are of about 600 Å."""
    with np.load(test_data / "spi" / "pr772" / "pr772_30_labelled.npz") as real:
        photons, single, mask = real["patterns"], real["labels"] == 1, real["mask"]
    detector = flat_detector((128, 128), 0.6e-3, 0.586, 7.75, mask=2 * (mask > 0))
    block = xr.Dataset({"photons": (("frame", "y", "x"), photons)})
    found = {}
    for shape in ("sphere", "icosahedron", "spheroid"):
        measure = size_measure(shape)
        found[shape] = measure.measure(block, measure.prepare(frame_table(detector, {})))
        assert 580.0 < np.median(found[shape]["particle_size"][single]) < 620.0
    score = found["sphere"]["size_score"]
    assert np.mean(score[single][:, None] > score[~single]) > 0.85


def test_agipd_with_missing_modules(test_data):
    from hpdp_dask.formats.crystfel import read_geometry

    geometry = read_geometry(test_data / "spi" / "geometry" / "agipd_p008316_r0024_v04.geom")
    place = geometry.at(0.7)
    mask = place.mask.copy()
    for module in (3, 9):
        mask[512 * module : 512 * (module + 1)] = 2
    agipd = Detector(place.pixel_x, place.pixel_y, place.pixel_z, mask, 2.0, place.pixel_size)
    patterns = Patterns(agipd, seed=6)
    # the central maximum of the larger ones is where there is no detector
    true = [300.0, 600.0, 1300.0]
    frames = np.array([patterns.photons(patterns.sphere(size), 3000) for size in true])
    measure = SphereSize()
    block = xr.Dataset({"photons": (("frame", "y", "x"), frames.astype(np.uint8))})
    found = measure.measure(block, measure.prepare(frame_table(agipd, {})))
    np.testing.assert_allclose(found["particle_size"], true, rtol=0.01)
    assert np.all(found["size_score"] > 0.8)
