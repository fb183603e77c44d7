"""Classical answers for diffraction images."""

import csv
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hpdp_dask.crystallography.spots import (
    SpotAnswer,
    SpotFinder,
    Spots,
    find_spots_of_stack,
    look_for_spots,
    spot_finder,
)
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.formats.stored_frames import StoredFrames
from hpdp_dask.frames.sources import open_source
from hpdp_dask.numerics.lattices import find_lattices
from hpdp_dask.stacks.frames import frame_table, new_frames, open_frames
from hpdp_dask.stacks.store import staging, write_images

HITS, BLANKS = ("03", "08", "12", "15"), ("16", "18")

Images = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def source(test_data: Path) -> StoredFrames:
    return open_source(test_data / "crystallography" / "thaumatin")


@pytest.fixture(scope="module")
def finder(source: StoredFrames) -> SpotFinder:
    assert source.detector is not None
    return spot_finder(source.detector, "thaumatin")


@pytest.fixture(scope="module")
def images(source: StoredFrames) -> Images:
    """The frames by the last two digits of their names."""
    names = [Path(str(name)).name.partition(".")[0][-2:] for name in source.columns["source_file"]]
    return dict(zip(names, source.read(0, source.number), strict=True))


@pytest.fixture(scope="module")
def answers(images: Images, finder: SpotFinder) -> dict[str, SpotAnswer]:
    return {name: look_for_spots(image, finder, 1.0) for name, image in images.items()}


@pytest.fixture(scope="module")
def distl(test_data: Path) -> dict[str, dict[str, str]]:
    with open(test_data / "crystallography" / "thaumatin" / "distl.csv", newline="") as file:
        return {row["image"][-2:]: row for row in csv.DictReader(file)}


def test_hits_and_blanks(answers: dict[str, SpotAnswer]) -> None:
    assert {name for name, answer in answers.items() if answer.hit} == set(HITS)
    for name in BLANKS:
        assert len(answers[name].spots.row) < 5
        assert np.isnan(answers[name].resolution).all()
    assert all(answer.ice.number == 0 for answer in answers.values())


def test_as_many_spots_as_distl_or_more(
    answers: dict[str, SpotAnswer], distl: dict[str, dict[str, str]]
) -> None:
    for name in HITS:
        ratio = len(answers[name].spots.row) / int(distl[name]["spot_total"])
        assert 1.0 < ratio < 2.0


def test_resolution_beside_distl(
    answers: dict[str, SpotAnswer], distl: dict[str, dict[str, str]]
) -> None:
    for name in ("03", "08", "12"):
        best = answers[name].resolution.best
        assert best == pytest.approx(float(distl[name]["d_method1"]), abs=0.5)
        assert best == pytest.approx(float(distl[name]["d_method2"]), abs=0.1)
    weak = answers["15"].resolution
    assert weak.best > 2.8
    assert weak.low > float(distl["15"]["d_method2"]) > weak.high


def test_single_frames_are_of_one_lattice(answers: dict[str, SpotAnswer]) -> None:
    for name in HITS:
        (found,) = find_lattices(answers[name].q.T)
        # thaumatin, 2 % too long for the distance in the header
        edges = np.sqrt((found.vectors**2).sum(axis=1))
        np.testing.assert_allclose(edges, [58.0, 58.0, 150.0], rtol=0.03)


def test_a_sum_of_two_turned_frames_is_of_two(
    images: Images, finder: SpotFinder, source: StoredFrames
) -> None:
    # half a turn about the beam, to the nearest pixel
    assert source.detector is not None
    x = np.interp(0.0, source.detector.pixel_x[0], np.arange(source.shape[1]))
    y = np.interp(0.0, np.sort(source.detector.pixel_y[:, 0]), np.arange(source.shape[0]))
    rows = np.clip(np.rint(2 * y - np.arange(source.shape[0])), 0, source.shape[0] - 1)
    columns = np.clip(np.rint(2 * x - np.arange(source.shape[1])), 0, source.shape[1] - 1)
    turned = images["08"][np.ix_(rows.astype(int), columns.astype(int))]
    answer = look_for_spots(images["03"] + np.maximum(turned, 0), finder, 1.0)
    found = find_lattices(answer.q.T)
    assert len(found) == 2
    for lattice in found:
        edges = np.sqrt((lattice.vectors**2).sum(axis=1))
        np.testing.assert_allclose(edges, [58.0, 58.0, 150.0], rtol=0.03)


