"""In which of the formats of frames a file or folder is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from hpdp_dask.formats.hdf5 import is_hdf5, open_hdf5
from hpdp_dask.formats.image_series import IMAGE_SUFFIXES, image_kind, natural_key
from hpdp_dask.formats.nexus import is_nexus
from hpdp_dask.formats.packed_files import unpacked_name
from hpdp_dask.formats.panel_stills import is_panel_still
from hpdp_dask.stacks.frame_schema import FRAME_KIND

Kind = Literal[
    "run", "images", "emc", "cxi", "nexus", "hdf5", "numpy", "panels", "cbf", "smv", "marccd"
]

_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".cxi")

#: How the master files of DECTRIS's detectors end.
_MASTER = "_master.h5"


def kind_of(path: Path) -> Kind | None:
    """Tell in which of the formats of frames a file or folder is.

    Parameters
    ----------
    path : Path
        Something that exists.

    Returns
    -------
    str or None
        None where it is none of them; a Zarr stack is none. A folder is of `images` where files
        of such lie in it, else taken for a run of European XFEL.
    """
    if path.is_dir():
        if (path / "zarr.json").exists():
            return None
        of_a_run = any(re.match(r"(RAW|CORR|CAL)-.*\.h5$", file.name) for file in path.iterdir())
        return "images" if not of_a_run and images_in(path) else "run"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] in ([".npy"], [".npz"]) or suffixes[-2:] == [".npy", ".gz"]:
        return "panels" if is_panel_still(path) else "numpy"
    if suffixes[-1:] == [".emc"]:
        return "emc"
    if is_hdf5(path):
        return _kind_of_hdf5(path)
    return image_kind(path) or (
        "hdf5" if suffixes[-1:] and suffixes[-1] in _HDF5_SUFFIXES else None
    )


def _kind_of_hdf5(path: Path) -> Kind:
    with open_hdf5(path) as file:
        if "place_ones" in file:
            return "emc"
        if "INDEX/trainId" in file:
            return "run"
        if "entry_1" in file or "cxi_version" in file:
            return "cxi"
        return "nexus" if is_nexus(file) else "hdf5"


def images_in(folder: Path) -> list[Path]:
    """Give the files of single images of a folder, or else its master files, ordered naturally.

    Parameters
    ----------
    folder : Path
        Folders in it are not looked into.

    Returns
    -------
    list of Path
        By their names alone; hidden ones are left out.
    """
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    images = [name for name in names if _ends_as_image(name)]
    chosen = images or [name for name in names if name.endswith(_MASTER)]
    return [folder / name for name in sorted(chosen, key=natural_key)]


def _ends_as_image(name: str) -> bool:
    return unpacked_name(Path(name)).lower().endswith(IMAGE_SUFFIXES)


def holds_frames(path: Path) -> bool:
    """Tell whether a path is a stack of frames, or a file or run in a format of frames.

    Parameters
    ----------
    path : Path
        Need not exist.
    """
    if not path.exists():
        return False
    try:
        described = json.loads((path / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return kind_of(path) is not None
    return isinstance(described, dict) and described.get("attributes", {}).get("kind") == FRAME_KIND
