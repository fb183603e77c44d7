"""The hands behind the explorer of conformations: they choose, make volumes and save in threads.

The thread of the server only passes messages on, so that a page answers while a volume is made
and a stack is written.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hpdp_dask.cryoem.heterogeneity.selection import Lasso
from hpdp_dask.errors import InputError
from hpdp_dask.web.heterogeneity_choice import Choice, output_path, save_choice
from hpdp_dask.web.heterogeneity_source import Explored, picture
from hpdp_dask.web.heterogeneity_thread import Made, VolumeThread

log = logging.getLogger(__name__)

#: Chosen images that a page shows.
_GALLERY = 12


class Visitor(Protocol):
    """One browser tab."""

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message; from any thread."""


class ExplorerDesk:
    """Serves the visitors of one page.

    Parameters
    ----------
    explored : Explored
    output : Path
        The folder that chosen images are saved in.

    Attributes
    ----------
    chosen : (m,) ndarray of int64
        Places in the stack of what a visitor chose last.
    """

    def __init__(self, explored: Explored, output: Path) -> None:
        self.explored = explored
        self.output = output
        self.chosen = np.zeros(0, np.int64)
        self._choices: dict[Visitor, Choice] = {}
        self._lock = threading.Lock()
        self._chooser = ThreadPoolExecutor(1, thread_name_prefix="choice")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="images")
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="saving")
        #: The image that each looks at, so that what was passed over is not read.
        self._looked_at: dict[Visitor, int] = {}
        self._maker = VolumeThread(explored.conformations, explored.latent, self._deliver)

    def enter(self, visitor: Visitor) -> None:
        """Let somebody in: says what there is."""
        explored = self.explored
        with self._lock:
            self._choices[visitor] = Choice(explored)
        visitor.tell(
            {
                "kind": "start",
                "folder": str(explored.folder),
                "output": str(self.output),
                "number": explored.number,
                "images": explored.drawn.astype(np.int32).tobytes(),
                "columns": [[each.name, list(each.names)] for each in explored.columns.values()],
                "first": explored.first(),
                "level": self._maker.level,
                "extent": explored.conformations.pixel_size * explored.views.box,
            }
        )

    def leave(self, visitor: Visitor) -> None:
        """Forget a visitor."""
        self._maker.forget(visitor)
        with self._lock:
            self._choices.pop(visitor, None)
            self._looked_at.pop(visitor, None)

    def give(self, visitor: Visitor, name: str) -> None:
        """Send the values of a column, of the images that are drawn."""
        values = self.explored.columns[name].values[self.explored.drawn]
        visitor.tell({"kind": "column", "name": name, "values": values.tobytes()})

    def choose(self, visitor: Visitor, act: Callable[[Choice], None]) -> None:
        """Change what somebody has chosen, and say what is chosen now."""
        self._chooser.submit(self._safely, visitor, partial(self._choose, visitor, act))

    def look(self, visitor: Visitor, place: int) -> None:
        """Send an image and what is known of it, and its volume, first a coarse one."""
        self._looked_at[visitor] = place
        self._maker.wish(visitor, place)
        self._reader.submit(self._safely, visitor, partial(self._show, visitor, place))

    def save(self, visitor: Visitor, name: str, kind: str) -> None:
        """Write what somebody has chosen, and say where it is."""

        def hand_over() -> None:
            # after what was chosen before, and free for what is chosen while a stack is written
            choice = self._choices[visitor]
            save = partial(self._save, visitor, name, kind, choice.rows, choice.lasso)
            self._saver.submit(self._safely, visitor, save)

        self._chooser.submit(self._safely, visitor, hand_over)

    def stop(self) -> None:
        """Finish what is being saved, and end."""
        self._maker.stop()
        for hand in (self._chooser, self._reader, self._saver):
            hand.shutdown(wait=True, cancel_futures=hand is not self._saver)

    def _safely(self, visitor: Visitor, work: Callable[[], None]) -> None:
        """Do something, and say on the page what went wrong."""
        try:
            work()
            return
        except (InputError, OSError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        except Exception as error:
            log.exception("The explorer failed.")
            text = f"This failed ({error}); the terminal of the page says where."
        visitor.tell({"kind": "problem", "text": text})

    def _choose(self, visitor: Visitor, act: Callable[[Choice], None]) -> None:
        choice = self._choices.get(visitor)
        if choice is None:
            return
        act(choice)
        self.chosen = rows = choice.rows
        visitor.tell(
            {
                "kind": "chosen",
                "count": len(rows),
                "mask": choice.mask[self.explored.drawn].astype(np.uint8).tobytes(),
                "isLasso": choice.lasso is not None,
            }
        )
        if len(rows):
            some = np.random.default_rng(0).choice(rows, min(_GALLERY, len(rows)), replace=False)
            gallery = self.explored.gallery(np.sort(some))
            visitor.tell({"kind": "gallery", "pictures": gallery})

    def _show(self, visitor: Visitor, place: int) -> None:
        if self._looked_at.get(visitor) != place:
            return
        visitor.tell(
            {
                "kind": "particle",
                "image": place,
                "rows": self.explored.describe(place),
                **self.explored.pictures(place),
            }
        )

    def _deliver(self, visitor: Any, made: Made) -> None:
        self._safely(visitor, partial(self._send, visitor, made))

    def _send(self, visitor: Visitor, made: Made) -> None:
        """Send a volume in 256 levels, which is as many as a picture has."""
        volume = made.volume
        low, high = float(volume.min()), float(volume.max())
        scale = 255.0 / max(high - low, 1e-30)
        expected = self.explored.views.expected(made.place, volume)
        visitor.tell(
            {
                "kind": "volume",
                "image": made.place,
                "box": len(volume),
                "low": low,
                "high": high,
                "voxels": ((volume - low) * scale + 0.5).astype(np.uint8).tobytes(),
                "expected": picture(expected),
                "isFine": made.is_fine,
                "finest": 2.0 * made.voxel_size,
            }
        )

    def _save(
        self, visitor: Visitor, name: str, kind: str, rows: np.ndarray, lasso: Lasso | None
    ) -> None:
        path = output_path(self.output, name, kind)
        visitor.tell({"kind": "saving", "path": str(path)})
        save_choice(self.explored, rows, lasso, kind, path)
        visitor.tell({"kind": "saved", "path": str(path), "count": len(rows), "what": kind})
