"""Specimens from atomic models: assembled, brought into the frame of a symmetry, hinged."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from hpdp_dask.cryoem.simulate.alignment import Frame, Motion, find_frame, superpose
from hpdp_dask.cryoem.simulate.specimen import Domain, Specimen, moved, replicate, weighted
from hpdp_dask.errors import InputError
from hpdp_dask.formats.model import DEPOSITED, AtomicModel, read_model
from hpdp_dask.numerics.symmetry import point_group

#: Residues that two chains must have in common, and how near they must come to be copies, Å.
_SHORTEST_CHAIN, _COPY_DISTANCE = 20, 4.0

#: How near an atom of a domain is to the rest to be at the hinge, Å.
_CONTACT = 6.0

#: Chain of CA (or P) atoms by residue.
Trace = dict[tuple[str, str], np.ndarray]


def specimen_from_model(
    path: Path,
    *,
    symmetry: str | None = None,
    assembly: str | None = None,
    domain: str | None = None,
) -> Specimen:
    """Make a specimen of an atomic model.

    The model is moved so that its centre of mass, or with a symmetry the point where its axes
    meet, is at the origin, and turned so that its axes are those of RELION's setting. The chains
    of a deposited model differ by some tenths of an Å; for a specimen of the symmetry itself,
    the copies of every atom share its place in equal parts.

    Parameters
    ----------
    path : Path
        PDB or mmCIF, also gzipped.
    symmetry : str, optional
        Point group of the assembly; by default the largest that its chains have.
    assembly : str, optional
        Which biological assembly, as for `read_model`.
    domain : str, optional
        The part that turns about a hinge, in the syntax of gemmi and MMDB: `//A/334-630` are
        residues of chain A. The hinge lies amid the atoms of it that touch the rest; its axis
        is across the arm from there to the middle of the domain, as near to z as can be. The
        rest is then not made symmetric, and the specimen's symmetry is C1.

    Returns
    -------
    Specimen

    Raises
    ------
    InputError
        What `read_model` refuses; the assembly does not have the symmetry; the domain's syntax is
        wrong, or it is none of the atoms or all of them.
    """
    atoms = read_model(path, assembly)
    structure = _structure(path, assembly)
    masses = np.array([gemmi.Element(element).weight for element in atoms.elements])
    origin = np.average(atoms.positions, axis=0, weights=masses * atoms.occupancies)
    symmetry, frame = _symmetry_frame(_traces(structure), symmetry, origin, path)
    atoms = moved(atoms, frame.apply(atoms.positions))
    if domain is not None:
        chosen = _select(structure, domain, path)
        body, part = _subset(atoms, ~chosen), _subset(atoms, chosen)
        return Specimen(path.name, "C1", body, _hinge(body, part))
    operators = point_group(symmetry)
    if len(operators) > 1:
        atoms = replicate(weighted(atoms, 1.0 / len(operators)), operators)
    return Specimen(path.name, symmetry, atoms)


def _structure(path: Path, assembly: str | None) -> gemmi.Structure:
    """Read what `read_model` read, with its chains."""
    structure = gemmi.read_structure(str(path))
    del structure[1:]
    if assembly != DEPOSITED and (assembly or structure.assemblies):
        structure.transform_to_assembly(assembly or "1", gemmi.HowToNameCopiedChain.Dup)
    return structure


def _traces(structure: gemmi.Structure) -> list[Trace]:
    """Give the CA atoms of each protein chain and the P atoms of each nucleic acid."""
    traces = []
    for chain in structure[0]:
        trace = {}
        for residue in chain:
            atom = residue.find_atom("CA", "*", gemmi.Element("C")) or residue.find_atom("P", "*")
            if atom is not None:
                trace[str(residue.seqid), residue.name] = np.array(atom.pos.tolist())
        if len(trace) >= _SHORTEST_CHAIN:
            traces.append(trace)
    return traces


def _symmetry_frame(
    traces: list[Trace], symmetry: str | None, origin: np.ndarray, path: Path
) -> tuple[str, Frame]:
    """Find the frame of a symmetry, or the largest symmetry and its frame."""
    for name in [symmetry.upper()] if symmetry else _candidates(len(traces)):
        operators = point_group(name)
        if len(operators) == 1:
            return name, Frame(np.eye(3), origin)
        frame = _frame_of(traces, operators, origin)
        if frame is not None:
            return name, frame
    raise InputError(
        f"{path}: its {len(traces)} chains do not have the symmetry {symmetry}; name the point "
        "group of the assembly, or another assembly of the file."
    )


def _candidates(chains: int) -> list[str]:
    """Name the point groups that so many chains may have, the largest first."""
    names = [f"{kind}{n}" for n in range(2, chains + 1) for kind in "CD"] + ["T", "O", "I1"]
    orders = {name: len(point_group(name)) for name in ["C1", *names]}
    fitting = [name for name, order in orders.items() if order <= chains or order == 1]
    return sorted(fitting, key=lambda name: orders[name], reverse=True)


def _frame_of(traces: list[Trace], operators: np.ndarray, origin: np.ndarray) -> Frame | None:
    """Find the frame in which copies of some chain are related by all operators of a group."""
    for reference in traces:
        motions: list[Motion] = []
        for other in traces:
            common = [residue for residue in reference if residue in other]
            if len(common) < max(_SHORTEST_CHAIN, 0.8 * len(reference)):
                continue
            pair = ([trace[residue] for residue in common] for trace in (reference, other))
            motion, distance = superpose(*map(np.array, pair))
            if distance < _COPY_DISTANCE:
                motions.append(motion)
        found = find_frame(motions, operators, origin) if motions else None
        if found is not None and _deviation(motions, *found, operators, reference) < _COPY_DISTANCE:
            return found[0]
    return None


def _deviation(
    motions: list[Motion], frame: Frame, chosen: list[int], operators: np.ndarray, trace: Trace
) -> float:
    """Measure how far the copies of a chain are from where the group has them, Å (rms)."""
    positions = np.array(list(trace.values()))
    wanted = frame.apply(positions) @ np.swapaxes(operators, 1, 2)
    copies = [
        frame.apply(positions @ motions[i].rotation.T + motions[i].translation) for i in chosen
    ]
    return float(np.sqrt(np.mean(np.sum((wanted - np.array(copies)) ** 2, axis=-1))))


def _select(structure: gemmi.Structure, domain: str, path: Path) -> np.ndarray:
    """Tell of each atom whether a selection has it."""
    try:
        selection = gemmi.Selection(domain)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The domain {domain!r} is not understood ({error}); expected the form //A/334-630, "
            "residues 334 to 630 of chain A."
        ) from error
    for chain in selection.chains(structure[0]):
        for residue in selection.residues(chain):
            for atom in selection.atoms(residue):
                atom.flag = "s"
    chosen = np.array([found.atom.flag == "s" for found in structure[0].all()])
    if chosen.all() or not chosen.any():
        raise InputError(
            f"{path}: the domain {domain!r} is {'all' if chosen.all() else 'none'} of the atoms; "
            "name a part of a chain, like //A/334-630."
        )
    return chosen


def _subset(atoms: AtomicModel, chosen: np.ndarray) -> AtomicModel:
    return AtomicModel(
        atoms.positions[chosen],
        np.asarray(atoms.elements)[chosen].tolist(),
        atoms.b_factors[chosen],
        atoms.occupancies[chosen],
    )


def _hinge(body: AtomicModel, part: AtomicModel) -> Domain:
    distances = np.asarray(cKDTree(body.positions).query(part.positions)[0])
    touching = distances <= max(_CONTACT, distances.min())
    point = part.positions[touching].mean(axis=0)
    arm = part.positions.mean(axis=0) - point
    arm /= np.linalg.norm(arm)
    towards = np.array([0.0, 0.0, 1.0]) if abs(arm[2]) < 0.99 else np.array([1.0, 0.0, 0.0])
    axis = towards - (towards @ arm) * arm
    return Domain(part, point, axis / np.linalg.norm(axis), np.eye(3)[None])
