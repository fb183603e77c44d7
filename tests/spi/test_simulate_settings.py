"""Settings as people write them, and what they are told when they slip."""

from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.spi.simulate import (
    Background,
    Beam,
    Readout,
    Settings,
    Species,
    lcls_detector,
    read_settings,
    read_species,
    simulate_frames,
)
from hpdp_dask.spi.simulate.bodies import body_of


def test_words_for_a_species() -> None:
    assert read_species("icosahedron:size=600,spread=0.05,name=virus") == Species(
        "virus", "icosahedron", 600.0, spread=0.05
    )
    assert read_species(" rod: size = 300 , aspect=5, share=2 ") == Species(
        "rod", "rod", 300.0, aspect=5.0, share=2.0
    )
    assert read_species("model:file=a/4bed.pdb.gz") == Species(
        "4bed", "model", file=Path("a/4bed.pdb.gz")
    )


def test_nothing_said_is_a_day_at_lcls() -> None:
    species, settings = read_settings({}, "simulate")
    assert [each.name for each in species] == ["virus", "nanoparticle", "rod"]
    assert settings.number == 1000
    detector = settings.detector
    assert detector.shape == (128, 128)
    assert (detector.pixel_size, detector.distance, detector.wavelength) == (6e-4, 0.586, 7.75)
    assert set(settings.kinds) == {"single", "double", "aggregate", "droplet", "empty"}


def test_a_whole_file() -> None:
    species, settings = read_settings(
        {
            "number": 50,
            "seed": 3,
            "dead_pixels": 0.01,
            "separation": [1.5, 2],
            "species": ["sphere:size=400,name=ball", {"shape": "spheroid", "size": 500}],
            "kinds": {"single": 0.9, "empty": 0.1},
            "beam": {"fluence": 1e10, "shape": 0, "pulses_per_train": 20},
            "background": {"photons": 0.1, "streak": 0},
            "readout": {"gain": 80},
            "detector": {
                "shape": "64x96",
                "pixel_size": 1e-3,
                "distance": 1,
                "wavelength": 2,
                "center": [40, 30],
                "gap": 0,
                "beam_stop": 4,
                "polarization": "none",
            },
        },
        "settings.yaml",
    )
    assert species[1] == Species("spheroid", "spheroid", 500.0)
    assert settings.beam == Beam(fluence=1e10, shape=None, pulses_per_train=20)
    assert settings.background == Background(photons=0.1, streak=0.0)
    assert settings.readout == Readout(gain=80.0)
    assert (settings.number, settings.seed, settings.separation) == (50, 3, (1.5, 2.0))
    assert settings.kinds == {"single": 0.9, "empty": 0.1}
    detector = settings.detector
    assert detector.shape == (64, 96)
    assert detector.polarization == "none"
    assert np.hypot(detector.pixel_x, detector.pixel_y)[30, 40] == 0.0
    assert (detector.mask == 2).sum() < 20


