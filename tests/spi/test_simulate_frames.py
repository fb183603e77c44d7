"""Simulated stacks: the same however they are made, with a truth that is true."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from hpdp_dask.errors import InputError
from hpdp_dask.formats.crystfel import read_geometry
from hpdp_dask.spi.simulate import (
    Background,
    Beam,
    Readout,
    Settings,
    Species,
    lcls_detector,
    simulate,
    simulate_frames,
    stage,
    true_labels,
    with_shadows,
)
from hpdp_dask.spi.simulate.arrangement import Placed, aggregate
from hpdp_dask.stacks.frames import open_frames

KINDS = {"single": 0.5, "double": 0.2, "aggregate": 0.1, "droplet": 0.1, "empty": 0.1}
SPECIES = [
    Species("virus", "icosahedron", 600.0, spread=0.03),
    Species("rod", "rod", 400.0, aspect=3.0),
]


def settings(number: int, size: int = 24, **more) -> Settings:
    return Settings(number, detector=lcls_detector((size, size)), **({"kinds": KINDS} | more))


def content(path: Path) -> xr.Dataset:
    return open_frames(path).load()


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


def test_frames_do_not_depend_on_where_they_are_made(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(90, seed=5, dead_pixels=0.01)
    in_memory = simulate_frames(SPECIES, wanted)
    for shards in (1, 2, 7):
        monkeypatch.setattr(stage, "_FEWEST_SHARDS", shards)
        monkeypatch.setattr(stage, "CHUNK_BYTES", 1)
        for place, where in (("here", None), ("cluster", client)):
            path = tmp_path / f"{place}_{shards}.zarr"
            simulate(SPECIES, wanted, path, client=where)
            assert len(list((path / "photons" / "c").iterdir())) == shards
            same(content(path), in_memory)


def test_a_frame_depends_on_its_number_and_the_seed_alone() -> None:
    few, many, other = (
        simulate_frames(SPECIES, settings(number, seed=seed))
        for number, seed in ((20, 1), (50, 1), (20, 2))
    )
    truth = [name for name in few if name.startswith("true_") and "frame" in few[name].dims]
    for name in ("photons", *truth):
        np.testing.assert_array_equal(few[name], many[name][:20], err_msg=name)
    assert (few["photons"] != other["photons"]).any(("y", "x")).all()


def test_a_change_of_one_choice_leaves_the_others() -> None:
    plain = simulate_frames(SPECIES, settings(40))
    brighter = simulate_frames(SPECIES, settings(40, beam=Beam(photons=30_000.0)))
    for name in ("true_kind", "true_class", "true_size", "true_quaternion", "true_separation"):
        np.testing.assert_array_equal(plain[name].values, brighter[name].values)
    np.testing.assert_allclose(
        brighter["true_fluence"].values, 3.0 * plain["true_fluence"].values, rtol=1e-6
    )


def test_the_truth() -> None:
    stack = simulate_frames(SPECIES, settings(3000, size=12, seed=3))
    kind = stack["true_kind"].values
    for name, share in KINDS.items():
        assert np.mean(kind == name) == pytest.approx(share, abs=0.035)
    of_species = stack["true_class"].values
    assert (of_species[(kind == "droplet") | (kind == "empty")] == -1).all()
    assert set(of_species[kind == "single"]) == {0, 1}
    assert list(stack["true_class_name"].values) == ["virus", "rod"]
    size = stack["true_size"].values
    virus = size[of_species == 0]
    assert virus.mean() == pytest.approx(600.0, rel=0.005)
    assert virus.std() == pytest.approx(18.0, rel=0.1)
    assert (size[of_species == 1] == 400.0).all()
    assert np.isnan(size[kind == "empty"]).all()
    members = stack["true_members"].values
    for name, counts in {"single": {1}, "double": {2}, "empty": {0}, "droplet": {1}}.items():
        assert set(members[kind == name]) == counts
    assert set(members[kind == "aggregate"]) == set(range(3, 9))
    assert (np.isfinite(stack["true_separation"].values) == (kind == "double")).all()
    filled = stack["true_quaternion"].values[kind != "empty"]
    np.testing.assert_allclose(np.linalg.norm(filled, axis=1), 1.0, rtol=1e-6)
    # uniform over the sphere of quaternions: the mean of the squared scalar part is 1/4
    assert (filled[:, 0] ** 2).mean() == pytest.approx(0.25, abs=0.02)
    energy, scale = stack["pulse_energy"].values, stack["true_background_scale"].values
    assert energy.mean() == pytest.approx(2e-3, rel=0.01)
    assert np.corrcoef(energy, scale)[0, 1] > 0.3
    labels = true_labels(stack)
    assert set(labels) == {"virus", "rod", "double", "aggregate", "droplet", "empty"}
    assert ((labels == "rod") == ((kind == "single") & (of_species == 1))).all()
    assert list(stack["train_id"].values[[0, 99, 100]]) == [0, 0, 1]


def test_the_background_is_the_one_that_is_told() -> None:
    wanted = settings(
        4000,
        kinds={"empty": 1.0},
        background=Background(photons=0.4, spread=0.5),
        dead_pixels=0.02,
    )
    stack = simulate_frames(SPECIES, wanted)
    truth, mask = stack["true_background"].values, stack["mask"].values
    good = mask == 0
    # the mean over good pixels, but for those that are dead
    assert truth[good].mean() == pytest.approx(0.4, rel=0.02)
    scale = stack["true_background_scale"].values
    counted = stack["photons"].values
    expected = truth * scale.sum()
    off = (counted.sum(axis=0) - expected)[good] / np.sqrt(expected[good])
    assert np.sqrt(np.mean(off**2)) == pytest.approx(1.0, abs=0.15)
    of_frame = counted[:, good].sum(axis=1)
    assert np.corrcoef(of_frame, scale)[0, 1] > 0.95
    assert scale.std() == pytest.approx(np.hypot(0.5, 0.1), rel=0.1)
    # it has a structure: bright around the beam, and along a line through it
    assert truth[good].max() > 3.0 * truth[good].mean()
    assert truth[10, 1:5].mean() > 1.3 * truth[1:5, 10].mean()


def test_what_is_masked_counts_nothing() -> None:
    stack = simulate_frames(SPECIES, settings(5, kinds={"single": 1.0}, dead_pixels=0.05))
    mask, defects = stack["mask"].values, stack["true_defects"].values
    photons = stack["photons"].values
    assert (mask[11:13] == 2).all()  # the gap
    assert not photons[:, (mask == 2) & (defects != 2)].any()
    assert photons[:, defects == 2].mean() > 20
    assert {0, 1, 2} == set(np.unique(defects))


def test_a_detector_of_modules(test_data: Path, tmp_path: Path) -> None:
    """AGIPD, 16 modules one below the other in the array, where the geometry has them."""
    file = test_data / "spi" / "geometry" / "agipd_p008316_r0024_v04.geom"
    detector = replace(read_geometry(file).at(1.2), wavelength=1.77)
    ball = Species("ball", "sphere", 400.0)
    wanted = Settings(
        2,
        detector=detector,
        beam=Beam(photons=1e6, shape=None, energy_spread=0.0),
        background=Background(photons=0.0),
    )
    simulate([ball], wanted, tmp_path / "frames.zarr")
    stack = open_frames(tmp_path / "frames.zarr")
    assert stack["photons"].shape == (2, 8192, 128)
    photons = stack["photons"][0].values
    radius = np.hypot(detector.pixel_x, detector.pixel_y)
    q = 2.0 * np.sin(np.arctan2(radius, detector.pixel_z) / 2.0) / 1.77
    x = np.pi * 400.0 * q
    good = detector.mask == 0
    rings = [good & (abs(x - place) < 0.1) for place in (4.4934, 5.7635, 7.7253, 9.0950)]
    dark, bright, dark_again, bright_again = (photons[ring].mean() for ring in rings)
    assert dark < 0.05 * bright
    assert dark_again < 0.05 * bright_again
    assert photons.sum() == pytest.approx(1e6, rel=0.01)


def test_aggregates_touch_and_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        sizes = rng.uniform(200.0, 500.0, 7)
        cluster = aggregate(Placed(300.0, np.eye(3), np.zeros(3)), sizes.tolist(), rng)
        places = np.array([each.place for each in cluster])
        radii = np.array([each.size for each in cluster]) / 2.0
        apart = np.linalg.norm(places[:, None] - places, axis=2) - radii[:, None] - radii
        np.fill_diagonal(apart, np.inf)
        assert apart.min() > -1.0
        assert (apart.min(axis=1) < 1e-6).all()


def test_adu_on_disk(tmp_path: Path, client: Client) -> None:
    wanted = settings(30, readout=Readout(), dead_pixels=0.01)
    simulate(SPECIES, wanted, tmp_path / "adu.zarr", client=client)
    stack = content(tmp_path / "adu.zarr")
    assert "photons" not in stack
    same(stack, simulate_frames(SPECIES, wanted))


def test_counts_too_large_for_two_bytes_take_four() -> None:
    bright = Beam(photons=3e8, shape=None)
    stack = simulate_frames(SPECIES, settings(2, kinds={"single": 1.0}, beam=bright))
    assert stack["photons"].dtype == np.uint32
    assert stack["photons"].values.max() > 2**16


def test_shadows() -> None:
    detector = with_shadows(lcls_detector((33, 32)), gap=0, beam_stop=10.0)
    rows = np.flatnonzero((detector.mask == 2).all(axis=1))
    assert list(rows) == [16]  # of the gap that was there: one row is nearest in an odd number
    assert (detector.mask == 2).sum() == pytest.approx(np.pi * 25.0 + 22, abs=8)


def test_an_output_that_exists_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "frames.zarr"
    simulate(SPECIES, settings(3), path)
    with pytest.raises(InputError, match="exists"):
        simulate(SPECIES, settings(3), path)
    simulate(SPECIES, settings(4), path, overwrite=True)
    assert open_frames(path).sizes["frame"] == 4


def test_a_mistake_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.pdb").write_text("nothing of use\n")
    wrong = [Species("wrong", "model", file=tmp_path / "model.pdb")]
    with pytest.raises(InputError, match=r"model\.pdb"):
        simulate(wrong, settings(3), tmp_path / "frames.zarr")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pdb"]
