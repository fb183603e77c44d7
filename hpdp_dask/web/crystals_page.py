"""A page that shows how crystals diffract while their images arrive."""

from __future__ import annotations

from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.web.crystals_desk import CrystalsDesk
from hpdp_dask.web.live_server import ServedDesk


class CrystalsPage(ServedDesk):
    """A live page of diffraction images.

    Parameters
    ----------
    stream : Stream
        With the recipe of `crystallography.watch`.
    address, port, token : optional
        See `serve`.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        desk = CrystalsDesk(stream)

        def make_page() -> object:
            from hpdp_dask.web.live_view import CrystalsView

            return CrystalsView(desk)

        super().__init__(desk, make_page, "Live images", address=address, port=port, token=token)
