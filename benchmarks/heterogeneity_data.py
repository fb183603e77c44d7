"""Stacks of known conformations for the benchmarks of heterogeneity, and what cryoDRGN needs."""

from __future__ import annotations

import pickle
from pathlib import Path

import common
import numpy as np

from hpdp_dask.cryoem.simulate import potential_map, specimen_from_model
from hpdp_dask.formats.star import read_particles

#: TRPV1, a tetramer of which one subunit turns: a quarter of the mass.
MODEL, DOMAIN, SYMMETRY = "cryoem/models/7l2i.cif.gz", "//A", "C1"

#: Two conformations of the sialic acid binding protein, open and closed.
PAIR = ("spi/models/2cex_a.pdb.gz", "spi/models/2cex_b.pdb.gz")


def simulate(folder: Path, name: str, box: int, pixel_size: float, words: list[str]) -> Path:
    """Simulate a stack, unless it is there; give the path of the Zarr."""
    stack = folder / f"{name}.zarr"
    if not stack.exists():
        sizes = ["--box", str(box), "--pixel-size", str(pixel_size), "--snr", "0.1", "--seed", "1"]
        common.run([common.hpdp(), "cryoem", "simulate", "-o", folder / name, *sizes, *words])
        common.run([common.hpdp(), "import", folder / name / "particles.star", "-o", stack])
    return stack


def hinge(folder: Path, number: int = 6000, box: int = 64, pixel_size: float = 3.5) -> Path:
    """Make images of a domain that turns by any angle from 0 to 40 degrees."""
    model = ["--model", str(common.TEST_DATA / MODEL), "--symmetry", SYMMETRY, "--domain", DOMAIN]
    words = [*model, "--hinge", "0", "40", "--number", str(number)]
    name = "hinge" if (number, box) == (6000, 64) else f"hinge-{number}-{box}"
    return simulate(folder, name, box, pixel_size, words)


def mixture(folder: Path) -> Path:
    """Make 3,000 images of the domain at 0 degrees and 1,000 of it at 40."""
    model = ["--model", str(common.TEST_DATA / MODEL), "--symmetry", SYMMETRY, "--domain", DOMAIN]
    return simulate(
        folder, "mixture", 64, 3.5, [*model, "--states", "0:3,40:1", "--number", "4000"]
    )


def angles(folder: Path, name: str) -> np.ndarray:
    """Read the angle of each image's domain, degrees."""
    table = read_particles(folder / name / "truth.star").source
    assert table is not None
    return np.asarray(table.particles["hpdpHingeAngle"])


def true_volumes(at: tuple[float, ...], box: int = 64, pixel_size: float = 3.5) -> np.ndarray:
    """Make the maps of the molecule with its domain at some angles."""
    specimen = specimen_from_model(common.TEST_DATA / MODEL, symmetry=SYMMETRY, domain=DOMAIN)
    return np.stack([potential_map(specimen.at(each), box, pixel_size, None) for each in at])


def peer_inputs(cryodrgn: Path, simulated: Path, first: int | None = None) -> list[str]:
    """Make cryoDRGN's tables of poses and CTFs; give the words for its `train_vae`."""
    star = simulated / "particles.star"
    for verb, name in (("parse_pose_star", "poses.pkl"), ("parse_ctf_star", "ctf.pkl")):
        if not (simulated / name).exists():
            # without a column of phase shifts it would take them for NaN
            more = ["--ps", "0"] if verb == "parse_ctf_star" else []
            common.run([cryodrgn, verb, star, "-o", simulated / name, *more])
    words = [str(simulated / "particles.mrcs"), "--poses", str(simulated / "poses.pkl")]
    words += ["--ctf", str(simulated / "ctf.pkl"), "--no-analysis"]
    if first is not None:
        chosen = simulated / f"first-{first}.pkl"
        chosen.write_bytes(pickle.dumps(np.arange(first)))
        words += ["--ind", str(chosen)]
    return words
