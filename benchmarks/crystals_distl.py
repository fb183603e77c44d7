"""Classical answers side by side with DISTL (cctbx's spot finder), on real Pilatus 6M images.

    python benchmarks/crystals_distl.py --peer-python PYTHON [--images FOLDER]

PYTHON has cctbx-base (`pip install cctbx-base` in an environment of its own). Both look at each
image in memory, on one core; reading is not measured. Prints spots, resolutions and CPU seconds of
both, and what the search for lattices takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import TEST_DATA, record

from hpdp_dask.crystallography.spots import look_for_spots, spot_finder
from hpdp_dask.formats.packed_files import read_bytes
from hpdp_dask.frames.sources import open_sources
from hpdp_dask.numerics.lattices import find_lattices

TURNS = 5


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """Give the median CPU seconds of some turns, and what the work gives."""
    given, taken = work(), []
    for _ in range(TURNS):
        start = time.process_time()
        given = work()
        taken.append(time.process_time() - start)
    return float(np.median(taken)), given


def ours(image: np.ndarray, finder: Any) -> dict[str, Any]:
    """Find spots and lattices of an image."""
    seconds, answer = seconds_of(lambda: look_for_spots(image, finder, 1.0))
    searching, lattices = seconds_of(lambda: find_lattices(answer.q.T))
    return {
        "seconds": seconds,
        "spots": len(answer.spots.row),
        "resolution": answer.resolution.best if answer.hit else None,
        "lattices": len(lattices) if answer.hit else 0,
        "lattice_seconds": searching if answer.hit else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--images", type=Path, default=TEST_DATA / "crystallography" / "thaumatin")
    options = parser.parse_args()
    (source,) = open_sources([options.images])
    finder = spot_finder(source.detector, str(source.path))
    files = [str(name) for name in source.columns["source_file"]]
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        images = source.read(0, source.number)
        for name, image in zip(files, images, strict=True):
            # DISTL takes bad pixels as -1
            path = Path(folder) / Path(name).name.removesuffix(".bz2")
            # the head says all of the geometry
            path.write_bytes(read_bytes(Path(name), 8192))
            np.save(
                path.with_suffix(".npy"),
                np.where(source.detector.mask == 0, image.astype(np.int32), -1),
            )
            paths.append(path)
        side = Path(__file__).with_name("crystals_distl_side.py")
        command = [options.peer_python, side, *paths]
        told = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    peer = json.loads(told.stdout)
    figures: dict[str, object] = {}
    for name, image, theirs in zip(files, images, peer, strict=True):
        found = ours(image, finder)
        stem = Path(name).name.partition(".")[0]
        figures |= {f"{stem} {key}": value for key, value in found.items()}
        figures |= {f"{stem} DISTL {key}": value for key, value in theirs.items()}
        figures[f"{stem} ratio of seconds"] = theirs["seconds"] / found["seconds"]
    record("crystals_distl", figures)


if __name__ == "__main__":
    main()
