"""A live page, served beside a stream."""

from __future__ import annotations

from collections.abc import Callable

from hpdp_dask.web.live_desk import LiveDesk
from hpdp_dask.web.server import Server, serve


class ServedDesk:
    """A live page, served until it is stopped; shows itself in a notebook.

    Parameters
    ----------
    desk : LiveDesk
        Ends with the page.
    make_page : callable
        Makes what one visitor sees.
    title : str
    address, port, token : optional
        See `serve`.

    Attributes
    ----------
    url : str
        Where the page is, with its secret.

    Raises
    ------
    InputError
        The port is taken.
    """

    def __init__(
        self,
        desk: LiveDesk,
        make_page: Callable[[], object],
        title: str,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        self._desk = desk
        try:
            self.server: Server = serve(
                make_page, title=title, address=address, port=port, token=token
            )
        except BaseException:
            desk.stop()
            raise
        self.url = self.server.url

    def stop(self) -> None:
        """End the page. May be called again."""
        self._desk.stop()
        self.server.stop()

    def _repr_html_(self) -> str:
        return self.server.frame()
