"""The text of CrystFEL's `.geom` files: keys, panels, bad regions and numbers with units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError

#: eV, m and Å by the units that may follow a number.
ENERGIES = {"": 1.0, "eV": 1.0, "keV": 1e3, "MeV": 1e6}
LENGTHS = {"": 1.0, "m": 1.0, "mm": 1e-3}
WAVELENGTHS = {"m": 1e10, "A": 1.0}

_TERM = re.compile(r"([+-]?)\s*(\d*\.?\d*(?:[eE][+-]?\d+)?)\s*\*?\s*([xyz])")

Keys = dict[str, str]


def parse(path: Path) -> tuple[Keys, dict[str, Keys], dict[str, Keys]]:
    """Read the keys of a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of dict
        Those of all panels and the beam; of each panel, what stood above it included; of each
        bad region.

    Raises
    ------
    InputError
        It cannot be read, a line is no key with a value, or there is no panel.
    """
    common: Keys = {}
    panels: dict[str, Keys] = {}
    regions: dict[str, Keys] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition(";")[0].strip()
        if not line:
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise InputError(f"{path}: line {number} is {line!r}, expected `key = value`.")
        name, slash, key_of_panel = key.rpartition("/")
        if not slash:
            if not key.startswith(("rigid_group", "group")):
                common[key] = value
        elif name.startswith("bad"):
            regions.setdefault(name, {})[key_of_panel] = value
        else:
            panels.setdefault(name, dict(common))[key_of_panel] = value
    if not panels:
        raise InputError(f"{path}: has no panel (`name/min_fs = 0` and so on); is it a .geom file?")
    return common, panels, regions


def number_of(path: Path, name: str, panel: Mapping[str, str], key: str) -> float:
    """Read the number that a key of a panel or region has.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        return float(panel[key].split()[0])
    except (ValueError, IndexError):
        raise InputError(f"{path}: {key} of {name} is {panel[key]!r}, expected a number.") from None


def vector_of(path: Path, name: str, text: str, key: str) -> np.ndarray:
    """Read a vector like `+0.003x -0.99999y`: its x, y and z.

    Raises
    ------
    InputError
        It is none.
    """
    vector = np.zeros(3)
    rest = text
    for sign, number, axis in _TERM.findall(text):
        vector["xyz".index(axis)] += float(number or 1) * (-1 if sign == "-" else 1)
        rest = _TERM.sub("", rest, count=1)
    if rest.strip() or not vector.any():
        raise InputError(
            f"{path}: {key} of the panel {name} is {text!r}, expected a vector like +1.0x -0.01y."
        )
    return vector


def quantity_of(text: str, units: Mapping[str, float]) -> float:
    """Read a number with a unit; NaN for a path or a unit that is not known."""
    number, _, unit = text.strip().partition(" ")
    try:
        return float(number) * units[unit.strip()]
    except (ValueError, KeyError):
        return float("nan")
