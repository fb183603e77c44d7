"""The landscape of volumes: along what they differ as densities, and in which states they are.

Two points of a latent space may be far apart and their volumes alike, or the other way round. So
volumes are made all over the space, and images are placed by the principal components of these
volumes (as Zhong et al. 2021, Nat. Methods 18, 176, and cryoDRGN's landscape analysis). Volumes are
coarse ones: latent variables were found by the first shells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.cryoem.heterogeneity.volume_files import coarse_maker, opened
from hpdp_dask.cryoem.heterogeneity.volume_maker import volumes_per_task
from hpdp_dask.cryoem.heterogeneity.volumes import LATENT_FILE
from hpdp_dask.dataflow.leaves import Leaf
from hpdp_dask.dataflow.numbered import make_numbered
from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.numerics.latent_clusters import Clusters, find_clusters, k_means
from hpdp_dask.numerics.masks import soft_sphere, solvent_mask

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Voxels along an edge of the volumes, at most.
_BOX = 32

#: Components of volumes that are kept, at most; the share of the variance that one must hold to
#: be used for clusters.
_MOST, _LEAST_SHARE = 4, 0.02

#: Images that are placed at once; parts of the volumes that are left out in turn for the check.
_AT_ONCE, _PARTS = 20_000, 5


@dataclass(frozen=True)
class Landscape:
    """Volumes all over a latent space, and where images are among them.

    Attributes
    ----------
    centres : (k, zdim) ndarray of float64
        Where volumes were made.
    weights : (k,) ndarray of float64
        Share of the images that each stands for.
    at_centres : (k, q) ndarray of float64
        Principal components of the volumes; of a length that is a share of the mean's.
    at_images : (n, q) ndarray of float32
        Of the images' volumes, interpolated.
    shares : (q,) ndarray of float64
        Of the variance of the volumes.
    mean : (b, b, b) ndarray of float32
        Of the volumes.
    components : (q, b, b, b) ndarray of float32
        By how much volumes differ from the mean, at one standard deviation.
    mask : (b, b, b) ndarray of float32
        Where they were compared.
    explained : float
        Share of the variance of volumes' components that interpolation from others explains.
    clusters : Clusters
        Of the images.
    voxel_size : float
        Å.
    """

    centres: np.ndarray
    weights: np.ndarray
    at_centres: np.ndarray
    at_images: np.ndarray
    shares: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    mask: np.ndarray
    explained: float
    clusters: Clusters
    voxel_size: float


def map_landscape(
    trained: Path,
    z: np.ndarray,
    number: int,
    clusters: int | None = None,
    *,
    scratch: Path,
    seed: int = 0,
    client: Client | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Landscape:
    """Make volumes all over the latent space, and place images among them.

    Parameters
    ----------
    trained : Path
        A folder of a training, on a file system that the workers see too.
    z : (n, zdim) ndarray
        Of the images.
    number : int
        Of volumes.
    clusters : int, optional
        How many are looked for; by default as many as stand apart.
    scratch : Path
        A folder on that file system, where volumes are for a while: coarse ones are small, 128 kB
        each, so they are compared in this process.
    seed : int, optional
    client : distributed.Client, optional
        Who makes the volumes; by default this process.
    progress : Progress, optional
        Told of volumes.
    say : callable, optional
        Told in words of workers that are stuck.

    Returns
    -------
    Landscape
    """
    labels, centres = k_means(z, number, seed)
    weights = np.bincount(labels, minlength=number) / len(z)
    conformations = opened(trained.absolute())
    box = min(_BOX, conformations.architecture.box)
    voxel_size = conformations.pixel_size * conformations.architecture.box / box
    with TemporaryDirectory(prefix=".landscape-", dir=scratch) as folder:
        make = _MakeCoarse(trained.absolute(), box, Path(folder))
        np.save(make.folder / LATENT_FILE, centres.astype(np.float32))
        parts = make_numbered(
            make,
            number,
            volumes_per_task(conformations.architecture, box),
            "landscape",
            trained,
            client=client,
            progress=progress,
            say=say,
        )
        volumes = np.concatenate([np.load(make.file(part)) for part in parts])
    mean = np.tensordot(weights, volumes, 1).astype(np.float32)
    mask = _mask_of(volumes, voxel_size)
    at_centres, shares, components = _components(volumes, mean, mask, weights)
    at_images = _interpolated(centres, at_centres, z)
    used = max(1, int((shares >= _LEAST_SHARE).sum()))
    return Landscape(
        centres,
        weights,
        at_centres,
        at_images,
        shares,
        mean,
        components,
        mask,
        _check_interpolation(centres, at_centres, weights, seed),
        find_clusters(at_images[:, :used], clusters, seed),
        voxel_size,
    )


@dataclass(frozen=True)
class _MakeCoarse:
    """Makes coarse volumes; those of a task go into a file."""

    trained: Path
    box: int
    folder: Path

    def __call__(self, which: Leaf) -> None:
        points = np.load(self.folder / LATENT_FILE)[which.start : which.stop]
        made = np.stack(list(coarse_maker(self.trained, self.box).volumes(points)))
        with write_whole(self.file(which), made.nbytes) as stream:
            np.save(stream, made)

    def file(self, which: Leaf) -> Path:
        return self.folder / f"volumes_{which.start:06d}.npy"


def _mask_of(volumes: np.ndarray, voxel_size: float) -> np.ndarray:
    """Give where any volume has density."""
    box = volumes.shape[-1]
    try:
        # a domain that moves is in few of them anywhere
        return solvent_mask(volumes.max(0), voxel_size, low_pass=3.0 * voxel_size, edge=3.0)
    except InputError:
        return np.asarray(soft_sphere(box, 0.45 * box, 3.0))


def _components(
    volumes: np.ndarray, mean: np.ndarray, mask: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give principal components of volumes, their shares of the variance, and what they are."""
    inside = mask > 0.0
    within = mask[inside].astype(np.float64)
    differences = (volumes - mean)[:, inside] * within
    roots = np.sqrt(weights)
    left, sizes, axes = np.linalg.svd(differences * roots[:, None], full_matrices=False)
    count = min(_MOST, len(volumes) - 1)
    # the sign is a matter of convention: the first volume, at one end of the space, is negative
    signs = np.where(differences[0] @ axes[:count].T > 0, -1.0, 1.0)
    found = differences @ (axes[:count] * signs[:, None]).T
    shares = sizes[:count] ** 2 / max(float((sizes**2).sum()), 1e-300)
    weighted = (volumes - mean) * roots[:, None, None, None]
    components = np.tensordot((left[:, :count] * signs).T, weighted, 1).astype(np.float32)
    length = max(float(np.linalg.norm(mean[inside] * within)), 1e-300)
    return found / length, shares, components


def _interpolated(centres: np.ndarray, values: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Give values at images from those at centres, by linear radial functions and a plane."""
    from scipy.interpolate import RBFInterpolator

    degree = 1 if len(centres) > centres.shape[1] + 1 else 0
    given = RBFInterpolator(centres, values, kernel="linear", degree=degree)
    parts = (z[start : start + _AT_ONCE] for start in range(0, len(z), _AT_ONCE))
    return np.concatenate([given(part) for part in parts]).astype(np.float32)


def _check_interpolation(
    centres: np.ndarray, values: np.ndarray, weights: np.ndarray, seed: int
) -> float:
    """Tell what share of the variance at centres is explained by other centres."""
    part = np.random.default_rng(seed).permutation(len(centres)) % _PARTS
    left = np.empty_like(values)
    for number in range(min(_PARTS, len(centres))):
        out = part == number
        left[out] = values[out] - _interpolated(centres[~out], values[~out], centres[out])
    spread = values - weights @ values
    return 1.0 - float((weights @ left**2).sum() / max(float((weights @ spread**2).sum()), 1e-300))
