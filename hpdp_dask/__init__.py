"""From XFEL and cryo-EM images to the three-dimensional structure of a biomolecule, on Dask."""

import atexit
import os
import shutil
import tempfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

__version__ = version("hpdp-dask")


def _find_a_place_for_compiled_code() -> None:
    """Give Numba a folder of this process where it may write neither here nor at home.

    A read-only container with a service account's home, say; without any it refuses to import.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    places = (Path(__file__).parent, *(place for place in (home, home.parent) if place.is_dir()))
    if "NUMBA_CACHE_DIR" in os.environ or any(os.access(place, os.W_OK) for place in places):
        return
    folder = tempfile.mkdtemp(prefix="hpdp-numba-")
    os.environ["NUMBA_CACHE_DIR"] = folder  # the workers inherit it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


_find_a_place_for_compiled_code()

#: What a notebook needs, and where it is: found at the first use, since it takes long to import.
_NAMES = {
    "connect": "hpdp_dask.cluster",
    "explore": "hpdp_dask.web.heterogeneity_page",
    "performance_report": "hpdp_dask.cluster.reports",
    "stages": "hpdp_dask.cluster.panel_figures",
    "label": "hpdp_dask.web.label_page",
    "open_frames": "hpdp_dask.workflow.frame_display",
    "open_stack": "hpdp_dask.workflow.display",
    "read_map": "hpdp_dask.workflow.display",
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])
