"""What the live page of diffraction images shows: running traces, and images that stand out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from hpdp_dask.crystallography.watch.recipe import RESOLUTIONS, SHELVES, Shelf
from hpdp_dask.crystallography.watch.table import image_name
from hpdp_dask.dataflow.stream.batches import FRAME_ID
from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.dataflow.stream.figures import Snapshot
from hpdp_dask.dataflow.stream.ranking import Ranked
from hpdp_dask.web.live_desk import LiveDesk, Visitor, histogram, image_url, number
from hpdp_dask.web.pictures import Contrast, Painter

#: Hits whose resolution is drawn as a point each.
_LAST = 400

#: Spots black on white, as crystallographers look at them, however bright the brightest are.
_CONTRAST = Contrast(scale="linear", low=20.0, high=99.0, colours="gray_r")


class CrystalsDesk(LiveDesk):
    """Tells the visitors of a live page of diffraction images.

    Parameters
    ----------
    stream : Stream
        With the recipe of `crystallography.watch`.
    """

    def __init__(self, stream: Stream) -> None:
        self._painted: dict[int, str] = {}
        #: Frames whose pictures a visitor has.
        self._told: WeakKeyDictionary[Visitor, set[int]] = WeakKeyDictionary()
        super().__init__(stream)

    def craft(self, seen: Snapshot) -> dict[str, Any]:
        """Give the last hits, their distribution, and images that stand out."""
        frames = {each.frame_id for ranked in seen.ranked.values() for each in ranked}
        for frame_id in frames - self._painted.keys():
            self._paint(frame_id)
        for frame_id in self._painted.keys() - frames:
            del self._painted[frame_id]
        return {
            "counts": histogram(seen, RESOLUTIONS),
            "last": _last(seen),
            "shelves": [
                self._shelf(shelf, seen.ranked[shelf.ranking.name])
                for shelf in SHELVES
                if shelf.ranking.name in seen.ranked
            ],
            "pictures": dict(self._painted),
        }

    def for_visitor(self, visitor: Visitor, message: dict[str, Any]) -> dict[str, Any]:
        """Leave out the pictures that a visitor has."""
        told = self._told.get(visitor, set())
        pictures = message["pictures"]
        self._told[visitor] = set(pictures)
        new = {str(frame): url for frame, url in pictures.items() if frame not in told}
        return message | {"pictures": new}

    def _shelf(self, shelf: Shelf, ranked: Sequence[Ranked]) -> dict[str, Any]:
        return {
            "name": shelf.title,
            "words": shelf.words,
            "unit": shelf.unit,
            "frames": [
                {"frame": each.frame_id, "value": each.value, **self._place(each.frame_id)}
                for each in ranked
            ],
        }

    def _place(self, frame_id: int) -> dict[str, str]:
        """Say where a frame is: in a word, and in full."""
        name, file = image_name(self.stream.source, frame_id)
        return {"name": name, "file": file}

    def _paint(self, frame_id: int) -> None:
        """Paint a frame; it is not there yet, or no more, where a task is about to make it."""
        picture = self.stream.folder.picture(frame_id)
        if picture is None:
            return
        png = Painter(np.zeros(picture.shape, np.uint8)).paint(picture[None], _CONTRAST)[0]
        self._painted[frame_id] = image_url(png)


def _last(seen: Snapshot) -> dict[str, list[Any]]:
    """Give number, resolution and probability of several lattices of the last hits."""
    resolution = seen.points.get("resolution", np.zeros(0))[-_LAST:]
    known = np.isfinite(resolution)
    frames = seen.points.get(FRAME_ID, np.zeros(0, np.int64))[-_LAST:]
    several = seen.points.get("several_lattices_probability", np.full(len(frames), np.nan))
    return {
        "frame": frames[known].tolist() if len(resolution) else [],
        "resolution": resolution[known].tolist(),
        "several": [number(value) for value in several[-_LAST:][known]] if len(resolution) else [],
    }
