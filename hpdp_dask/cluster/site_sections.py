"""The sections of a site's YAML, and one sentence about what is wrong in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from dask.utils import parse_bytes
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
)

from hpdp_dask.errors import InputError

Scheduler = Literal["slurm", "pbs", "lsf", "sge", "htcondor", "local", "local-cuda"]

M = TypeVar("M", bound=BaseModel)

#: dask-jobqueue's keys that it warns of, or that are said in the section `hpdp`.
_LEFT_OUT = {
    *("extra", "env-extra", "job-extra", "header-skip"),
    *("scheduler-options", "shared-temp-directory"),
}
#: What can be said of the workers of a cluster on this machine.
_LOCAL_KEYS = {"memory"}
LOCAL = ("local", "local-cuda")
_SECTIONS = ("hpdp", "jobqueue", "distributed", "dask")


class GroupSection(BaseModel):
    """`hpdp.groups.NAME` of the YAML."""

    model_config = ConfigDict(extra="forbid")
    config: StrictStr | None = None
    gpu: StrictBool = False
    workers: StrictInt | None = Field(None, ge=0)
    minimum: StrictInt | None = Field(None, ge=0)
    maximum: StrictInt | None = Field(None, ge=1)


class HpdpSection(BaseModel):
    """`hpdp` of the YAML."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    scheduler: Scheduler
    groups: dict[StrictStr, GroupSection] = Field(min_length=1)
    tls: StrictBool | None = None
    interface: StrictStr | None = None
    host: StrictStr | None = None
    port: StrictInt = 0
    dashboard_address: StrictStr = Field("127.0.0.1:0", alias="dashboard-address")
    shared_directory: StrictStr | None = Field(None, alias="shared-directory")


class _JobSection(BaseModel):
    """`jobqueue.NAME` of the YAML; the remaining keys differ between schedulers."""

    model_config = ConfigDict(extra="allow", alias_generator=lambda name: name.replace("_", "-"))
    cores: PositiveInt
    memory: StrictStr
    processes: PositiveInt | None = None
    death_timeout: int | StrictStr | None = None
    walltime: StrictStr | None = None
    worker_extra_args: list[StrictStr] = []
    job_script_prologue: list[StrictStr] = []
    job_extra_directives: list[StrictStr] | dict[str, Any] = []
    job_directives_skip: list[StrictStr] = []

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, memory: str) -> str:
        if not re.search(r"[A-Za-z]", memory) or parse_bytes(memory) <= 0:
            raise ValueError("give a size with its unit, as 4GiB")
        return memory

    @field_validator("worker_extra_args")
    @classmethod
    def _has_no_resources(cls, words: list[str]) -> list[str]:
        if any("--resources" in word for word in words):
            raise ValueError("--resources is set for each group; write gpu: true in hpdp.groups")
        return words


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """Read the sections of a YAML.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to dict
        All four, those that are not there empty.

    Raises
    ------
    InputError
        It is not there, is not YAML, or has other sections.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a YAML.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: is not YAML ({reason}); see the example in the manual."
        ) from None
    if not isinstance(found, dict) or "hpdp" not in found:
        raise InputError(f"{path}: has no section hpdp, which names the scheduler and the groups.")
    _check_keys(path, "the file", found, _SECTIONS)
    sections = {name: found.get(name) or {} for name in _SECTIONS}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise InputError(f"{path}: {name} is not a section of keys and values.")
    return sections


def read_job(path: Path, scheduler: str, section: str, said: Any) -> dict[str, Any]:
    """Check what the YAML says of a job and complete it.

    Parameters
    ----------
    path : Path
        The YAML, for messages.
    scheduler : str
    section : str
        The key in `jobqueue`, for messages.
    said : object
        What is there.

    Returns
    -------
    dict of str to object
        dask-jobqueue's options, with underscores.

    Raises
    ------
    InputError
        There is an unknown key, or a value that is none.
    """
    place = f"jobqueue.{section}"
    if scheduler in LOCAL:
        _check_keys(path, place, said or {}, _LOCAL_KEYS)
        return dict(said or {})
    from dask import config

    import hpdp_dask.cluster.jobqueue  # noqa: F401  (its defaults come into the configuration)

    if not isinstance(said, dict):
        raise InputError(f"{path}: has no section {place} with the options of a job.")
    defaults = {
        key.replace("_", "-"): value
        for key, value in config.get(f"jobqueue.{scheduler}").items()
        if key.replace("_", "-") not in _LEFT_OUT
    }
    said = {str(key).replace("_", "-"): value for key, value in said.items()}
    _check_keys(path, place, said, defaults)
    complete = defaults | said
    validated(_JobSection, complete, path, place)
    del complete["name"]
    if "name" in said:
        complete["job-name"] = said["name"]
    return {key.replace("-", "_"): value for key, value in complete.items()}


def _check_keys(path: Path, place: str, said: Iterable[Any], known: Iterable[str]) -> None:
    unknown = [str(key) for key in said if key not in set(known)]
    if unknown:
        raise InputError(
            f"{path}: {place} has the unknown key {unknown[0]!r}{_meant(unknown[0], known)}; known "
            f"are {', '.join(sorted(known))}."
        )


def _meant(key: str, known: Iterable[str]) -> str:
    """Ask for the known key that a word is like."""
    if key == "partition" and "queue" in known:  # SLURM's own word
        return " (queue, did you mean?)"
    alike = get_close_matches(key, list(known), 1, 0.75)
    return f" ({alike[0]}, did you mean?)" if alike else ""


def validated(model: type[M], said: dict[str, Any], path: Path, place: str) -> M:
    """Check a section, telling of the first fault.

    Parameters
    ----------
    model : type of pydantic.BaseModel
    said : dict
    path : Path
        The YAML, for messages.
    place : str
        The section, for messages.

    Returns
    -------
    pydantic.BaseModel
        Of this type.

    Raises
    ------
    InputError
        There is a fault.
    """
    try:
        return model.model_validate(said)
    except ValidationError as error:
        # a key with a slip is missing too, under its right name
        fault = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        at = ".".join([place, *(str(part) for part in fault["loc"])])
        if fault["type"] == "extra_forbidden":
            parent, _, key = at.rpartition(".")
            owner = GroupSection if ".groups." in at else model
            known = sorted(field.alias or name for name, field in owner.model_fields.items())
            raise InputError(
                f"{path}: {parent} has the unknown key {key!r}{_meant(key, known)}; known are "
                f"{', '.join(known)}."
            ) from None
        if fault["type"] == "missing":
            raise InputError(f"{path}: {at} is missing; give it a value.") from None
        if at == "hpdp.scheduler":
            raise InputError(
                f"{path}: the scheduler {fault['input']!r} is not known; known are "
                f"{', '.join(get_args(Scheduler))}."
            ) from None
        reason = fault["msg"].removeprefix("Value error, ")
        hint = "; put it in quotes" if fault["type"] == "string_type" else ""
        raise InputError(
            f"{path}: {at} is {fault['input']!r} ({reason[0].lower()}{reason[1:]}{hint})."
        ) from None
