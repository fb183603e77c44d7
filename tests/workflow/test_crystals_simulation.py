"""The folder of simulated stills."""

import json

import pytest

from hpdp_dask.crystallography.simulate import Settings
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.workflow.crystals_simulation import run_crystals_simulation


@pytest.mark.parametrize("whole", [False, True])
def test_folder_has_stack_report_and_record(tmp_path, whole):
    settings = Settings(3, seed=1, detectors=("pilatus-2m",), ice=1.0)
    run_crystals_simulation(
        settings,
        tmp_path / "sim",
        whole=whole,
        client=None,
        command=["hpdp", "crystals", "simulate"],
    )
    stack = open_frames(tmp_path / "sim" / ("frames.zarr" if whole else "shots.zarr"))
    assert stack.sizes["frame"] == 3
    record = json.loads((tmp_path / "sim/run.json").read_text())
    assert record["seed"] == 1
    assert sum(record["results"]["kinds"].values()) == 3
    page = (tmp_path / "sim/report.html").read_text()
    assert "Simulated stills" in page
    assert page.count("data:image/png") == 3
