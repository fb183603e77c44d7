"""What is measured of the images before anything is known of their poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.cryoem.contrast import coefficients_of
from hpdp_dask.dataflow.leaves import read_rows
from hpdp_dask.numerics import fourier, shells
from hpdp_dask.numerics.ctf import evaluate_ctf
from hpdp_dask.numerics.masks import soft_circle
from hpdp_dask.stacks.shards import ImageReader

#: Images that are measured, at most: in number, and in bytes of float32.
_MOST_IMAGES, _MOST_BYTES = 2000, 256 << 20

#: Power of the signal over that of the noise, at low resolution, that is needed to begin. Ice and
#: neighbours alone have some; particles have their noise's and more.
_LEAST_SIGNAL = 0.05

#: Standard deviations that are no chance.
_CHANCE = 5.0


@dataclass(frozen=True)
class Spectra:
    """Mean powers of the images' transforms, shell by shell.

    Attributes
    ----------
    noise_power : (groups, N // 2 + 1) ndarray of float64
        For each optics group, outside the particle, as if the noise filled the box.
    signal_power : (N // 2 + 1,) ndarray of float64
        Of the images, less that of the noise.
    ctf_power : (N // 2 + 1,) ndarray of float64
        Mean of CTF².
    images : int
        How many were measured.
    """

    noise_power: np.ndarray
    signal_power: np.ndarray
    ctf_power: np.ndarray
    images: int

    def __dask_tokenize__(self) -> str:
        """Stay the same where another CPU rounds otherwise: the stack and the seed tell them."""
        return "spectra"


def measure_spectra(stack_path: Path, groups: int, diameter: float, seed: int) -> Spectra:
    """Measure the power of noise and signal in some images of a stack.

    Parameters
    ----------
    stack_path : Path
    groups : int
        Number of optics groups.
    diameter : float
        Of the circle that holds the particle, pixels.
    seed : int
        Of the choice of images.

    Returns
    -------
    Spectra
        Groups without an image among those chosen have the noise of all.
    """
    reader = ImageReader(stack_path)
    box = reader.box
    most = min(reader.number, _MOST_IMAGES, max(100, _MOST_BYTES // (4 * box * box)))
    rows = np.sort(np.random.default_rng(seed).permutation(reader.number)[:most])
    block = read_rows(stack_path, rows)
    images = block["images"].values.astype(np.float32, copy=False)
    background = 1.0 - soft_circle(box, min(diameter / 2, 0.46 * box), 0.03 * box)
    noise = shells.power_spectrum(images * background, 2) * box**2 / np.mean(background**2)
    power = shells.power_spectrum(images, 2) * box**2
    group = block["optics_group"].values
    everywhere = _smooth(noise.mean(axis=0))
    noise_power = np.stack(
        [
            _smooth(noise[group == one].mean(axis=0)) if (group == one).sum() > 50 else everywhere
            for one in range(groups)
        ]
    )
    plane = fourier.half_plane(box)
    ctf = evaluate_ctf(coefficients_of(block, np.arange(most)), plane.x / box, plane.y / box)
    samples = np.bincount(plane.shell)
    ctf_power = np.bincount(plane.shell, weights=(ctf**2).mean(axis=0)) / samples
    return Spectra(
        noise_power, power.mean(axis=0) - noise_power[group].mean(axis=0), ctf_power, most
    )


def grey_scale(volume: np.ndarray, spectra: Spectra, last: int) -> float:
    """Find the factor that brings a map to the grey scale of the images.

    On the shells 1..last the power of the images less that of the noise is the factor² times
    CTF² times the mean power of the map, whose shells all projections sample alike.

    Parameters
    ----------
    volume : (N, N, N) ndarray
    spectra : Spectra
    last : int
        The last shell that counts.

    Returns
    -------
    float
        0 if the images have no more power than their noise.
    """
    box = len(volume)
    power = shells.power_spectrum(volume, 3) * box**3
    shell = np.arange(1, last + 1)
    expected = (spectra.ctf_power * power)[shell]
    seen = spectra.signal_power[shell]
    # weighted by samples a shell
    return float(np.sqrt(max(0.0, (shell * seen).sum() / max((shell * expected).sum(), 1e-30))))


def has_signal(spectra: Spectra, last: int) -> bool:
    """Tell whether images have clearly more power than their noise on the shells 1..last.

    Clearly: by `_LEAST_SIGNAL` of it, and by more than chance gives a sum of so many samples.
    """
    shell = np.arange(1, last + 1)
    noise = spectra.noise_power.mean(axis=0)[shell]
    share = float((shell * spectra.signal_power[shell]).sum() / (shell * noise).sum())
    samples = spectra.images * np.pi * last**2 / 2
    return share > max(_LEAST_SIGNAL, _CHANCE / np.sqrt(samples))


def _smooth(spectrum: np.ndarray) -> np.ndarray:
    """Smooth a spectrum over three shells; the mask has mixed them anyway."""
    padded = np.concatenate([spectrum[1:2], spectrum, spectrum[-2:-1]])
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
