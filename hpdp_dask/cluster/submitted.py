"""What is noted of commands that run as jobs: by who submits them, and by the jobs themselves."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hpdp_dask.cluster.connection import state_folder, write_private
from hpdp_dask.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


class Submitted(BaseModel, extra="forbid"):
    """A command that was submitted.

    Attributes
    ----------
    name : str
    scheduler : str
        The batch scheduler; *local* for a process on `host`.
    job : str or None
        The number of the job or of the process; None before it has one.
    host : str
        Where it was submitted.
    words : list of str
        The command, without `hpdp`.
    folder : Path
        Where it runs.
    log : Path
        What it prints.
    partial : Path or None
        What an interrupted run of it leaves, for a command that can go on from it.
    environment : dict of str to str
    submitted : datetime
    """

    name: str
    scheduler: str
    job: str | None = None
    host: str
    words: list[str]
    folder: Path
    log: Path
    partial: Path | None
    environment: dict[str, str]
    submitted: datetime

    @property
    def file(self) -> Path:
        """Where this is kept."""
        return _folder() / f"{self.name}.json"

    @property
    def run_file(self) -> Path:
        """Where the job notes that it began and ended."""
        return _folder() / f"{self.name}.run.json"

    @property
    def said(self) -> Path:
        """What the batch scheduler and the shell said, before the command began."""
        return _folder() / f"{self.name}.said"


class Run(BaseModel, extra="forbid"):
    """What a job notes of itself.

    Attributes
    ----------
    host : str
    began : datetime
    ended : datetime or None
    code : int or None
        The exit code.
    """

    host: str
    began: datetime
    ended: datetime | None = None
    code: int | None = None


def _folder() -> Path:
    return state_folder("submitted", make=True)


def read_submitted(path: Path) -> Submitted:
    """Read the file of a submitted command.

    Raises
    ------
    InputError
        It is none.
    """
    found = read_noted(Submitted, path)
    if found is None:
        raise InputError(f"{path}: is not there; submit the command again.")
    return found


def read_noted(model: type[Model], path: Path) -> Model | None:
    """Read a file of the folder of jobs.

    Returns
    -------
    Submitted or Run, or None
        None when it is not there.

    Raises
    ------
    InputError
        It holds something else.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InputError(
            f"{path}: is not as this version of hpdp writes it; remove it, if its job has ended."
        ) from error


def write_model(path: Path, model: BaseModel) -> None:
    """Write a file for the user alone, whole."""
    write_private(path, model.model_dump_json(indent=2) + "\n")


def all_submitted() -> list[Submitted]:
    """Give all commands that were submitted, the latest last."""
    paths = [path for path in _folder().glob("*.json") if not path.name.endswith(".run.json")]
    return sorted(map(read_submitted, paths), key=lambda record: record.submitted)


def find_submitted(name: str) -> Submitted:
    """Find a submitted command by its name.

    Raises
    ------
    InputError
        There is none; names those that there are.
    """
    known = {record.name: record for record in all_submitted()}
    if name not in known:
        raise InputError(
            f"no job {name!r} was submitted; "
            + (f"known are {', '.join(known)}." if known else "there is none at all.")
        )
    return known[name]
