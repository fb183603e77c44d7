"""Reconstruction from known poses: particle images become two half-maps, their FSC and a map.

`BackProjection` is the reduction: images fold into an accumulator for each half-set,
accumulators merge, and the sum becomes maps. `reconstruct` runs it over a stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.contrast import coefficients_of
from hpdp_dask.cryoem.fsc import write_fsc
from hpdp_dask.cryoem.unapplied import unapplied_corrections
from hpdp_dask.cryoem.unposed import one_pixel_size
from hpdp_dask.dataflow.trees import reduce_images, worth_keeping
from hpdp_dask.errors import InputError
from hpdp_dask.formats import mrc
from hpdp_dask.numerics import backprojection, fourier, shells, slices
from hpdp_dask.numerics.arrays import Array, fast_namespace, namespace, to_host
from hpdp_dask.numerics.masks import soft_sphere
from hpdp_dask.numerics.rotations import euler_to_matrix
from hpdp_dask.numerics.symmetry import point_group
from hpdp_dask.stacks.schema import CTF_VARIABLES, POSE_VARIABLES, check_images, check_particles
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.stacks.tables import read_source

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: A leaf folds at least this many images a pixel of the box, so that the work on images is a
#: multiple of the work on accumulators whatever the box.
_IMAGES_PER_LEAF_AND_PIXEL = 20

#: Width of the soft edge of the sphere that the maps are cut to, pixels; as RELION's.
_EDGE = 3.0


@dataclass(frozen=True)
class BackProjection:
    """The reduction of images to the sums that two half-maps are made of.

    The accumulator is one array (2, z, y, x, 3) of float32: for each half-set the grid of
    `slices.insert_slices`.

    Attributes
    ----------
    box : int
        Side of the images, pixels.
    radius : int
        The last shell that is reconstructed.
    operators : (g, 3, 3) ndarray
        Of the point group.
    alternate : bool
        Put particles into the halves in turn, for a stack that is all one half-set.
    """

    box: int
    radius: int
    operators: np.ndarray
    alternate: bool = False
    name: str = "back-project"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an accumulator."""
        return 2, *slices.accumulator_shape(self.radius)

    @property
    def nbytes(self) -> int:
        """The size of an accumulator."""
        return int(4 * np.prod(self.shape, dtype=np.int64))

    @property
    def images_per_leaf(self) -> int:
        """How many images a leaf folds at least."""
        return _IMAGES_PER_LEAF_AND_PIXEL * self.box

    def start(self) -> Array:
        """Make an empty accumulator, on the GPU where there is one."""
        return fast_namespace().zeros(self.shape, dtype=np.float32)

    def fold(self, sums: Array, block: xr.Dataset) -> Array:
        """Add a block of images; in place."""
        check_images(block)
        xp = namespace(sums)
        plane = fourier.half_plane(self.box, self.radius)
        images = block["images"].values
        poses = euler_to_matrix(block["euler_angles"].values)
        groups = block["optics_group"].values
        shifts = block["shift"].values / block["pixel_size"].values[groups, None]
        half_sets = block["half_set"].values
        if self.alternate:
            half_sets = (block.attrs["first_image"] + np.arange(len(images))) % 2
        for half_set in (0, 1):
            rows = np.flatnonzero(half_sets == half_set)
            if rows.size == 0:
                continue
            transforms = fourier.transform_images(xp.asarray(images[rows], dtype=xp.float32))
            contributions = backprojection.weigh_images(
                transforms, plane, xp.asarray(shifts[rows]), coefficients_of(block, rows)
            )
            slices.insert_slices(sums[half_set], contributions, xp.asarray(poses[rows]), plane)
        return sums

    def merge(self, sums: Array, others: Array) -> Array:
        """Add the second accumulator to the first; in place."""
        sums += others
        return sums

    def finish(self, sums: Array) -> HalfMaps:
        """Turn the sums of all images into maps."""
        xp = fast_namespace()
        # Every image shows the inscribed sphere; outside of it there is noise and little else.
        inside = soft_sphere(self.box, self.box / 2 - _EDGE, _EDGE, xp)
        volumes, halves = [], []
        for half_sums in sums:
            half = xp.array(half_sums)
            backprojection.complete(half)
            half = backprojection.symmetrize(half, self.operators)
            means = backprojection.mean_weights(half, self.radius)
            transform = backprojection.divide(half, means, np.zeros_like(means))
            volumes.append(fourier.volume_of(transform, self.box) * inside)
            halves.append(half)
        fsc = shells.fourier_shell_correlation(*volumes)
        fsc[self.radius + 1 :] = 0.0  # beyond is what the edge of the sphere let through
        joined = halves[0]
        joined += halves[1]
        means = backprojection.mean_weights(joined, self.radius)
        wiener = backprojection.wiener_term(fsc[: self.radius + 1], joined=True)
        volume = fourier.volume_of(backprojection.divide(joined, means, wiener), self.box)
        volumes.append(backprojection.wiener_filter(volume * inside, wiener))
        half1, half2, joined_map = map(to_host, volumes)
        return HalfMaps(half1, half2, joined_map, fsc)


