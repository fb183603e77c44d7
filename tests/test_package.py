"""The package by itself."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_compiled_code_finds_a_place_where_nothing_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (
        "import os; os.access = lambda *_: False; import hpdp_dask;"
        "print(os.environ['NUMBA_CACHE_DIR'], os.path.isdir(os.environ['NUMBA_CACHE_DIR']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    folder, there = done.stdout.split()
    assert Path(folder).parent == tmp_path
    assert there == "True"
    assert not Path(folder).exists()
