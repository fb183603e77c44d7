"""Numbered things: who makes them does not matter, and a refusal is one sentence."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from hpdp_dask.dataflow.numbered import make_numbered
from hpdp_dask.errors import InputError


@dataclass(frozen=True)
class Write:
    """Writes a file for each number, which says what was made together."""

    folder: Path
    refused: int = -1

    def __call__(self, which):
        if which.start <= self.refused < which.stop:
            raise InputError(f"{self.refused}: cannot be made.")
        for number in range(*which):
            (self.folder / str(number)).write_text(f"{number} of {which.start} to {which.stop}")


def test_workers_make_together_what_one_process_does(client, tmp_path):
    found = []
    for name, where in (("here", None), ("there", client)):
        folder = tmp_path / name
        folder.mkdir()
        parts = make_numbered(Write(folder), 21, 3, "numbers", tmp_path, client=where)
        assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
        found.append({each.name: each.read_text() for each in folder.iterdir()})
    assert found[0] == found[1]
    assert set(found[0]) == set(map(str, range(21)))


def test_what_cannot_be_made(client, tmp_path):
    for where in (None, client):
        with pytest.raises(InputError, match=r"^7: cannot be made\.$"):
            make_numbered(Write(tmp_path, 7), 21, 3, "numbers", tmp_path, client=where)
