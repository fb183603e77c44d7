"""CUDA devices of this machine, and how much of their memory a worker may hold."""

from __future__ import annotations

import os
import sys

from distributed import Worker, WorkerPlugin

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.arrays import has_gpu

#: The share of a device's memory that CuPy's pool may grow to.
POOL_SHARE = 0.85
#: cuFFT plans keep work areas: at most so many plans, and this share of the memory.
PLANS = 8
PLAN_SHARE = 0.1


def visible_devices() -> list[str]:
    """Name the CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        There is none.
    """
    if not has_gpu():
        raise InputError(
            "no CUDA device is found (or CuPy is not installed: pip install 'hpdp-dask[gpu]'); "
            "use the cluster local."
        )
    import cupy

    number = cupy.cuda.runtime.getDeviceCount()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return named[:number] if named != [""] else [str(index) for index in range(number)]


class DeviceMemory(WorkerPlugin):
    """Bounds what CuPy holds of the device of a worker, and its cuFFT plans."""

    name = "device-memory"

    def setup(self, worker: Worker) -> None:
        """Set the bounds in the thread that runs tasks, since plans are kept per thread."""
        worker.executors["default"].submit(_bound_device_memory).result()


def _bound_device_memory() -> None:
    import cupy

    cupy.get_default_memory_pool().set_limit(fraction=POOL_SHARE)
    plans = cupy.fft.config.get_plan_cache()
    plans.set_size(PLANS)
    plans.set_memsize(int(PLAN_SHARE * cupy.cuda.Device().mem_info[1]))


async def dask_setup(worker: Worker) -> None:
    """Bound what a worker holds of its device; run by `dask worker --preload` with this module."""
    await worker.plugin_add(plugin=DeviceMemory())


def main() -> None:
    """Check that this process may use a CUDA device; a job does it before it starts its worker."""
    try:
        visible_devices()
    except InputError as error:
        sys.exit(f"hpdp: {error}")


if __name__ == "__main__":
    main()
