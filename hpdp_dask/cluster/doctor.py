"""Checks of a cluster before jobs wait for hours: what is right, and what to change."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import socket
from collections.abc import Iterator
from typing import Literal, NamedTuple

import psutil
from dask.system import CPU_COUNT
from dask.utils import format_bytes, parse_bytes
from distributed.system import MEMORY_LIMIT
from distributed.utils import get_ip

from hpdp_dask.cluster.connection import Connection, read_connection
from hpdp_dask.cluster.devices import visible_devices
from hpdp_dask.cluster.local import MEMORY_SHARE
from hpdp_dask.cluster.site import Site, load_site
from hpdp_dask.cluster.standing import tell
from hpdp_dask.errors import InputError

#: What a thread of a worker takes in a refinement of images of 256 pixels a side, besides what
#: the worker itself takes: `hpdp cryoem refine` says 6.7 GiB for a worker of one thread. It grows
#: with the third power of the box.
REFINED_BOX, REFINED_BYTES = 256, 6.45 * 2**30
IDLE_BYTES = 0.25 * 2**30

_PACKAGES = ("hpdp-dask", "dask", "distributed", "dask-jobqueue")


class Finding(NamedTuple):
    """What a check found.

    Attributes
    ----------
    level : str
        `ok`, `warn` or `fail`.
    topic : str
    message : str
    advice : str
        What to change; empty if nothing.
    """

    level: Literal["ok", "warn", "fail"]
    topic: str
    message: str
    advice: str = ""


def examine(where: str) -> Iterator[Finding]:
    """Check a cluster: the file, the batch scheduler, memory, network, devices, folders.

    Parameters
    ----------
    where : str
        local, local-cuda, the name or path of a site's file, or the name of a cluster that runs.

    Yields
    ------
    Finding
        As they are made: a batch scheduler may take its time.
    """
    yield _versions()
    connection = read_connection(where)
    if connection is not None:
        yield _standing(connection)
        where = connection.where
    if where in ("local", "local-cuda"):
        yield from _this_machine(where == "local-cuda", None)
        return
    try:
        site = load_site(where)
    except InputError as error:
        yield Finding("fail", "file", str(error))
        return
    yield Finding("ok", "file", f"{site.path}: {site.scheduler}, groups {', '.join(site.groups)}")
    if site.scheduler in ("local", "local-cuda"):
        [group] = site.groups.values()
        yield from _this_machine(site.scheduler == "local-cuda", group.jobqueue.get("memory"))
        return
    yield _encryption(site)
    yield from _network(site)
    from hpdp_dask.cluster.doctor_batch import examine_jobs

    yield from examine_jobs(site)


def _standing(connection: Connection) -> Finding:
    topic = f"cluster {connection.name}"
    try:
        groups = tell(connection).groups
    except InputError as error:
        return Finding("fail", topic, str(error))
    refusals = "; ".join(f"{group.name}: {group.refusal}" for group in groups if group.refusal)
    if refusals:
        return Finding("fail", topic, f"jobs of it fail ({refusals})", "see below")
    workers = ", ".join(f"{group.workers} of {group.wanted} {group.name}" for group in groups)
    return Finding("ok", topic, f"runs with the workers {workers}")


def _versions() -> Finding:
    found = [f"python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            return Finding("fail", "versions", f"{package} is not installed", "pip install it")
    return Finding("ok", "versions", ", ".join(found))


def _this_machine(devices: bool, memory: str | None) -> Iterator[Finding]:
    workers = CPU_COUNT
    if devices:
        try:
            workers = len(visible_devices())
        except InputError as error:
            yield Finding("fail", "GPUs", str(error))
            return
        yield Finding("ok", "GPUs", f"{workers}, a worker for each")
    else:
        yield Finding("ok", "cores", f"{workers}, a worker for each")
    share = parse_bytes(memory) if memory else MEMORY_SHARE * MEMORY_LIMIT / workers
    yield check_memory("memory", int(share), 1, "fewer --workers have more each")


def check_memory(topic: str, limit: int, threads: int, advice: str) -> Finding:
    """Compare the memory of a worker with what a refinement takes.

    Parameters
    ----------
    topic : str
    limit : int
        Bytes of the worker.
    threads : int
        Of the worker.
    advice : str
        How there could be more.
    """
    room = max(0.0, limit - IDLE_BYTES) / threads
    box = int(REFINED_BOX * (room / REFINED_BYTES) ** (1 / 3)) // 2 * 2
    message = f"{format_bytes(limit)} a worker: refines images of up to about {box} pixels a side"
    if box >= REFINED_BOX:
        return Finding("ok", topic, message)
    needed = IDLE_BYTES + threads * REFINED_BYTES
    return Finding(
        "warn", topic, message, f"a box of {REFINED_BOX} takes {format_bytes(needed)}: {advice}"
    )


def _encryption(site: Site) -> Finding:
    if not site.tls:
        return Finding(
            "warn",
            "encryption",
            "off: who reaches the scheduler's port can run programs as you",
            "leave out tls: false in the section hpdp",
        )
    if importlib.util.find_spec("cryptography") is None:
        return Finding(
            "fail", "encryption", "cryptography is not installed", "pip install cryptography"
        )
    return Finding("ok", "encryption", "TLS, with certificates of each cluster's own")


def _network(site: Site) -> Iterator[Finding]:
    """Check where the scheduler will listen."""
    address = site.host or ""
    if site.interface and not site.host:
        known = psutil.net_if_addrs()
        found = [it.address for it in known.get(site.interface, []) if it.family == socket.AF_INET]
        if not found:
            yield Finding(
                "fail",
                "network",
                f"this machine has no interface {site.interface!r} with an address",
                f"set hpdp.interface to one of {', '.join(known)}",
            )
            return
        address = found[0]
    told = address or get_ip()
    if told.startswith("127."):
        yield Finding(
            "warn",
            "network",
            f"the scheduler tells workers to come to {told}, which only this machine reaches",
            "set hpdp.interface to the interface that compute nodes see",
        )
    else:
        yield Finding("ok", "network", f"the scheduler tells workers to come to {told}")
    yield _port(address, site.port)


def _port(address: str, port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return Finding(
                "fail",
                "port",
                f"the scheduler cannot listen at {address or 'this machine'}:{port} "
                f"({error.strerror})",
                "set hpdp.port to another, or to 0 for any that is free",
            )
    if port:
        return Finding("ok", "port", f"{port} is free")
    return Finding("ok", "port", "any that is free: compute nodes must reach all ports from 1024")
