"""The stage: a set of simulated particles on disk, or a small one in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.cryoem.simulate.imaging import Microscope, tune
from hpdp_dask.cryoem.simulate.potential import Potential, potential_map, potential_of
from hpdp_dask.cryoem.simulate.settings import Settings
from hpdp_dask.cryoem.simulate.slabs import write_images
from hpdp_dask.cryoem.simulate.specimen import Specimen, joined, weighted
from hpdp_dask.cryoem.simulate.truth import HINGE_ANGLE, Truth, draw_truth
from hpdp_dask.errors import InputError
from hpdp_dask.formats.model import AtomicModel
from hpdp_dask.formats.mrc import write_map
from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.formats.star import write_particles

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


@dataclass(frozen=True)
class SimulatedFiles:
    """What `simulate` wrote.

    Attributes
    ----------
    particles : Path
        `particles.star`, in RELION's layout, with the true poses and with half-sets.
    images : Path
        `particles.mrcs`.
    truth : Path
        `truth.star`: the same, but with the true defoci, and the angle of the domain.
    map : Path
        `map_true.mrc`: the mean of all conformations, on the images' grey scale; without CTF
        and envelope, the signal of the images is sums along lines of sight through it.
    conformations : tuple of Path
        `map_true_001.mrc` and so on: conformations, with their angles in `truth.star`.
    """

    particles: Path
    images: Path
    truth: Path
    map: Path
    conformations: tuple[Path, ...]


def simulate(
    output_folder: Path,
    specimen: Specimen,
    settings: Settings,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
) -> SimulatedFiles:
    """Simulate the particle images of a specimen.

    Parameters
    ----------
    output_folder : Path
        Exists; files in it of the same names are replaced.
    specimen : Specimen
        `phantom()` or `specimen_from_model(...)`.
    settings : Settings
    client : distributed.Client, optional
        Where the images are made; without it, here. They do not depend on it.
    progress : Progress, optional

    Returns
    -------
    SimulatedFiles

    Raises
    ------
    InputError
        The specimen does not fit into the box or has no domain that could turn, the file of CTFs
        is not one, the disk is full.
    """
    microscope, truth = _prepare(specimen, settings)
    folder = Path(output_folder).absolute()
    images = folder / "particles.mrcs"
    write_images(images, microscope, truth, client=client, progress=progress)

    shown = settings.conformations.landmarks if settings.conformations else ()
    names = [f"map_true_{number:03d}.mrc" for number in range(1, len(shown) + 1)]
    maps = {"map_true.mrc": _mean_atoms(specimen, settings)}
    maps |= {name: specimen.at(angle) for name, angle in zip(names, shown, strict=True)}
    for name, atoms in maps.items():
        volume = potential_map(atoms, settings.box, settings.pixel_size, settings.resolution)
        write_map(folder / name, np.float32(microscope.scale) * volume, settings.pixel_size)

    write_particles(folder / "particles.star", truth.table(images))
    true_table = truth.true_table(images)
    if shown:
        true_table.source.particles[HINGE_ANGLE] = truth.hinge_angle
        true_table.source.blocks["conformations"] = {
            HINGE_ANGLE: np.array(shown),
            "rlnReferenceImage": np.array(names, dtype=object),
        }
    write_particles(folder / "truth.star", true_table)
    return SimulatedFiles(
        particles=folder / "particles.star",
        images=images,
        truth=folder / "truth.star",
        map=folder / "map_true.mrc",
        conformations=tuple(folder / name for name in names),
    )


def simulate_particles(
    specimen: Specimen | np.ndarray, number: int, box: int, **settings: Any
) -> tuple[ParticleTable, np.ndarray]:
    """Simulate a small set of particles in memory.

    Parameters
    ----------
    specimen : Specimen or (box, box, box) ndarray
        A map is taken as it is, [z, y, x] with its centre at the voxel box // 2, at the images'
        pixel size.
    number, box : int
        Of images, and of pixels a side.
    **settings
        The other attributes of `Settings`; `pixel_size` must be there.

    Returns
    -------
    table : ParticleTable
        With true poses, CTF and half-sets; it names no files.
    images : (number, box, box) ndarray of float32

    Raises
    ------
    InputError
        As `simulate`.
    """
    microscope, truth = _prepare(specimen, Settings(number, box, **settings))
    return truth.table(None), microscope.images(truth, 0)


def _prepare(specimen: Specimen | np.ndarray, settings: Settings) -> tuple[Microscope, Truth]:
    """Make the maps, draw the particles and tune the microscope."""
    potential = _potential(specimen, settings)
    truth = draw_truth(
        settings.number,
        settings.pixel_size,
        ctf=settings.ctf,
        shift_sigma=settings.shift_sigma,
        defocus_error=settings.defocus_error,
        conformations=settings.conformations,
        seed=settings.seed,
    )
    blank = Microscope(potential, settings.box, settings.envelope)
    return tune(blank, truth, settings.snr, settings.seed), truth


def _potential(specimen: Specimen | np.ndarray, settings: Settings) -> Potential:
    box, pixel_size = settings.box, settings.pixel_size
    turns = settings.conformations is not None
    if turns and (isinstance(specimen, np.ndarray) or specimen.domain is None):
        raise InputError("simulate: the specimen has no domain that could turn; name one.")
    if isinstance(specimen, np.ndarray):
        if specimen.shape != (box, box, box):
            raise InputError(
                f"simulate: the map has {specimen.shape} voxels, expected a cube of the box {box}."
            )
        return Potential(pixel_size, specimen.astype(np.float32))
    across = 2.0 * specimen.radius()
    if across > box * pixel_size:
        raise InputError(
            f"simulate: {specimen.name} reaches {across / 2.0:.0f} Å from its centre, which does "
            f"not fit into a box of {box} pixels of {pixel_size} Å; choose a box of "
            f"{2 * int(np.ceil(across / pixel_size / 2.0))} or more."
        )
    if turns:
        return potential_of(specimen, box, pixel_size, settings.resolution)
    return Potential(
        pixel_size, potential_map(specimen.at(0.0), box, pixel_size, settings.resolution)
    )


def _mean_atoms(specimen: Specimen, settings: Settings) -> AtomicModel:
    """Give the atoms of all conformations, each occupied as often as it occurs."""
    if settings.conformations is None:
        return specimen.at(0.0)
    angles, weights = settings.conformations.distribution()
    return joined([weighted(specimen.at(a), w) for a, w in zip(angles, weights, strict=True)])
