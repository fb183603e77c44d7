"""Symmetric particles: refinement from a low-passed map, and from nothing, beside true poses.

Simulates 5,000 particles (128x128, 2 Å/pixel, SNR 0.05, real CTF rows) of 8bk7 (D2), 7a4m (O) and
6zwv (C3). Of each it prints the resolution (FSC 0.143) of the half-maps, and that against the
truth (FSC 0.5): reconstructed from the true poses; refined from the true map at 40 Å; and for
several seeds from an initial model that was made from nothing, whose own resolution is told too.
Maps that begin with nothing are first laid upon the truth, mirrored if they have its other hand.

    python benchmarks/symmetry.py [--folder DIR] [--models 8bk7 7a4m 6zwv] [--seeds 0 1 2]
                                  [--refined-seeds 0]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import common
from particles import DATA, simulate, stack_of

from hpdp_dask.formats.mrc import read_map
from hpdp_dask.numerics.shells import fourier_shell_correlation, resolution_at
from hpdp_dask.numerics.superposition import align_volumes

#: Symmetry and mask diameter in Å of each model.
MODELS = {"8bk7": ("D2", 200), "7a4m": ("O", 150), "6zwv": ("C3", 200)}


def against_truth(map_path: Path, truth: Path) -> float:
    """Lay a map upon the truth and give the resolution at FSC 0.5, Å."""
    (volume, pixel_size), (true, _) = read_map(map_path), read_map(truth)
    found = align_volumes(volume, true, int(len(true) * pixel_size / 20.0))
    curve = fourier_shell_correlation(found.apply(volume), true)
    return resolution_at(curve, 0.5, pixel_size, len(true))


def resolutions(output: Path) -> tuple[float, float | None]:
    """Read the resolution of half-maps, and against the truth where it was asked for."""
    found = json.loads((output / "run.json").read_text())["results"]
    return found["resolution"], found.get("resolution_against_truth")


def measure(model: str, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Refine a model's particles in all ways."""
    symmetry, diameter = MODELS[model]
    particles = folder / model
    star = simulate(
        particles,
        DATA / "models" / f"{model}.cif.gz",
        f"--symmetry {symmetry} --number 5000 --box 128 --pixel-size 2 --snr 0.05 --seed 3",
    )
    stack, truth = stack_of(star, folder / f"{model}.zarr"), particles / "map_true.mrc"
    hpdp, figures = [common.hpdp(), "cryoem"], {}
    common_words = ["--symmetry", symmetry, "--overwrite"]

    known = folder / f"{model}_known"
    common.run([*hpdp, "reconstruct", stack, "-o", known, "--truth", truth, *common_words])
    half, true = resolutions(known)
    figures[f"{model}, true poses: half-maps, Å"] = half
    figures[f"{model}, true poses: against truth, Å"] = true

    def refine(reference: Path, start: str, output: Path, *more: object) -> common.Cost:
        words = [*hpdp, "refine", stack, "-o", output, "--reference", reference, *common_words]
        words += ["--initial-resolution", start, "--mask-diameter", diameter, *more]
        return common.run(words)

    refined = folder / f"{model}_refined"
    cost = refine(truth, "40", refined, "--truth", truth)
    half, true = resolutions(refined)
    figures[f"{model}, from the map at 40 Å: half-maps, Å"] = half
    figures[f"{model}, from the map at 40 Å: against truth, Å"] = true
    figures[f"{model}, from the map at 40 Å: CPU s"] = cost.cpu
    for seed in options.seeds:
        initial = folder / f"{model}_initial_{seed}"
        words = [*hpdp, "initial-model", stack, "-o", initial, *common_words, "--seed", seed]
        cost = common.run([*words, "--mask-diameter", diameter])
        name = f"{model}, from nothing, seed {seed}"
        figures[f"{name}: initial model, against truth, Å"] = against_truth(
            initial / "map.mrc", truth
        )
        figures[f"{name}: initial model, CPU s"] = cost.cpu
        if seed in options.refined_seeds:
            output = folder / f"{model}_from_nothing_{seed}"
            refine(initial / "map.mrc", "30", output, "--seed", seed)
            figures[f"{name}: refined, half-maps, Å"] = resolutions(output)[0]
            figures[f"{name}: refined, against truth, Å"] = against_truth(output / "map.mrc", truth)
        print(json.dumps(figures, indent=1), flush=True)
    return figures


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--refined-seeds", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        for model in options.models:
            common.record(f"symmetry_{model}", measure(model, folder, options))


if __name__ == "__main__":
    main()
