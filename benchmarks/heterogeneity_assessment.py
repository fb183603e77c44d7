"""How surely heterogeneity is told: simulated stacks whose truth is known, and CPU seconds.

    python benchmarks/heterogeneity_assessment.py FOLDER [--only NAME ...]

FOLDER gets, or has from a run before, the simulated stacks: 6,000 images of 64x64 at a
signal-to-noise ratio of 0.1, by `hpdp cryoem simulate`.

Of a hinge from 0 to 40 degrees, a mixture of two conformations 3 to 1 (4,000 images), molecules
that are all alike (three seeds), and the first of these with errors of the imaging, `hpdp cryoem
heterogeneity assess` says whether they differ and along how many directions. Printed with it are
the mean gain in held-out evidence, and of the hinge how the map of the variability goes with the
true one. Each also without the allowance for errors of the imaging, which shows what that is for.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import common
import heterogeneity_data as data
import numpy as np
import zarr
from scipy.ndimage import gaussian_filter

from hpdp_dask.cryoem.heterogeneity.assessment import Assessment, AssessmentSettings, assess
from hpdp_dask.cryoem.heterogeneity.held_out import HeldOut
from hpdp_dask.cryoem.heterogeneity.observations import Optics
from hpdp_dask.cryoem.heterogeneity.variability import shared_variability
from hpdp_dask.cryoem.heterogeneity.verdict import judge
from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.numerics.rotations import (
    euler_to_matrix,
    matrix_to_euler,
    rotation_vector_to_matrix,
)
from hpdp_dask.stacks.store import open_stack

#: Seeds of molecules that are all alike.
SEEDS = (11, 12, 13)

#: Angles between which the true variability is told, degrees.
ANGLES = (4.0, 12.0, 20.0, 28.0, 36.0)


def alike(folder: Path, seed: int, *words: str) -> Path:
    """Simulate molecules that are all alike."""
    model = ["--model", str(common.TEST_DATA / data.MODEL), "--symmetry", data.SYMMETRY]
    name = "-".join(["alike", str(seed), *(word.strip("-") for word in words)])
    given = [*model, "--number", "6000", "--seed", str(seed), *words]
    return data.simulate(folder, name, 64, 3.5, given)


def changed(folder: Path, name: str, change: Callable[[zarr.Group], None]) -> Path:
    """Copy the first stack of molecules that are all alike, and change it."""
    path = folder / f"{name}.zarr"
    if not path.exists():
        shutil.copytree(alike(folder, SEEDS[0]), path)
        change(zarr.open_group(path, mode="r+"))
    return path


def wrong_poses(folder: Path, degrees: float) -> Path:
    """Turn each pose about a random axis; `degrees` about each of the image's axes."""

    def change(stack: zarr.Group) -> None:
        poses = np.asarray(stack["euler_angles"])
        vectors = np.random.default_rng(5).standard_normal((len(poses), 3))
        turns = rotation_vector_to_matrix(np.radians(degrees) * vectors)
        stack["euler_angles"][:] = matrix_to_euler(turns @ euler_to_matrix(poses))

    return changed(folder, f"poses-{degrees:g}", change)


def wrong_centres(folder: Path, pixels: float) -> Path:
    """Move the stated shifts."""

    def change(stack: zarr.Group) -> None:
        shifts = np.asarray(stack["shift"])
        more = np.random.default_rng(6).standard_normal(shifts.shape)
        stack["shift"][:] = shifts + 3.5 * pixels * more

    return changed(folder, f"centres-{pixels:g}", change)


def wrong_brightness(folder: Path, share: float) -> Path:
    """Make the molecules of images differ in brightness."""

    def change(stack: zarr.Group) -> None:
        clean = np.asarray(
            zarr.open_group(alike(folder, SEEDS[0], "--snr", "0"), mode="r")["images"]
        )
        images = np.asarray(stack["images"])
        level = float((images * clean).sum() / np.square(clean, dtype=np.float64).sum())
        more = share * level * np.random.default_rng(7).standard_normal(len(images))
        stack["images"][:] = images + more[:, None, None].astype(np.float32) * clean

    return changed(folder, f"brightness-{share:g}", change)


