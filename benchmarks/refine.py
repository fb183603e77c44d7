"""Refinement of orientations beside RELION's auto-refinement.

Simulates particles of an asymmetric complex (chains A and B of 6zwv, 208 kDa; 64x64, 3.5 Å/pixel,
SNR 0.1, real CTF rows), takes their poses away, and refines them from the map of the model
low-passed to 60 Å: 1,500 particles beside RELION at its cheaper sampling, and 5,000 beside RELION
at its defaults, whose whole run takes hours: it is stopped after `--relion-minutes` of wall clock
time, and extrapolated at the mean price of the iterations that it has made.

    python benchmarks/refine.py [--folder DIR] [--relion-minutes 20]

CPU seconds are those of all processes; RELION's leader, which only waits, is not counted. Poses
are compared with the truth after the frames of the maps are brought to each other.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import psutil
from particles import asymmetric_complex

from hpdp_dask.formats.mrc import read_map
from hpdp_dask.formats.star import read_particles
from hpdp_dask.numerics.rotations import angular_distance, euler_to_matrix
from hpdp_dask.numerics.shells import fourier_shell_correlation, resolution_at

DIAMETER = 190.0
#: Iterations of RELION's that count when it is stopped early: what its whole run took elsewhere.
RELION_ITERATIONS = 17


def refine(particles: Path, folder: Path) -> tuple[common.Cost, dict[str, float]]:
    """Refine with this package; the import is counted."""
    stack, out = folder / f"{particles.name}.zarr", folder / f"{particles.name}_hpdp"
    blind = particles / "blind.star"
    hpdp = common.hpdp()
    words = [hpdp, "cryoem", "refine", stack, "-o", out, "--overwrite"]
    words += ["--reference", particles / "map_true.mrc", "--initial-resolution", "60"]
    words += ["--mask-diameter", str(DIAMETER)]
    imported = common.run([hpdp, "import", blind, "-o", stack, "--overwrite"])
    cost = common.run(words)
    total = common.Cost(cost.wall + imported.wall, cost.cpu + imported.cpu)
    return total, quality(particles, out / "map.mrc", out / "particles.star")


def quality(particles: Path, map_path: Path, star: Path) -> dict[str, float]:
    """Measure poses and the map against the truth."""
    truth, pixel_size = read_map(particles / "map_true.mrc")
    curve = fourier_shell_correlation(read_map(map_path)[0], truth)
    true, found = (_by_image(path) for path in (particles / "particles.star", star))
    errors = angular_distance(found, true @ _frame(found, true))
    return {
        "median pose error, degrees": float(np.median(errors)),
        "share beyond 20 degrees": float(np.mean(errors > 20.0)),
        "FSC 0.5 against truth, Å": resolution_at(curve, 0.5, pixel_size, len(truth)),
    }


def _by_image(star: Path) -> np.ndarray:
    """Read the orientations of a star file in the order of the images."""
    table = read_particles(star)
    order = np.argsort(table.image_index, kind="stable")
    return euler_to_matrix(table.particles["euler_angles"][order])


def _frame(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Find the rotation between the frames of two maps, with little weight for outliers."""
    frame = np.eye(3)
    for _ in range(20):
        weight = 1.0 / (1.0 + (angular_distance(found, true @ frame) / 3.0) ** 2)
        left, _, right = np.linalg.svd(np.einsum("n,nji,njk->ik", weight, true, found))
        frame = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    return frame


