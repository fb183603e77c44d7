"""What an interrupted run left in its hidden folder: worth keeping, and of the same work?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from hpdp_dask.errors import BEGIN_ANEW, InputError
from hpdp_dask.workflow.record import RunRecord, read_run

#: Folder for what a stage can go on from; it is gone from the finished output.
SCRATCH = "scratch"

#: What a scratch holds that took long to make: accumulators; where a training of conformations
#: begins, and what it is found by; shots that were simulated to learn from.
_WORK = ("leaf-*.npy", "start.npz", "directions*.npz", "shots.zarr")


def went_before(partial: Path, record: RunRecord, adjustable: Collection[str]) -> bool:
    """Tell whether the hidden folder holds what an interrupted run of the same work left.

    If so, the record is told of parameters that were adjusted, then or now; if not, why.

    Raises
    ------
    InputError
        If it holds sums of other work, which starting anew would remove.
    """
    if not holds_anything(partial / SCRATCH):
        return False
    try:
        before = read_run(partial)
    except InputError as error:
        record.warnings = [f"Begun anew, in spite of --resume: {error}"]
        return False
    earlier, now = _work_of(before, adjustable), _work_of(record, adjustable)
    different = [name for name, value in now.items() if earlier[name] != value]
    if different:
        refusal = (
            f"{partial}: holds what a run with other {', '.join(different)} left, which --resume "
            f"cannot go on from ({_tell_differences(earlier, now)})"
        )
        if holds_work(partial / SCRATCH):
            raise InputError(f"{refusal}; call it as that run was called, or {BEGIN_ANEW}")
        record.warnings = [f"Begun anew, in spite of --resume: {refusal}."]
        return False
    was, is_now = _by_name(before.parameters), _by_name(record.parameters)
    told = [
        f"Interrupted, and gone on with {name} {is_now[name]} in place of {was[name]}."
        for name in adjustable
        if is_now[name] != was[name]
    ]
    record.warnings = [*before.warnings, *told]
    return True


def _work_of(record: RunRecord, adjustable: Collection[str]) -> dict[str, Any]:
    """Give what must be equal for one run to go on from another, by name.

    Of the command only the verb counts: where the work runs, or whether it resumes, does not
    change it.
    """
    return {
        "command": " ".join(takewhile(str.isidentifier, record.command[1:3])),
        "parameters": {
            name: value
            for name, value in _by_name(record.parameters).items()
            if name not in adjustable
        },
        "seed": record.seed,
        "inputs": [source.sha256 for source in record.inputs],
        "version": record.versions["hpdp_dask"],
    }


def _tell_differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what is not equal in the work of two runs, with both values."""
    told = []
    for name, value in now.items():
        if name == "inputs":  # digests would tell nobody anything
            if earlier[name] != value:
                told.append("the inputs were others, or had other contents")
            continue
        was, is_now = (_by_name({name: each}) for each in (earlier[name], value))
        told += [
            f"{each.removeprefix('parameters.')} was {was.get(each)}, is now {is_now.get(each)}"
            for each in {**was, **is_now}
            if was.get(each) != is_now.get(each)
        ]
    return "; ".join(told)


def _by_name(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give parameters that are nested side by side, as `training.rate`."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            found |= _by_name(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def holds_anything(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def holds_work(scratch: Path) -> bool:
    """Tell whether a scratch holds what took long to make, iterations or others.

    The iteration 000 is where a loop began, which cost nothing.
    """
    ended = (file.parent.name for file in scratch.rglob("[0-9][0-9][0-9]/state.json"))
    return any(map(int, ended)) or any(any(scratch.rglob(name)) for name in _WORK)
