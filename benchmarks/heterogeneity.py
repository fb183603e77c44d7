"""Heterogeneity: how well conformations are found, and for how many CPU seconds.

    python benchmarks/heterogeneity.py hinge FOLDER [--cryodrgn PATH --cryodrgn-epochs 4]
    python benchmarks/heterogeneity.py mixture FOLDER
    python benchmarks/heterogeneity.py speed FOLDER --cryodrgn PATH

FOLDER gets, or has from a run before, the simulated stacks. CPU seconds are those of whole trees
of processes; `OMP_NUM_THREADS` gives both sides their threads.

`hinge` trains with the defaults and four latent dimensions on 6,000 images of 64x64 in which a
domain turns by 0 to 40 degrees, and prints the rank correlation of the angle and the position
along the principal curve of the latent variables, and how volumes at five angles agree with the
truth: whole, and where they differ, beside the map of all images; then one epoch alone. cryoDRGN
trains for some epochs on the same images, with the decoder and the encoder of the same size, the
batch that ours has, and the rate of learning at which it learns fastest, 3e-4.

`mixture` trains in the same way on 4,000 images of two conformations, 3 to 1, and prints the
share of the images that clusters of the latent variables put right.

`speed` trains without a linear start, with every frequency of the images, by a child process of
each side, at boxes of 64 and 128: three epochs less one, so that what comes before and after
the training does not count.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import common
import heterogeneity_data as data
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings, learn_conformations
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations, read_conformations
from hpdp_dask.numerics.latent_clusters import find_clusters
from hpdp_dask.numerics.latent_path import curve_positions
from hpdp_dask.numerics.shells import fourier_shell_correlation, resolution_at

#: Angles of which volumes are made, from images this near to them, degrees.
ANGLES, NEAR = (4.0, 12.0, 20.0, 28.0, 36.0), 1.5

#: Where volumes differ: their standard deviation over angles is above this share of its highest.
DIFFERENT = 0.15

#: Images whose every frequency is looked at, by the box.
SPEED_IMAGES = {64: 480, 128: 128}
PRECISIONS = ("float32", "bfloat16")


def train(stack: Path, output: Path, words: list[str]) -> common.Cost:
    """Train by our command, in one process."""
    command = [common.hpdp(), "cryoem", "heterogeneity", "train", stack, "-o", output]
    return common.run([*command, "--overwrite", "--workers", "1", *words])


def correlation(z: np.ndarray, angles: np.ndarray) -> float:
    """Give the rank correlation of angles and positions along the principal curve."""
    return abs(float(spearmanr(curve_positions(z), angles).statistic))


def agreement(made: Conformations, z: np.ndarray, angles: np.ndarray) -> dict[str, object]:
    """Compare volumes at five angles, and the map of all images, with the truth."""
    truth = data.true_volumes(ANGLES)
    spread = gaussian_filter(truth.std(0), 1.0)
    where = gaussian_filter((spread > DIFFERENT * spread.max()).astype(np.float32), 1.0)
    points = [z[np.abs(angles - each) < NEAR].mean(0) for each in ANGLES]
    volumes = [made.volume(point) for point in points]
    assert made.mean is not None
    found: dict[str, object] = {}
    for name, shown in (("volumes", volumes), ("map of all", [made.mean] * len(ANGLES))):
        whole = [fourier_shell_correlation(*pair) for pair in zip(shown, truth, strict=True)]
        local = [fourier_shell_correlation(*pair, where) for pair in zip(shown, truth, strict=True)]
        worst = max(resolution_at(fsc, 0.5, made.pixel_size, len(made.mean)) for fsc in whole)
        found[f"{name}: FSC 0.5 of the worst, Å"] = worst
        found[f"{name}: mean FSC where they differ"] = float(np.mean(local))
        found[f"{name}: FSC where they differ, 20 to 10 Å"] = float(np.mean(local, 0)[11:23].mean())
    return found


def hinge(arguments: argparse.Namespace) -> None:
    """Train on the hinge, ours and cryoDRGN's; print correlations and CPU seconds."""
    folder = arguments.folder
    stack, angles = data.hinge(folder), data.angles(folder, "hinge")
    epochs = HeterogeneitySettings().training.epochs
    figures: dict[str, object] = {"threads": os.environ.get("OMP_NUM_THREADS", "all")}
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "ours"
        cost = train(stack, output, ["--zdim", "4"])
        z = np.load(output / "z.npy")
        figures |= {"ours, epochs": epochs, "ours, CPU s": cost.cpu}
        figures["ours, correlation"] = correlation(z, angles)
        figures |= agreement(read_conformations(output), z, angles)
        first = train(stack, output, ["--zdim", "4", "--epochs", "1"])
        figures["ours, CPU s of one epoch and all before it"] = first.cpu
        z = np.load(output / "z.npy")
        figures["ours, correlation after one epoch"] = correlation(z, angles)
        if arguments.cryodrgn:
            figures |= peer_course(arguments, folder / "hinge", Path(scratch) / "peer", angles)
            peer = next(value for name, value in figures.items() if "cryodrgn, CPU s" in name)
            figures["ratio of CPU s, one epoch of ours"] = first.cpu / float(str(peer))
    common.record("heterogeneity_hinge", figures)