@dataclass(frozen=True)
class HalfMaps:
    """What back-projection makes.

    Attributes
    ----------
    half1, half2 : (N, N, N) ndarray of float32
        The maps of the two half-sets, not filtered.
    joined : (N, N, N) ndarray of float32
        The map of all images with the Wiener term of the FSC.
    fsc : (N // 2 + 1,) ndarray of float64
        Correlation of the half-maps per shell, without a mask.
    """

    half1: np.ndarray
    half2: np.ndarray
    joined: np.ndarray
    fsc: np.ndarray


@dataclass(frozen=True)
class Reconstruction:
    """What `reconstruct` found; the maps are in its folder.

    Attributes
    ----------
    fsc : (N // 2 + 1,) ndarray of float64
        Correlation of the half-maps per shell.
    resolution : float
        Å, where that falls to 0.143.
    particles : tuple of int
        How many are in each half-set of the stack.
    alternated : bool
        Whether all were in one, and went into the half-maps in turn.
    unapplied : tuple of str
        Corrections that the imported file has and that were left out.
    box : int
    pixel_size : float
        Å.
    """

    fsc: np.ndarray
    resolution: float
    particles: tuple[int, int]
    alternated: bool
    unapplied: tuple[str, ...]
    box: int
    pixel_size: float


def reconstruct(
    stack_path: Path,
    folder: Path,
    *,
    symmetry: str = "C1",
    max_resolution: float | None = None,
    client: Client | None = None,
    durable: Path | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct a volume from particles whose poses and CTF are known.

    Writes `half1.mrc`, `half2.mrc`, `map.mrc` and `fsc.csv`.

    Parameters
    ----------
    stack_path : Path
        A particle stack with poses, CTF and half-sets.
    folder : Path
        An existing folder to write to.
    symmetry : str, optional
        Point group: C1, D2, O, ...
    max_resolution : float, optional
        Å; finer frequencies are left out. By default everything to Nyquist's.
    client : Client, optional
        Where to run; in this process by default.
    durable : Path, optional
        A folder for sums that survive the loss of workers, used where that is worth it
        (`trees.worth_keeping`); what is there already is not done again.
    progress : Progress, optional

    Returns
    -------
    Reconstruction

    Raises
    ------
    InputError
        If the stack lacks something, the symmetry is none, or memory does not suffice.
    """
    stack = open_stack(stack_path)
    check_particles(stack, ("images", *POSE_VARIABLES, *CTF_VARIABLES, "optics_group", "half_set"))
    unapplied = unapplied_corrections(read_source(stack_path), stack_path)
    box = stack.sizes["x"]
    pixel_size = one_pixel_size(stack)
    counts = np.bincount(stack["half_set"].values, minlength=2)
    if counts.sum() < 2:
        raise InputError(
            f"{stack_path}: {counts.sum()} particles, expected two or more for two half-maps."
        )
    alternate = counts.min() == 0
    radius = _radius(box, pixel_size, max_resolution)
    reduction = BackProjection(box, radius, point_group(symmetry), alternate)
    if durable is not None and not worth_keeping(stack_path, reduction, client):
        durable = None
    fsc: np.ndarray = reduce_images(
        stack_path,
        reduction,
        client=client,
        finish=partial(_write_maps, reduction, Path(folder).absolute(), pixel_size),
        durable=durable,
        progress=progress,
    )
    return Reconstruction(
        fsc=fsc,
        # what was left out cannot have been resolved
        resolution=max(
            shells.resolution_at(fsc, 0.143, pixel_size, box), box * pixel_size / radius
        ),
        particles=(int(counts[0]), int(counts[1])),
        alternated=bool(alternate),
        unapplied=tuple(unapplied),
        box=box,
        pixel_size=pixel_size,
    )


def _write_maps(
    reduction: BackProjection, folder: Path, pixel_size: float, sums: np.ndarray
) -> np.ndarray:
    """Finish on a worker: the maps go to the disk from there, only the FSC to the client."""
    maps = reduction.finish(sums)
    for name, volume in (("half1", maps.half1), ("half2", maps.half2), ("map", maps.joined)):
        mrc.write_map(folder / f"{name}.mrc", volume, pixel_size)
    write_fsc(folder / "fsc.csv", {"fsc": maps.fsc}, pixel_size)
    return maps.fsc


def _radius(box: int, pixel_size: float, max_resolution: float | None) -> int:
    if max_resolution is None:
        return box // 2
    if not 2 * pixel_size <= max_resolution < box * pixel_size / 2:
        raise InputError(
            f"max_resolution is {max_resolution:g} Å, expected {2 * pixel_size:g} Å (Nyquist's) or "
            f"more, and less than half the box, {box * pixel_size / 2:g} Å."
        )
    return int(box * pixel_size / max_resolution)
