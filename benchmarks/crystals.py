"""How fast stills are simulated, and how close they are to the C program nanoBragg.

    python benchmarks/crystals.py [--number 200]

Quadrants of 512x512 as networks are trained on, in one process and one thread: shots a CPU second
in all and by detector, and where the time goes. Then the golden images of nanoBragg, if the test
data are there: correlation, ratio of sums and time of each. nanoBragg itself takes 113 s for an
image of 1024x1024 with 1,000 mosaic domains (measured on two cores like those of the results), and
the simulator of resonet 2.9 s for a shot on an A100 (its authors).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import common
import numpy as np

from hpdp_dask.crystallography.simulate import Settings, simulate_shot
from hpdp_dask.numerics.bragg_spots import Beam, Crystal, Plane, StructureFactors, bragg_spots
from hpdp_dask.numerics.stamped_spots import stamp_spots

#: What shots are made of, by the names that `simulate.shot` and `simulate.crystals` know them by.
PARTS = {
    "brightness of the crystal": ("crystals", "bragg_spots"),
    "spots": ("shot", "bragg_spots"),
    "stamps": ("shot", "stamp_spots"),
    "background, Poisson noise, pooling": ("shot", "count_photons"),
    "draw of the diffuse scattering": ("shot", "draw_diffuse"),
}


def rate(settings: Settings) -> float:
    """Give the shots of a CPU second."""
    simulate_shot(settings, settings.number)
    start = time.process_time()
    for index in range(settings.number):
        simulate_shot(settings, index)
    return settings.number / (time.process_time() - start)


def parts(settings: Settings) -> dict[str, float]:
    """Give the CPU milliseconds of a shot by part."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*given, **options)
            finally:
                spent[name] += time.process_time() - start

        return call

    package = "hpdp_dask.crystallography.simulate"
    patches = []
    for name, (module, function) in PARTS.items():
        place = f"{package}.{module}"
        original = getattr(__import__(place, fromlist=[function]), function)
        patches.append(patch(f"{place}.{function}", timed(name, original)))
    for each in patches:
        each.start()
    rate(settings)
    for each in patches:
        each.stop()
    return {name: 1e3 * spent[name] / (settings.number + 1) for name in PARTS}


def golden() -> dict[str, object]:
    """Compare with the golden images."""
    path = common.TEST_DATA / "crystallography/nanobragg/nanobragg_c_golden.npz"
    if not path.exists():
        return {}
    with np.load(path) as file:
        data = dict(file)
    hkl = data["hkl"].astype(int)
    most = np.abs(hkl).max(axis=0)
    table = np.zeros(2 * most + 1, np.float32)
    table[tuple((hkl + most).T)] = data["F"] ** 2
    size, wavelength = float(data["pixel_mm"]) * 1e-3, float(data["wavelength_A"])
    origin = np.append((0.5 - data["beam_xy"]) * size, float(data["distance_mm"]) * 1e-3)
    plane = Plane(origin, np.array([size, 0, 0]), np.array([0, size, 0]), (384, 384))

    def picture(mosaicity: float, beam: Beam) -> np.ndarray:
        crystal = Crystal(data["A_rows"], data["Nabc"], mosaicity)
        photons = float(data["fluence"]) * 1e-20
        spots = bragg_spots(
            crystal,
            StructureFactors(np.ones(2), 1.0, table=table),
            beam,
            plane,
            photons,
            finest=1.2,
            faintest=1e-9,
        )
        image = np.zeros(plane.shape, np.float32)
        stamp_spots(image, spots, 1e-9)
        return image

    plain = Beam(wavelength, polarization=np.nan)
    lines = [replace(plain, wavelength=wavelength * (1 + 0.01 * (n / 9 - 0.5))) for n in range(10)]
    cases: dict[str, Callable[[], np.ndarray]] = {
        "img_gauss_hkl": lambda: picture(0.0, plain),
        "img_gauss_hkl_polar0.9": lambda: picture(0.0, Beam(wavelength, polarization=0.9)),
        "img_gauss_hkl_mos0.5_200dom": lambda: picture(np.radians(0.5 * 0.496), plain),
        "img_gauss_hkl_disp": lambda: sum(picture(0.0, line) for line in lines) / 10,
        "img_square": lambda: picture(0.0, plain),
        "img_round": lambda: picture(0.0, plain),
    }
    figures: dict[str, object] = {}
    for name, make in cases.items():
        make()
        start = time.process_time()
        image = make()
        spent = time.process_time() - start
        wanted = data[name]
        figures[f"{name}, correlation"] = f"{np.corrcoef(image.ravel(), wanted.ravel())[0, 1]:.8f}"
        figures[f"{name}, ratio of sums"] = float(image.sum() / wanted.sum())
        figures[f"{name}, CPU ms"] = 1e3 * spent
    return figures


def main() -> None:
    """Measure, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=200)
    number = parser.parse_args().number
    settings = Settings(number=number, seed=1)
    figures: dict[str, object] = {
        "shots": number,
        "shots a CPU second": rate(settings),
        "seconds of a shot, resonet on an A100 / ours on a core": 2.9 * rate(settings),
    }
    for name in settings.detectors:
        few = replace(settings, number=max(10, number // 4), detectors=(name,))
        figures[f"{name}, shots a CPU second"] = rate(few)
    for part, spent in parts(settings).items():
        figures[f"{part}, CPU ms a shot"] = spent
    common.record("crystals", figures | golden())


if __name__ == "__main__":
    main()
