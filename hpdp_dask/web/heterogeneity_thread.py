"""Makes volumes for the explorer: a coarse one at once, a finer one when there is time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpdp_dask.cryoem.heterogeneity.volume_maker import VolumeMaker
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations

#: Voxels along a side that a page can turn smoothly; those of the coarse volume, in seconds.
_FINEST, _QUICK = 96, 0.08

#: Sides that the coarse volume may have.
_COARSE = (16, 24, 32, 48, 64)

#: Volumes that are kept.
_KEPT = 48

#: The level at which a surface is shown at first, as a share of this percentile of the volume in
#: the middle.
_LEVEL, _BRIGHT = 0.4, 99.9


@dataclass(frozen=True)
class Made:
    """A volume that was made for a page.

    Attributes
    ----------
    place : int
        Of the image in the stack at whose latent variable it is.
    volume : (b, b, b) ndarray of float32
    voxel_size : float
        Å.
    is_fine : bool
        Whether no finer one follows.
    """

    place: int
    volume: np.ndarray
    voxel_size: float
    is_fine: bool


class VolumeThread:
    """Makes volumes in a thread: always the last wish of each who asks.

    Parameters
    ----------
    conformations : Conformations
    latent : (n, zdim) ndarray
        Of the images.
    deliver : callable
        Given who asked and what was made, in the thread.

    Attributes
    ----------
    level : float
        At which a surface shows the particle.
    """

    def __init__(
        self,
        conformations: Conformations,
        latent: np.ndarray,
        deliver: Callable[[object, Made], None],
    ) -> None:
        self._latent = latent
        self._deliver = deliver
        box = conformations.architecture.box
        self._fine = VolumeMaker(conformations, min(_FINEST, box))
        self._coarse = VolumeMaker(conformations, self._find_coarse(conformations))
        middle = self._volume(self._coarse, latent.mean(0))
        self.level = _LEVEL * float(np.percentile(middle, _BRIGHT))
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        #: What is wished for: the image, and whether the coarse volume was given.
        self._wishes: OrderedDict[object, tuple[int, bool]] = OrderedDict()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="volumes", daemon=True)
        self._thread.start()

    def wish(self, who: object, place: int) -> None:
        """Ask for the volume of an image; what the same one asked for before is forgotten."""
        with self._changed:
            if self._wishes.get(who, (None,))[0] != place:
                self._wishes[who] = (place, False)
                self._changed.notify()

    def forget(self, who: object) -> None:
        """Make nothing more for somebody."""
        with self._changed:
            self._wishes.pop(who, None)

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _find_coarse(self, conformations: Conformations) -> int:
        """Find how many voxels a volume may have that is made at once."""
        fine, sides = self._fine.box, [side for side in _COARSE if side < self._fine.box]
        if not sides:
            return fine
        trial = VolumeMaker(conformations, sides[0])
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            self._volume(trial, self._latent[0])
            seconds.append(time.perf_counter() - began)
        share = _QUICK / max(min(seconds), 1e-9)
        return max(side for side in sides if side == sides[0] or (side / sides[0]) ** 3 <= share)

    @staticmethod
    def _volume(preview: VolumeMaker, z: np.ndarray) -> np.ndarray:
        volume = preview.volume(z)
        assert volume is not None  # nobody gave it up
        return volume

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._wishes and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                # those who have nothing yet come first
                who = next((who for who, wish in self._wishes.items() if not wish[1]), None)
                who = who or next(iter(self._wishes))
                place, is_second = self._wishes[who]
            self._grant(who, place, self._fine if is_second else self._coarse)

    def _grant(self, who: object, place: int, preview: VolumeMaker) -> None:
        """Make a volume, unless what is more urgent comes meanwhile."""
        is_fine = preview is self._fine or self._fine.box == self._coarse.box

        def is_wanted() -> bool:
            with self._changed:
                if self._ended or self._wishes.get(who, (None,))[0] != place:
                    return False
                return not is_fine or all(wish[1] for wish in self._wishes.values())

        volume = self._kept.get((place, preview.box))
        if volume is None:
            if preview is self._coarse:
                volume = self._volume(preview, self._latent[place])
            else:
                volume = preview.volume(self._latent[place], is_wanted)
            if volume is None:
                return
            self._kept[place, preview.box] = volume
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        with self._changed:
            if self._wishes.get(who, (None,))[0] != place:
                return
            if is_fine:
                del self._wishes[who]
            else:
                self._wishes[who] = (place, True)
        self._deliver(who, Made(place, volume, preview.voxel_size, is_fine))
