"""Where a training can go on from: weights, the optimizer's memory and what was told so far.

A checkpoint is a folder with `training.pt` and, written last, `state.json`. Each epoch ends in
one, and long epochs have some in between. They are written in turn into two folders, so that one is
whole at any moment. One that was damaged later costs no more than the way from the other.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.errors import BEGIN_ANEW, InputError
from hpdp_dask.formats.writing import write_whole

if TYPE_CHECKING:
    import torch

_TENSORS, _STATE, _OWNER = "training.pt", "state.json", "training.json"
_FOLDERS = ("001", "002")

#: What comes of reading a damaged file, with json or with torch, which raises what it likes. A disk
#: that does not answer is no damage: nothing may be thrown away for it.
_DAMAGED = (
    *(FileNotFoundError, ValueError, TypeError, KeyError, EOFError, RuntimeError),
    pickle.PickleError,
)


@dataclass(frozen=True)
class Checkpoint:
    """A training after an epoch, or within one.

    Attributes
    ----------
    epoch : int
        Epochs that are done.
    history : list of dict
        A row for each of them.
    step : int
        Steps of the next epoch that are done.
    tally : dict
        What these steps gave, see `watch.Tally`.
    tensors : dict
        `network` and `optimizer`, as their `state_dict` gives them.
    """

    epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    tally: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)

    def steps(self, an_epoch: int) -> int:
        """Give the number of steps that are done, with so many in an epoch."""
        return self.epoch * an_epoch + self.step


def own_checkpoints(folder: Path, owner: Mapping[str, Any]) -> None:
    """Make a folder for the checkpoints of one training, or see that it is that one's.

    Of the checkpoints in it only those are left that can be read.

    Raises
    ------
    InputError
        It holds those of another training, or none that can be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, text = folder / _OWNER, json.dumps(owner, sort_keys=True)
    if not file.exists():
        _write(file, text.encode())
    elif file.read_bytes() != text.encode():
        now = json.loads(text)
        try:
            before = dict(json.loads(file.read_bytes()))
        except _DAMAGED:
            raise _damaged(file) from None
        names = [name for name in now if before.get(name) != now[name]]
        raise InputError(
            f"{folder}: holds checkpoints of a training with other {', '.join(names)}; go on with "
            "those it had, or choose another folder."
        )
    _leave_out_damaged(folder)


def _leave_out_damaged(folder: Path) -> None:
    """Take away checkpoints that cannot be read, if there is another to go on from."""
    sound, damaged = False, []
    for here in (folder / name for name in _FOLDERS):
        file = here / _STATE
        if not file.exists():
            continue
        try:
            Checkpoint(**json.loads(file.read_bytes())).steps(1)
            file = here / _TENSORS
            _load(file)
            sound = True
        except _DAMAGED:
            damaged.append(file)
    if damaged and not sound:
        raise _damaged(damaged[0])
    for file in damaged:
        (file.parent / _STATE).unlink()


def _damaged(file: Path) -> InputError:
    return InputError(
        f"{file}: is damaged, and there is no other checkpoint that the training could go on from; "
        f"{BEGIN_ANEW}"
    )


def save_checkpoint(
    folder: Path,
    checkpoint: Checkpoint,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write a checkpoint in the place of the one before the last."""
    import torch

    found = _states(folder)
    here = next(folder / name for name in _FOLDERS if not found or folder / name != found[-1][1])
    here.mkdir(exist_ok=True)
    (here / _STATE).unlink(missing_ok=True)
    buffer = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    _write(here / _TENSORS, buffer.getvalue())
    names = ("epoch", "history", "step", "tally")
    _write(here / _STATE, json.dumps({n: getattr(checkpoint, n) for n in names}).encode())


def last_checkpoint(folder: Path, *, tensors: bool = True) -> Checkpoint | None:
    """Read the last checkpoint of a folder, if it has any.

    Parameters
    ----------
    folder : Path
    tensors : bool, optional
        Read weights too, onto the CPU.
    """
    found = _states(folder)
    if not found:
        return None
    state, here = found[-1]
    read: dict[str, Any] = {}
    if tensors:
        read = _load(here / _TENSORS)
    return Checkpoint(**state, tensors=read)


def _states(folder: Path) -> list[tuple[dict[str, Any], Path]]:
    """Read what checkpoints say of themselves, the last one last."""
    found = []
    for name in _FOLDERS:
        with suppress(FileNotFoundError):
            found.append((json.loads((folder / name / _STATE).read_bytes()), folder / name))
    return sorted(found, key=lambda each: (each[0]["epoch"], each[0]["step"]))


def _load(file: Path) -> dict[str, Any]:
    import torch

    # plain tensors and numbers: no code is run by reading
    read: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return read


def _write(file: Path, data: bytes) -> None:
    with write_whole(file, len(data)) as stream:
        stream.write(data)
