"""`hpdp crystals spots` on the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from click.testing import Result
from distributed import Client
from frame_stacks import make_frames
from typer.testing import CliRunner

from hpdp_dask.cli.crystals.spots import spots_command
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames

Run = Callable[..., Result]


@pytest.fixture
def run(client: Client) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("spots")(spots_command)

    def run(*words: str | Path) -> Result:
        return CliRunner().invoke(app, [*map(str, words), "--cluster", client.scheduler.address])

    return run


def frames_of(number: int) -> np.ndarray:
    """Give frames of which the first has forty spots."""
    random = np.random.default_rng(1)
    frames = random.poisson(1.0, (number, 200, 220)).astype(np.uint16)
    for row, column in random.integers(10, 190, (40, 2)):
        frames[0, row : row + 2, column : column + 2] += 40
    return frames


def test_columns_of_a_stack(run: Run, tmp_path: Path) -> None:
    stack = make_frames(tmp_path / "frames.zarr", frames_of(3))
    found = run(stack, "--lattices")
    assert found.exit_code == 0, found.output
    assert "frames.zarr" in found.output
    columns = open_frames(stack)
    assert columns["spot_hit"].values.tolist() == [1, 0, 0]
    assert columns["lattice_count"].values.tolist() == [0, 0, 0]
    assert columns.attrs["history"][-1]["parameters"] == {"fewest": 10, "lattices": True}
    assert "has spot_count" in str(run(stack).exception)
    assert run(stack, "--overwrite", "--fewest", "50").exit_code == 0
    assert open_frames(stack)["spot_hit"].values.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("ending", "read"), [(".csv", pd.read_csv), (".parquet", pd.read_parquet)])
def test_a_table_of_files(
    run: Run, tmp_path: Path, ending: str, read: Callable[[Path], pd.DataFrame]
) -> None:
    one = make_frames(tmp_path / "one.zarr", frames_of(3))
    two = make_frames(tmp_path / "two.zarr", frames_of(2))
    output = tmp_path / f"table{ending}"
    found = run(one, two, "-o", output)
    assert found.exit_code == 0, found.output
    images, sets = read(output), read(tmp_path / f"table_data_sets{ending}")
    assert images["data_set"].tolist() == ["one"] * 3 + ["two"] * 2
    assert images["spot_hit"].tolist() == [1, 0, 0, 1, 0]
    assert images["spot_resolution"].isna().tolist() == [False, True, True, False, True]
    assert sets["hits"].tolist() == [1, 1]
    assert sets["several_lattices"].isna().all()
    assert isinstance(run(one, "-o", output).exception, InputError)


def test_what_cannot_be(run: Run, tmp_path: Path) -> None:
    stack = make_frames(tmp_path / "frames.zarr", frames_of(2))
    assert "expected 1 or more" in str(run(stack, "--fewest", "0").exception)
    assert "has its geometry" in str(run(stack, "--wavelength", "1").exception)
    assert "one Zarr stack at a time" in str(run(stack, stack).exception)
    np.save(tmp_path / "frames.npy", frames_of(2))
    refused = run(tmp_path / "frames.npy", "-o", tmp_path / "table.csv")
    assert isinstance(refused.exception, InputError)
    assert "--wavelength" in str(refused.exception)
    assert not (tmp_path / "table.csv").exists()
    assert "there is no such" in str(run(tmp_path / "no.cbf", "-o", tmp_path / "t.csv").exception)
