"""Stacks of detector frames that show themselves in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.frames.describe_frames import describe_frames
from hpdp_dask.stacks import frames as stored
from hpdp_dask.stacks.frame_schema import FRAME_VARIABLES
from hpdp_dask.workflow.display import Drawing, StoredImages, draw, row_of

#: Frames that are shown, and what is told under each where it is known.
_SHOWN = 12
_TOLD = (
    ("particle_size", "{:.0f} Å"),
    ("photon_count", "{:,.0f} photons"),
    ("lit_pixels", "{:,.0f} lit"),
)

_UNITS = {"wavelength": "Å", "distance": "m", "pixel_size": "m", "resolution_at_edge": "Å"}


class Frames(StoredImages):
    """A stack of frames that shows some of them and what is known of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, stored.open_frames(path), describe_frames)

    def frames(self, indices: np.ndarray) -> np.ndarray:
        """Read some frames.

        Parameters
        ----------
        indices : (n,) array_like of int
            Places in the stack, from 0.

        Returns
        -------
        (n, y, x) ndarray
        """
        return self._stored(indices)

    def show(self, indices: np.ndarray | None = None) -> Drawing:
        """Draw frames, modules where they stand.

        Parameters
        ----------
        indices : (n,) array_like of int, optional
            By default some from the first to the last.
        """
        from hpdp_dask.workflow.report import Section

        return Drawing(Section("", figures=[self._gallery(self._chosen(indices))]))

    def histogram(self, name: str) -> Drawing:
        """Draw how a variable of frames is distributed, a line for each label if there are some.

        Parameters
        ----------
        name : str
            As `particle_size`.

        Raises
        ------
        InputError
            There is no such number of each frame.
        """
        from hpdp_dask.workflow.frame_figures import distribution_chart
        from hpdp_dask.workflow.report import Section

        if name not in self.data or self.data[name].dims != ("frame",):
            there = [str(key) for key, found in self.data.items() if found.dims == ("frame",)]
            raise InputError(
                f"{self.path}: no {name!r} of each frame; there are {', '.join(there) or 'none'}."
            )
        values = self.data[name].values.astype(np.float64)
        groups = {"all": values}
        if "label" in self.data:
            label = self.data["label"].values
            names = self.data["class_name"].values
            groups = {str(word): values[label == place] for place, word in enumerate(names)}
        unit = FRAME_VARIABLES[name].unit if name in FRAME_VARIABLES else ""
        caption = f"{name} of {len(self):,} frames"
        title = f"{name}, {unit}" if unit else name
        return Drawing(Section("", figures=[distribution_chart(groups, title, caption)]))

    def _chosen(self, indices: np.ndarray | None) -> np.ndarray:
        if indices is None:
            return np.unique(np.linspace(0, len(self) - 1, min(_SHOWN, len(self))).astype(int))
        return np.asarray(indices, dtype=int)

    def _gallery(self, chosen: np.ndarray) -> Any:
        from hpdp_dask.workflow.frame_figures import frame_gallery

        labels = [f"{index:,}" for index in chosen]
        if "label" in self.data:
            names = [*(str(name) for name in self.data["class_name"].values), "no label"]
            found = self.data["label"].values[chosen]
            labels = [f"{label}: {names[at]}" for label, at in zip(labels, found, strict=True)]
        for name, form in _TOLD:
            if name in self.data:
                values = self.data[name].values[chosen]
                told = [form.format(value) for value in values]
                labels = [f"{label}, {words}" for label, words in zip(labels, told, strict=True)]
                break
        detector = stored.detector_of(self.data)
        return frame_gallery(self.frames(chosen), detector, labels, "")

    def _repr_html_(self) -> str:
        from hpdp_dask.workflow.report import Section, Table

        figures = []
        if len(self) and "pixel_x" in self.data and "wavelength" in self.data:
            figures.append(self._gallery(self._chosen(None)))
        table = Table(("", ""), [_row(name, value) for name, value in self.known().items()])
        return draw(Section(self.path.name, figures=figures, table=table))


def _row(name: str, value: Any) -> tuple[str, Any]:
    """Name a fact in words, with its unit."""
    if name in _UNITS:
        return f"{name.replace('_', ' ')}, {_UNITS[name]}", value
    return row_of(name, value)


def open_frames(path: Path | str) -> Frames:
    """Open a stack of frames, which shows itself in a notebook.

    Parameters
    ----------
    path : path

    Returns
    -------
    Frames

    Raises
    ------
    InputError
        There is no such stack.
    """
    return Frames(Path(path))
