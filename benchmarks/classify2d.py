"""2D classification beside relion_refine; 50 classes of 10,000 images; junk that is thrown out.

Simulates 5,000 particles of an asymmetric complex (chains A and B of 6zwv, 208 kDa, 64x64,
3.5 Å/pixel, SNR 0.1, real CTF rows), leaves out their poses, classifies them into 10 classes
with each program, and prints CPU milliseconds an image and pass, their ratio, and how far the
true viewing axes (a direction and its opposite counted as one) scatter about the axis of their
class. Then 10,000 images of 8bk7 (128x128, 2 Å/pixel, SNR 0.05) into 50 classes on two workers;
then a stack of 60 % of the complex, 30 % noise and 10 % of 8bk7, of which `select` keeps what has
a good score.

    python benchmarks/classify2d.py [--folder DIR] [--relion PATH] [--relion-iterations 25]

Without Debian's `relion` that peer is left out and said to be. Its 25 iterations take an hour or
more; with fewer the scatter is that of an unfinished run, and is said to be.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

import common
import numpy as np
from particles import DATA, asymmetric_complex, simulate, stack_of

from hpdp_dask.formats.mrc import MrcStack, write_stack
from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.formats.star import read_particles, write_particles
from hpdp_dask.numerics.rotations import euler_to_matrix
from hpdp_dask.stacks.store import open_stack

CLASSES, ITERATIONS, DIAMETER = 10, 25, 190

#: What a particle of the junk test is.
COMPLEX, OTHER, NOISE = 0, 1, 2


def scatter(star: Path, class_number: np.ndarray) -> float:
    """Give the median angle of the true viewing axes to the axis of their class, degrees.

    The axis of a class is that of the largest sum of squared cosines.
    """
    views = euler_to_matrix(read_particles(star).particles["euler_angles"])[:, 2]
    angles = np.empty(len(views))
    for number in np.unique(class_number):
        members = views[class_number == number]
        axis = np.linalg.eigh(members.T @ members)[1][:, -1]
        cosines = np.abs(members @ axis).clip(0.0, 1.0)
        angles[class_number == number] = np.degrees(np.arccos(cosines))
    return float(np.median(angles))


def classify(stack: Path, output: Path, *options: str) -> tuple[common.Cost, float]:
    """Run our classification; gives its cost, and how often all images went through it."""
    words = [common.hpdp(), "cryoem", "classify2d", stack, "-o", output, "--overwrite", *options]
    cost = common.run(words)
    results = json.loads((output / "run.json").read_text())["results"]
    passed = sum(entry["images"] for entry in results["history"])
    return cost, passed / results["particles"]


def classes_of(output: Path) -> np.ndarray:
    """Read the class of each particle."""
    found: np.ndarray = open_stack(output / "particles.zarr")["class_number"].values
    return found


def beside_relion(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Classify the same images with both programs."""
    star = asymmetric_complex(folder, 5000)
    blind = star.with_name("blind.star")
    stack = stack_of(blind, folder / "asymmetric.zarr")
    count = ("--classes", str(CLASSES), "--iterations", str(ITERATIONS))
    number = open_stack(stack).sizes["particle"]
    costs, passes, scatters = [], 0.0, []
    for seed in (0, 1, 2):
        cost, passes = classify(stack, folder / "classes", *count, "--seed", str(seed))
        costs.append(cost)
        scatters.append(scatter(star, classes_of(folder / "classes")))
    cpu = float(np.median([cost.cpu for cost in costs]))
    ours = 1e3 * cpu / passes / number
    figures: dict[str, object] = {
        "particles": number,
        "hpdp, CPU s for 25 iterations": cpu,
        "hpdp, passes over all images in them": passes,
        "hpdp, CPU ms an image and pass": ours,
        "hpdp, scatter of axes, degrees, seeds 0 1 2": ", ".join(f"{s:.1f}" for s in scatters),
    }
    relion = common.program("relion_refine", options.relion)
    if relion is None:
        print("relion_refine is not here (Debian: apt install relion); left out")
        return figures
    out = folder / "relion"
    out.mkdir(exist_ok=True)
    iterations = options.relion_iterations
    words = (
        f"--K {CLASSES} --iter {iterations} --tau2_fudge 2 --particle_diameter {DIAMETER} --ctf "
        "--zero_mask --flatten_solvent --psi_step 12 --offset_range 5 --offset_step 2 "
        "--oversampling 1 --norm --scale --pool 30 --dont_combine_weights_via_disc "
        "--preread_images --j 2 --random_seed 1"
    )
    peer = common.run([relion, "--i", blind, "--o", out / "run", *words.split()], blind.parent)
    done = read_particles(out / f"run_it{iterations:03d}_data.star")
    in_order = np.argsort(done.image_index)  # as the images of the stack
    theirs = 1e3 * peer.cpu / iterations / number
    return figures | {
        "relion, iterations": iterations,
        "relion, CPU s": peer.cpu,
        "relion, CPU ms an image and pass": theirs,
        "relion, scatter of axes, degrees": scatter(star, done.particles["class_number"][in_order]),
        "CPU an image and pass, relion / hpdp": theirs / ours,
        "CPU of 25 iterations, relion / hpdp": peer.cpu / iterations * ITERATIONS / cpu,
    }


