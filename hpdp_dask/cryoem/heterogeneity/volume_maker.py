"""Volumes of trained networks, with as many voxels as images have pixels or with fewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.numerics.fourier import crop_volume
from hpdp_dask.numerics.masks import soft_sphere

if TYPE_CHECKING:
    import torch

    from hpdp_dask.cryoem.heterogeneity.architecture import Architecture
    from hpdp_dask.cryoem.heterogeneity.volumes import Conformations

#: Numbers of a hidden layer, of the frequencies that the decoder is asked for at once: a
#: processor's core keeps them in its cache from layer to layer, a device wants many.
_IN_CACHE, _ON_DEVICE = 250_000, 50_000_000

#: Frequencies at once, at most on a processor: after each lot a volume may be given up.
_MOST = 8192

#: Floating-point operations of a task that makes volumes: some seconds of a core.
_WORK = 1.5e11

#: Soft edge of the sphere that volumes are cut to, pixels of the images.
_EDGE = 3.0


def volumes_per_task(architecture: Architecture, box: int) -> int:
    """Tell how many volumes make some seconds of work for a core; two at least, see `VolumeMaker`.

    Parameters
    ----------
    architecture : Architecture
    box : int
        Of the volumes.
    """
    frequencies = 2.0 / 3.0 * np.pi * (box / 2.0) ** 3
    return max(2, round(_WORK / (2.0 * frequencies * architecture.layers * architecture.width**2)))


class VolumeMaker:
    """Makes volumes of trained networks; with fewer voxels by fewer frequencies.

    One half of the frequencies is asked for; the other is their conjugate. What the first layer
    makes of a frequency is the same for all values of the latent variable, so several volumes
    together take a quarter to a half less time than one by one.

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
        import torch

        full = conformations.architecture.box
        if box % 2 or not 4 <= box <= full:
            raise ValueError(f"the box is {box}, expected an even number from 4 to {full}")
        self.box = box
        self.voxel_size = conformations.pixel_size * full / box
        self._architecture = conformations.architecture
        self._scale = conformations.network.get_buffer("scale")
        self._decoder = conformations.network.decoder
        self._rest = deepcopy(self._decoder.layers)
        self._rest.add_module("first", torch.nn.Identity())
        device = self._scale.device
        # what is as large as before in grey values has a transform that is smaller
        self._share = (box / full) ** 3
        self._mean, self._directions = None, None
        if conformations.mean is not None and conformations.directions is not None:
            given = (conformations.mean, *conformations.directions)
            cropped = np.stack([crop_volume(each, box) * self._share for each in given])
            self._mean, self._directions = torch.from_numpy(cropped).to(device).tensor_split([1])
        half = box // 2
        z, y, x = np.meshgrid(*[np.arange(-half + 1, half)] * 2, np.arange(half), indexing="ij")
        shell = np.rint(np.sqrt(z * z + y * y + x * x)).astype(np.int64)
        inside = shell <= half
        z, y, x = z[inside], y[inside], x[inside]
        # the origin is at the central voxel
        sign = 1.0 - 2.0 * ((x + y + z) % 2)
        factor = (conformations.amplitudes[shell[inside]] * sign).astype(np.float32)
        coordinates = (2.0 / full * np.stack([x, y, z], axis=1)).astype(np.float32)
        places = ((z % box) * box + y % box) * (half + 1) + x
        edge = _EDGE * box / full
        mask = np.asarray(soft_sphere(box, box / 2 - edge, edge), dtype=np.float32)
        self._coordinates = torch.from_numpy(coordinates).to(device)
        self._factor = torch.from_numpy(factor).to(device)
        self._places = torch.from_numpy(places).to(device)
        self._mask = torch.from_numpy(mask).to(device)

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
            As `volumes` gives it.
        """
        made = self._make(np.asarray(z, dtype=np.float32)[None], is_wanted)
        return None if made is None else next(made)

    def volumes(self, points: np.ndarray) -> Iterator[np.ndarray]:
        """Make the volumes of several values of the latent variable together.

        Parameters
        ----------
        points : (k, zdim) array_like

        Yields
        ------
        (box, box, box) ndarray of float32
            [z, y, x], in the images' grey scale, cut to the sphere that images show; without the
            frequencies that so few voxels do not hold.
        """
        points = np.asarray(points, dtype=np.float32)
        lot = volumes_per_task(self._architecture, self.box)
        for low in range(0, len(points), lot):
            made = self._make(points[low : low + lot], lambda: True)
            assert made is not None
            yield from made

    def _make(
        self, points: np.ndarray, is_wanted: Callable[[], bool]
    ) -> Iterator[np.ndarray] | None:
        import torch

        with torch.inference_mode():
            latent = torch.from_numpy(np.array(points)).to(self._scale.device)
            transforms = self._transforms(latent, is_wanted)
            if transforms is None:
                return None
            return map(self._finished, latent, transforms)

    def _transforms(
        self, latent: torch.Tensor, is_wanted: Callable[[], bool]
    ) -> torch.Tensor | None:
        """Ask the decoder for the frequencies, (k, m) of complex64."""
        import torch

        decoder, number = self._decoder, len(self._coordinates)
        if latent.device.type == "cpu":
            at_once = min(_MOST, _IN_CACHE * torch.get_num_threads() // decoder.width)
        else:
            at_once = _ON_DEVICE // decoder.width
        # one by one, so that a volume does not depend, bit by bit, on which others are made
        more = [None if decoder.latent is None else decoder.latent(each) for each in latent]
        values = latent.new_empty((len(latent), number, 2))
        for start in range(0, number, at_once):
            if not is_wanted():
                return None
            part = slice(start, start + at_once)
            first = decoder.layers.first(decoder.features(self._coordinates[part]))
            for each, added in zip(values, more, strict=True):
                each[part] = self._rest(first.clone(), added)
        return torch.view_as_complex(values)

    def _finished(self, latent: torch.Tensor, values: torch.Tensor) -> np.ndarray:
        """Make a volume of its frequencies."""
        import torch

        box = self.box
        with torch.inference_mode():
            transform = values.new_zeros(box * box * (box // 2 + 1))
            transform[self._places] = values * self._factor
            planes = torch.fft.ifft2(transform.view(box, box, -1), dim=(0, 1))
            # where x is 0 the decoder gives both halves, which are conjugates but for its errors
            planes[..., 0] = planes[..., 0].real.clone()
            volume = torch.fft.irfft(planes, n=box, dim=2) * self._share
            if self._mean is not None and self._directions is not None:
                volume += self._mean[0]
                volume += torch.tensordot(latent / self._scale, self._directions, 1)
            found: np.ndarray = (volume * self._mask).cpu().numpy()
        return found