def test_a_cspad_goes_through(test_data: Path) -> None:
    (path,) = (test_data / "crystallography" / "cspad").glob("*.npz")
    source = open_source(path)
    assert source.detector is not None
    finder = spot_finder(source.detector, "cspad")
    answer = look_for_spots(source.read(0, 1)[0], finder, None)
    assert answer.hit
    assert 1.8 < answer.resolution.best < 3.5
    # thermolysin: a = b = 93 Å, c = 131 Å
    (found,) = find_lattices(answer.q.T)
    edges = np.sqrt((found.vectors**2).sum(axis=1))
    np.testing.assert_allclose(edges, [93.0, 93.0, 131.0], rtol=0.02)


def small_frames() -> np.ndarray:
    """Give a hit of 40 spots, a blank, an empty and a saturated frame."""
    random = np.random.default_rng(1)
    frames = random.poisson(1.0, (4, 200, 220)).astype(np.uint16)
    for row, column in random.integers(10, 190, (40, 2)):
        frames[0, row : row + 2, column : column + 2] += 40
    frames[2] = 0
    frames[3] = 65535
    return frames


def make_stack(path: Path, frames: np.ndarray, unit: str = "photons", **detector: float) -> Path:
    known = {"pixel_size": 400e-6, "distance": 0.1, "wavelength": 1.0} | detector
    flat = flat_detector((200, 220), **known)
    with staging(path) as folder:
        table = frame_table(flat, {})
        new_frames(folder, table, len(frames), (200, 220), frames.dtype, unit=unit)
        write_images(folder, 0, frames)
    return path


def test_columns_are_added_to_a_stack(tmp_path: Path) -> None:
    path = make_stack(tmp_path / "frames.zarr", small_frames())
    table = find_spots_of_stack(path, Spots(), history={"command": "spots"})
    stack = open_frames(path)
    assert stack["spot_hit"].values.tolist() == [1, 0, 0, 0]
    assert 30 <= stack["spot_count"].values[0] <= 40
    assert stack["spot_count"].values[1:].tolist() == [0, 0, 0]
    assert np.isfinite(stack["spot_resolution"].values).tolist() == [True, False, False, False]
    assert stack["lattice_count"].values.tolist() == [-1] * 4
    assert stack["spot_intensity"].values[0] == pytest.approx(40 * 160, rel=0.3)
    assert stack.attrs["history"][-1]["command"] == "spots"
    assert set(table) == set(Spots.columns)


def test_what_was_read_out_is_as_good_as_photons(tmp_path: Path) -> None:
    frames = small_frames()
    noise = np.random.default_rng(2).normal(0.0, 4.0, frames.shape)
    adu = (20.0 * np.minimum(frames, 1000) + noise + 50.0).astype(np.float32)
    path = make_stack(tmp_path / "frames.zarr", adu[:2], unit="adu")
    find_spots_of_stack(path, Spots(lattices=True))
    stack = open_frames(path)
    assert stack["spot_hit"].values.tolist() == [1, 0]
    assert stack["lattice_count"].values.tolist() == [0, 0]


def test_the_number_of_spots_of_a_hit_can_be_chosen(tmp_path: Path) -> None:
    path = make_stack(tmp_path / "frames.zarr", small_frames())
    measure = Spots(fewest=100)
    stack = open_frames(path)
    block = xr.Dataset({"photons": (("frame", "y", "x"), small_frames())})
    found = measure.measure(block, measure.prepare(stack))
    assert found["spot_hit"].tolist() == [0] * 4
    assert found["spot_count"][0] >= 30


def test_without_a_wavelength_it_is_refused(tmp_path: Path) -> None:
    path = make_stack(tmp_path / "frames.zarr", small_frames(), wavelength=float("nan"))
    with pytest.raises(InputError, match="wavelength"):
        find_spots_of_stack(path, Spots())
    assert "spot_count" not in open_frames(path)