def relion(
    program: Path, particles: Path, out: Path, cheaper: bool, minutes: float | None
) -> tuple[float, int, bool]:
    """Run RELION's auto-refinement.

    Returns
    -------
    cpu : float
        Seconds until the end of the last iteration.
    iterations : int
    ended : bool
        Whether it was not stopped.
    """
    out.mkdir(exist_ok=True)
    words = (
        f"mpirun --oversubscribe --mca mpi_yield_when_idle 1 -n 3 {program} --i blind.star "
        f"--o {out}/run --ref map_true.mrc --ini_high 60 --auto_refine --split_random_halves "
        f"--firstiter_cc --ctf --particle_diameter {DIAMETER:g} --flatten_solvent --zero_mask "
        "--oversampling 1 --offset_range 5 --offset_step 2 --sym C1 --low_resol_join_halves 40 "
        "--norm --scale --pad 2 --pool 30 --dont_combine_weights_via_disc --preread_images "
        "--j 1 --random_seed 1"
    ).split()
    words += ["--healpix_order", "1" if cheaper else "2"]
    words += ["--auto_local_healpix_order", "2" if cheaper else "4"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    start, spent = time.perf_counter(), {}
    with (out / "log").open("w") as log:
        running = subprocess.Popen(
            words, cwd=particles, env=environment, stdout=log, stderr=log, text=True
        )
        ended, done, cpu = True, 0, 0.0
        while running.poll() is None:
            _measure(running.pid, spent)
            if (now := _iterations(out)) > done:
                done, cpu = now, sum(spent.values())
            if minutes and time.perf_counter() - start > 60 * minutes:
                running.terminate()
                running.wait()
                ended = False
                break
            time.sleep(0.5)
    if ended and running.returncode:
        raise SystemExit((out / "log").read_text()[-2000:])
    return sum(spent.values()) if ended else cpu, done, ended


def _iterations(out: Path) -> int:
    """Give the last iteration that RELION has ended."""
    found = (re.match(r"run_it(\d+)_data.star", path.name) for path in out.iterdir())
    return max((int(each.group(1)) for each in found if each), default=0)


def _measure(parent: int, spent: dict[int, float]) -> None:
    """Note the CPU seconds of all ranks but the leader."""
    for process in psutil.Process(parent).children(recursive=True):
        try:
            if process.environ().get("OMPI_COMM_WORLD_RANK", "0") != "0":
                times = process.cpu_times()
                spent[process.pid] = times.user + times.system
        except psutil.Error:
            continue


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    parser.add_argument("--relion", help="the relion_refine_mpi to run")
    parser.add_argument("--relion-minutes", type=float, default=20.0)
    parser.add_argument("--numbers", type=int, nargs="*", default=[1500, 5000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        compare(folder, options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Refine with each program that is there and record the figures."""
    program = common.program("relion_refine_mpi", options.relion)
    for number in options.numbers:
        figures: dict[str, object] = {}
        particles = asymmetric_complex(folder, number).parent
        refine(asymmetric_complex(folder, 200).parent, folder)  # compiles the kernels, once
        cost, found = refine(particles, folder)
        name = f"{number} particles"
        figures |= {f"{name}, hpdp: CPU s": cost.cpu, f"{name}, hpdp: wall s": cost.wall}
        figures |= {f"{name}, hpdp: {key}": value for key, value in found.items()}
        if program is None:
            print("relion_refine_mpi is not here (Debian: apt install relion); left out")
            common.record(f"refine_{number}", figures)
            continue
        cheaper = number <= 1500
        out = folder / f"{particles.name}_relion"
        minutes = None if cheaper else options.relion_minutes
        cpu, iterations, ended = relion(program, particles, out, cheaper, minutes)
        sampling = "cheaper sampling" if cheaper else "defaults"
        theirs = f"{name}, relion at its {sampling}"
        figures |= {f"{theirs}: CPU s": cpu, f"{theirs}: iterations": iterations}
        if ended:
            peer = quality(particles, out / "run_class001.mrc", out / "run_data.star")
            figures |= {f"{theirs}: {key}": value for key, value in peer.items()}
        else:
            cpu *= RELION_ITERATIONS / max(1, iterations)
            figures[f"{theirs}: CPU s, extrapolated to {RELION_ITERATIONS} iterations"] = cpu
        figures[f"{name}: CPU, hpdp / relion"] = cost.cpu / cpu
        common.record(f"refine_{number}", figures)


if __name__ == "__main__":
    main()
