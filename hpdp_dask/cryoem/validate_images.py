"""What a sample of images shows: are they normalised, white on dark, centred?"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hpdp_dask.numerics.images import background_statistics
from hpdp_dask.stacks.findings import Finding

#: Radii as shares of the box: of the disc that lies inside any particle, and of the background.
CENTRE, BACKGROUND = 0.15, 0.375
#: Standard errors by which centre and background must differ for a verdict.
CERTAIN = 4.0
#: Share of the box by which the average may be off the centre.
OFF_CENTRE = 0.05


def check_sample(images: np.ndarray) -> list[Finding]:
    """Check a sample of images.

    Parameters
    ----------
    images : (n, box, box) ndarray of float32

    Returns
    -------
    list of Finding
        On finite values, normalisation, contrast and centring.
    """
    total = len(images)
    finite = np.isfinite(images).all(axis=(1, 2))
    constant = np.ptp(images, axis=(1, 2)) == 0
    findings = []
    if not finite.all():
        findings.append(
            Finding(
                "error",
                "values",
                f"{int((~finite).sum())} of {total} images hold NaN or infinity",
                "leave them out with hpdp import --drop-bad",
            )
        )
    if constant.any():
        findings.append(
            Finding(
                "error",
                "values",
                f"{int(constant.sum())} of {total} images hold one value only",
                "leave them out with hpdp import --drop-bad",
            )
        )
    images = images[finite & ~constant]
    if not len(images):
        return findings
    box = images.shape[-1]
    mean, std = background_statistics(images, BACKGROUND * box)
    if not findings:
        findings.append(Finding("ok", "values", f"finite in {total} images"))
    findings.append(_check_normalization(mean, std))
    scale = np.where(std > 0, std, 1.0)
    scaled = (images - mean[:, None, None]) / scale[:, None, None]
    findings += _check_contrast_and_centre(scaled)
    return findings


def _check_normalization(mean: np.ndarray, std: np.ndarray) -> Finding:
    found = f"background mean {np.median(mean):.3g}, standard deviation {np.median(std):.3g}"
    if np.median(np.abs(mean)) > 0.2 or not 0.8 < np.median(std) < 1.25:
        return Finding("warning", "normalisation", found, "run hpdp cryoem normalize")
    return Finding("ok", "normalisation", found)


def _check_contrast_and_centre(images: np.ndarray) -> list[Finding]:
    """Tell whether the particle is brighter than its surroundings, and in the middle.

    The means over a disc in the middle are compared with their own spread over the images, so
    that the verdict does not depend on how many there are.

    Parameters
    ----------
    images : (n, box, box) ndarray
        With a background of mean 0 and standard deviation 1.
    """
    number, box, _ = images.shape
    axis = np.arange(box) - box // 2
    radius = np.hypot(axis, axis[:, None])
    centre = images[:, radius < CENTRE * box].mean(axis=1, dtype=np.float64)
    difference = float(centre.mean())
    spread = float(centre.std(ddof=1)) / np.sqrt(number) if number > 1 else np.inf
    certain = abs(difference) > CERTAIN * spread
    found = f"centre {difference:+.3g} standard deviations from the background"
    if not certain:
        return [Finding("ok", "contrast", f"{found}: too little to tell from {number} images")]
    if difference < 0:
        contrast = Finding(
            "warning",
            "contrast",
            f"{found}: particles are black",
            "they must be white: import with --invert-contrast (after hpdp import: hpdp cryoem "
            "normalize --invert-contrast)",
        )
    else:
        contrast = Finding("ok", "contrast", f"{found}: particles are white")
    average = np.sign(difference) * images.mean(axis=0, dtype=np.float64)
    smooth = ndimage.gaussian_filter(average, box / 20)
    smooth[radius > BACKGROUND * box] = 0
    inside = np.where(smooth > smooth.max() / 2, smooth, 0)
    y, x = np.array(ndimage.center_of_mass(inside)) - box // 2
    off = f"average {x:+.1f}, {y:+.1f} pixels (x, y) from the centre"
    if np.hypot(x, y) > OFF_CENTRE * box:
        return [
            contrast,
            Finding(
                "warning",
                "centring",
                off,
                "extract the particles again at refined coordinates, or check the picking",
            ),
        ]
    return [contrast, Finding("ok", "centring", off)]
