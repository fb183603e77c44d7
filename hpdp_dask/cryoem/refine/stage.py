"""The stage `refine`: from particles without poses, and a reference, to maps and poses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from hpdp_dask.cryoem.fsc import write_fsc
from hpdp_dask.cryoem.refine.inputs import check_mask, prepare_reference
from hpdp_dask.cryoem.refine.loop import RefineLoop
from hpdp_dask.cryoem.refine.spectra import has_signal, measure_spectra
from hpdp_dask.cryoem.refine.state import State
from hpdp_dask.cryoem.unapplied import unapplied_corrections
from hpdp_dask.cryoem.unposed import check_unposed, one_pixel_size
from hpdp_dask.dataflow.iterate import Iterated, iterate
from hpdp_dask.errors import InputError
from hpdp_dask.formats import star
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.numerics import shells
from hpdp_dask.numerics.masks import low_pass_filter
from hpdp_dask.numerics.symmetry import point_group
from hpdp_dask.stacks.store import open_stack, to_table
from hpdp_dask.stacks.tables import read_source

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Without a mask diameter: of the box. That of normalisation's background.
_DIAMETER = 0.75

#: Images of less evidence than this, mean of log-likelihood ratios, show nothing of the map.
_NOTHING = 1.0

#: What a map correlates at least with the reference that it came of.
_ALIKE = 0.5

#: Scales are found for micrographs only if there are so many particles on each, on average.
_PARTICLES_PER_MICROGRAPH = 3


@dataclass(frozen=True)
class Refinement:
    """What `refine` found; maps and particles are in its folder.

    Attributes
    ----------
    history : pandas.DataFrame
        One row for each iteration.
    fsc : (N // 2 + 1,) ndarray of float64
        Of the last half-maps, without a mask.
    fsc_masked : (N // 2 + 1,) ndarray of float64
        Under the sphere of the mask diameter, or the mask.
    resolution : float
        Å, where `fsc` falls to 0.143.
    resolution_masked : float
        Å, where `fsc_masked` does.
    euler_angles : (n, 3) ndarray
    shifts : (n, 2) ndarray
        Å.
    particles : int
    box : int
    pixel_size : float
        Å.
    mask_diameter : float
        Å.
    notes : list of str
        What a person should know.
    """

    history: pd.DataFrame
    fsc: np.ndarray
    fsc_masked: np.ndarray
    resolution: float
    resolution_masked: float
    euler_angles: np.ndarray
    shifts: np.ndarray
    particles: int
    box: int
    pixel_size: float
    mask_diameter: float
    notes: list[str]


def refine(
    stack_path: Path,
    folder: Path,
    scratch: Path,
    *,
    reference: Path,
    symmetry: str = "C1",
    initial_resolution: float = 30.0,
    mask_diameter: float | None = None,
    mask: Path | None = None,
    seed: int = 0,
    client: Client | None = None,
    progress: Progress | None = None,
    tell: Callable[[State], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Refinement:
    """Refine the poses of particles and the map that they make, in two independent halves.

    Writes `half1.mrc`, `half2.mrc`, `map.mrc`, `fsc.csv`, `iterations.csv`, `fsc_iterations.csv`
    and `particles.star`.

    Parameters
    ----------
    stack_path : Path
        A stack with CTF and half-sets; poses that it may have are not used.
    folder : Path
        An existing folder to write to.
    scratch : Path
        A folder for iterations, which a later call with the same arguments goes on from.
    reference : Path
        A map, of any box and pixel size.
    symmetry : str, optional
        Point group.
    initial_resolution : float, optional
        Å; what the reference is low-passed to.
    mask_diameter : float, optional
        Å; of the sphere that holds the particle. By default 3/4 of the box.
    mask : Path, optional
        A soft mask in place of the sphere.
    seed : int, optional
        Of the perturbations of the grids and the images whose noise is measured.
    client : Client, optional
        Where to run; in this process by default.
    progress : Progress, optional
    tell : callable, optional
        Told of each state.
    say : callable, optional
        Told in words what a person should know meanwhile.

    Returns
    -------
    Refinement

    Raises
    ------
    InputError
        If the stack lacks something, the reference or the mask do not fit, or images show nothing.
    """
    point_group(symmetry)
    stack = open_stack(stack_path)
    found = check_unposed(stack, mask_diameter, _DIAMETER, "half_set")
    box, pixel_size, diameter = found.box, found.pixel_size, found.mask_diameter
    counts = np.bincount(stack["half_set"].values, minlength=2)
    if counts.min() < 2:
        raise InputError(
            f"{stack_path}: {counts[0]} and {counts[1]} particles in the half-sets, expected two "
            "or more in each."
        )
    if not 2 * pixel_size < initial_resolution < diameter:
        raise InputError(
            f"--initial-resolution is {initial_resolution:g} Å, expected more than "
            f"{2 * pixel_size:g} Å and less than the mask diameter, {diameter:g} Å."
        )
    unapplied = unapplied_corrections(read_source(stack_path), stack_path)
    notes = [f"Corrections in the file that were left out: {', '.join(unapplied)}."] * bool(
        unapplied
    )
    prepared = scratch / "reference.mrc"
    notes += prepare_reference(
        reference,
        prepared,
        box=box,
        pixel_size=pixel_size,
        resolution=initial_resolution,
        mask_diameter=diameter,
        symmetry=symmetry,
    )
    if mask is not None:
        notes += check_mask(mask, prepared, box, pixel_size)
    if say is not None:
        for note in notes:
            say(f"Note: {note}")
    spectra = measure_spectra(stack_path, found.groups, diameter / pixel_size, seed)
    shell = max(2, int(box * pixel_size / initial_resolution))
    if not has_signal(spectra, shell):
        raise InputError(
            f"{stack_path}: up to {initial_resolution:g} Å the images have no more power than "
            "their noise, so there is nothing to align; are they particles, and is the mask "
            "diameter right?"
        )
    loop = RefineLoop(
        reference=prepared,
        box=box,
        pixel_size=pixel_size,
        symmetry=symmetry,
        mask_diameter=diameter,
        mask=mask.absolute() if mask is not None else None,
        initial_resolution=initial_resolution,
        spectra=spectra,
        micrographs=_micrographs(stack),
        seed=seed,
    )
    ended = iterate(
        stack_path,
        loop,
        scratch / "iterations",
        client=client,
        progress=progress,
        tell=tell,
        say=say,
    )
    notes += _compare_with_reference(ended.folder / "map.mrc", prepared, initial_resolution)
    return _write(stack, folder, ended, diameter, notes)


def _compare_with_reference(path: Path, reference: Path, resolution: float) -> list[str]:
    """Tell if nothing of the reference is in the map that came of it."""
    volume, pixel_size = read_map(path)
    started, _ = read_map(reference)
    low = low_pass_filter(volume, pixel_size, resolution)
    correlation = float(np.corrcoef(low[started != 0], started[started != 0])[0, 1])
    if correlation >= _ALIKE:
        return []
    return [
        f"At {resolution:g} Å the map correlates {correlation:.2f} with its reference, expected "
        f"{_ALIKE:g} or more: the images do not show it. Is their contrast inverted (hpdp validate "
        "tells), and is the pixel size right?"
    ]


def _micrographs(stack: xr.Dataset) -> int:
    """Count micrographs; 0 if they are not known, or hold too few particles each."""
    if "micrograph" not in stack:
        return 0
    micrographs = stack["micrograph"].values
    number = int(micrographs.max()) + 1
    return number if len(micrographs) >= _PARTICLES_PER_MICROGRAPH * number else 0


def _write(
    stack: xr.Dataset,
    folder: Path,
    ended: Iterated[State],
    diameter: float,
    notes: list[str],
) -> Refinement:
    """Put the last maps and the poses into the folder."""
    box, pixel_size = stack.sizes["x"], one_pixel_size(stack)
    for name in ("half1.mrc", "half2.mrc", "map.mrc"):
        shutil.copy(ended.folder / name, folder / name)
    fsc = pd.read_csv(ended.folder / "fsc.csv")["fsc"].to_numpy()
    fsc_masked = np.array(ended.state.fsc)
    write_fsc(folder / "fsc.csv", {"fsc": fsc, "fsc_masked": fsc_masked}, pixel_size)
    rows = pd.DataFrame(ended.state.history)
    history = rows.drop(columns="fsc")
    history.to_csv(folder / "iterations.csv", index=False)
    curves = pd.DataFrame(rows["fsc"].tolist(), index=rows["iteration"])
    curves.rename_axis("iteration").to_csv(folder / "fsc_iterations.csv")

    table = to_table(stack)
    table.particles["euler_angles"] = ended.results["euler_angles"]
    table.particles["shift"] = ended.results["shift"] * pixel_size
    star.write_particles(folder / "particles.star", table)

    if rows["log_evidence"].iloc[-1] < _NOTHING:
        notes = [
            *notes,
            "Nothing aligned: the images are as well explained by noise alone "
            f"(log-likelihood ratio {rows['log_evidence'].iloc[-1]:.1f} an image, expected 5 or "
            "more); the map shows nothing but what the reference put into it.",
        ]
    return Refinement(
        history=history,
        fsc=fsc,
        fsc_masked=fsc_masked,
        resolution=shells.resolution_at(fsc, 0.143, pixel_size, box),
        resolution_masked=shells.resolution_at(fsc_masked, 0.143, pixel_size, box),
        euler_angles=ended.results["euler_angles"],
        shifts=ended.results["shift"] * pixel_size,
        particles=len(ended.results["image"]),
        box=box,
        pixel_size=pixel_size,
        mask_diameter=diameter,
        notes=notes,
    )
