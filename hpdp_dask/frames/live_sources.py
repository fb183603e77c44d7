"""Where live frames come from, as a user names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.stream.batches import Source
from hpdp_dask.dataflow.stream.directory import Directory, Open
from hpdp_dask.dataflow.stream.messages import Messages
from hpdp_dask.dataflow.stream.replay import Replay
from hpdp_dask.errors import InputError
from hpdp_dask.frames.live_images import LIVE_SUFFIXES, MASTER, open_live_image
from hpdp_dask.frames.sources import open_source
from hpdp_dask.numerics.bad_pixels import is_whole
from hpdp_dask.numerics.photon_counts import count_photons

#: Frames of a batch: as few as scheduling pays for, where they are small, and at most.
FEWEST, MOST = 16, 4096

#: How messages are asked for.
_SCHEMES = {"zmq://": False, "zmq+sub://": True}


@dataclass(frozen=True)
class LiveFolder:
    """How files that appear in a folder are taken.

    Attributes
    ----------
    open_file : callable
        Opens a file, with what is said of it; is pickled into tasks.
    suffixes : tuple of str
        Endings of the files that are taken.
    but : tuple of str
        Endings of files that are not all the same.
    geometries : bool
        Each file has its own geometry; else that of the first holds for all.
    """

    open_file: Open
    suffixes: tuple[str, ...]
    but: tuple[str, ...] = ()
    geometries: bool = False


#: Files of many frames of one detector.
FRAMES = LiveFolder(open_source, (".cxi", ".h5", ".hdf5", ".hdf", ".nxs", ".npy", ".npz", ".emc"))

#: Images of crystals, from detectors that are moved between data sets.
IMAGES = LiveFolder(open_live_image, LIVE_SUFFIXES, but=(MASTER,), geometries=True)


@dataclass(frozen=True)
class CountPhotons:
    """Makes photons of frames as they were read out, without common mode.

    Attributes
    ----------
    gain : float
        ADU a photon.
    """

    gain: float

    def __call__(self, block: xr.Dataset) -> xr.Dataset:
        """Count; a frame of which most pixels are not finite has NaN."""
        name = "adu" if "adu" in block else "photons"
        adu = block[name].values.astype(np.float32)
        everywhere = np.ones(adu.shape[1:], np.bool_)
        photons = count_photons(adu, everywhere, self.gain)
        whole = is_whole(adu, everywhere)
        if not whole.all():
            photons = np.where(whole[:, None, None], photons, np.float32(np.nan))
        return block.drop_vars(name).assign(photons=(("frame", "y", "x"), photons))


def open_live(
    words: str,
    batch: int,
    *,
    fewest: int = FEWEST,
    needs: tuple[str, ...] = (),
    idle: float | None = None,
    gain: float | None = None,
    described: Mapping[str, Any] | None = None,
    folder: LiveFolder = FRAMES,
) -> Source:
    """Open a source of live frames.

    Parameters
    ----------
    words : str
        *replay:FRAMES.zarr*, with *@RATE* for frames a second; *zmq://host:port* to pull from who
        pushes, *zmq+sub://host:port* to subscribe to who publishes, with a host `*` to listen; or
        a folder in which files appear.
    batch : int
        Frames of a batch.
    fewest : int, optional
        So many at least.
    needs : tuple of str, optional
        Variables of frames that are read beside the photons, where the source is a stack.
    idle : float, optional
        Folders and messages: end when nothing came for so many seconds.
    gain : float, optional
        ADU a photon, of folders and messages; by default frames are photons.
    described : mapping, optional
        What is said of the files of a folder; see `frames.sources.open_source`.
    folder : LiveFolder, optional
        How files of a folder are taken.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        It is none of them, or is not there.
    """
    if not fewest <= batch <= MOST:
        raise InputError(f"batches of {batch} frames; give a number from {fewest} to {MOST}.")
    if gain is not None and not gain > 0:
        raise InputError(f"a gain of {gain:g} ADU a photon; give one above 0.")
    count = None if gain is None else CountPhotons(gain)
    for scheme, subscribe in _SCHEMES.items():
        if words.startswith(scheme):
            address = _address(words, scheme)
            return Messages(address, batch, subscribe=subscribe, idle=idle, count=count)
    if words.startswith("replay:"):
        path, rate = _rate(words.removeprefix("replay:"))
        return Replay(path, batch, rate=rate, needs=needs)
    if "://" in words:
        scheme = words.partition("://")[0]
        raise InputError(
            f"{words}: no source {scheme}; there are a folder, zmq://host:port, "
            "zmq+sub://host:port and replay:FRAMES.zarr."
        )
    return Directory(
        words,
        batch,
        partial(folder.open_file, **dict(described or {})),
        folder.suffixes,
        but=folder.but,
        geometries=folder.geometries,
        idle=idle,
        count=count,
    )


def _address(words: str, scheme: str) -> str:
    """Give the address that ZeroMQ takes."""
    host, _, port = words.removeprefix(scheme).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"{words}: expected {scheme}host:port, with a port from 1 to 65535.")
    return f"tcp://{host}:{port}"


def _rate(words: str) -> tuple[Path, float | None]:
    """Part a path from the rate after it; a path may hold `@` itself."""
    path, sign, rate = words.rpartition("@")
    if not sign or Path(words).exists():
        return Path(words), None
    try:
        return Path(path), float(rate)
    except ValueError:
        raise InputError(
            f"replay:{words}: the rate is {rate!r}, expected frames a second, as @556."
        ) from None
