"""Where the work runs: `connect` gives a Dask client for this machine, its GPUs, or a scheduler."""

from __future__ import annotations

from distributed import Client

from hpdp_dask.cluster.local import start_local, start_local_cuda
from hpdp_dask.errors import InputError

__all__ = ["connect"]

#: How long a scheduler may take to answer.
ANSWER_TIMEOUT = "10s"


def connect(
    where: str = "local", *, workers: int | None = None, memory_limit: str | int | None = None
) -> Client:
    """Connect to a cluster, starting it first if it is on this machine.

    Parameters
    ----------
    where : str, optional
        `local`: worker processes of one thread each, on the cores alone. `local-cuda`: one
        worker process per CUDA device, which tasks find by the resource GPU. `tcp://host:port`,
        `tls://host:port`: the scheduler of a cluster that runs already; certificates come from
        Dask's configuration (`distributed.comm.tls`).
    workers : int, optional
        Worker processes of a local cluster. By default as many as there are cores, or devices.
    memory_limit : str or int, optional
        Of each local worker, in bytes or as `4GiB`. By default nine tenths of the machine's
        memory are divided among the workers.

    Returns
    -------
    distributed.Client
        A context manager. Closing it ends a cluster that was started for it.

    Raises
    ------
    InputError
        `where` is none of these, nothing answers at the address, there is no CUDA device, or
        `workers` or `memory_limit` make no sense.
    """
    if where == "local":
        return start_local(workers, memory_limit)
    if where == "local-cuda":
        return start_local_cuda(workers, memory_limit)
    if where.startswith(("tcp://", "tls://")):
        if workers is not None or memory_limit is not None:
            raise InputError(
                f"{where}: the workers of a cluster that runs already are what they are; leave "
                "out their number and memory limit, or use the cluster local."
            )
        return _join(where)
    raise InputError(
        f"the cluster {where!r} is not known; give local, local-cuda, or the address of a "
        "scheduler as tcp://host:port or tls://host:port."
    )


def _join(address: str) -> Client:
    """Connect to a scheduler that runs already."""
    try:
        return Client(address, timeout=ANSWER_TIMEOUT)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{address}: no Dask scheduler answers ({reason.rstrip('.')}); check that it runs and "
            "that its port can be reached from here."
        ) from error
