"""Simulated particles that several benchmarks work on."""

from __future__ import annotations

from pathlib import Path

import common
import gemmi
import pandas as pd
import starfile

_POSES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]


def asymmetric_complex(folder: Path, number: int) -> Path:
    """Simulate 64x64 images of the chains A and B of 6zwv, unless they are there; their folder."""
    particles = folder / f"asymmetric_{number}"
    if not particles.is_dir():
        data = common.TEST_DATA / "cryoem"
        model = folder / "6zwv_ab.cif"
        structure = gemmi.read_structure(str(data / "models" / "6zwv.cif.gz"))
        for chain in [chain.name for chain in structure[0]]:
            if chain not in ("A", "B"):
                structure[0].remove_chain(chain)
        structure.assemblies.clear()
        structure.make_mmcif_document().write_file(str(model))
        words = f"cryoem simulate -o {particles} --model {model} --assembly none --symmetry C1"
        words += f" --number {number} --box 64 --pixel-size 3.5 --snr 0.1 --seed {number}"
        ctf = data / "ctf" / "empiar10028_ctf.npz"
        common.run([common.hpdp(), *words.split(), "--ctf", ctf])
    without_poses(particles)
    return particles


def without_poses(particles: Path) -> Path:
    """Write `blind.star`, the particles without their poses."""
    tables = starfile.read(particles / "particles.star")
    tables["particles"] = pd.DataFrame(tables["particles"]).drop(columns=_POSES)
    blind = particles / "blind.star"
    starfile.write(tables, blind, overwrite=True)
    return blind
