"""Where diffraction images come from, as a user names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpdp_dask.crystallography.predict import Predict, of_shots
from hpdp_dask.dataflow.stream.batches import Source
from hpdp_dask.dataflow.stream.replay import Replay
from hpdp_dask.frames.live_sources import IMAGES, open_live
from hpdp_dask.stacks.frames import open_frames

#: What a stack of simulated shots has, which are quadrants already.
_OF_SHOTS = "shot_wavelength"


def open_watched(
    words: str,
    batch: int,
    predict: Predict,
    *,
    idle: float | None = None,
    described: Mapping[str, Any] | None = None,
) -> tuple[Source, Predict]:
    """Open a source of diffraction images.

    Parameters
    ----------
    words : str
        As for `frames.live_sources.open_live`; a folder may have images of several geometries.
    batch : int
        Images of a batch at most.
    predict : Predict
    idle : float, optional
        Folders and messages: end when nothing came for so many seconds.
    described : mapping, optional
        What is said of the files of a folder.

    Returns
    -------
    tuple
        The source, and the measure as its images need it.

    Raises
    ------
    InputError
        It is no source, or is not there.
    """
    source = open_live(words, batch, fewest=1, idle=idle, described=described, folder=IMAGES)
    if isinstance(source, Replay) and _OF_SHOTS in open_frames(source.path):
        predict = of_shots(predict)
        source = open_live(words, batch, fewest=1, needs=predict.needs, folder=IMAGES)
    return source, predict
