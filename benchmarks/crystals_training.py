"""How good networks for crystals get: by the number of shots they learn from, and on user sets.

    python benchmarks/crystals_training.py curve SHOTS [--images 500 1500 4500] [--network small]
    python benchmarks/crystals_training.py users [--model small]

`curve` trains on parts of a folder of `hpdp crystals simulate`, with the recipe `small` but for
what is given, and judges each by the same shots. `users` simulates 26 data sets of 100 shots to
resolutions from 1.42 to 5.45 Å, each at a beamline of its own from the outer parts of the ranges
that models learn from, and counts those whose mean answer is within two standard deviations of
the truth.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import common
import numpy as np

from hpdp_dask.crystallography.inference import Predictor
from hpdp_dask.crystallography.model_file import load_model
from hpdp_dask.crystallography.simulate import DETECTORS, Settings, simulate_shot
from hpdp_dask.crystallography.train.learner import QuadrantLearner
from hpdp_dask.crystallography.train.recipes import RECIPES, adapt
from hpdp_dask.crystallography.train.stage import train_model
from hpdp_dask.workflow.crystals_training import find_shots

#: Data sets, shots of each, and the resolutions (Å) that they span.
SETS, SHOTS, FINEST, COARSEST = 26, 100, 1.42, 5.45

#: The outer part of each range, at either end, that beamlines are drawn from.
OUTER = 0.2


def outer(limits: tuple[float, float], random: np.random.Generator, logarithmic: bool) -> float:
    """Draw from the outer parts of a range."""
    share = random.uniform(0.0, OUTER)
    share = share if random.random() < 0.5 else 1.0 - share
    low, high = limits
    return float(low * (high / low) ** share) if logarithmic else low + share * (high - low)


def user_set(resolution: float, seed: int) -> Settings:
    """Draw a beamline that reaches a resolution, and a crystal that diffracts to it."""
    random, ranges = np.random.default_rng(seed), Settings()
    while True:
        detector = str(random.choice(ranges.detectors))
        distance = outer(ranges.distance, random, False)
        wavelength = outer(ranges.wavelength, random, False)
        model = DETECTORS[detector]
        half = min(model.rows, model.columns) * model.pixel_size / 2
        if wavelength / (2.0 * np.sin(0.5 * np.arctan(half / distance))) < resolution:
            break
    background = outer(ranges.background, random, True)
    return Settings(
        number=SHOTS,
        seed=seed,
        misorientation="single",
        blanks=0.0,
        resolution=(resolution, resolution),
        detectors=(detector,),
        wavelength=(wavelength, wavelength),
        distance=(distance, distance),
        background=(background, background),
    )


def answers(predictor: Predictor, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Give the resolution by the network and the true one of the shots of a data set, Å."""
    shots = [simulate_shot(settings, index) for index in range(settings.number)]
    names = ("shot_wavelength", "shot_distance", "shot_pixel_size")
    geometry = np.array([[truth[name] for name in names] for _, truth in shots], np.float32)
    found = predictor(np.stack([quadrant for quadrant, _ in shots]), geometry)
    return 1.0 / found.inverse_resolution, np.array([t["true_resolution"] for _, t in shots])


def users(name: str) -> dict[str, object]:
    """Judge a model by user data sets."""
    predictor = Predictor(load_model(name).network)
    within, errors, figures = [], [], {}
    for number, inverse in enumerate(np.linspace(1 / FINEST, 1 / COARSEST, SETS)):
        settings = user_set(1.0 / inverse, 1000 + number)
        given, truth = answers(predictor, settings)
        within.append(abs(given.mean() - truth.mean()) <= 2.0 * given.std())
        errors.append(given.mean() - truth.mean())
        figures[f"set {number + 1}, true, mean, standard deviation, Å"] = (
            f"{truth.mean():.2f} {given.mean():.2f} {given.std():.2f}, {settings.detectors[0]} at "
            f"{1e3 * settings.distance[0]:.0f} mm, {settings.wavelength[0]:.2f} Å, background "
            f"{settings.background[0]:.2f}"
        )
    return {
        "model": name,
        "data sets": SETS,
        "within two standard deviations": int(sum(within)),
        "share": float(np.mean(within)),
        "mean distance of the means, Å": float(np.mean(np.abs(errors))),
        "median distance of the means, Å": float(np.median(np.abs(errors))),
        **figures,
    }


def curve(shots: Path, images: list[int], network: str, epochs: int | None) -> dict[str, object]:
    """Train on parts of a set of shots."""
    figures: dict[str, object] = {"network": network, "epochs": epochs or "recipe"}
    recipe = adapt(RECIPES["small"], network=network, epochs=epochs)
    for number in images:
        start, cpu = time.perf_counter(), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            learner = QuadrantLearner(
                recipe.network,
                lattices_apart=recipe.lattices_apart,
                seed=recipe.training.seed,
            )
            learnt = train_model(
                find_shots(shots), learner, recipe.training, Path(folder), images=number
            )
        for name, value in learnt.model.metrics.items():
            if isinstance(value, float):
                figures[f"{number} images, {name}"] = value
        figures[f"{number} images, minutes"] = (time.perf_counter() - start) / 60
        figures[f"{number} images, CPU minutes"] = (time.process_time() - cpu) / 60
        print(f"{number} images: {learnt.model.metrics}", flush=True)
    return figures


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    of_curve = parts.add_parser("curve")
    of_curve.add_argument("shots", type=Path)
    of_curve.add_argument("--images", type=int, nargs="+", default=[500, 1500, 4500])
    of_curve.add_argument("--network", default="small")
    of_curve.add_argument("--epochs", type=int)
    of_users = parts.add_parser("users")
    of_users.add_argument("--model", default="small")
    options = parser.parse_args()
    if options.part == "users":
        common.record("crystals_users", users(options.model))
    else:
        figures = curve(options.shots, options.images, options.network, options.epochs)
        common.record("crystals_training", figures)


if __name__ == "__main__":
    main()
