"""The classes and the configuration of dask-jobqueue, imported without what its import does.

Its module `runner` takes the signal SIGINT, so that Ctrl-C would end a process at once and as if
nothing were wrong; and it cannot be imported outside of the main thread (dask-jobqueue 0.9).
Everything of it that is needed comes from here.
"""

from __future__ import annotations

import signal
from unittest.mock import patch

with patch.object(signal, "signal", lambda *_: None):
    from dask_jobqueue.htcondor import HTCondorJob
    from dask_jobqueue.lsf import LSFJob
    from dask_jobqueue.pbs import PBSJob
    from dask_jobqueue.sge import SGEJob
    from dask_jobqueue.slurm import SLURMJob

__all__ = ["HTCondorJob", "LSFJob", "PBSJob", "SGEJob", "SLURMJob"]
