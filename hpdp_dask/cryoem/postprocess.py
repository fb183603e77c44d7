"""Post-processing: from two half-maps to a mask, the corrected FSC and a sharpened map.

The steps are RELION's: soft mask, FSC corrected by randomised phases, division by the detector's
MTF, FSC weights, B-factor from the Guinier plot, low-pass at the resolution. One differs: the
Guinier plot is that of the map *under the mask*. The weights follow from the FSC under the mask,
so they take out the noise that is left there; on the map without the mask, which RELION plots,
most of the noise would stay and make the amplitudes fall too slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.cryoem.fsc import write_fsc
from hpdp_dask.cryoem.guinier import (
    Guinier,
    add_sharpened,
    choose_b_factor,
    plot_guinier,
    write_guinier,
)
from hpdp_dask.cryoem.postprocess_inputs import HalfMapPair, read_half_maps, read_mask, read_mtf
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_map
from hpdp_dask.numerics.masks import solvent_mask
from hpdp_dask.numerics.sharpening import fsc_weights, sharpen, shell_frequencies
from hpdp_dask.numerics.shells import corrected_fsc, resolution_at

_THRESHOLD = 0.143

#: Above it the mask itself makes the half-maps alike, as RELION warns.
_MOST_RANDOMIZED = 0.1

#: A mask that leaves out more of the particle than this is worth a word.
_MOST_LEFT_OUT = 0.05

#: Half-maps that agree in fewer shells than this hold nothing to sharpen.
_LEAST_SHELLS = 3


@dataclass(frozen=True)
class Postprocessed:
    """What `postprocess` found; the maps are in its folder.

    Attributes
    ----------
    curves : dict of str to (N // 2 + 1,) ndarray of float64
        `fsc`, `fsc_masked`, `fsc_randomized`, `fsc_corrected`.
    resolution : float
        Å, where the corrected curve falls to 0.143.
    resolution_unmasked : float
        Å, the same of the half-maps without a mask.
    randomized_from : float or None
        Å; from there on phases were made random. None where the half-maps agree to their end.
    guinier : Guinier
    b_factor : float
        Å², that the map was sharpened with; negative sharpens.
    low_pass : float
        Å.
    mask_share : float
        Of the box, by its mean.
    warnings : tuple of str
    box : int
    pixel_size : float
        Å.
    """

    curves: dict[str, np.ndarray]
    resolution: float
    resolution_unmasked: float
    randomized_from: float | None
    guinier: Guinier
    b_factor: float
    low_pass: float
    mask_share: float
    warnings: tuple[str, ...]
    box: int
    pixel_size: float


def postprocess(
    source: Path,
    folder: Path,
    *,
    mask: Path | None = None,
    mtf: Path | None = None,
    mtf_pixel_size: float | None = None,
    b_factor: float | None = None,
    low_pass: float | None = None,
    seed: int = 0,
) -> Postprocessed:
    """Mask, measure and sharpen the map of two half-maps.

    Writes `map.mrc` (sharpened and low-passed), `map_masked.mrc` (the same times the mask),
    `mask.mrc`, `fsc.csv` and `guinier.csv`.

    Parameters
    ----------
    source : Path
        A folder with `half1.mrc` and `half2.mrc`, as a reconstruction makes it.
    folder : Path
        An existing folder to write to.
    mask : Path, optional
        A soft mask from 0 to 1; by default `masks.solvent_mask` of the average of the half-maps.
    mtf : Path, optional
        STAR file of the detector's modulation transfer function; by default none is divided out.
    mtf_pixel_size : float, optional
        Å in the specimen of the detector pixels that the MTF counts in; by default that of the
        map, which holds where images were not scaled.
    b_factor : float, optional
        Å², negative to sharpen, instead of that of the Guinier plot.
    low_pass : float, optional
        Å, instead of the resolution.
    seed : int, optional
        Of the random phases.

    Returns
    -------
    Postprocessed

    Raises
    ------
    InputError
        If a file or a value is not as it must be, or the half-maps do not agree.
    """
    maps = read_half_maps(source)
    _check_choices(maps, mtf, mtf_pixel_size, low_pass)
    frequencies = shell_frequencies(maps.box, maps.pixel_size)
    response = None
    if mtf is not None:
        response = read_mtf(mtf, frequencies, mtf_pixel_size or maps.pixel_size)
    average = (maps.half1 + maps.half2) / 2
    if mask is None:
        volume_mask, warnings = solvent_mask(average, maps.pixel_size), []
    else:
        volume_mask = read_mask(mask, maps)
        warnings = _warn_of_cut(mask, volume_mask, average, maps.pixel_size)

    curves, randomized_from = _correlate(maps, volume_mask, seed)
    resolution = _resolution(curves["fsc_corrected"], maps)
    unmasked = _resolution(curves["fsc"], maps)
    extent = maps.box * maps.pixel_size
    if resolution > extent / _LEAST_SHELLS:
        raise InputError(
            f"{maps.path.parent}: the half-maps agree to no more than {resolution:.0f} Å in a box "
            f"of {extent:.0f} Å, so there is nothing to sharpen; are the "
            "particles aligned, and both halves in one frame?"
        )
    warnings += _warn_of_curves(curves, resolution, unmasked, randomized_from, maps)

    weights = fsc_weights(curves["fsc_corrected"])
    plot = plot_guinier(average * volume_mask, maps.pixel_size, weights, response, resolution)
    limit = low_pass or resolution
    used, more_warnings = choose_b_factor(b_factor, plot.fit, resolution, limit)
    warnings += more_warnings
    plot = add_sharpened(plot, used, limit)
    gains = weights if response is None else weights / response
    sharpened = sharpen(average, maps.pixel_size, gains=gains, b_factor=used, low_pass=limit)
    write_map(folder / "map.mrc", sharpened, maps.pixel_size)
    write_map(folder / "map_masked.mrc", sharpened * volume_mask, maps.pixel_size)
    write_map(folder / "mask.mrc", volume_mask, maps.pixel_size)
    write_fsc(folder / "fsc.csv", curves, maps.pixel_size)
    write_guinier(folder / "guinier.csv", plot)
    return Postprocessed(
        curves=curves,
        resolution=resolution,
        resolution_unmasked=unmasked,
        randomized_from=(extent / randomized_from if randomized_from <= maps.last_shell else None),
        guinier=plot,
        b_factor=used,
        low_pass=limit,
        mask_share=float(volume_mask.mean()),
        warnings=tuple(warnings),
        box=maps.box,
        pixel_size=maps.pixel_size,
    )


def _check_choices(
    maps: HalfMapPair, mtf: Path | None, mtf_pixel_size: float | None, low_pass: float | None
) -> None:
    nyquist, extent = 2 * maps.pixel_size, maps.box * maps.pixel_size
    if low_pass is not None and not nyquist <= low_pass < extent / _LEAST_SHELLS:
        raise InputError(
            f"low_pass is {low_pass:g} Å, expected {nyquist:g} Å (Nyquist's) or more, and less "
            f"than a third of the box, {extent / _LEAST_SHELLS:g} Å."
        )
    if mtf_pixel_size is not None and mtf is None:
        raise InputError("mtf_pixel_size is given without an MTF; give --mtf as well.")
    if mtf_pixel_size is not None and not mtf_pixel_size > 0:
        raise InputError(f"mtf_pixel_size is {mtf_pixel_size:g} Å, expected a number above 0.")


def _correlate(maps: HalfMapPair, mask: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], int]:
    """Give the four curves, zero where the maps hold nothing, and the first randomised shell."""
    found = corrected_fsc(maps.half1, maps.half2, mask, seed=seed)
    curves = {
        "fsc": found.unmasked,
        "fsc_masked": found.masked,
        "fsc_randomized": found.randomized,
        "fsc_corrected": found.corrected,
    }
    for curve in curves.values():
        curve[maps.last_shell + 1 :] = 0.0
    return curves, found.randomized_from


def _resolution(curve: np.ndarray, maps: HalfMapPair) -> float:
    """Read the resolution off a curve; it ends where the maps do."""
    finest = maps.box * maps.pixel_size / maps.last_shell
    return max(finest, resolution_at(curve, _THRESHOLD, maps.pixel_size, maps.box))


def _warn_of_cut(path: Path, mask: np.ndarray, average: np.ndarray, pixel_size: float) -> list[str]:
    """Tell if a mask leaves out what an automatic one would find to be the particle."""
    particle = solvent_mask(average, pixel_size, extend=0.0, edge=0.0) > 0.5
    left_out = float(np.mean(mask[particle] < 0.5))
    if left_out <= _MOST_LEFT_OUT:
        return []
    return [
        f"{path}: the mask leaves out {100 * left_out:.0f} % of the particle as it shows at 15 Å; "
        "unless that is meant, use --mask auto or a wider mask."
    ]


def _warn_of_curves(
    curves: dict[str, np.ndarray],
    resolution: float,
    unmasked: float,
    randomized_from: int,
    maps: HalfMapPair,
) -> list[str]:
    """Tell what makes the resolution doubtful."""
    warnings = []
    extent = maps.box * maps.pixel_size
    shell = min(round(extent / resolution), maps.last_shell)
    randomized = float(curves["fsc_randomized"][shell])
    # the correction begins two shells after the phases were made random
    if shell >= randomized_from + 2 and randomized > _MOST_RANDOMIZED:
        warnings.append(
            f"With random phases the half-maps still correlate to {randomized:.2f} at "
            f"{resolution:.2f} Å, where {_MOST_RANDOMIZED:g} is the most that is good: the mask is "
            "too tight or its edge too sharp, so take a wider and softer one."
        )
    corrected = curves["fsc_corrected"][1 : maps.last_shell + 1]
    if (corrected >= _THRESHOLD).all():
        warnings.append(
            f"The corrected FSC is still {corrected[-1]:.2f} at {extent / maps.last_shell:.2f} Å, "
            "where the half-maps end; reconstruct to a finer resolution or with smaller pixels."
        )
    if resolution > 1.02 * unmasked:
        warnings.append(
            f"The resolution is {resolution:.2f} Å under the mask but {unmasked:.2f} Å without it; "
            "the mask does not fit the particle."
        )
    return warnings