def many_classes(folder: Path) -> dict[str, object]:
    """Put 10,000 images of 128x128 into 50 classes."""
    star = simulate(
        folder / "large",
        DATA / "models" / "8bk7.cif.gz",
        "--symmetry D2 --number 10000 --box 128 --pixel-size 2 --snr 0.05",
    )
    stack = stack_of(star, folder / "large.zarr")
    cost, passes = classify(stack, folder / "many", "--classes", "50", "--workers", "2")
    return {
        "10,000 of 128x128 into 50, wall s": cost.wall,
        "10,000 of 128x128 into 50, CPU s": cost.cpu,
        "10,000 of 128x128 into 50, passes": passes,
        "10,000 of 128x128 into 50, good classes": sum(
            float(row["score"]) >= 0.5 for row in rows_of(folder / "many")
        ),
    }


def rows_of(output: Path) -> list[dict[str, str]]:
    """Read the table of classes."""
    with (output / "classes.csv").open() as file:
        return list(csv.DictReader(file))


def junk(folder: Path) -> dict[str, object]:
    """Throw out noise and another molecule."""
    other = simulate(
        folder / "other",
        DATA / "models" / "8bk7.cif.gz",
        "--number 500 --box 64 --pixel-size 3.5 --snr 0.1",
    )
    star, kind = mixture(folder, asymmetric_complex(folder, 5000), other)
    stack = stack_of(star, folder / "mixture.zarr")
    output = folder / "mixture_classes"
    classify(stack, output, "--classes", "20")
    kept_stack = folder / "kept.zarr"
    common.run([common.hpdp(), "cryoem", "select", output, "-o", kept_stack, "--overwrite"])
    kept = kind[open_stack(kept_stack)["image_index"].values]
    return {
        "junk: share of the kept that is the complex": float((kept == COMPLEX).mean()),
        "junk: share of the complex that is kept": float(
            (kept == COMPLEX).sum() / (kind == COMPLEX).sum()
        ),
        "junk: noise kept, of 1,500": int((kept == NOISE).sum()),
        "junk: of 8bk7 kept, of 500": int((kept == OTHER).sum()),
    }


def mixture(folder: Path, star: Path, other: Path) -> tuple[Path, np.ndarray]:
    """Mix 3,000 particles with 500 of another molecule and 1,500 images of noise."""
    random = np.random.default_rng(0)
    kind = random.permutation(np.repeat([COMPLEX, OTHER, NOISE], [3000, 500, 1500]))
    good, bad = read_particles(star), read_particles(other)
    first, second = (MrcStack(table.image_files[0]) for table in (good, bad))
    clean = first.read(0, 3000)
    images = np.empty((len(kind), *clean.shape[1:]), np.float32)
    images[kind == COMPLEX] = clean
    images[kind == OTHER] = second.read(0, 500)
    noise = random.normal(0.0, clean[:, :4].std(), ((kind == NOISE).sum(), *clean.shape[1:]))
    images[kind == NOISE] = noise
    particles: dict[str, np.ndarray] = {"optics_group": np.zeros(len(kind), np.int32)}
    for name in ("defocus_u", "defocus_v", "defocus_angle"):
        values = random.choice(good.particles[name], len(kind))
        values[kind == COMPLEX] = good.particles[name][:3000]
        values[kind == OTHER] = bad.particles[name][:500]
        particles[name] = values
    path = (folder / "mixture.mrcs").absolute()
    write_stack(path, images, float(good.optics["pixel_size"][0]))
    table = ParticleTable(
        particles=particles,
        optics=good.optics,
        image_files=[path],
        image_file=np.zeros(len(kind), np.int32),
        image_index=np.arange(len(kind)),
        source=SourceTables("relion-3.1"),
        path=path.with_suffix(".star"),
    )
    write_particles(table.path, table)
    return table.path, kind


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    parser.add_argument("--relion", help="the relion_refine to run")
    parser.add_argument("--relion-iterations", type=int, default=ITERATIONS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        figures = beside_relion(folder, options) | junk(folder) | many_classes(folder)
        common.record("classify2d", figures)


if __name__ == "__main__":
    main()
