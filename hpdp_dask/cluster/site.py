"""Sites: a YAML that says which jobs of a batch scheduler hold the workers.

The section `jobqueue` is dask-jobqueue's own configuration, one key for each group of workers;
`distributed` and `dask` are Dask's; `hpdp` names the scheduler and the groups.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hpdp_dask.cluster.site_sections import (
    LOCAL,
    GroupSection,
    HpdpSection,
    Scheduler,
    read_job,
    read_sections,
    validated,
)
from hpdp_dask.errors import InputError

#: Folders with sites of a computing centre or a group, before the user's and the package's.
FOLDERS_VARIABLE = "HPDP_CLUSTERS"

#: The group whose jobs hold no workers, but run a whole command.
HEAD = "head"


class Group(BaseModel):
    """Workers that are alike.

    Attributes
    ----------
    name : str
    gpu : bool
        Whether each job has a GPU; its worker then has the resource GPU.
    workers : int or None
        How many there should be, in worker processes; None, on this machine alone, for one a core
        or one a device.
    minimum, maximum : int or None
        Given, the number follows the work between these.
    jobqueue : dict
        dask-jobqueue's options of a job, complete, with underscores.
    """

    name: str
    gpu: bool
    workers: int | None
    minimum: int | None
    maximum: int | None
    jobqueue: dict[str, Any]

    @property
    def processes(self) -> int:
        """Worker processes in each job."""
        return int(self.jobqueue.get("processes") or 1)


class Site(BaseModel):
    """Where jobs run, and which.

    Attributes
    ----------
    name : str
    path : Path
        The YAML.
    scheduler : str
    groups : dict of str to Group
        Of workers.
    head : Group or None
        For jobs that run a whole command.
    tls : bool
        Whether processes talk through TLS.
    interface, host : str or None
        Where Dask's scheduler listens; by default at all interfaces.
    port : int
        Where Dask's scheduler listens; 0 for any that is free.
    dashboard_address : str
    shared_directory : Path
        Certificates and logs of jobs go to a folder in it, which all machines must see.
    dask : dict
        Dask's own configuration, with the full keys.
    """

    name: str
    path: Path
    scheduler: Scheduler
    groups: dict[str, Group]
    head: Group | None
    tls: bool
    interface: str | None
    host: str | None
    port: int
    dashboard_address: str
    shared_directory: Path
    dask: dict[str, Any]


def known_sites() -> dict[str, Path]:
    """Give the YAML of each site that has a name.

    They are looked for in the folders of HPDP_CLUSTERS, in ~/.config/hpdp/clusters, and among
    those that come with the package; the first of a name counts.

    Returns
    -------
    dict of str to Path
    """
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def _folders() -> Iterable[Path]:
    for folder in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep):
        if folder:
            yield Path(folder).expanduser()
    settings = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    yield Path(settings).expanduser() / "hpdp" / "clusters"
    packaged = Path(__file__).parent / "sites"
    # an editable installation reads them where they are written
    yield packaged if packaged.is_dir() else Path(__file__).parents[2] / "clusters"


def load_site(where: str) -> Site:
    """Read a site.

    Parameters
    ----------
    where : str
        Its name, or the path of its YAML.

    Returns
    -------
    Site

    Raises
    ------
    InputError
        There is none of this name, or a key or a value is not one.
    """
    if where.endswith((".yaml", ".yml")) or os.sep in where:
        path = Path(where).expanduser()
    else:
        known = known_sites()
        if where not in known:
            raise InputError(
                f"the cluster {where!r} is not known; give local, local-cuda, the address of a "
                "scheduler as tcp://host:port or tls://host:port, the path of a YAML, or one of "
                f"{', '.join(known)}."
            )
        path = known[where]
    sections = read_sections(path)
    said = validated(HpdpSection, sections["hpdp"], path, "hpdp")
    groups = _groups(path, said, sections["jobqueue"])
    head = groups.pop(HEAD, None)
    if not groups:
        raise InputError(f"{path}: has no group of workers beside {HEAD}; add one to hpdp.groups.")
    batch = said.scheduler not in LOCAL
    if not batch and (len(groups) > 1 or any(group.maximum for group in groups.values())):
        raise InputError(
            f"{path}: the scheduler {said.scheduler} has one group, and its number of workers "
            "stays; leave the others, and minimum and maximum, out."
        )
    return Site(
        name=path.stem,
        path=path,
        scheduler=said.scheduler,
        groups=groups,
        head=head,
        tls=batch if said.tls is None else said.tls,
        interface=said.interface,
        host=said.host,
        port=said.port,
        dashboard_address=said.dashboard_address,
        shared_directory=_shared_directory(path, said.shared_directory),
        dask=dict(_flat({key: sections[key] for key in ("distributed", "dask")})),
    )


def _shared_directory(path: Path, said: str | None) -> Path:
    """Give the folder that all machines see: by default one in the home folder."""
    if said is not None:
        folder = Path(os.path.expandvars(said)).expanduser()
        # job scripts name it, where a shell would read it
        if not re.fullmatch(r"/[\w./@%+=:,-]*", str(folder)):
            raise InputError(
                f"{path}: hpdp.shared-directory is {folder}, expected a path from / on of letters, "
                "digits and ._-+=@%:, whose variables are set."
            )
        return folder
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "hpdp" / "jobs"


def _groups(path: Path, said: HpdpSection, jobqueue: dict[str, Any]) -> dict[str, Group]:
    sections = {name: group.config or name for name, group in said.groups.items()}
    unused = set(jobqueue) - set(sections.values())
    if unused:
        raise InputError(
            f"{path}: jobqueue.{min(unused)} belongs to no group; name it in hpdp.groups, or "
            "leave it out."
        )
    groups = {}
    for name, section in sections.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise InputError(
                f"{path}: the group {name!r} needs a name of letters, digits and underscores."
            )
        options = read_job(path, said.scheduler, section, jobqueue.get(section))
        options.setdefault("job_name", f"hpdp-{name}")
        groups[name] = _group(path, name, said.groups[name], options)
        if groups[name].workers is None and said.scheduler not in LOCAL:
            groups[name].workers = 1
    return groups


def _group(path: Path, name: str, said: GroupSection, options: dict[str, Any]) -> Group:
    if said.minimum is not None and said.maximum is None:
        raise InputError(f"{path}: hpdp.groups.{name} has a minimum; give a maximum too.")
    minimum = said.minimum
    if said.maximum is not None:
        minimum = 1 if minimum is None else minimum
        if minimum > said.maximum:
            raise InputError(
                f"{path}: hpdp.groups.{name} has the minimum {minimum} above the maximum "
                f"{said.maximum}."
            )
    if said.gpu and options.get("processes") not in (None, 1):
        raise InputError(
            f"{path}: the group {name} has GPUs and {options['processes']} processes a job; a job "
            "holds one worker on one GPU: set processes to 1 and ask for one GPU a job."
        )
    if options.get("cores") and options.get("processes") is None:
        # workers of one thread each, as on one machine
        options["processes"] = 1 if said.gpu else options["cores"]
    return Group(
        name=name,
        gpu=said.gpu,
        workers=said.workers,
        minimum=minimum,
        maximum=said.maximum,
        jobqueue=options,
    )


def _flat(section: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Give the values of a nested section with their full keys."""
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif value != {}:
            yield f"{prefix}{key}".removeprefix("dask."), value
