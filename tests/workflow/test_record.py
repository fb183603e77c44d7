"""`run.json` says what a run was, and is read back as it was written."""

import json
import math
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.workflow import record as record_module
from hpdp_dask.workflow.record import RunRecord, read_run, start_record, write_run


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    source = tmp_path / "in.star"
    source.write_text("data_\n")
    record = start_record(["hpdp", "fsc"], {"mask": tmp_path / "m.mrc"}, [source], 3)
    write_run(record, tmp_path)
    assert read_run(tmp_path) == record
    written = json.loads((tmp_path / "run.json").read_text())
    assert written["schema_version"] == 1
    assert written["parameters"] == {"mask": str(tmp_path / "m.mrc")}
    assert written["versions"]["python"] == platform.python_version()
    assert written["versions"]["hpdp_dask"] == version("hpdp-dask")
    assert {"numpy", "dask", "distributed", "zarr", "numba"} <= set(written["versions"])
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["memory_bytes"] > 2**28
    assert written["started"].endswith("Z")


def test_parameters_become_plain_json() -> None:
    record = start_record(
        ["hpdp"],
        {
            "count": np.int64(3),
            "pixel_size": np.float32(1.5),
            "flag": np.bool_(True),
            "range": (1, 2.0),
            "table": np.arange(3),
            "limit": math.inf,
            "nothing": None,
            "name": b"caf\xe9".decode("utf-8", "surrogateescape"),
        },
        [],
        None,
    )
    expected = {
        "count": 3,
        "pixel_size": 1.5,
        "flag": True,
        "range": [1, 2.0],
        "table": [0, 1, 2],
        "limit": "inf",
        "nothing": None,
        "name": "caf\\udce9",
    }
    assert record.parameters == expected
    assert json.loads(record.model_dump_json())["parameters"] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the file is not as"),
        ('{"schema_version": 2}', "schema_version is not as"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(tmp_path)


def test_an_absent_record_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: cannot be read"):
        read_run(tmp_path)


def test_fields_that_we_do_not_know_are_refused(tmp_path: Path) -> None:
    record = start_record(["hpdp"], {}, [], None)
    fields = json.loads(record.model_dump_json()) | {"colour": "blue"}
    with pytest.raises(ValueError, match="colour"):
        RunRecord.model_validate(fields)


def test_programs_that_are_not_there_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    record = start_record(["hpdp"], {}, [], None)
    assert record.git_commit is None
    assert record.machine.gpus == []


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_a_checkout_and_not_of_what_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(tmp_path), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    code = tmp_path / "record.py"
    code.write_text("1\n")
    (tmp_path / "README").touch()
    git("init")
    git("add", "README")
    git("commit", "-m", "one")
    monkeypatch.setattr(record_module, "__file__", str(code))

    # a package that is installed inside of someone's repository is not tracked there
    assert start_record(["hpdp"], {}, [], None).git_commit is None
    git("add", "record.py")
    git("commit", "-m", "two")
    commit = git("rev-parse", "HEAD")
    assert start_record(["hpdp"], {}, [], None).git_commit == commit
    code.write_text("2\n")
    assert start_record(["hpdp"], {}, [], None).git_commit == f"{commit}-dirty"
