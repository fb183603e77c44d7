"""Live pages as components of Panel: one for each browser tab.

Imports Panel, so it is imported when a page is made. What happens in the browser is in
`live_common.js`, which all share, and in the script of each craft, which follows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import panel
import param
from panel.custom import JSComponent

from hpdp_dask.web.live_desk import LiveDesk

_HERE = Path(__file__).parent


def _joined(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


class _Visiting:
    """What a component does as a visitor of a desk.

    Parameters
    ----------
    desk : LiveDesk
        What it shows; shared by all visitors.
    """

    def __init__(self, desk: LiveDesk, **parameters: Any) -> None:
        super().__init__(**parameters)
        self._desk = desk
        if panel.state.curdoc is not None:
            panel.state.on_session_destroyed(lambda _context: desk.leave(self))

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to the browser; from any thread."""
        self._send_msg(message)  # type: ignore[attr-defined]  # of the component

    def _handle_msg(self, message: dict[str, Any]) -> None:
        """Do what the browser asks."""
        kind = str(message.get("kind"))
        if kind == "hello":
            self._desk.enter(self)
        else:
            self._desk.hear(kind)


class SpiView(_Visiting, JSComponent):
    """The live page of single particles in a browser."""

    full_page = param.Boolean(default=True, doc="It fills the window.")

    _esm = _joined("live_common.js", "live_page.js")
    _stylesheets = [_joined("live_page.css")]  # noqa: RUF012


class CrystalsView(_Visiting, JSComponent):
    """The live page of diffraction images in a browser."""

    full_page = param.Boolean(default=True, doc="It fills the window.")

    _esm = _joined("live_common.js", "crystals_page.js")
    _stylesheets = [_joined("live_page.css", "crystals_page.css")]  # noqa: RUF012
