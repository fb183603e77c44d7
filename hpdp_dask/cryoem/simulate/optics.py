"""The CTF of simulated images: drawn from ranges, or rows that were measured."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.columns import group_rows
from hpdp_dask.formats.star import read_particles

#: What an optics group has in common, but for the pixel size.
_GROUPED = ("voltage", "spherical_aberration", "amplitude_contrast")
_PER_IMAGE = ("defocus_u", "defocus_v", "defocus_angle", "phase_shift")

#: Columns of cryoDRGN's array of CTFs after the box and the pixel size; the defoci are in Å.
_ARRAY_COLUMNS = (*_PER_IMAGE[:3], *_GROUPED, "phase_shift")


@dataclass(frozen=True)
class CtfRange:
    """Ranges that the CTF of each image is drawn from, uniformly.

    Attributes
    ----------
    defocus : tuple of float
        Least and greatest mean defocus, Å, underfocus positive.
    astigmatism : float
        Greatest difference of the two defoci, Å; its axis lies anywhere.
    voltage, spherical_aberration, amplitude_contrast : float
        kV, mm, fraction.
    phase_shift : float
        Of a phase plate, degrees.

    Raises
    ------
    InputError
        One of them makes no sense.
    """

    defocus: tuple[float, float] = (8_000.0, 22_000.0)
    astigmatism: float = 400.0
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.1
    phase_shift: float = 0.0

    def __post_init__(self) -> None:
        least, most = self.defocus
        if not (np.isfinite([least, most]).all() and least <= most):
            raise InputError(
                f"simulate: the defocus is {least} to {most} Å, expected the least, then the "
                "greatest, in Å, underfocus positive."
            )
        for name, low, high in (
            ("astigmatism", 0.0, np.inf),
            ("voltage", 1.0, 10_000.0),
            ("spherical_aberration", 0.0, 100.0),
            ("amplitude_contrast", 0.0, 1.0),
            ("phase_shift", -360.0, 360.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(
                    f"simulate: {name} is {getattr(self, name)}, expected {low:g} to {high:g}."
                )

    def draw(self, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw the CTF of so many images: one array a column of `read_ctf`."""
        mean = rng.uniform(*self.defocus, number)
        half = rng.uniform(0.0, self.astigmatism, number) / 2.0
        fixed = {name: np.full(number, getattr(self, name)) for name in (*_GROUPED, "phase_shift")}
        return {
            "defocus_u": mean + half,
            "defocus_v": mean - half,
            "defocus_angle": rng.uniform(0.0, 180.0, number),
            **fixed,
        }


def read_ctf(path: Path) -> dict[str, np.ndarray]:
    """Read CTFs that were measured.

    Parameters
    ----------
    path : Path
        A STAR file of particles, or an `.npz` with the array `ctf` of cryoDRGN's columns: box,
        pixel size Å, defocus U and V Å, angle degrees, voltage kV, Cs mm, amplitude contrast,
        phase shift degrees.

    Returns
    -------
    dict of str to ndarray
        `defocus_u`, `defocus_v`, `defocus_angle`, `phase_shift`, `voltage`,
        `spherical_aberration`, `amplitude_contrast`, in the schema's units; one entry an image.

    Raises
    ------
    InputError
        Neither of these, no such file, or a value that is not known.
    """
    if path.suffix == ".star":
        # the images' own pixel size does not enter, so a file that lacks it will do
        table = read_particles(path, pixel_size=1.0)
        group = table.particles["optics_group"]
        rows = {name: values[group] for name, values in table.optics.items() if name in _GROUPED}
        rows |= {name: table.particles[name] for name in _PER_IMAGE if name in table.particles}
    elif path.suffix == ".npz":
        rows = _read_array(path)
    else:
        raise InputError(f"{path}: expected CTFs as a .star of particles or as an .npz.")
    for name in (*_PER_IMAGE, *_GROUPED):
        known = name in rows and bool(np.isfinite(rows[name]).all())
        if not known:
            raise InputError(f"{path}: {name} is not known for all rows, which a CTF needs.")
    return rows


def _read_array(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as arrays:
            ctf = np.asarray(arrays["ctf"], dtype=np.float64) if "ctf" in arrays else None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as an .npz: {error}.") from error
    if ctf is None or ctf.ndim != 2 or ctf.shape[1] != 2 + len(_ARRAY_COLUMNS) or not len(ctf):
        raise InputError(
            f"{path}: expected an array ctf of {2 + len(_ARRAY_COLUMNS)} columns (box, pixel size, "
            f"{', '.join(_ARRAY_COLUMNS)}), found {'none' if ctf is None else ctf.shape}."
        )
    return dict(zip(_ARRAY_COLUMNS, ctf[:, 2:].T, strict=True))


def draw_optics(
    source: CtfRange | Path, number: int, pixel_size: float, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Give images their CTF.

    Parameters
    ----------
    source : CtfRange or Path
        To draw from; of a file, rows at random, none twice while there are enough.
    number : int
    pixel_size : float
        Of the images, Å; that of the file is not used.
    rng : numpy.random.Generator

    Returns
    -------
    particles, optics : dict of str to ndarray
        The columns of a `ParticleTable`.
    """
    if isinstance(source, CtfRange):
        rows = source.draw(number, rng)
    else:
        measured = read_ctf(source)
        total = len(measured["defocus_u"])
        chosen = rng.choice(total, number, replace=number > total)
        rows = {name: values[chosen] for name, values in measured.items()}
    first, group = group_rows([rows[name] for name in _GROUPED])
    optics = {name: rows[name][first] for name in _GROUPED}
    optics["pixel_size"] = np.full(len(first), float(pixel_size))
    return {**{name: rows[name] for name in _PER_IMAGE}, "optics_group": group}, optics
