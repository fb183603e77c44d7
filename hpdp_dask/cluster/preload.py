"""What the process that workers are forked from does first: the imports they all need.

Imported there only. Nothing here may start a thread or touch a device. The modules are imported to
be there, and after the garbage collection is off, hence the silenced rules.
"""

# ruff: noqa: E402
import gc

# Nothing that is imported here is ever garbage: collecting among it costs 0.2 CPU seconds now
# and 0.4 at the end, and would copy the pages that the workers share.
gc.disable()

import distributed  # noqa: F401
import numba
import xarray  # noqa: F401
import zarr  # noqa: F401

import hpdp_dask.dataflow.blocks
import hpdp_dask.dataflow.trees
import hpdp_dask.numerics.slices  # noqa: F401


@numba.njit(cache=True)
def _nothing() -> int:
    return 0


# The first compiled function that a process runs makes Numba set up its tables: 0.3 CPU seconds.
_nothing()

gc.freeze()
gc.enable()
