"""Volumes of trained networks, with as many voxels as images have pixels or with fewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.numerics.fourier import crop_volume
from hpdp_dask.numerics.masks import soft_sphere

if TYPE_CHECKING:
    from hpdp_dask.cryoem.heterogeneity.volumes import Conformations

#: Frequencies that the decoder is asked for at once: what comes in between stays in the cache, and
#: after each lot a volume may be given up.
_AT_ONCE = 8192

#: Soft edge of the sphere that volumes are cut to, pixels of the images.
_EDGE = 3.0


class VolumeMaker:
    """Makes volumes of trained networks; with fewer voxels by fewer frequencies.

    One half of the frequencies is asked for; the other is their conjugate.

    Parameters
    ----------
    conformations : Conformations
    box : int
        Of the volumes, even, at most that of the images. The time goes with its third power.

    Attributes
    ----------
    box : int
    voxel_size : float
        Å.
    """

    def __init__(self, conformations: Conformations, box: int) -> None:
        full = conformations.architecture.box
        if box % 2 or not 4 <= box <= full:
            raise ValueError(f"the box is {box}, expected an even number from 4 to {full}")
        self.box = box
        self.voxel_size = conformations.pixel_size * full / box
        self._network = conformations.network
        # what is as large as before in grey values has a transform that is smaller
        self._share = (box / full) ** 3
        self._mean, self._directions = None, None
        if conformations.mean is not None and conformations.directions is not None:
            self._mean = crop_volume(conformations.mean, box) * self._share
            self._directions = np.stack(
                [crop_volume(each, box) * self._share for each in conformations.directions]
            )
        half = box // 2
        z, y, x = np.meshgrid(*[np.arange(-half + 1, half)] * 2, np.arange(half), indexing="ij")
        shell = np.rint(np.sqrt(z * z + y * y + x * x)).astype(np.int64)
        inside = shell <= half
        self._z, self._y, self._x = z[inside], y[inside], x[inside]
        # the origin is at the central voxel
        sign = 1.0 - 2.0 * ((self._x + self._y + self._z) % 2)
        self._factor = (conformations.amplitudes[shell[inside]] * sign).astype(np.float32)
        frequencies = np.stack([self._x, self._y, self._z], axis=1)
        self._coordinates = (2.0 / full * frequencies).astype(np.float32)
        edge = _EDGE * box / full
        self._mask = np.asarray(soft_sphere(box, box / 2 - edge, edge))

    def volume(
        self, z: np.ndarray, is_wanted: Callable[[], bool] = lambda: True
    ) -> np.ndarray | None:
        """Make the volume of a value of the latent variable.

        Parameters
        ----------
        z : (zdim,) array_like
        is_wanted : callable, optional
            Asked now and then; False gives the volume up.

        Returns
        -------
        (box, box, box) ndarray of float32, or None
            [z, y, x], in the images' grey scale, cut to the sphere that images show; without the
            frequencies that so few voxels do not hold.
        """
        latent = np.array(z, dtype=np.float32)
        values = self._decoded(latent, is_wanted)
        if values is None:
            return None
        box = self.box
        transform = np.zeros((box, box, box // 2 + 1), np.complex64)
        transform[self._z % box, self._y % box, self._x] = values * self._factor
        volume = np.fft.irfftn(transform, s=(box,) * 3, axes=(0, 1, 2)).astype(np.float32)
        volume *= np.float32(self._share)
        if self._mean is not None and self._directions is not None:
            weights = latent / self._network.get_buffer("scale").cpu().numpy()
            volume += self._mean + np.tensordot(weights, self._directions, 1)
        return volume * self._mask

    def _decoded(self, latent: np.ndarray, is_wanted: Callable[[], bool]) -> np.ndarray | None:
        """Ask the decoder for the frequencies."""
        import torch

        device = self._network.get_buffer("scale").device
        given = torch.from_numpy(latent)[None].to(device) if len(latent) else None
        values = np.empty(len(self._coordinates), np.complex64)
        with torch.inference_mode():
            for start in range(0, len(values), _AT_ONCE):
                if not is_wanted():
                    return None
                part = torch.from_numpy(self._coordinates[start : start + _AT_ONCE]).to(device)
                found = self._network.decoder(part[None], given)[0].cpu().numpy()
                values[start : start + _AT_ONCE] = found[:, 0] + 1j * found[:, 1]
        return values
