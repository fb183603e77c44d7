"""What an interrupted run left and a command does not go on from is never lost without a word."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from hpdp_dask.errors import BEGIN_ANEW, InputError
from hpdp_dask.workflow.folder import RunFolder, output_folder


def opened(folder: Path, **changes: Any) -> AbstractContextManager[RunFolder]:
    arguments: dict[str, Any] = {
        "command": ["hpdp", "cryoem", "train", "-o", "out"],
        "parameters": {"width": 64, "training": {"batch": 8, "rate": 0.1}},
        "inputs": [],
        "seed": 1,
        "overwrite": False,
    }
    return output_folder(folder / "out", **(arguments | changes))


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    """What a training left that was interrupted after an epoch."""

    def train(folder: AbstractContextManager[RunFolder]) -> None:
        with folder as run:
            (run.scratch / "001").mkdir()
            (run.scratch / "001" / "state.json").write_text("{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(opened(tmp_path))
    return tmp_path / ".out.partial"


def test_a_refusal_says_what_differs_and_nothing_else(partial: Path, tmp_path: Path) -> None:
    other = {"width": 65, "training": {"batch": 9, "rate": 0.1}}
    with (
        pytest.raises(InputError) as caught,
        opened(tmp_path, resume=True, parameters=other, inputs=[Path(__file__)], seed=2),
    ):
        pytest.fail("work began")
    assert str(caught.value) == (
        f"{partial}: holds what a run with other parameters, seed, inputs left, which --resume "
        "cannot go on from (width was 64, is now 65; training.batch was 8, is now 9; seed was 1, "
        "is now 2; the inputs were others, or had other contents); call it as that run was "
        "called, or leave out --resume to begin anew."
    )
    assert (partial / "scratch" / "001" / "state.json").exists()


def test_a_damaged_record_is_told(partial: Path, tmp_path: Path) -> None:
    (partial / "run.json").write_text("{")
    with opened(tmp_path, resume=True) as run:
        assert not run.record.resumed
        (warning,) = run.record.warnings
    assert warning.startswith(f"Begun anew, in spite of --resume: {partial / 'run.json'}: ")


def test_what_cost_nothing_is_told_too(partial: Path, tmp_path: Path) -> None:
    (partial / "scratch" / "001").rename(partial / "scratch" / "000")
    with opened(tmp_path, resume=True, seed=2) as run:
        (warning,) = run.record.warnings
    assert "(seed was 1, is now 2)" in warning


def test_work_that_is_removed_is_told(partial: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        assert run.record.warnings == [
            f"Begun anew: what an interrupted run had left in {partial} was removed, since "
            "--resume was left out."
        ]
    with opened(tmp_path, overwrite=True) as run:
        assert run.record.warnings == []


def test_resuming_is_not_advised_where_it_cannot(partial: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, opened(tmp_path, resume=True):
        raise InputError(f"training.pt: is damaged; {BEGIN_ANEW}")
    assert str(caught.value) == "training.pt: is damaged; leave out --resume to begin anew."
    assert (partial / "scratch" / "001" / "state.json").exists()


def test_versions_of_what_trains(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        for name in ("torch", "safetensors", "scikit-learn", "umap-learn"):
            with suppress(PackageNotFoundError):
                assert run.record.versions[name] == version(name)
