"""Where a training can go on from: weights, the optimizer's memory and what was told so far.

Each epoch ends in a folder of its number with `training.pt` and, written last, `state.json`. A
folder that has both is a checkpoint; the last two stay.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole

if TYPE_CHECKING:
    import torch

_TENSORS, _STATE, _OWNER = "training.pt", "state.json", "training.json"
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A training after an epoch.

    Attributes
    ----------
    epoch : int
        Epochs that are done.
    history : list of dict
        A row for each of them.
    tensors : dict
        `network` and `optimizer`, as their `state_dict` gives them.
    """

    epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, Any] = field(default_factory=dict)


def own_checkpoints(folder: Path, owner: Mapping[str, Any]) -> None:
    """Make a folder for the checkpoints of one training, or see that it is that one's.

    Raises
    ------
    InputError
        It holds those of another training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, text = folder / _OWNER, json.dumps(owner, sort_keys=True)
    if not file.exists():
        _write(file, text.encode())
    elif file.read_text() != text:
        before, now = json.loads(file.read_text()), json.loads(text)
        names = [name for name in now if before.get(name) != now[name]]
        raise InputError(
            f"{folder}: holds checkpoints of a training with other {', '.join(names)}; go on with "
            "those it had, or choose another folder."
        )


def save_checkpoint(
    folder: Path,
    checkpoint: Checkpoint,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write a checkpoint, and remove those older than the one before."""
    import torch

    here = folder / f"{checkpoint.epoch:03d}"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    buffer = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    _write(here / _TENSORS, buffer.getvalue())
    text = json.dumps({"epoch": checkpoint.epoch, "history": checkpoint.history})
    _write(here / _STATE, text.encode())
    for old in _complete(folder)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def last_checkpoint(folder: Path, *, tensors: bool = True) -> Checkpoint | None:
    """Read the last checkpoint of a folder, if it has any.

    Parameters
    ----------
    folder : Path
    tensors : bool, optional
        Read weights too, onto the CPU.
    """
    found = _complete(folder)
    if not found:
        return None
    state = json.loads((found[-1] / _STATE).read_text())
    read: dict[str, Any] = {}
    if tensors:
        import torch

        # plain tensors and numbers: no code is run by reading
        read = torch.load(found[-1] / _TENSORS, map_location="cpu", weights_only=True)
    return Checkpoint(state["epoch"], state["history"], read)


def ended(folder: Path, epoch: int) -> bool:
    """Tell whether an epoch, or one after it, has ended."""
    return any(int(here.name) >= epoch for here in _complete(folder))


def _complete(folder: Path) -> list[Path]:
    return sorted(file.parent for file in folder.glob(f"[0-9][0-9][0-9]/{_STATE}"))


def _write(file: Path, data: bytes) -> None:
    with write_whole(file, len(data)) as stream:
        stream.write(data)
