"""What a table of particles says, held against what microscopes and programs do."""

from __future__ import annotations

import numpy as np

from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.numerics.ctf import electron_wavelength
from hpdp_dask.stacks.findings import Finding
from hpdp_dask.stacks.schema import VOLTAGES, is_possible

#: Å. Detectors of single-particle microscopes, binned or not, are within.
PIXEL_SIZES = (0.2, 15.0)
#: Plausible range, what is outside of it perhaps, and the unit.
OPTICS = {
    "voltage": (*VOLTAGES, "kV"),
    "spherical_aberration": (0.0, 6.0, "mm"),
    "amplitude_contrast": (0.0, 0.4, "a fraction"),
}
#: Å. Below the first, defocus is hardly in Å; above the second, hardly meant.
DEFOCUS = (500.0, 60_000.0)
#: Difference of the two defoci over their mean, and the share of particles that may exceed it.
ASTIGMATISM, SHARE = 0.3, 0.01


def check_table(table: ParticleTable, box: int | None) -> list[Finding]:
    """Check optics, of the groups that particles are in, defocus, poses and half-sets.

    Parameters
    ----------
    table : ParticleTable
    box : int or None
        Pixels along a side of the images; None where there are none.

    Returns
    -------
    list of Finding
    """
    used = np.unique(table.particles["optics_group"])
    findings = [
        _check_pixel_size(table.optics["pixel_size"][used]),
        *(_check_optics(name, table.optics[name][used]) for name in OPTICS),
        *_check_defocus(table),
        _check_poses(table, box),
        _check_half_sets(table),
    ]
    if box is not None and findings[0].level == "ok":
        findings.append(_check_box(table, box))
    return findings


def _check_pixel_size(sizes: np.ndarray) -> Finding:
    topic = "pixel size"
    if not np.isfinite(sizes).all():
        return Finding("error", topic, "not known", "give --pixel-size when importing")
    low, high = float(sizes.min()), float(sizes.max())
    if not is_possible("pixel_size", low):
        return Finding(
            "error", topic, f"{low:g} Å, expected a positive number", "mend the file or its header"
        )
    if low < PIXEL_SIZES[0] or high > PIXEL_SIZES[1]:
        return Finding(
            "warning",
            topic,
            f"{low:g} to {high:g} Å" if low < high else f"{low:g} Å",
            "is it in Å, and that of the images and not of the detector?",
        )
    if high > 1.01 * low:
        return Finding(
            "warning",
            topic,
            f"{low:g} to {high:g} Å in different optics groups",
            "bring them to one pixel size, or reconstruct them apart",
        )
    return Finding("ok", topic, f"{low:g} Å")


def _check_optics(name: str, values: np.ndarray) -> Finding:
    topic = name.replace("_", " ")
    low, high, unit = OPTICS[name]
    if not np.isfinite(values).all():
        return Finding(
            "warning",
            topic,
            "not known, and every step that uses the CTF needs it",
            f"give --{name.replace('_', '-')} when importing",
        )
    found = ", ".join(f"{value:g}" for value in np.unique(values))
    if values.min() < low or values.max() > high:
        possible = all(is_possible(name, float(value)) for value in values)
        return Finding(
            "warning" if possible else "error",
            topic,
            f"{found}, expected {low:g} to {high:g}",
            f"is it {unit}?" if name == "amplitude_contrast" else f"is it in {unit}?",
        )
    return Finding("ok", topic, found)


def _check_defocus(table: ParticleTable) -> list[Finding]:
    if "defocus_u" not in table.particles or "defocus_v" not in table.particles:
        return [
            Finding("warning", "defocus", "not known", "estimate the CTF before reconstructing")
        ]
    u, v = table.particles["defocus_u"], table.particles["defocus_v"]
    mean = (u + v) / 2
    low, high = float(mean.min()), float(mean.max())
    found = f"{low:.0f} to {high:.0f} Å" if high > 100 else f"{low:g} to {high:g} Å"
    astigmatic = float(np.mean(np.abs(u - v) > ASTIGMATISM * np.abs(mean)))
    if high < 0 or (mean < 0).any():
        finding = Finding(
            "warning",
            "defocus",
            f"{found}, negative for {int((mean < 0).sum())} of {len(mean)} particles",
            "underfocus must be positive; does the program that wrote it count the other way?",
        )
    elif np.median(mean) < DEFOCUS[0]:
        finding = Finding("warning", "defocus", found, "is it in Å? It looks like µm or nm")
    elif high > DEFOCUS[1]:
        finding = Finding("warning", "defocus", found, "remove particles of failed CTF fits")
    else:
        finding = Finding("ok", "defocus", found)
    if astigmatic <= SHARE:
        return [finding]
    return [
        finding,
        Finding(
            "warning",
            "astigmatism",
            f"over {ASTIGMATISM:.0%} of the defocus for {astigmatic:.0%} of the particles",
            "look at the CTF fits of their micrographs",
        ),
    ]