def without_errors(stack: Path, folder: Path, found: Assessment) -> tuple[bool, float]:
    """Judge again, without allowing for errors of the imaging."""
    halves = [folder / f"half-{each}.npz" for each in (1, 2)]
    for path, model in zip(halves, found.models, strict=True):
        model.save(path)
    opened = open_stack(stack)
    box, number, count = len(found.maps.half1), opened.sizes["particle"], len(found.found.gains[0])
    reduction = HeldOut(
        (halves[0], halves[1]),
        Optics.of(opened),
        box,
        found.radius,
        count,
        number,
        alternate=False,
        errors=False,
    )
    verdict = judge(reduce_images(stack, reduction))
    return verdict.heterogeneous, max(float(half.gains.max()) for half in verdict.halves)


def hinge_map(found: Assessment) -> dict[str, object]:
    """Compare the map of the variability with the spread of the true volumes."""
    made = shared_variability(found.agreement, found.maps, found.radius)
    truth = data.true_volumes(ANGLES)
    spread, mean = gaussian_filter(truth.std(0), 1.2), gaussian_filter(truth.mean(0), 1.0)
    particle = mean > 0.1 * mean.max()
    moving, still = (
        truth.std(0) > 0.4 * truth.std(0).max(),
        particle & (spread < 0.05 * spread.max()),
    )
    return {
        "hinge: correlation of the map with the true spread, in the particle": float(
            np.corrcoef(made[particle], spread[particle])[0, 1]
        ),
        "hinge: median of the map where the molecule moves": float(np.median(made[moving])),
        "hinge: median of the map where it does not": float(np.median(made[still])),
    }


def main() -> None:
    """Assess the stacks, print and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    stacks: dict[str, Callable[[], Path]] = {
        "hinge": lambda: data.hinge(folder),
        "mixture 3:1": lambda: data.mixture(folder),
        **{f"alike, seed {seed}": (lambda seed=seed: alike(folder, seed)) for seed in SEEDS},
        "alike, poses wrong by 1 degree": lambda: wrong_poses(folder, 1.0),
        "alike, poses wrong by 3 degrees": lambda: wrong_poses(folder, 3.0),
        "alike, centres wrong by 1 pixel": lambda: wrong_centres(folder, 1.0),
        "alike, defocus wrong by 500 Å": lambda: alike(folder, SEEDS[0], "--defocus-error", "500"),
        "alike, brightness differs by 30 %": lambda: wrong_brightness(folder, 0.3),
    }
    figures: dict[str, object] = {}
    for name, make in stacks.items():
        if arguments.only and name not in arguments.only:
            continue
        stack = make()
        scratch = folder / f"scratch {name}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        began = time.process_time()
        found = assess(stack, AssessmentSettings(), scratch)
        seconds = time.process_time() - began
        verdict, agreement = found.verdict, found.agreement
        figures |= {
            f"{name}: heterogeneous": verdict.heterogeneous,
            f"{name}: directions": verdict.directions,
            f"{name}: best gain of a direction, nats": max(
                float(half.gains.max()) for half in verdict.halves
            ),
            f"{name}: p-value": verdict.p_value,
            f"{name}: correlations of the halves": agreement.correlations.round(3).tolist(),
            f"{name}: squared distance of weights over that of their widths": float(
                found.found.distance.mean()
            ),
            f"{name}: CPU s": seconds,
        }
        said, gain = without_errors(stack, scratch, found)
        figures[f"{name}: heterogeneous, without allowing for errors"] = said
        figures[f"{name}: best gain, without allowing for errors"] = gain
        if name == "hinge":
            figures |= hinge_map(found)
        shutil.rmtree(scratch)
        print(name, {k: v for k, v in figures.items() if k.startswith(name + ":")}, flush=True)
    common.record("heterogeneity_assessment", figures)


if __name__ == "__main__":
    main()
