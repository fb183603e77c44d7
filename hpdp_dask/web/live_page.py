"""A page that shows how a stream of frames is, while it runs."""

from __future__ import annotations

from hpdp_dask.web.live_desk import LiveDesk
from hpdp_dask.web.server import Server, serve
from hpdp_dask.workflow.spi_stream import Live


class LivePage:
    """A live page, served until it is stopped; shows itself in a notebook.

    Parameters
    ----------
    live : Live
        The stream and its scenario.
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
        live: Live,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        self._desk = LiveDesk(live)

        def make_page() -> object:
            from hpdp_dask.web.live_view import LiveView

            return LiveView(self._desk)

        try:
            self.server: Server = serve(
                make_page, title="Live frames", address=address, port=port, token=token
            )
        except BaseException:
            self._desk.stop()
            raise
        self.url = self.server.url

    def show_label_page(self, url: str) -> None:
        """Tell visitors where people label."""
        self._desk.label_url = url

    def stop(self) -> None:
        """End the page. May be called again."""
        self._desk.stop()
        self.server.stop()

    def _repr_html_(self) -> str:
        return self.server.frame()
