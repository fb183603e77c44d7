"""Kinds of particles: shapes with their sizes, and atomic models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hpdp_dask.errors import InputError

Shape = Literal["sphere", "spheroid", "icosahedron", "rod", "model"]

#: Of one body, by default: polar over equatorial diameter, length over diameter.
ASPECTS = {"sphere": 1.0, "spheroid": 1.4, "icosahedron": 1.0, "rod": 4.0, "model": 1.0}

#: What a frame may show.
KINDS = ("single", "double", "aggregate", "droplet", "empty")


@dataclass(frozen=True)
class Species:
    """A kind of particle.

    Attributes
    ----------
    name : str
        What its class is called.
    shape : {"sphere", "spheroid", "icosahedron", "rod", "model"}
    size : float, optional
        Diameter of the sphere of equal volume, Å. Not for an atomic model, which has its own.
    spread : float, optional
        Standard deviation of the size over the size; particles keep their proportions.
    aspect : float, optional
        Polar over equatorial diameter of a spheroid, length over diameter of a rod.
    density : float, optional
        Electrons per Å³; that of protein by default. Not for an atomic model.
    share : float, optional
        How often it occurs, against the others.
    photons : float, optional
        Mean photons of its single hits; by default those of the beam.
    file : Path, optional
        PDB or mmCIF file of an atomic model.
    assembly : str, optional
        Biological assembly of the model; by default the first.

    Raises
    ------
    InputError
        One of them makes no sense, or is not for this shape.
    """

    name: str
    shape: Shape
    size: float | None = None
    spread: float = 0.0
    aspect: float | None = None
    density: float = 0.43
    share: float = 1.0
    photons: float | None = None
    file: Path | None = None
    assembly: str | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name in KINDS:
            raise InputError(
                f"simulate: a species has the name {self.name!r}, expected a name that is none of "
                f"{', '.join(KINDS)}."
            )
        if self.shape not in ASPECTS:
            raise InputError(
                f"simulate: {self.name} has the shape {self.shape!r}, expected one of "
                f"{', '.join(ASPECTS)}."
            )
        for name in ("size", "aspect", "density", "share", "photons"):
            self._check(name, getattr(self, name))
        if not 0 <= self.spread <= 0.5:
            raise InputError(
                f"simulate: {self.name} has the spread {self.spread}, expected a share of its size "
                "from 0 to 0.5."
            )
        if self.aspect is not None and self.shape not in ("spheroid", "rod"):
            raise InputError(
                f"simulate: {self.name} has an aspect, which is for a spheroid or a rod, not for "
                f"the shape {self.shape}; leave it out."
            )
        if self.shape == "model":
            if self.file is None or self.size is not None or self.spread:
                raise InputError(
                    f"simulate: {self.name} is an atomic model, expected its file=, and neither "
                    "size= nor spread=."
                )
        elif self.size is None or self.file is not None or self.assembly is not None:
            raise InputError(
                f"simulate: {self.name} is a {self.shape}, expected its size= in Å, and neither "
                "file= nor assembly=."
            )

    def _check(self, name: str, value: float | None) -> None:
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(
                f"simulate: {self.name} has the {name} {value}, expected a positive number."
            )

    @property
    def proportion(self) -> float:
        """Give the aspect, that of the shape where none was given."""
        return ASPECTS[self.shape] if self.aspect is None else self.aspect


def check_species(species: Sequence[Species]) -> None:
    """Check that there are species and no two of one name.

    Raises
    ------
    InputError
    """
    names = [each.name for each in species]
    if not names:
        raise InputError("simulate: no species is given, expected one or more.")
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"simulate: {names.count(name)} species are called {name!r}; give each a name of "
                "its own with name=."
            )
