"""A page that shows how a stream of frames of single particles is, while it runs."""

from __future__ import annotations

from hpdp_dask.web.live_server import ServedDesk
from hpdp_dask.web.spi_desk import SpiDesk
from hpdp_dask.workflow.spi_stream import Live


class LivePage(ServedDesk):
    """A live page of single particles.

    Parameters
    ----------
    live : Live
        The stream and its scenario.
    address, port, token : optional
        See `serve`.
    """

    def __init__(
        self,
        live: Live,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        self._spi = desk = SpiDesk(live)

        def make_page() -> object:
            from hpdp_dask.web.live_view import SpiView

            return SpiView(desk)

        super().__init__(desk, make_page, "Live frames", address=address, port=port, token=token)

    def show_label_page(self, url: str) -> None:
        """Tell visitors where people label."""
        self._spi.label_url = url
