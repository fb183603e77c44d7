"""The Guinier plot of a map: its curves, the B-factor that it gives, its table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.sharpening import (
    GUINIER_FROM,
    GuinierFit,
    fit_guinier,
    shell_amplitudes,
    shell_frequencies,
)

#: A B-factor that changes the finest detail by more than e to this is a slip.
_MOST_EXPONENT = 40.0


#: Å; between 10 Å and coarser resolutions than this a line fits whatever the shells do.
_COARSEST_FIT = 7.5


@dataclass(frozen=True)
class Guinier:
    """The Guinier plot of a map, shell by shell.

    Attributes
    ----------
    frequencies : (N // 2 + 1,) ndarray of float64
        1/Å.
    amplitudes : dict of str to (N // 2 + 1,) ndarray of float64
        Mean amplitude under the mask: `original`, with an MTF also `mtf_corrected`, `weighted`
        by the FSC, and `sharpened`, up to the low-pass; 0 where nothing is left.
    fit : GuinierFit or None
        Of the weighted ones; None where too few shells lie between 10 Å and the resolution.
    """

    frequencies: np.ndarray
    amplitudes: dict[str, np.ndarray]
    fit: GuinierFit | None


def plot_guinier(
    masked: np.ndarray,
    pixel_size: float,
    weights: np.ndarray,
    response: np.ndarray | None,
    resolution: float,
) -> Guinier:
    """Make the Guinier plot of a map and fit its line.

    Parameters
    ----------
    masked : (N, N, N) ndarray
        The average of the half-maps under the mask that the weights are for.
    pixel_size : float
        Å.
    weights : (N // 2 + 1,) ndarray
        Of `fsc_weights`.
    response : (N // 2 + 1,) ndarray or None
        The detector's MTF, to be divided out.
    resolution : float
        Å; where the line ends.

    Returns
    -------
    Guinier
        Without `sharpened`.
    """
    frequencies = shell_frequencies(len(masked), pixel_size)
    latest = shell_amplitudes(masked)
    amplitudes = {"original": latest}
    if response is not None:
        latest = amplitudes["mtf_corrected"] = latest / response
    amplitudes["weighted"] = latest * weights
    fit = fit_guinier(amplitudes["weighted"], frequencies, resolution)
    return Guinier(frequencies, amplitudes, fit)


def add_sharpened(plot: Guinier, b_factor: float, low_pass: float) -> Guinier:
    """Add the curve of the map sharpened by a B-factor (Å²), up to the low-pass (Å)."""
    passed = np.minimum(plot.frequencies, 1.0 / low_pass)
    raised = plot.amplitudes["weighted"] * np.exp(-b_factor / 4.0 * passed**2)
    sharpened = np.where(plot.frequencies <= (1.0 + 1e-9) / low_pass, raised, 0.0)
    return replace(plot, amplitudes={**plot.amplitudes, "sharpened": sharpened})


def choose_b_factor(
    given: float | None, fit: GuinierFit | None, resolution: float, low_pass: float
) -> tuple[float, list[str]]:
    """Take the B-factor that was given, or else that of the plot, or else none.

    Parameters
    ----------
    given : float or None
        Å², what the user asked for.
    fit : GuinierFit or None
    resolution, low_pass : float
        Å.

    Returns
    -------
    b_factor : float
        Å², 0 where there is neither.
    warnings : list of str

    Raises
    ------
    InputError
        If it would change the finest detail beyond all measure.
    """
    if given is not None:
        used = given
    elif fit is not None and resolution <= _COARSEST_FIT:
        used = fit.b_factor
    else:
        return 0.0, [
            f"At {resolution:.2f} Å too few shells lie beyond {GUINIER_FROM:g} Å for a Guinier "
            "plot, so the map was not sharpened; give --b-factor to do so."
        ]
    exponent = abs(used) / (4.0 * low_pass**2)
    # written so that NaN does not pass
    if not exponent <= _MOST_EXPONENT:
        raise InputError(
            f"A B-factor of {used:g} Å² changes what is at {low_pass:.2f} Å by a factor of "
            f"e^{exponent:.0f}, expected e^{_MOST_EXPONENT:g} at most; give a smaller --b-factor."
        )
    if used <= 0:
        return used, []
    return used, [
        f"The B-factor is {used:.0f} Å²: a positive one blurs the map, a negative one sharpens it."
    ]


def write_guinier(path: Path, guinier: Guinier) -> None:
    """Write a Guinier plot as a table: shell, 1/d² (1/Å²), ln|F| of each curve, the line.

    Parameters
    ----------
    path : Path
    guinier : Guinier
        Shells where nothing is left have empty fields.
    """
    squared = guinier.frequencies**2
    columns = dict(guinier.amplitudes)
    header = ["shell", "inverse_resolution_squared", *columns, *(["fit"] if guinier.fit else [])]
    lines = [",".join(header)]
    for shell, square in enumerate(squared):
        fields = [str(shell), f"{square:.8f}"]
        for amplitudes in columns.values():
            value = amplitudes[shell]
            fields.append(f"{np.log(value):.5f}" if value > 0 else "")
        if guinier.fit:
            fields.append(f"{guinier.fit.intercept + guinier.fit.b_factor / 4 * square:.5f}")
        lines.append(",".join(fields))
    path.write_text("\n".join(lines) + "\n")
