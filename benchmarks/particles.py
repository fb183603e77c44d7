"""Simulated particles that several benchmarks work on."""

from __future__ import annotations

from pathlib import Path

import common
import gemmi

from hpdp_dask.formats.star import read_particles, write_particles

DATA = common.TEST_DATA / "cryoem"


def simulate(folder: Path, model: Path, options: str) -> Path:
    """Simulate particles with real CTF rows unless they are there; gives their star file."""
    if not folder.is_dir():
        ctf = DATA / "ctf" / "empiar10028_ctf.npz"
        words = [common.hpdp(), "cryoem", "simulate", "-o", folder, "--model", model, "--ctf", ctf]
        common.run([*words, *options.split()])
    return folder / "particles.star"


def asymmetric_complex(folder: Path, number: int) -> Path:
    """Simulate 64x64 images of chains A and B of 6zwv, 208 kDa; gives their star file.

    `blind.star` beside it has no poses.
    """
    model = folder / "6zwv_ab.cif"
    if not model.is_file():
        structure = gemmi.read_structure(str(DATA / "models" / "6zwv.cif.gz"))
        structure.remove_alternative_conformations()
        for chain in [chain.name for chain in structure[0] if chain.name not in ("A", "B")]:
            structure[0].remove_chain(chain)
        structure.make_mmcif_document().write_file(str(model))
    star = simulate(
        folder / f"asymmetric_{number}",
        model,
        f"--assembly none --symmetry C1 --number {number} --box 64 --pixel-size 3.5 --snr 0.1 "
        f"--seed {number}",
    )
    without_poses(star)
    return star


def without_poses(star: Path) -> Path:
    """Write a star file beside another, of the same images without poses."""
    table = read_particles(star)
    del table.particles["euler_angles"], table.particles["shift"]
    for label in [*table.source.particles]:
        if label.startswith(("rlnAngle", "rlnOrigin")):
            del table.source.particles[label]
    blind = star.with_name("blind.star")
    write_particles(blind, table)
    return blind


def stack_of(star: Path, path: Path) -> Path:
    """Import and normalise particles unless that was done."""
    if not path.is_dir():
        raw = path.with_suffix(".raw.zarr")
        common.run([common.hpdp(), "import", star, "-o", raw, "--overwrite"])
        common.run([common.hpdp(), "cryoem", "normalize", raw, "-o", path])
    return path
