"""Features: the same whichever way a particle lies, and enough to tell particles apart."""

import numpy as np
import pytest
import xarray as xr
from diffraction_patterns import Patterns, small_detector
from test_size import stack_of

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import Detector, flat_detector
from hpdp_dask.spi.features import Features, compute_features, feature_names
from hpdp_dask.spi.size import SphereSize, find_sizes
from hpdp_dask.stacks.frames import add_variables, frame_table, open_frames


def features_of(photons, detector):
    measure = Features()
    block = xr.Dataset({"photons": (("frame", "y", "x"), photons)})
    return measure.measure(block, measure.prepare(frame_table(detector, {})))["features"]


def kinds(detector, number, photons, seed):
    """Single icosahedra, pairs of them, and rods: frames and names."""
    patterns = Patterns(detector, seed)
    frames, names = [], []
    for size in patterns.random.normal(600.0, 25.0, number):
        pair = [np.zeros(3), 1.02 * patterns.direction()]
        for name, intensity in (
            ("single", patterns.icosahedron(size)),
            ("pair", patterns.cluster(size, pair)),
            ("rod", patterns.rod(0.55 * size, 1.8 * size, patterns.direction())),
        ):
            flux = photons * patterns.random.gamma(2.0, 0.5) + 500
            frames.append(patterns.photons(intensity, flux, 0.1))
            names.append(name)
    return np.array(frames), np.array(names)


@pytest.fixture(scope="module")
def detector():
    return small_detector(128, 1.05e-3)


@pytest.fixture(scope="module")
def frames(detector):
    return kinds(detector, 20, 5000, seed=1)


def turned(detector, angle):
    """The same pixels with what they saw, the whole turned about the beam."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return Detector(
        cosine * detector.pixel_x - sine * detector.pixel_y,
        sine * detector.pixel_x + cosine * detector.pixel_y,
        detector.pixel_z,
        detector.mask,
        detector.wavelength,
        detector.pixel_size,
        "none",
    )


def test_they_do_not_depend_on_how_it_lies(frames):
    photons, _ = frames
    detector = small_detector(128, 1.05e-3, polarization="none")
    flat = features_of(photons, detector)
    spread = flat.std(axis=0)
    # by whole cells nothing changes but rounding; between them, pixels change their cells
    whole = features_of(photons, turned(detector, np.pi / 32 * 5))
    assert np.mean(np.abs(whole - flat) <= 1e-3 + 1e-3 * np.abs(flat)) > 0.99
    for angle in (0.3, 1.234, 2.9):
        off = np.abs(features_of(photons, turned(detector, angle)) - flat)
        assert np.median(off / np.maximum(spread, 1e-6)) < 0.05


def test_there_is_a_name_for_each_and_all_are_finite(frames, detector):
    photons, _ = frames
    photons = photons[:6].copy()
    photons[0] = 0
    photons[1] = 255
    photons[2] = 0
    photons[2, 30, 40] = 1
    found = features_of(photons, detector)
    assert found.shape == (6, len(feature_names()))
    assert len(set(feature_names())) == len(feature_names())
    assert np.all(np.isfinite(found))


@pytest.mark.parametrize("size", [120.0, 3000.0])
def test_rings_that_are_not_on_the_detector(detector, size):
    patterns = Patterns(detector, 4)
    frame = patterns.photons(patterns.sphere(size), 5000)
    assert np.all(np.isfinite(features_of(frame[None], detector)))


def test_anisotropy_is_where_it_should_be(detector):
    patterns = Patterns(detector, 5)
    round_, long = (
        np.array([patterns.photons(intensity, 20_000) for _ in range(8)])
        for intensity in (
            patterns.sphere(600.0),
            patterns.spheroid(510.0, 830.0, np.array([0.6, 0.8, 0.0])),
        )
    )
    names = list(feature_names())
    at = names.index("anisotropy_2_ring_2")
    assert np.all(features_of(round_, detector)[:, at] + 1.0 < features_of(long, detector)[:, at])


def test_particles_are_told_apart(detector, frames):
    """By the package's own classifier, from frames that it has not seen."""
    pytest.importorskip("sklearn")
    from hpdp_dask.spi.classify import train

    photons, names = frames
    model = train(features_of(photons, detector), names, seed=0)
    others, truth = kinds(detector, 20, 5000, seed=2)
    given, _ = model.predict(features_of(others, detector))
    assert np.mean(given[given != ""] == truth[given != ""]) > 0.97
    assert np.mean(given != "") > 0.85


def test_pr772_leave_one_out(test_data):
    """Labelled patterns of coliphage PR772 (LCLS), by the settings of the package."""
    pytest.importorskip("sklearn")
    from hpdp_dask.spi.classify import train

    with np.load(test_data / "spi" / "pr772" / "pr772_30_labelled.npz") as real:
        photons, labels, mask = real["patterns"], real["labels"], real["mask"]
    detector = flat_detector((128, 128), 0.6e-3, 0.586, 7.75, mask=2 * (mask > 0))
    features = features_of(photons, detector)
    labels = np.where(labels == 1, "single", "other")
    likeliest, accepted = np.empty(len(labels), object), np.empty(len(labels), object)
    for out in range(len(labels)):
        rest = np.arange(len(labels)) != out
        model = train(features[rest], labels[rest], seed=0)
        index, _, sure = model.decide(features[out : out + 1])
        likeliest[out] = model.classes[index[0]]
        accepted[out] = likeliest[out] if sure[0] else ""
    assert np.mean(likeliest == labels) >= 0.83
    assert np.mean(labels[accepted == "single"] == "single") >= 0.95
    assert np.mean(labels[accepted != ""] == accepted[accepted != ""]) >= 0.95
    assert np.sum(accepted == "single") >= 8


def test_sizes_come_along_unless_they_are_there(tmp_path, detector, frames):
    photons, _ = frames
    path = stack_of(tmp_path / "frames.zarr", photons[:20], detector)
    found = compute_features(path, history={"command": "test"})
    assert found == (20, len(feature_names()), False)
    stack = open_frames(path)
    assert stack["features"].shape == (20, len(feature_names()))
    assert stack["features"].dims == ("frame", "feature")
    assert stack.attrs["history"][-1]["recipe"] == Features().recipe
    np.testing.assert_allclose(np.exp(stack["features"][:, -3]), stack["particle_size"], rtol=1e-3)
    with pytest.raises(InputError, match="already"):
        compute_features(path)


def test_rings_follow_sizes_that_are_there(tmp_path, detector, frames):
    photons, _ = frames
    path = stack_of(tmp_path / "frames.zarr", photons[:20], detector)
    find_sizes(path, SphereSize())
    given = open_frames(path)["particle_size"].values
    assert compute_features(path).sized
    same = open_frames(path)["features"].values
    expected = features_of(photons[:20], detector)
    np.testing.assert_allclose(same, expected, atol=0.02, rtol=0.02)
    add_variables(
        path, {"particle_size": (("frame",), (1.3 * given).astype(np.float32))}, overwrite=True
    )
    compute_features(path, overwrite=True)
    other = open_frames(path)
    np.testing.assert_allclose(np.exp(other["features"][:, -3]), 1.3 * given, rtol=1e-3)
    assert not np.allclose(other["features"], same, atol=0.1)


def test_blocks_do_not_matter(detector, frames):
    photons, _ = frames
    whole = features_of(photons, detector)
    parts = np.concatenate([features_of(photons[i : i + 7], detector) for i in range(0, 60, 7)])
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-3)
