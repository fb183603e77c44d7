"""A page on which people label frames by keyboard, from a terminal, a notebook or a running job."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.spi.labels import LabelLog
from hpdp_dask.web.label_book import LabelBook
from hpdp_dask.web.label_desk import LabelDesk
from hpdp_dask.web.label_source import FramesInMemory, LabelSource, StoredFrames
from hpdp_dask.web.server import Server, serve


class LabelPage:
    """A label page, served until it is stopped; shows itself in a notebook.

    Parameters
    ----------
    frames : path, (n, y, x) ndarray, or LabelSource
        A stack of frames, frames at hand, or whatever gives frames by number.
    classes : sequence of str
        In the order of the keys 1 to 9.
    output : str or Path
        The log of labels; what is in it already counts.
    person : str, optional
        Name that visitors have until they give another; by default the user's.
    threshold : float, optional
        Probability from which on the classifier accepts, for the running estimate.
    seed : int, optional
        Of random orders and of the choice.
    address, port, token : optional
        See `serve`.

    Attributes
    ----------
    url : str
        Where the page is, with its secret.

    Raises
    ------
    InputError
        Frames, classes or the log are not what they should be, or the port is taken.
    """

    def __init__(
        self,
        frames: str | Path | np.ndarray | LabelSource,
        classes: Sequence[str],
        output: str | Path,
        *,
        person: str | None = None,
        threshold: float = 0.75,
        seed: int = 0,
        address: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        if isinstance(classes, str):
            raise InputError(f"The classes are {classes!r}, expected a list of words.")
        source = _source_of(frames)
        log = LabelLog(output)
        log.check_writable()
        self.book = LabelBook(source, classes, log, threshold=threshold, seed=seed)
        self._desk = LabelDesk(self.book)
        person = person or getpass.getuser()

        def make_page() -> object:
            from hpdp_dask.web.label_view import LabelView

            return LabelView(self._desk, person)

        try:
            self.server: Server = serve(
                make_page,
                title=f"Label {source.name}",
                address=address,
                port=port,
                token=token,
            )
        except BaseException:
            self._desk.stop()
            raise
        self.url = self.server.url

    @property
    def labels(self) -> np.ndarray:
        """Labels of all frames as they are now, (n,) of str; empty for none."""
        self.book.look(now=True)
        return self.book.labels()

    def stop(self) -> None:
        """End the page; everything that was said is on the disk. May be called again."""
        self.server.stop()
        self._desk.stop()

    def _repr_html_(self) -> str:
        return self.server.frame()

    @property
    def summary(self) -> str:
        """How many frames have which label, in words."""
        labels = self.labels
        counts = ((name, int(np.sum(labels == name))) for name in self.book.classes)
        told = ", ".join(f"{count:,} {name}" for name, count in counts)
        return f"{int(np.sum(labels != '')):,} of {len(labels):,} frames: {told}"

    def __repr__(self) -> str:
        return f"LabelPage {self.url} ({self.summary})"


def label(
    frames: str | Path | np.ndarray | LabelSource,
    classes: Sequence[str],
    output: str | Path = "labels.jsonl",
    **options: object,
) -> LabelPage:
    """Label frames on a page, in a notebook: the page is the last line of a cell.

    Parameters
    ----------
    frames, classes, output, **options
        As for `LabelPage`.

    Returns
    -------
    LabelPage

    Examples
    --------
    >>> page = label("frames.zarr", ["single", "other"])  # doctest: +SKIP
    >>> page  # doctest: +SKIP
    """
    return LabelPage(frames, classes, output, **options)  # type: ignore[arg-type]


def _source_of(frames: str | Path | np.ndarray | LabelSource) -> LabelSource:
    if isinstance(frames, str | Path):
        return StoredFrames(frames)
    if isinstance(frames, np.ndarray):
        if frames.ndim != 3 or not len(frames):
            raise InputError(f"The frames have the shape {frames.shape}, expected (n, y, x).")
        return FramesInMemory(frames)
    return frames
