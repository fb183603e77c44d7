"""Heterogeneity: how well a hinge's angle is found, and for how many CPU seconds.

    hpdp cryoem simulate -o sim --model 7l2i.cif.gz --symmetry C1 --domain //A --hinge 0 40 \\
        --number 6000 --box 64 --pixel-size 3.5 --snr 0.1
    hpdp import sim/particles.star -o sim.zarr
    python benchmarks/heterogeneity.py sim.zarr sim/truth.star [--epochs 8]

Trains with the defaults and four latent dimensions, and prints the rank correlation of the angle
and the position along the principal curve of the latent variables. CPU seconds are those of this
process, all threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings, learn_conformations
from hpdp_dask.formats.star import read_particles
from hpdp_dask.numerics.latent_path import principal_axes

#: Rounds and neighbours (a share of the images) of the principal curve.
ROUNDS, NEAR, PIECES = 10, 0.05, 50


def curve_positions(z: np.ndarray) -> np.ndarray:
    """Give the position of each image along the principal curve (Hastie & Stuetzle 1989)."""
    order = principal_axes(z)[0][:, 0].argsort(kind="stable").argsort(kind="stable")
    for _ in range(ROUNDS):
        ranked = z[order.argsort()]
        width = max(3, round(NEAR * len(z)))
        sums = np.cumsum(np.concatenate([np.zeros((1, z.shape[1])), ranked]), 0)
        starts = np.linspace(0, len(z) - width, PIECES).astype(int)
        knots = (sums[starts + width] - sums[starts]) / width
        steps, along = np.diff(knots, axis=0), np.arange(PIECES - 1)
        lengths = np.maximum((steps**2).sum(1), 1e-12)
        share = ((z[:, None] - knots[:-1]) * steps).sum(2) / lengths
        # beyond the ends the first and the last piece go on
        low, high = np.zeros(len(along)), np.ones(len(along))
        low[0], high[-1] = -1e9, 1e9
        share = np.clip(share, low, high)
        distance = ((knots[:-1] + share[..., None] * steps - z[:, None]) ** 2).sum(2)
        piece = distance.argmin(1)
        travelled = np.concatenate([[0.0], np.cumsum(np.sqrt(lengths))])
        there = share[np.arange(len(z)), piece]
        position = travelled[piece] + there * np.sqrt(lengths)[piece]
        order = position.argsort(kind="stable").argsort(kind="stable")
    return position


def correlation(z: np.ndarray, angles: np.ndarray) -> float:
    """Give the rank correlation of angles and positions along the principal curve."""
    return abs(float(spearmanr(curve_positions(z), angles).statistic))


def hinge(arguments: argparse.Namespace) -> None:
    """Train, and print the rank correlation of the angle and the CPU seconds."""
    angles = read_particles(arguments.truth).source.particles["hpdpHingeAngle"]
    settings = HeterogeneitySettings(zdim=4)
    training = replace(settings.training, epochs=arguments.epochs)
    began, wall = time.process_time(), time.perf_counter()

    def tell(sentence: object) -> None:
        print(f"{time.process_time() - began:.0f} CPU s: {sentence}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        learnt = learn_conformations(
            arguments.stack,
            replace(settings, training=training),
            Path(folder),
            tell=lambda row: tell(row["losses"]),
            say=tell,
        )
    tell(f"{time.perf_counter() - wall:.0f} s by the clock")
    print(f"Spearman correlation: {correlation(learnt.z, angles):.3f}")


def main() -> None:
    """Read the words and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stack", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--epochs", type=int, default=HeterogeneitySettings().training.epochs)
    hinge(parser.parse_args())


if __name__ == "__main__":
    main()