def test_a_geometry_file(test_data: Path) -> None:
    file = test_data / "spi" / "geometry" / "agipd_p008316_r0024_v04.geom"
    _, settings = read_settings({"detector": {"geometry": str(file), "distance": 1.5}}, "s")
    assert settings.detector.shape == (8192, 128)
    assert settings.detector.wavelength == pytest.approx(12398.42 / 11699.0, rel=1e-6)
    assert settings.detector.distance == pytest.approx(1.5, abs=0.01)
    _, other = read_settings({"detector": {"geometry": str(file), "wavelength": 2}}, "s")
    assert other.detector.wavelength == 2.0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("cube:size=3", "the shape is 'cube', expected one of sphere"),
        ("sphere", "expected its size="),
        ("sphere:size=large", "size is 'large', expected a number"),
        ("sphere:size=-3", "the size -3.0, expected a positive number"),
        ("sphere:size", "'size' is no name with a value"),
        ("sphere:sise=3", "'sise' is not known; did you mean 'size'?"),
        ("sphere:size=3,aspect=2", "aspect, which is for a spheroid or a rod"),
        ("sphere:size=3,file=a.pdb", "neither file= nor assembly="),
        ("model:name=virus", "expected its file="),
        ("model:file=a.pdb,size=3", "neither size= nor spread="),
        ("sphere:size=3,spread=2", "a share of its size from 0 to 0.5"),
        ("sphere:size=3,name=empty", "'empty', expected a name that is none of"),
    ],
)
def test_bad_species(words: str, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        read_species(words)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"numbre": 3}, "s.yaml: 'numbre' is not known; did you mean 'number'?"),
        ({"number": 2.5}, "s.yaml: number is 2.5, expected a whole number"),
        ({"number": 0}, "number is 0, expected one frame or more"),
        ({"number": "many"}, "number is 'many', expected a number"),
        ({"seed": -1}, "seed is -1"),
        ({"dead_pixels": 1}, "dead_pixels is 1.0"),
        ({"separation": [2, 1]}, "separation is 2.0 to 1.0"),
        ({"separation": 3}, "separation is 3, expected two numbers"),
        ({"species": [3]}, "3 is no species"),
        ({"species": ["sphere:size=3", "sphere:size=4"]}, None),
        ({"kinds": {"triple": 1}}, "kinds: 'triple' is not known"),
        ({"kinds": {"single": 0}}, "kinds has no share above 0"),
        ({"kinds": {"single": -1}}, "-1.0 of single"),
        ({"kinds": 3}, "kinds is 3, expected names with their values"),
        ({"beam": {"photons": 3, "fluence": 4}}, "each sets the other"),
        ({"beam": {"photons": -3}}, "photons is -3.0, expected a positive number"),
        ({"beam": {"faintest": 2}}, "faintest is 2.0"),
        ({"beam": {"energy_spread": True}}, "energy_spread is True, expected a number"),
        ({"background": {"photons": -1}}, "photons of the background is -1.0"),
        ({"background": {"beam_line": 0.9, "streak": 0.3}}, "add up to 1 at most"),
        ({"readout": {"gain": 0}}, "gain is 0.0"),
        ({"readout": {"noise": -1}}, "noise is -1.0"),
        ({"detector": {"shape": "128"}}, "detector: shape is '128', expected two numbers"),
        ({"detector": {"shape": [0, 4]}}, "expected whole numbers from 1 on"),
        ({"detector": {"wavelength": 0}}, "wavelength is 0.0, expected a positive number"),
        ({"detector": {"polarization": "z"}}, "polarization is 'z', expected x, y or none"),
        ({"detector": {"beam_stop": 500}}, "all pixels of the detector are masked"),
        ({"detector": {"geometry": "a.geom", "shape": [3, 3]}}, "shape is for a flat detector"),
        ({"detector": {"geometry": "a.geom"}}, "a.geom"),
    ],
)
def test_bad_settings(told: dict, sentence: str | None) -> None:
    if sentence is None:  # what two readings may have in common is seen when they are used
        species, settings = read_settings(told, "s.yaml")
        with pytest.raises(InputError, match="2 species are called 'sphere'"):
            simulate_frames(species, settings)
        return
    with pytest.raises(InputError) as error:
        read_settings(told, "s.yaml")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_detector_without_a_wavelength() -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="wavelength of the detector is nan"):
        Settings(3, detector=replace(lcls_detector(), wavelength=float("nan")))


@pytest.mark.parametrize(
    ("shape", "aspect"),
    [("sphere", None), ("icosahedron", None), ("spheroid", 2.0), ("spheroid", 0.4), ("rod", 5.0)],
)
def test_the_size_is_that_of_the_sphere_of_equal_volume(shape: str, aspect: float | None) -> None:
    body = body_of(Species("body", shape, 300.0, aspect=aspect, density=0.5), np.zeros((3, 1)))
    volume = np.pi / 6.0 * 300.0**3
    assert body.amplitude(np.zeros((3, 1)), 300.0)[0] == pytest.approx(0.5 * volume, rel=1e-9)
    assert body.amplitude(np.zeros((3, 1)), 600.0)[0] == pytest.approx(4.0 * volume, rel=1e-9)
    # the circumscribed sphere is larger than that of equal volume, if it is no sphere
    assert body.reach >= 150.0 * (1.0 - 1e-9)
    if shape == "rod":
        # pi/4 d² L = pi/6 D³ with L = 5 d, and half the diagonal
        diameter = 300.0 * (2.0 / 15.0) ** (1.0 / 3.0)
        assert body.reach == pytest.approx(0.5 * diameter * np.sqrt(26.0))


def test_an_atomic_model_counts_its_electrons(test_data: Path) -> None:
    species = Species("2cex", "model", file=test_data / "spi" / "models" / "2cex_a.pdb.gz")
    q = np.zeros((3, 4), np.float32)
    body = body_of(species, q)
    electrons = body.amplitude(q, body.size)[0].real
    # 2362 atoms of 6 to 16 electrons
    assert 6.0 * 2362 < electrons < 8.0 * 2362
    assert body.size == pytest.approx((6.0 / np.pi * electrons / 0.43) ** (1.0 / 3.0), rel=1e-4)
    assert 36.0 < body.reach < 37.0