def _check_poses(table: ParticleTable, box: int | None) -> Finding:
    if "euler_angles" not in table.particles or "shift" not in table.particles:
        return Finding(
            "warning", "poses", "not known", "reconstruction needs them: refine the particles first"
        )
    angles, shift = table.particles["euler_angles"], table.particles["shift"]
    if len(angles) > 1 and np.ptp(angles, axis=0).max() == 0:
        return Finding(
            "warning", "poses", "the same for all particles", "were they refined at all?"
        )
    if box is not None:
        edge = box * table.optics["pixel_size"][table.particles["optics_group"]]
        far = int((np.hypot(*shift.T) > edge / 4).sum())
        if far > SHARE * len(shift):
            return Finding(
                "warning",
                "poses",
                f"{far} of {len(shift)} particles are shifted by more than a quarter of the box",
                "are the shifts in Å and at the right pixel size? Else extract the particles again",
            )
    return Finding("ok", "poses", f"known; shifts up to {np.abs(shift).max():.1f} Å")


def _check_half_sets(table: ParticleTable) -> Finding:
    topic = "half-sets"
    if "half_set" not in table.particles:
        return Finding("ok", topic, "none; importing draws them at random")
    counts = np.bincount(table.particles["half_set"], minlength=2)
    found = f"{counts[0]} and {counts[1]} particles"
    number = int(counts.sum())
    if counts.min() == 0 or np.ptp(counts) > max(0.1 * number, 4 * np.sqrt(number)):
        return Finding(
            "warning",
            topic,
            found,
            "halves should be of one size; take the column away to have them drawn",
        )
    return Finding("ok", topic, found)


def _check_box(table: ParticleTable, box: int) -> Finding:
    """Check that the box holds what the defocus spreads, at all resolutions.

    Beyond the frequency k where `|λ Δf k - Cs λ³ k³|`, the distance over which the CTF displaces
    a detail, exceeds half the box, the CTF goes through more than half a turn from one Fourier
    pixel to the next, and cannot be corrected.
    """
    topic = "box"
    group = table.particles["optics_group"]
    pixel_size = float(table.optics["pixel_size"][np.unique(group)].max())
    found = f"{box} pixels, {box * pixel_size:.0f} Å"
    kilovolts = table.optics["voltage"]
    known = all(is_possible("voltage", float(value)) for value in kilovolts[np.unique(group)])
    if "defocus_u" not in table.particles or not known:
        return Finding("ok", topic, found)
    defocus = np.maximum(table.particles["defocus_u"], table.particles["defocus_v"])
    worst = int(np.argmax(defocus))
    wavelength = float(electron_wavelength(kilovolts[group[worst]]))
    aberration = float(np.nan_to_num(table.optics["spherical_aberration"][group[worst]])) * 1e7
    # the last tenth before Nyquist's frequency holds no signal in practice
    frequency = np.arange(1, int(0.45 * box) + 1) / (box * pixel_size)
    spread = np.abs(
        wavelength * defocus[worst] * frequency - aberration * wavelength**3 * frequency**3
    )
    beyond = frequency[spread > box * pixel_size / 2]
    if not beyond.size:
        return Finding("ok", topic, found)
    wanted = int(np.ceil(spread.max() / pixel_size)) * 2
    return Finding(
        "warning",
        topic,
        f"{found}: too small beyond {1 / beyond[0]:.1f} Å for the largest defocus, "
        f"{defocus[worst]:.0f} Å",
        f"extract in a box of {wanted} pixels, or leave out the particles of highest defocus",
    )