def peer_course(
    arguments: argparse.Namespace, simulated: Path, output: Path, angles: np.ndarray
) -> dict[str, object]:
    """Train cryoDRGN; give its correlation at the end of each epoch, and its CPU seconds."""
    epochs = arguments.cryodrgn_epochs
    words = data.peer_inputs(arguments.cryodrgn, simulated)
    sizes = ["--zdim", "4", "--enc-dim", "256", "--dec-dim", "256", "-b", "32", "--lr", "3e-4"]
    cost = common.run(
        [arguments.cryodrgn, "train_vae", *words, *sizes, "-n", str(epochs), "-o", output]
    )
    found: dict[str, object] = {}
    for epoch in range(1, epochs + 1):
        path = next(iter(output.glob(f"z.{epoch}.pkl")), output / f"z.{epoch - 1}.pkl")
        with path.open("rb") as file:
            z = pickle.load(file)
        found[f"cryodrgn, correlation after {epoch} epochs"] = correlation(z, angles)
    return found | {f"cryodrgn, CPU s of {epochs} epochs": cost.cpu}


def mixture(arguments: argparse.Namespace) -> None:
    """Train on a mixture; print the share of images that clusters put right."""
    stack = data.mixture(arguments.folder)
    turned = data.angles(arguments.folder, "mixture") > 20.0
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "ours"
        cost = train(stack, output, ["--zdim", "4"])
        z = np.load(output / "z.npy")
    labels = find_clusters(z).labels
    common.record(
        "heterogeneity_mixture",
        {
            "CPU s": cost.cpu,
            "clusters": int(labels.max()) + 1,
            "images put right": right(labels, turned),
            "share of the smaller": float(turned.mean()),
        },
    )


def right(labels: np.ndarray, truth: np.ndarray) -> float:
    """Give the share of images in a cluster whose most are of their kind."""
    kinds = [np.bincount(truth[labels == each].astype(int)) for each in np.unique(labels)]
    return float(sum(each.max() for each in kinds) / len(truth))


def speed(arguments: argparse.Namespace) -> None:
    """Time an epoch of each side with every frequency, by the difference of two runs."""
    figures: dict[str, object] = {"threads": os.environ.get("OMP_NUM_THREADS", "all")}
    for box, number in SPEED_IMAGES.items():
        stack = data.hinge(arguments.folder, number, box, 3.5 * 64 / box)
        peer = [arguments.cryodrgn, "train_vae"]
        peer += data.peer_inputs(arguments.cryodrgn, stack.with_suffix(""))
        peer += ["--zdim", "2", "-b", "32", "--enc-dim", "256", "--dec-dim", "256"]
        ours = [sys.executable, __file__, "epochs", stack]
        sides = {"cryodrgn": [*peer, "-o", "RUN", "-n"]}
        sides |= {name: [*ours, "--precision", name, "--epochs"] for name in PRECISIONS}
        each = {}
        for name, words in sides.items():
            costs = []
            for epochs in ("1", "3"):
                with tempfile.TemporaryDirectory() as scratch:
                    costs.append(common.run([*words, epochs], Path(scratch)).cpu)
            each[name] = (costs[1] - costs[0]) / (2 * number) * 1e3
            figures[f"{box}: {name}, CPU s per 1,000 images"] = each[name]
            print(box, name, f"{each[name]:.1f} CPU s per 1,000 images", flush=True)
        for name in PRECISIONS:
            figures[f"{box}: {name}, ratio"] = each[name] / each["cryodrgn"]
    common.record("heterogeneity_speed", figures)


def epochs(arguments: argparse.Namespace) -> None:
    """Train in this process without a linear start, with every frequency."""
    training = replace(
        HeterogeneitySettings().training, epochs=arguments.epochs, precision=arguments.precision
    )
    settings = HeterogeneitySettings(zdim=2, linear=False, samples=0, training=training)
    with tempfile.TemporaryDirectory() as scratch:
        learn_conformations(arguments.folder, settings, Path(scratch))


def main() -> None:
    """Read the words and run a part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"hinge": hinge, "mixture": mixture, "speed": speed, "epochs": epochs}
    parser.add_argument("part", choices=parts)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cryodrgn", type=Path)
    parser.add_argument("--epochs", type=int, default=1, help="of the part epochs")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the part epochs")
    parser.add_argument("--cryodrgn-epochs", type=int, default=4)
    arguments = parser.parse_args()
    if arguments.part == "speed" and not arguments.cryodrgn:
        sys.exit("--cryodrgn is missing: the program to compare with")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    parts[arguments.part](arguments)


if __name__ == "__main__":
    main()
