"""What a loop of passes over images is made of: what a method writes, and `iterate` runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import xarray as xr

from hpdp_dask.dataflow.results import Rows

A = TypeVar("A")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Expectation(Protocol[A, S_co]):
    """One pass over the images: a reduction that also has a result for each of them.

    Pickled into each task, so it should be small. An accumulator is an array, or a tuple of
    arrays; `start` may make it on a device.

    Attributes
    ----------
    name : str
        One word for the dashboard and the progress bar, as *refine-012*.
    nbytes : int
        Size of an accumulator.
    working_bytes : int
        What a thread holds besides: the model, references, the batch in work.
    images_per_leaf : int
        How many images a task should take, for 0.5 to 10 s.
    share : float
        Of the images that take part; which ones follows from `seed`, `name` and their place in
        the stack.
    seed : int
    preparation : callable
        Makes of a block of images, as `leaves.read_rows` gives it, what is kept on the workers
        between passes while it fits: a dataset without `images`. A frozen dataclass, and the
        same in all passes.
    """

    @property
    def name(self) -> str:
        """One word for the dashboard."""

    @property
    def nbytes(self) -> int:
        """Size of an accumulator."""

    @property
    def working_bytes(self) -> int:
        """What a thread holds besides."""

    @property
    def images_per_leaf(self) -> int:
        """How many images a task should take."""

    @property
    def share(self) -> float:
        """The share of the images that take part."""

    @property
    def seed(self) -> int:
        """The seed of the choice of images."""

    @property
    def preparation(self) -> Callable[[xr.Dataset], xr.Dataset]:
        """What makes of images that which is kept between passes."""

    def start(self) -> A:
        """Make an empty accumulator."""

    def fold(self, sums: A, block: xr.Dataset, before: Rows | None) -> tuple[A, Rows]:
        """Compare prepared images with the model, and add them to the sums.

        Parameters
        ----------
        sums : A
            May be changed and returned.
        block : xarray.Dataset
            Of `preparation`, those rows that take part; `image` is their place in the stack.
        before : dict of arrays or None
            The results of the last pass for these images, if all images took part in it.

        Returns
        -------
        sums : A
        results : dict of arrays
            One row for each image.
        """

    def merge(self, sums: A, other: A) -> A:
        """Add sums to others, which may be read-only."""

    def finish(self, sums: A) -> S_co:
        """Make the next model, write it, and give the next state. Runs on a worker."""


class Loop(Protocol[S]):
    """A sequence of passes and the states between them.

    A state is a frozen dataclass of plain numbers, texts, lists and dictionaries, among them
    `iteration`; it is kept as JSON. It may have a `history`, a list of dictionaries, one for each
    iteration: of these `resolution` (Å), `angular_step` and `step` (degrees) and `shift_step`
    (Å) are shown on the dashboard.

    Attributes
    ----------
    name : str
    state_type : type
    """

    @property
    def name(self) -> str:
        """One word."""

    @property
    def state_type(self) -> type[S]:
        """The dataclass of the states."""

    def begin(self, folder: Path) -> S:
        """Write the first model into a folder; give the first state."""

    def is_done(self, state: S) -> bool:
        """Tell whether this state is the last."""

    def expectation(self, state: S, folder: Path, following: Path) -> Expectation[Any, S]:
        """Make the pass that follows a state, whose model is in a folder, into the next folder."""

    def largest(self, state: S, folder: Path) -> Expectation[Any, S]:
        """Give a pass that takes as much memory as any that may come; it is not run."""
