"""`hpdp spi simulate`: the folder it leaves, its options, and what it says of mistakes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.spi.simulate import Beam, Readout, Settings, Species, lcls_detector, read_settings
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.workflow.frame_figures import distribution_chart, frame_gallery
from hpdp_dask.workflow.spi_simulation import gather_settings, run_spi_simulation

SPECIES = [Species("virus", "icosahedron", 600.0), Species("ball", "sphere", 400.0)]


def test_the_folder(tmp_path: Path) -> None:
    settings = Settings(
        40, detector=lcls_detector((32, 32)), kinds={"single": 0.7, "double": 0.2, "empty": 0.1}
    )
    record = run_spi_simulation(
        SPECIES, settings, tmp_path / "sim", client=None, command=["hpdp", "spi", "simulate"]
    )
    assert sorted(entry.name for entry in (tmp_path / "sim").iterdir()) == [
        "frames.zarr",
        "report.html",
        "run.json",
    ]
    stack = open_frames(tmp_path / "sim" / "frames.zarr")
    assert stack.sizes["frame"] == 40
    assert sum(record.results["labels"].values()) == 40
    told = json.loads((tmp_path / "sim" / "run.json").read_text())
    assert told["parameters"]["species"]["virus"]["size"] == 600.0
    assert told["seed"] == 0
    page = (tmp_path / "sim" / "report.html").read_text()
    for word in ("virus: ", "ball: ", "double: ", "empty: ", "Photons and sizes", "1/Å"):
        assert word in page
    assert not record.warnings


def test_particles_too_large_for_the_pixels_are_told_of(tmp_path: Path) -> None:
    settings = Settings(3, detector=flat_detector((32, 32), 6e-4, 0.586, 7.75))
    giant = [Species("giant", "sphere", 5000.0)]
    record = run_spi_simulation(giant, settings, tmp_path / "sim", client=None, command=["hpdp"])
    assert re.search(r"largest particle, 5000 Å, are 1\.5 pixels apart", record.warnings[0])


def test_a_report_of_adu_and_of_empty_frames_alone(tmp_path: Path) -> None:
    settings = Settings(
        5, detector=lcls_detector((32, 32)), kinds={"empty": 1.0}, readout=Readout()
    )
    record = run_spi_simulation(SPECIES, settings, tmp_path / "sim", client=None, command=["hpdp"])
    assert record.results["photons_of_single_hits"] is None
    assert "in ADU" in (tmp_path / "sim" / "report.html").read_text()


def test_options_go_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("number: 7\nbeam: {photons: 3000, shape: 3}\nkinds: {single: 1}\n")
    given = {"": {"number": None, "seed": 4}, "beam": {"photons": 500.0, "shape": None}}
    told = gather_settings(file, given, "single=0.5,empty=0.5")
    _, settings = read_settings(told, "s")
    assert (settings.number, settings.seed) == (7, 4)
    assert settings.beam == Beam(photons=500.0, shape=3.0)
    assert settings.kinds == {"single": 0.5, "empty": 0.5}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("- 3\n", "holds no names with values"), ("a: [\n", "no YAML at line 2"), ("", "no names")],
)
def test_a_file_that_is_no_settings(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=sentence):
        gather_settings(file, {}, None)


def test_a_gallery_shows_frames_as_the_detector_stands() -> None:
    frames = np.zeros((2, 16, 24))
    frames[0, 2, 3] = np.inf
    frames[1, 4, 5] = -3.0
    panels = frame_gallery(frames, lcls_detector((16, 24)), ["one", "two"], "Both")
    assert [panel.label for panel in panels.panels] == ["one", "two"]
    assert all(panel.bar_label.endswith("1/Å") for panel in panels.panels)


def test_a_distribution_tells_of_itself() -> None:
    values = {"virus": np.array([1.0, 10.0, np.nan, 100.0]), "nothing": np.array([])}
    chart = distribution_chart(values, "Photons", "All", logarithmic=True)
    assert "virus: median 10" in chart.description
    assert "mathdefault" not in chart.markup
    assert "No values" in distribution_chart({}, "Photons", "None").description
