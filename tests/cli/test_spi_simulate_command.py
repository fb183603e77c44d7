"""`hpdp spi simulate` on the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from click.testing import Result
from distributed import Client
from typer.testing import CliRunner

from hpdp_dask.cli.spi.simulate import simulate_command
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames

Run = Callable[..., Result]


@pytest.fixture
def run(client: Client) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(simulate_command)

    def run(*words: str | Path) -> Result:
        return CliRunner().invoke(app, [*map(str, words), "--cluster", client.scheduler.address])

    return run


def test_a_set_on_the_cluster(run: Run, tmp_path: Path) -> None:
    options = ["--shape", "32x40", "-n", "60", "--photons", "5000", "--seed", "2", "--gap", "0"]
    species = ["--species", "sphere:size=400,name=ball", "--species", "rod:size=300"]
    found = run("-o", tmp_path / "sim", *options, *species, "--kinds", "single=3,empty=1")
    assert found.exit_code == 0, found.output
    stack = open_frames(tmp_path / "sim" / "frames.zarr")
    assert stack["photons"].shape == (60, 32, 40)
    assert list(stack["true_class_name"].values) == ["ball", "rod"]
    assert set(stack["true_kind"].values) == {"single", "empty"}
    assert stack.attrs["seed"] == 2
    assert f"Report: {tmp_path / 'sim' / 'report.html'}" in found.output
    assert " ball, " in found.output


def test_adu(run: Run, tmp_path: Path) -> None:
    options = ["--shape", "32x32", "-n", "4", "--adu", "--gain", "80", "--dead-pixels", "0.01"]
    assert run("-o", tmp_path / "sim", *options).exit_code == 0
    stack = open_frames(tmp_path / "sim" / "frames.zarr")
    assert stack["adu"].dtype == "float32"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--species", "cube:size=3"], "'cube', expected one of sphere"),
        (["--kinds", "single"], "--kinds: 'single' is no name with a value"),
        (["--photons", "3", "--fluence", "3"], "each sets the other"),
        (["--geometry", "missing.geom"], "missing.geom"),
        (["--settings", "missing.yaml"], "missing.yaml"),
        (["--species", "model:file=missing.pdb"], "missing.pdb: there is no such file"),
        (["--shape", "128"], "shape is '128', expected two numbers"),
    ],
)
def test_mistakes(run: Run, tmp_path: Path, words: list[str], sentence: str) -> None:
    found = run("-o", tmp_path / "sim", *words)
    assert isinstance(found.exception, InputError)
    assert sentence in str(found.exception)
    assert "\n" not in str(found.exception)
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_none_leaves_nothing(run: Run, tmp_path: Path) -> None:
    model = tmp_path / "model.pdb"
    model.write_text("REMARK nothing\n")
    found = run("-o", tmp_path / "sim", "-n", "4", "--species", f"model:file={model}")
    assert "model.pdb" in str(found.exception)
    assert list(tmp_path.iterdir()) == [model]
