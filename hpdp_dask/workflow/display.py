"""Stacks, maps and correlations that show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.describe import describe
from hpdp_dask.cryoem.fsc import MapComparison, compare_maps, describe_resolution
from hpdp_dask.errors import InputError
from hpdp_dask.formats import mrc
from hpdp_dask.stacks import store
from hpdp_dask.stacks.schema import PARTICLE_VARIABLES
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from hpdp_dask.workflow.report import Section

#: Images of a stack that are shown, from its first to its last.
_IMAGES = 6


class StoredImages:
    """What is stored as a stack, of particles or of frames, and tells what is known of it.

    Parameters
    ----------
    path : Path
    data : xarray.Dataset
    describe : callable
        Gives what `hpdp info` tells of the path.

    Attributes
    ----------
    path : Path
    data : xarray.Dataset
        All its variables, read when their values are asked for.
    """

    def __init__(
        self, path: Path, data: xr.Dataset, describe: Callable[[Path], Mapping[str, Any]]
    ) -> None:
        self.path = path.absolute()
        self.data = data
        self._describe = describe

    def __len__(self) -> int:
        return int(self.data.sizes["particle" if "particle" in self.data.sizes else "frame"])

    def __repr__(self) -> str:
        lines = (f"  {name}: {value}" for name, value in self.known().items())
        return "\n".join([f"{type(self).__name__} {self.path}", *lines])

    def known(self) -> dict[str, Any]:
        """Tell what is known of it, as `hpdp info` does."""
        return {name: spoken(value) for name, value in self._describe(self.path).items()}

    def _stored(self, indices: np.ndarray) -> np.ndarray:
        return ImageReader(self.path).take(np.asarray(indices))


class Stack(StoredImages):
    """A particle stack that shows some of its images and what is known of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, store.open_stack(path), describe)

    def images(self, indices: np.ndarray) -> np.ndarray:
        """Read some images.

        Parameters
        ----------
        indices : (n,) array_like of int
            Places in the stack, from 0.

        Returns
        -------
        (n, y, x) ndarray of float32
        """
        return np.asarray(self._stored(indices), dtype=np.float32)

    def orientations(self) -> Drawing:
        """Draw how viewing directions are distributed over the sphere.

        Raises
        ------
        InputError
            The stack has no orientations.
        """
        from hpdp_dask.workflow.report import Section
        from hpdp_dask.workflow.sphere import orientation_map

        if "euler_angles" not in self.data:
            raise InputError(f"{self.path}: the stack has no orientations (euler_angles).")
        angles = self.data["euler_angles"].values
        caption = f"Viewing directions of {len(self):,} particles"
        return Drawing(Section("", figures=[orientation_map(angles, caption)]))

    def _repr_html_(self) -> str:
        from hpdp_dask.workflow.figures import image_gallery
        from hpdp_dask.workflow.report import Section, Table

        figures = []
        if "images" in self.data and len(self):
            shown = np.unique(np.linspace(0, len(self) - 1, _IMAGES).astype(int))
            groups = self.data["optics_group"].values[shown] if "optics_group" in self.data else 0
            pixel_size = float(np.atleast_1d(self.data["pixel_size"].values[groups])[0])
            labels = [f"{index:,}" for index in shown]
            figures.append(image_gallery(self.images(shown), pixel_size, labels, ""))
        table = Table(("", ""), [row_of(name, value) for name, value in self.known().items()])
        return draw(Section(self.path.name, figures=figures, table=table))


