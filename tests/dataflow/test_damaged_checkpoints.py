"""A training goes on from the checkpoint that can be read, or says that there is none."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hpdp_dask.dataflow.training.checkpoints import (  # noqa: E402
    Checkpoint,
    last_checkpoint,
    own_checkpoints,
    save_checkpoint,
)
from hpdp_dask.errors import BEGIN_ANEW, InputError  # noqa: E402

OWNER = {"learner": "line"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two checkpoints: after epoch 1 in 001, after epoch 2 in 002."""
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    own_checkpoints(tmp_path, OWNER)
    for epoch in (1, 2):
        save_checkpoint(tmp_path, Checkpoint(epoch), network, optimizer)
    return tmp_path


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def junk(file: Path) -> None:
    file.write_bytes(b"\x93\xffjunk" * 50)


def other(file: Path) -> None:
    file.write_text(json.dumps({"epoch": None}))


DAMAGES = [
    *((name, damage) for name in ("training.pt", "state.json") for damage in (cut, empty, junk)),
    ("training.pt", Path.unlink),
    ("state.json", other),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_the_older_one_takes_the_place_of_a_damaged_one(folder, name, damage):
    damage(folder / "002" / name)
    own_checkpoints(folder, OWNER)
    for tensors in (False, True):
        assert last_checkpoint(folder, tensors=tensors).epoch == 1
    # the next one is written over the damaged one
    network = torch.nn.Linear(2, 1)
    save_checkpoint(folder, Checkpoint(2), network, torch.optim.AdamW(network.parameters()))
    assert json.loads((folder / "001" / "state.json").read_bytes())["epoch"] == 1
    assert last_checkpoint(folder).epoch == 2


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_none_that_can_be_read(folder, name, damage):
    for here in ("001", "002"):
        damage(folder / here / name)
    with pytest.raises(InputError) as caught:
        own_checkpoints(folder, OWNER)
    assert str(caught.value).startswith(f"{folder / '001' / name}: is damaged")
    assert str(caught.value).endswith(BEGIN_ANEW)


def test_a_damaged_owner(folder):
    junk(folder / "training.json")
    with pytest.raises(InputError, match=r"training\.json: is damaged"):
        own_checkpoints(folder, OWNER)


def test_an_unfinished_checkpoint_is_no_damage(folder):
    (folder / "001" / "state.json").unlink()
    empty(folder / "001" / "training.pt")
    own_checkpoints(folder, OWNER)
    assert last_checkpoint(folder).epoch == 2


def test_a_disk_that_does_not_answer_is_no_damage(folder, monkeypatch):
    """Or a checkpoint that is sound would be thrown away for it."""

    def fail(*_given, **_options):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        with pytest.raises(OSError, match="Stale"):
            own_checkpoints(folder, OWNER)
    assert last_checkpoint(folder).epoch == 2
