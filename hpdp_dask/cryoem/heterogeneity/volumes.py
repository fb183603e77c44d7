"""Volumes of trained networks, for any value of the latent variable; and the networks on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.cryoem.heterogeneity.architecture import Architecture
from hpdp_dask.cryoem.heterogeneity.volume_maker import VolumeMaker
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

WEIGHTS_FILE, LATENT_FILE = "weights.safetensors", "z.npy"

#: Name, in the results of `run.json`, of what is known of the networks.
NETWORKS = "networks"


@dataclass(frozen=True)
class Conformations:
    """Networks that were trained, and what they add to.

    Attributes
    ----------
    architecture : Architecture
    network : HeterogeneityNetwork
    amplitudes : (shells,) ndarray of float32
        What the decoder's answers are multiplied by.
    mean : (N, N, N) ndarray or None
        With a linear start, what volumes differ from.
    directions : (zdim, N, N, N) ndarray or None
        With a linear start, the linear part of how they differ.
    pixel_size : float
        Å.
    """

    architecture: Architecture
    network: HeterogeneityNetwork
    amplitudes: np.ndarray
    mean: np.ndarray | None
    directions: np.ndarray | None
    pixel_size: float

    def volume(self, z: np.ndarray) -> np.ndarray:
        """Make the volume of a value of the latent variable.

        Parameters
        ----------
        z : (zdim,) array_like

        Returns
        -------
        (N, N, N) ndarray of float32
            [z, y, x], in the images' grey scale, cut to the sphere that images show.
        """
        return next(self.volumes(np.asarray(z)[None]))

    def volumes(self, points: np.ndarray) -> Iterator[np.ndarray]:
        """Make the volumes of several values of the latent variable, which takes less time.

        Parameters
        ----------
        points : (k, zdim) array_like

        Yields
        ------
        (N, N, N) ndarray of float32
            As `volume` gives it.
        """
        return self._maker.volumes(points)

    @cached_property
    def _maker(self) -> VolumeMaker:
        return VolumeMaker(self, self.architecture.box)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the weights, and give what `run.json` should say of them.

        Parameters
        ----------
        folder : Path
            Exists.
        """
        from safetensors.numpy import save

        tensors = {
            f"network.{name}": value.detach().cpu().numpy()
            for name, value in self.network.state_dict().items()
        }
        tensors["amplitudes"] = self.amplitudes
        if self.mean is not None and self.directions is not None:
            tensors |= {"mean": self.mean, "directions": self.directions}
        written = save({name: np.ascontiguousarray(each) for name, each in tensors.items()})
        (folder / WEIGHTS_FILE).write_bytes(written)
        return {
            "architecture": asdict(self.architecture),
            "pixel_size": self.pixel_size,
            "weights_sha256": hashlib.sha256(written).hexdigest(),
        }


def read_conformations(folder: Path) -> Conformations:
    """Open the networks of a folder that `hpdp cryoem heterogeneity train` made.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Conformations

    Raises
    ------
    InputError
        There are none, PyTorch is missing, or the weights are not those that `run.json` tells of.
    """
    described = _results(folder)[NETWORKS]
    path = folder / WEIGHTS_FILE
    try:
        written = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error
    if hashlib.sha256(written).hexdigest() != described.get("weights_sha256"):
        raise InputError(
            f"{path}: is not what run.json tells of; it belongs to another training, or was "
            "damaged. Copy the whole folder again."
        )
    from hpdp_dask.dataflow.training.train import check_torch

    check_torch()
    import torch
    from safetensors.numpy import load

    from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

    tensors = load(written)
    try:
        architecture = Architecture(**described["architecture"])
        network = HeterogeneityNetwork(architecture)
        network.load_state_dict(
            {
                name.removeprefix("network."): torch.from_numpy(np.array(each))
                for name, each in tensors.items()
                if name.startswith("network.")
            }
        )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Conformations(
            architecture,
            network.eval().to(device),
            tensors["amplitudes"],
            tensors.get("mean"),
            tensors.get("directions"),
            float(described["pixel_size"]),
        )
    except (RuntimeError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: is not as this hpdp writes networks ({str(error).splitlines()[0]}); train "
            "again."
        ) from error


def _results(folder: Path) -> Mapping[str, Any]:
    """Read the results of a training from its `run.json`; `NETWORKS` is among them."""
    path = folder / "run.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
        if isinstance(results[NETWORKS]["architecture"], Mapping):
            return dict(results)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"{folder}: no folder that hpdp cryoem heterogeneity train made (run.json tells of no "
        "networks)."
    )


def read_latent(folder: Path) -> np.ndarray:
    """Read the latent variables of the images, (n, zdim).

    Raises
    ------
    InputError
        They cannot be read, or are not as many as the training made.
    """
    results, path = _results(folder), folder / LATENT_FILE
    z = read_points(path)
    number = results.get("particles", len(z))
    zdim = results[NETWORKS]["architecture"].get("zdim")
    if z.shape != (number, zdim):
        raise InputError(
            f"{path}: its shape is {z.shape}, but run.json tells of {(number, zdim)}; this file of "
            "the training was damaged or replaced, copy the whole folder again."
        )
    return z


def read_points(path: Path, zdim: int | None = None) -> np.ndarray:
    """Read values of the latent variable: an .npy, or text with one of them a line.

    Parameters
    ----------
    path : Path
    zdim : int, optional
        How many numbers each must have. An array of one axis is one point, or as many of one
        dimension if this is 1.

    Returns
    -------
    (k, zdim) ndarray of float32

    Raises
    ------
    InputError
        It cannot be read, or holds something else.
    """
    try:
        values = _read_array(path) if path.suffix == ".npy" else _read_text(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError:
        values = np.empty(0)
    if not values.size or values.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: holds no points of the latent space, expected an .npy or a text file with "
            "as many real numbers in each row as it has dimensions."
        )
    with np.errstate(over="ignore"):
        points = values.astype(np.float32)
    points = points[:, None] if points.ndim == 1 and zdim == 1 else np.atleast_2d(points)
    if points.ndim != 2 or (zdim is not None and points.shape[1] != zdim):
        raise InputError(
            f"{path}: its shape is {points.shape}, expected (points, {zdim or 'dimensions'})."
        )
    if not np.isfinite(points).all():
        raise InputError(
            f"{path}: holds numbers that are not finite, or too large for single precision."
        )
    return points


def _read_array(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _read_text(path: Path) -> np.ndarray:
    rows = [line.split("#")[0] for line in path.read_text(encoding="utf-8").splitlines()]
    # of nothing but blanks and comments NumPy would warn
    return np.loadtxt(rows, ndmin=2) if any(map(str.strip, rows)) else np.empty(0)
