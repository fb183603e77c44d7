"""The other side of `crystals_distl.py`: DISTL, in a Python that has cctbx-base.

Looks at one image after the other as `distl.signal_strength` does, with its defaults, and prints
what it found as JSON. cctbx-base cannot unpack CBF files, so the pixels come as NumPy files beside
them; reading is not measured.

    python crystals_distl_side.py FIRST.cbf ...
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from iotbx.detectors.pilatus_minicbf import PilatusImage
from scitbx.array_family import flex
from spotfinder.applications.signal_strength import run_signal_strength_core
from spotfinder.applications.stats_distl import key_adaptor
from spotfinder.command_line.signal_strength import master_params
from spotfinder.diffraction import imagefiles

#: What DISTL calls what it finds.
KEYS = {
    "spots": "N_spots_total",
    "good": "N_spots_inlier",
    "resolution_1": "distl_resolution",
    "resolution_2": "resolution",
}


class Unpacked(PilatusImage):
    """A Pilatus image whose pixels lie beside it."""

    def read(self, algorithm: str = "") -> None:
        self.readHeader()
        if self.linearintdata is None:
            self.bin_safe_set_data(flex.int(np.load(Path(self.filename).with_suffix(".npy"))))


def look_at(path: str) -> dict[str, Any]:
    """Find the spots of an image, and the CPU seconds that this takes without reading."""
    parameters = master_params.extract()
    parameters.distl.image = path
    reading = 0.0

    def opened(name: str) -> Unpacked:
        """Stand in for cctbx's factory, which needs dxtbx."""
        nonlocal reading
        start = time.process_time()
        image = Unpacked(name)
        image.read()
        reading += time.process_time() - start
        return image

    imagefiles.ImageFactory = opened
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        organizer = run_signal_strength_core(parameters, SimpleNamespace(argv=["", path]))
    seconds = time.process_time() - start - reading
    (image,) = organizer.S.images.values()
    found = {name: key_adaptor(image, key) for name, key in KEYS.items()}
    return {"seconds": seconds, **found}


if __name__ == "__main__":
    look_at(sys.argv[1])  # what is loaded at the first one
    print(json.dumps([look_at(path) for path in sys.argv[1:]]))
