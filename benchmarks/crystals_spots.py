"""How right the classical answers are on simulated whole frames, and what they cost.

    python benchmarks/crystals_spots.py [--images 100] [--detector pilatus-6m] [--seed 5]

Frames of one geometry (0.97 Å, 200 mm), a sixth of them blank, half of the others of several
lattices turned by any angle, resolution from 1.4 to 6 Å. Prints the share of hits and of several
lattices that are told rightly, the correlation and error of resolutions, rings of ice, and CPU
seconds an image for both steps.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
from common import record

from hpdp_dask.crystallography.simulate import Settings, simulate_frames
from hpdp_dask.crystallography.spots import Spots, find_spots_of_stack
from hpdp_dask.stacks.frames import open_frames


def timed(path: Path, measure: Spots) -> float:
    """Measure a stack and give CPU seconds an image, reading included."""
    start = time.process_time()
    table = find_spots_of_stack(path, measure, overwrite=True)
    return (time.process_time() - start) / len(table)


def scores(stack: xr.Dataset) -> dict[str, object]:
    """Hold what was found against the truth."""
    hit, found = stack["true_hit"].values == 1, stack["spot_hit"].values == 1
    both = hit & found
    true, told = (stack[name].values[both] for name in ("true_resolution", "spot_resolution"))
    several = stack["true_lattices"].values[both] > 1
    count = stack["lattice_count"].values[both]
    ice, rings = stack["true_ice"].values > 0, stack["ice_rings"].values > 0
    return {
        "images": len(hit),
        "hits told rightly": float(np.mean(hit == found)),
        "correlation of 1/d": float(np.corrcoef(1.0 / true, 1.0 / told)[0, 1]),
        "median of found less true d (Å)": float(np.median(told - true)),
        "median error of d (Å)": float(np.median(np.abs(told - true))),
        "several lattices told rightly": float(np.mean(several == (count > 1))),
        "single ones told as several": float(np.mean(count[~several] > 1)),
        "several told as none or one": float(np.mean(count[several] < 2)),
        "ice found": float(np.mean(rings[ice])) if ice.any() else None,
        "ice where there is none": float(np.mean(rings[~ice])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--detector", default="pilatus-6m")
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    settings = Settings(
        number=options.images,
        seed=options.seed,
        detectors=(options.detector,),
        distance=(0.2, 0.2),
        wavelength=(0.97, 0.97),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.zarr"
        simulate_frames(settings, path)
        timed(path, Spots())  # what is compiled does not count
        spots = timed(path, Spots())
        lattices = timed(path, Spots(lattices=True))
        found = scores(open_frames(path))
    record(
        "crystals_spots",
        {
            "detector": options.detector,
            **found,
            "CPU seconds an image": spots,
            "CPU seconds an image with lattices": lattices,
        },
    )


if __name__ == "__main__":
    main()
