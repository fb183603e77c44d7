"""Reconstruction from true poses beside relion_reconstruct and cryodrgn backproject_voxel.

Simulates 10,000 particles of 8bk7 (D2, 128x128, 2 Å/pixel, SNR 0.03, real CTF rows), imports
them, reconstructs them with each program in one go, and prints CPU seconds, ratios, and each
map's FSC against the truth.

    python benchmarks/reconstruct.py [--folder DIR] [--number 10000] [--cryodrgn PATH]

`--cryodrgn` names the `cryodrgn` program of an environment of its own; without it, or without
Debian's `relion`, that peer is left out and said to be.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import common
import numpy as np

from hpdp_dask.formats.mrc import read_map
from hpdp_dask.numerics.shells import fourier_shell_correlation, resolution_at


def simulate(folder: Path, number: int) -> Path:
    """Simulate the particles unless they are there; gives their folder."""
    particles = folder / f"particles_{number}"
    if not particles.is_dir():
        data = common.TEST_DATA / "cryoem"
        words = f"cryoem simulate -o {particles} --number {number} --box 128 --pixel-size 2"
        model, ctf = data / "models" / "8bk7.cif.gz", data / "ctf" / "empiar10028_ctf.npz"
        common.run(
            [
                common.hpdp(),
                *words.split(),
                *("--model", model, "--ctf", ctf, "--snr", "0.03", "--symmetry", "D2"),
            ]
        )
    return particles


def curve(map_path: Path, truth: np.ndarray) -> np.ndarray:
    """Correlate a map with the truth, shell by shell."""
    return fourier_shell_correlation(read_map(map_path)[0], truth)


def shortfall(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Give by how much our curve is below theirs at worst, up to where either falls to 0.5."""
    below = np.flatnonzero((ours < 0.5) | (theirs < 0.5))
    end = int(below[below > 0][0]) if (below > 0).any() else len(ours) - 1
    return float(np.max((theirs - ours)[1 : end + 1]))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--relion", help="the relion_reconstruct to run")
    parser.add_argument("--cryodrgn", help="the cryodrgn to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        compare(folder, options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Reconstruct with each program that is there and record the figures."""
    particles = simulate(folder, options.number)
    truth, pixel_size = read_map(particles / "map_true.mrc")
    box = len(truth)
    star, stack = particles / "particles.star", folder / "particles.zarr"
    hpdp = common.hpdp()
    reconstruct = [hpdp, "cryoem", "reconstruct", stack, "-o", folder / "hpdp"]
    reconstruct += ["--symmetry", "D2", "--overwrite"]
    imported = common.run([hpdp, "import", star, "-o", stack, "--overwrite"])
    common.run(reconstruct)  # compiles the kernels, once for an installation
    cost = common.run(reconstruct)
    ours = curve(folder / "hpdp" / "map.mrc", truth)
    figures: dict[str, object] = {
        "particles": options.number,
        "hpdp import, CPU s": imported.cpu,
        "hpdp reconstruct, CPU s": cost.cpu,
        "hpdp reconstruct, wall s": cost.wall,
        "hpdp FSC 0.5 against truth, Å": resolution_at(ours, 0.5, pixel_size, box),
    }
    if relion := common.program("relion_reconstruct", options.relion):
        out = folder / "relion.mrc"
        words = [relion, "--i", star, "--o", out, "--ctf", "--sym", "D2"]
        peer = common.run(words, particles)
        theirs = curve(out, truth)
        figures |= {
            "relion_reconstruct (one map), CPU s": peer.cpu,
            "relion_reconstruct (one map), wall s": peer.wall,
            "relion FSC 0.5 against truth, Å": resolution_at(theirs, 0.5, pixel_size, box),
            "CPU, hpdp / relion": cost.cpu / peer.cpu,
            "CPU, hpdp with import / relion": (cost.cpu + imported.cpu) / peer.cpu,
            "FSC below relion's at worst": shortfall(ours, theirs),
        }
    else:
        print("relion_reconstruct is not here (Debian: apt install relion); left out")
    if cryodrgn := common.program("cryodrgn", options.cryodrgn):
        pose, ctf = folder / "pose.pkl", folder / "ctf.pkl"
        common.run([cryodrgn, "parse_pose_star", star, "-o", pose])
        common.run([cryodrgn, "parse_ctf_star", star, "-o", ctf, "--ps", "0"])
        out = folder / "cryodrgn"
        words = [cryodrgn, "backproject_voxel", star, "--poses", pose, "--ctf", ctf, "-o", out]
        peer = common.run([*words, "--datadir", particles, "--uninvert-data"])
        theirs = curve(out / "backproject.mrc", truth)
        figures |= {
            "cryodrgn backproject_voxel, CPU s": peer.cpu,
            "cryodrgn backproject_voxel, wall s": peer.wall,
            "cryodrgn FSC 0.5 against truth, Å": resolution_at(
                np.abs(theirs), 0.5, pixel_size, box
            ),
            "CPU, hpdp / cryodrgn": cost.cpu / peer.cpu,
        }
    else:
        print("cryodrgn is not here (pip install cryodrgn==4.3.1 in its own environment); left out")
    common.record("reconstruct", figures)


if __name__ == "__main__":
    main()
