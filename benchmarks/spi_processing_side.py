"""One side of `spi_processing_peer.py`: hpdp, or spi-processing in a Python that has it.

Does a job once on a few frames, so that what Numba compiles is ready, then measures it on all: from
file to file, and for sizes also with the frames in memory.

    python spi_processing_side.py hpdp|spi-processing size|background FEW ALL OPTIONS_AS_JSON

FEW and ALL are stacks for hpdp, CXI files for spi-processing.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Found = tuple[float, float | None, np.ndarray]


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Measure the CPU time of this process, and give what the work gives."""
    start = time.process_time()
    given = work()
    return time.process_time() - start, given


def hpdp_size(path: Path, options: Mapping[str, float]) -> Found:
    """Find sizes; gives CPU seconds from file to file and in memory, and the sizes in Å."""
    import xarray as xr

    from hpdp_dask.spi.size import SphereSize, find_sizes
    from hpdp_dask.stacks.frames import open_frames
    from hpdp_dask.stacks.shards import ImageReader

    measure = SphereSize(smallest=options["smallest"], largest=options["largest"])
    stored, _ = cpu_seconds(lambda: find_sizes(path, measure, overwrite=True))
    stack = open_frames(path)
    reader = ImageReader(path)
    photons = reader.read(0, reader.number)

    def in_memory() -> None:
        prepared = measure.prepare(stack)
        for start in range(0, len(photons), 256):
            part = photons[start : start + 256]
            measure.measure(xr.Dataset({"photons": (("frame", "y", "x"), part)}), prepared)

    return stored, cpu_seconds(in_memory)[0], stack["particle_size"].values


def peer_size(path: Path, options: Mapping[str, float]) -> Found:
    """Estimate sizes as `spi_estimate_size.py` does, with its defaults."""
    from spi_processing import cxidata, particle_size

    path = Path(shutil.copy(path, path.with_suffix(".copy.cxi")))
    beam = options["wavelength"], options["distance"], options["pixel_size"]
    limits = {"size_min": options["smallest"], "size_max": options["largest"]}

    def from_file() -> None:
        particle_size.compute_psd_data(str(path))
        particle_size.estimate_size(str(path), *beam, **limits)

    stored, _ = cpu_seconds(from_file)
    read = [cxidata.read_dataset(str(path), 1, name) for name in ("data", "mask", "image_center")]
    photons, mask, centre = read
    radius = particle_size._max_angle_distance(photons.shape[1:], centre)
    step = beam[2] / (beam[0] * beam[1])

    def in_memory() -> None:  # the lines of the two functions above without the file
        profile = np.zeros((len(photons), radius))
        particle_size._compute_psd_array_numba(photons, mask, centre, radius, profile)
        first = int(np.argmax(profile.max(axis=0) > 0)) + 2
        fit = particle_size._estimate_size_psd_sphere(
            profile, step, options["smallest"], options["largest"], first, radius, 5, 300
        )
        for each in fit["fit_diff"]:
            particle_size._get_fit_optimum(each)

    memory, _ = cpu_seconds(in_memory)
    return stored, memory, cxidata.read_dataset(str(path), 1, "psd/size")


def hpdp_background(path: Path, options: Mapping[str, float]) -> Found:
    """Estimate the background by the mode and take it off; gives it in photons."""
    from hpdp_dask.spi.background import estimate_background
    from hpdp_dask.spi.subtract import subtract_background
    from hpdp_dask.stacks.frames import open_frames

    def work() -> None:
        estimate_background(path, "mode", client=None, overwrite=True)
        without = path.with_suffix(".without.zarr")
        subtract_background(path, without, client=None, overwrite=True)

    cpu, _ = cpu_seconds(work)
    return cpu, None, open_frames(path)["background"].values


def peer_background(path: Path, options: Mapping[str, float]) -> Found:
    """Take the background off as `spi_correct_background.py` does."""
    from spi_processing import correct_background, cxidata

    path = Path(shutil.copy(path, path.with_suffix(".copy.cxi")))
    before = cxidata.read_dataset(str(path), 1, "data").astype(np.int64)
    # without a level it stops: None is compared with the photons
    level = int(before.max()) + 1
    cpu, _ = cpu_seconds(
        lambda: correct_background.correct_background(str(path), overflow_level=level)
    )
    after = cxidata.read_dataset(str(path), 1, "data").astype(np.int64)
    return cpu, None, np.where(after > 0, before - after, 0).max(axis=0)


JOBS = {
    ("hpdp", "size"): hpdp_size,
    ("hpdp", "background"): hpdp_background,
    ("spi-processing", "size"): peer_size,
    ("spi-processing", "background"): peer_background,
}


def main() -> None:
    """Run a job and print what it took and gave as JSON."""
    side, job, few, everything, options = sys.argv[1:]
    work = JOBS[side, job]
    work(Path(few), json.loads(options))
    stored, memory, found = work(Path(everything), json.loads(options))
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "scipy")}
    print(json.dumps({"cpu": stored, "memory": memory, "found": found.tolist(), **versions}))


if __name__ == "__main__":
    main()
