"""A page on which people look at conformations that were learnt, and choose particles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.web.heterogeneity_desk import ExplorerDesk
from hpdp_dask.web.heterogeneity_source import Explored
from hpdp_dask.web.server import Server, serve


class ExplorerPage:
    """An explorer of conformations, served until it is stopped; shows itself in a notebook.

    Parameters
    ----------
    folder : str or Path
        That `hpdp cryoem heterogeneity train` made, analysed or not.
    stack : str or Path, optional
        Where its stack is now, if it was moved.
    output : str or Path, optional
        The folder that chosen particles are saved in; by default the one of this process.
    address, port, token : optional
        See `serve`.

    Attributes
    ----------
    url : str
        Where the page is, with its secret.

    Raises
    ------
    InputError
        The folder is none of a training with a latent variable, its stack is gone, PyTorch is
        missing, or the port is taken.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        stack: str | Path | None = None,
        output: str | Path = ".",
        address: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        there = Path(output).absolute()
        if not there.is_dir():
            raise InputError(f"{output}: there is no such folder to save chosen particles in.")
        explored = Explored(Path(folder).absolute(), stack)
        self._desk = desk = ExplorerDesk(explored, there)

        def make_page() -> object:
            from hpdp_dask.web.heterogeneity_view import ExplorerView

            return ExplorerView(desk)

        try:
            self.server: Server = serve(
                make_page,
                title=f"Conformations {explored.folder.name}",
                address=address,
                port=port,
                token=token,
            )
        except BaseException:
            desk.stop()
            raise
        self.url = self.server.url

    @property
    def chosen(self) -> np.ndarray:
        """Places in the stack of the particles that were chosen last, (m,) of int64, in order."""
        return self._desk.chosen

    def stop(self) -> None:
        """End the page; what is being saved is finished. May be called again."""
        self.server.stop()
        self._desk.stop()

    def _repr_html_(self) -> str:
        return self.server.frame()

    def __repr__(self) -> str:
        return f"ExplorerPage {self.url}"


def explore(folder: str | Path, **options: object) -> ExplorerPage:
    """Look at conformations on a page, in a notebook: the page is the last line of a cell.

    Parameters
    ----------
    folder, **options
        As for `ExplorerPage`.

    Returns
    -------
    ExplorerPage
        `chosen` are the particles that were chosen last on it.

    Examples
    --------
    >>> page = explore("conformations")  # doctest: +SKIP
    >>> page  # doctest: +SKIP
    """
    return ExplorerPage(folder, **options)  # type: ignore[arg-type]
