"""Where the work runs: `connect` gives a Dask client for this machine or a cluster."""

from __future__ import annotations

import dask
from distributed import Client

from hpdp_dask.cluster.answer import ANSWER_TIMEOUT, check_answer
from hpdp_dask.cluster.dashboard import add_stages_page, link_through_jupyterhub
from hpdp_dask.cluster.local import start_local, start_local_cuda
from hpdp_dask.errors import InputError

__all__ = ["connect"]


def connect(
    where: str = "local",
    *,
    workers: int | None = None,
    memory_limit: str | int | None = None,
    wait: float = 300.0,
) -> Client:
    """Connect to a cluster, starting it first if need be.

    Parameters
    ----------
    where : str, optional
        `local`: worker processes of one thread each, on the cores alone. `local-cuda`: one
        worker process per CUDA device, which tasks find by the resource GPU. `tcp://host:port`,
        `tls://host:port`: the scheduler of a cluster that runs already; certificates come from
        Dask's configuration (`distributed.comm.tls`). The name of a cluster that was started to
        stay (`hpdp cluster start`). The name of a site, or the path of its YAML: jobs of its
        batch scheduler hold the workers.
    workers : int, optional
        Worker processes. By default as many as there are cores, or devices, on this machine; as
        many as the YAML says of a site.
    memory_limit : str or int, optional
        Of each local worker, in bytes or as `4GiB`. By default nine tenths of the machine's
        memory are divided among the workers.
    wait : float, optional
        Seconds that the first job may take to start.

    Returns
    -------
    distributed.Client
        A context manager. Closing it ends a cluster that was started for it.

    Raises
    ------
    InputError
        `where` is none of these, nothing answers at the address, there is no CUDA device,
        `workers` or `memory_limit` make no sense, the batch scheduler refuses the jobs, or no
        worker comes in time.
    """
    link_through_jupyterhub()
    if where == "local":
        return start_local(workers, memory_limit)
    if where == "local-cuda":
        return start_local_cuda(workers, memory_limit)
    from hpdp_dask.cluster import standing

    if where.startswith(("tcp://", "tls://")):
        _leave_workers(where, workers, memory_limit)
        return _join(where)
    if (connection := standing.find(where)) is not None:
        _leave_workers(where, workers, memory_limit)
        return standing.join(connection)
    return _start(where, workers, memory_limit, wait)


def _leave_workers(where: str, workers: int | None, memory_limit: str | int | None) -> None:
    if workers is not None or memory_limit is not None:
        raise InputError(
            f"{where}: the workers of a cluster that runs already are what they are; leave "
            "out their number and memory limit, or use the cluster local."
        )


def _start(where: str, workers: int | None, memory_limit: str | int | None, wait: float) -> Client:
    """Start the cluster of a site."""
    from hpdp_dask.cluster.site import load_site

    site = load_site(where)
    if site.scheduler in ("local", "local-cuda"):
        [group] = site.groups.values()
        number = group.workers if workers is None else workers
        memory = memory_limit or group.jobqueue.get("memory")
        start = start_local if site.scheduler == "local" else start_local_cuda
        with dask.config.set(site.dask):
            return start(number, memory)
    if memory_limit is not None:
        raise InputError(f"{site.path}: says how much memory the workers have; change it there.")
    from hpdp_dask.cluster.job_client import start_jobs

    return start_jobs(site, workers=workers, wait=wait)


def _join(address: str) -> Client:
    """Connect to a scheduler that runs already."""
    try:
        check_answer(address, None)
        client = Client(address, timeout=ANSWER_TIMEOUT)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{address}: no Dask scheduler answers ({reason.rstrip('.')}); check that it runs and "
            "that its port can be reached from here."
        ) from error
    add_stages_page(client)
    return client