class Map:
    """A map that shows its central slices.

    Attributes
    ----------
    path : Path
    volume : (z, y, x) ndarray of float32
    pixel_size : float
        Å.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.volume, self.pixel_size = mrc.read_map(path)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.volume, dtype, copy=copy)

    def __repr__(self) -> str:
        return f"Map {self.path}: {self._size()}"

    def fsc(self, other: Map | Path | str, mask: Map | Path | str | None = None) -> Correlation:
        """Correlate this map with another, shell by shell: two half-maps, or a map and the truth.

        Parameters
        ----------
        other : Map or path
        mask : Map or path, optional
            A soft mask; the correlation that it makes by itself is taken out.

        Returns
        -------
        Correlation

        Raises
        ------
        InputError
            They do not fit each other.
        """
        against = _path_of(other)
        covered = None if mask is None else _path_of(mask)
        names = (self.path.stem, against.stem)
        return Correlation(names, compare_maps(self.path, against, covered))

    def _size(self) -> str:
        sides = " × ".join(str(side) for side in self.volume.shape[::-1])
        extent = " × ".join(f"{side * self.pixel_size:.4g}" for side in self.volume.shape[::-1])
        return f"{sides} voxels of {self.pixel_size:.4g} Å, {extent} Å"

    def _repr_html_(self) -> str:
        from hpdp_dask.workflow.figures import central_slices
        from hpdp_dask.workflow.report import Section

        slices = central_slices(self.volume, self.pixel_size, "Central slices")
        return draw(Section(self.path.name, self._size(), [slices]))


@dataclass(frozen=True)
class Correlation:
    """The Fourier shell correlation of two maps, which shows itself as a chart.

    Attributes
    ----------
    names : tuple of str
        Of the maps.
    found : MapComparison
    """

    names: tuple[str, str]
    found: MapComparison

    @property
    def resolution(self) -> float:
        """Å, where the correlation falls to 0.143."""
        return self.found.resolution_0143

    def __repr__(self) -> str:
        return f"Correlation of {' and '.join(self.names)}: {self._spoken()}"

    def _spoken(self) -> str:
        return (
            f"{describe_resolution(self.found.resolution_0143)} at 0.143, "
            f"{describe_resolution(self.found.resolution_05)} at 0.5"
        )

    def _repr_html_(self) -> str:
        from hpdp_dask.workflow.figures import fsc_chart
        from hpdp_dask.workflow.report import Section

        curves = {name.replace("_", ", "): curve for name, curve in self.found.curves.items()}
        chart = fsc_chart(curves, self.found.box, self.found.pixel_size, "")
        return draw(Section(" and ".join(self.names), self._spoken(), [chart]))


class Drawing:
    """A drawing that shows itself.

    Parameters
    ----------
    section : Section
    """

    def __init__(self, section: Section) -> None:
        self._section = section

    def __repr__(self) -> str:
        return "\n".join(
            getattr(figure, "description", figure.caption) for figure in self._section.figures
        )

    @cached_property
    def _markup(self) -> str:
        return draw(self._section)

    def _repr_html_(self) -> str:
        return self._markup


def open_stack(path: Path | str) -> Stack:
    """Open a particle stack, which shows itself in a notebook.

    Parameters
    ----------
    path : path

    Returns
    -------
    Stack

    Raises
    ------
    InputError
        There is no such stack, or it is not whole.
    """
    return Stack(Path(path))


def read_map(path: Path | str) -> Map:
    """Read a map, which shows itself in a notebook.

    Parameters
    ----------
    path : path
        `.mrc`, `.map`, also with `.gz`.

    Returns
    -------
    Map

    Raises
    ------
    InputError
        There is no such file, or it is no map.
    """
    return Map(Path(path))


def row_of(name: str, value: Any) -> tuple[str, Any]:
    """Name a fact in words, with its unit."""
    if name == "bytes_on_disk":
        from hpdp_dask.workflow.report import format_bytes

        return "size on disk", format_bytes(value)
    variable = PARTICLE_VARIABLES.get("defocus_u" if name == "defocus_range" else name)
    unit = f", {variable.unit}" if variable and variable.unit else ""
    return name.replace("_", " ") + unit, value


def _path_of(given: Map | Path | str) -> Path:
    return given.path if isinstance(given, Map) else Path(given)


def spoken(value: Any) -> Any:
    """Write a value for people: lists in a row, yes and no, six digits."""
    if isinstance(value, list):
        return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else value


def draw(section: Section) -> str:
    """Make HTML of a section; Jinja and Matplotlib take long to import."""
    from hpdp_dask.workflow.report import template

    return template("display.html.j2").render(sections=[section])
