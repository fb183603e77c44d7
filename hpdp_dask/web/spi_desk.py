"""What the live page of single particles shows: the scenario, classes with examples and means."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpdp_dask.dataflow.stream.batches import batch_name
from hpdp_dask.dataflow.stream.figures import Snapshot
from hpdp_dask.dataflow.stream.report import Example
from hpdp_dask.errors import InputError
from hpdp_dask.spi.stream.recipe import SIZES
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.web.live_desk import LiveDesk, histogram, image_url, number
from hpdp_dask.web.pictures import Painter
from hpdp_dask.workflow.spi_stream import Live, class_means

#: Seconds between two looks at the means of classes.
_MEANS = 10.0

#: Pixels along the longer side of a picture.
_LONGEST = 200

#: Examples that are shown of each class; so many may be new in a message, so that a person can
#: look at the others.
_SHOWN, _NEW = 6, 1


class SpiDesk(LiveDesk):
    """Tells the visitors of a live page of single particles.

    Parameters
    ----------
    live : Live
    """

    def __init__(self, live: Live) -> None:
        self.live = live
        #: Where people label, when they may.
        self.label_url = ""
        self._examples: dict[tuple[str | None, int], list[dict[str, Any]]] = {}
        self._painter: Painter | None = None
        self._means: tuple[float, str | None, list[str]] = (float("-inf"), None, [])
        super().__init__(live.stream)

    def hear(self, kind: str) -> None:
        """Do what a visitor asks: to train with the labels that there are, too."""
        if kind == "train":
            self.live.scenario.train_again()
        else:
            super().hear(kind)

    def craft(self, seen: Snapshot) -> dict[str, Any]:
        """Give the scenario, sizes and classes."""
        status = self.live.scenario.status
        return {
            "state": status.state,
            "words": status.words,
            "steps": _steps(seen, status.state, self.stream.source_ended),
            "gathered": status.gathered,
            "labelled": status.labelled,
            "wanted": status.wanted,
            "trained": [vars(trained) for trained in status.trained],
            "label_url": self.label_url,
            "model": seen.model,
            "unlabelled": seen.unlabelled,
            # Å are shown as nm
            "sizes": histogram(seen, SIZES, unit=10.0),
            "classes": self._classes(seen),
        }

    def _classes(self, seen: Snapshot) -> list[dict[str, Any]]:
        """Tell of each class: frames, mean, examples; the last is that of frames without one."""
        if seen.model is None:
            examples = self._shown(None, -1, seen.examples.get(-1, ()))
            return [{"name": "", "number": seen.chosen, "mean": "", "examples": examples}]
        means = self._class_means(seen)
        return [
            {
                "name": name,
                "number": int(seen.labels[place]),
                "mean": means[place] if place < len(means) else "",
                "examples": self._shown(seen.model, place, seen.examples.get(place, ())),
            }
            for place, name in enumerate([*seen.classes, ""])
        ]

    def _shown(
        self, model: str | None, place: int, examples: Sequence[Example]
    ) -> list[dict[str, Any]]:
        """Give the examples of a class that are shown: few new ones at a time."""
        if self._examples and (model, 0) not in self._examples and model is not None:
            self._examples.clear()  # those of another model
        shown = self._examples.setdefault((model, place), [])
        known = {each["frame"] for each in shown}
        new = [example for example in examples if example.frame_id not in known]
        room = max(_NEW, _SHOWN // 2 - len(shown))
        for example in new[-room:]:
            picture = self._picture(example)
            if picture:
                probability = number(example.probability)
                shown.insert(
                    0,
                    {"frame": example.frame_id, "probability": probability, "picture": picture},
                )
        del shown[_SHOWN:]
        return shown

    def _class_means(self, seen: Snapshot) -> list[str]:
        """Give a picture of the mean of each class, as of some seconds ago."""
        labelling = self.live.stream.labelling
        at, model, pictures = self._means
        if labelling is None or seen.model != labelling.model:
            return []
        if model == labelling.model and time.monotonic() - at < _MEANS:
            return pictures
        found = class_means(self.live.stream.folder, labelling)
        pictures = [
            self._paint(mean.astype(np.float32)) if count else ""
            for mean, count in zip(found.means, found.counts, strict=True)
        ]
        self._means = time.monotonic(), labelling.model, pictures
        return pictures

    def _picture(self, example: Example) -> str:
        """Paint an example; empty if its frame cannot be read."""
        try:
            return self._paint(self._photons(example))
        except (InputError, OSError):
            return ""

    def _photons(self, example: Example) -> np.ndarray:
        """Read one frame."""
        found = self.live.found
        if found.again is None:
            return np.asarray(found.folder.kept(example.batch)[example.row])
        alone = found.again(batch_name(example.frame_id, example.frame_id))
        return np.asarray(alone()["photons"].values[0])

    def _paint(self, frame: np.ndarray) -> str:
        if self._painter is None:
            shared = open_frames(self.live.stream.folder.shared)
            known = "pixel_x" in shared
            self._painter = Painter(
                shared["mask"].values,
                shared["pixel_x"].values if known else None,
                shared["pixel_y"].values if known else None,
                longest=_LONGEST,
            )
        painted = self._painter.paint(frame[None])[0]
        return image_url(painted)


def _steps(seen: Snapshot, state: str, source_ended: bool) -> list[dict[str, Any]]:
    """Tell of each step of the scenario whether it is done, and what is done now."""
    if state == "measuring":
        return []
    order = ["gathering", "labelling", "training", "classifying"]
    at = order.index(state) if state in order else len(order)
    names = ["Gather", "Label", "Train", "Classify as they come", "Classify earlier ones"]
    steps = [
        {"name": name, "done": place < at, "now": place == at}
        for place, name in enumerate(names[:4])
    ]
    earlier = seen.model is not None and seen.unlabelled > 0
    done = seen.model is not None and not earlier
    steps[3]["done"] = steps[3]["done"] or (seen.model is not None and source_ended)
    steps.append({"name": names[4], "done": done, "now": earlier})
    return steps
