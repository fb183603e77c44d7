"""The live page as a component of Panel: one for each browser tab.

Imports Panel, so it is imported when a page is made. What happens in the browser is in
`live_page.js`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import panel
import param
from panel.custom import JSComponent

from hpdp_dask.web.live_desk import LiveDesk

_HERE = Path(__file__).parent


class LiveView(JSComponent):
    """A live page in a browser.

    Parameters
    ----------
    desk : LiveDesk
        What it shows; shared by all visitors.
    """

    full_page = param.Boolean(default=True, doc="It fills the window.")

    _esm = (_HERE / "live_page.js").read_text(encoding="utf-8")
    _stylesheets = [(_HERE / "live_page.css").read_text(encoding="utf-8")]  # noqa: RUF012

    def __init__(self, desk: LiveDesk, **parameters: Any) -> None:
        super().__init__(**parameters)
        self._desk = desk
        if panel.state.curdoc is not None:
            panel.state.on_session_destroyed(lambda _context: desk.leave(self))

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to the browser; from any thread."""
        self._send_msg(message)

    def _handle_msg(self, message: dict[str, Any]) -> None:
        """Do what the browser asks."""
        if message.get("kind") == "hello":
            self._desk.enter(self)
        elif message.get("kind") == "end":
            self._desk.end_stream()
        elif message.get("kind") == "train":
            self._desk.train_again()
