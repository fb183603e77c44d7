"""`hpdp spi classify` as it is typed."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from labelled_frames import make_labelled, write_labels

from hpdp_dask.cli.main import main
from hpdp_dask.spi.classify import validation
from hpdp_dask.stacks.frames import open_frames

Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats by the dozen are for figures, not for tests."""
    for name, value in (("REPEATS", 1), ("DRAWS", 1), ("SIZES", 3), ("FOLDS", 3)):
        monkeypatch.setattr(validation, name, value)


@pytest.fixture
def run(client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command on the tests' cluster; gives its exit code and all that it says."""

    def run(*words: str | Path) -> tuple[int, str]:
        where = ["--cluster", client.scheduler.address]
        monkeypatch.setattr(sys, "argv", ["hpdp", "spi", "classify", *map(str, words), *where])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return int(ended.value.code or 0), captured.out + captured.err

    return run


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A stack, with labels of half its frames beside it."""
    truth = make_labelled(tmp_path / "frames.zarr")
    write_labels(tmp_path / "labels.csv", truth, np.arange(0, 120, 2))
    return tmp_path / "frames.zarr"


def test_learn_then_apply(run: Run, frames: Path, tmp_path: Path) -> None:
    folder = tmp_path / "classified"
    code, said = run(frames, "--labels", tmp_path / "labels.csv", "-o", folder)
    assert code == 0
    assert "cross-validated on 60 labelled frames" in said
    assert "virus" in said
    assert f"Report: {folder / 'report.html'}" in said
    make_labelled(tmp_path / "later.zarr", 40, seed=3)
    code, said = run(tmp_path / "later.zarr", "--model", folder)
    assert code == 0
    assert f"Classified: {tmp_path / 'later.zarr'} (" in said
    told = open_frames(tmp_path / "later.zarr").attrs["history"][-1]
    assert told["model"] == str(folder)
    assert told["command"].startswith("hpdp spi classify ")


def test_without_a_folder_the_stack_gets_labels_alone(
    run: Run, frames: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    code, said = run(frames, "--labels", tmp_path / "labels.csv", "--method", "kmeans")
    assert (code, "Classified: " in said) == (0, True)
    assert set(tmp_path.iterdir()) == before
    assert open_frames(frames)["label_accepted"].values.all()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "give --labels to learn from them, or --model"),
        (["--labels", "labels.csv", "--model", "."], "give --labels to learn from them, or"),
        (["--model", ".", "--threshold", "0.5"], "leave out --method, --threshold"),
        (["--labels", "labels.csv", "--compare", "--method", "svm"], "leave out --method"),
        (["--labels", "labels.csv", "--method", "svm", "--threshold", "0.5"], "is for svm-thre"),
        (["--labels", "labels.csv", "--threshold", "75"], "a probability from 0 to 1"),
        (["--labels", "none.csv"], "none.csv: there is no such file"),
        (["--model", "nowhere"], "nowhere: there is no such file or folder"),
        (["--model", "."], "expected a folder that hpdp spi classify --labels made"),
    ],
)
def test_slips_are_told_in_a_sentence(
    run: Run,
    frames: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    code, said = run(frames, *words)
    message = said.splitlines()[-1]
    assert code == 2
    assert message.startswith("hpdp: ")
    assert expected in message
    assert set(tmp_path.iterdir()) == before
    assert "label" not in open_frames(frames)
