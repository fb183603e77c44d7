"""The explorer of conformations as a component of Panel: one for each browser tab.

Imports Panel, so it is imported when a page is made. What happens in the browser is in
`heterogeneity_page.js` and the files beside it; messages go both ways, each with its `kind`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import panel
import param
from panel.custom import JSComponent

from hpdp_dask.cryoem.heterogeneity.selection import Lasso
from hpdp_dask.errors import InputError
from hpdp_dask.web.heterogeneity_choice import HOW, SUFFIXES, Choice
from hpdp_dask.web.heterogeneity_desk import ExplorerDesk

_SCRIPTS = ("heterogeneity_scatter.js", "heterogeneity_volume.js", "heterogeneity_page.js")
_HERE = Path(__file__).parent

#: Corners of a lasso that a browser may send.
_MOST_CORNERS = 2000


class ExplorerView(JSComponent):
    """The explorer in a browser.

    Parameters
    ----------
    desk : ExplorerDesk
        What it works with; shared by all visitors.
    """

    full_page = param.Boolean(default=True, doc="It fills the window.")

    _esm = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    _stylesheets = [(_HERE / "heterogeneity_page.css").read_text(encoding="utf-8")]  # noqa: RUF012

    def __init__(self, desk: ExplorerDesk, **parameters: Any) -> None:
        super().__init__(**parameters)
        self._desk = desk
        if panel.state.curdoc is not None:
            panel.state.on_session_destroyed(lambda _context: desk.leave(self))

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to the browser; from any thread."""
        self._send_msg(message)

    def _handle_msg(self, message: dict[str, Any]) -> None:
        """Do what the browser asks; what it sends is checked, since others could write it."""
        try:
            getattr(self, f"_on_{message['kind']}")(message)
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            self.tell({"kind": "problem", "text": f"The page was not understood: {error}"})

    def _on_hello(self, _message: dict[str, Any]) -> None:
        self._desk.enter(self)

    def _on_column(self, message: dict[str, Any]) -> None:
        self._desk.give(self, self._known(message["name"]))

    def _on_lasso(self, message: dict[str, Any]) -> None:
        polygon = np.array(message["polygon"], dtype=np.float64)
        if polygon.ndim != 2 or polygon.shape[1] != 2 or not 3 <= len(polygon) <= _MOST_CORNERS:
            raise ValueError(f"a lasso of the shape {polygon.shape}")
        if not np.isfinite(polygon).all():
            raise ValueError("a lasso with corners that are no numbers")
        lasso = Lasso(self._known(message["x"]), self._known(message["y"]), polygon)
        self._desk.choose(self, partial(Choice.draw, lasso=lasso, how=_way(message)))

    def _on_pick(self, message: dict[str, Any]) -> None:
        column, category = self._known(message["column"]), int(message["category"])
        pick = partial(Choice.pick, column=column, category=category, how=_way(message))
        self._desk.choose(self, pick)

    def _on_clear(self, _message: dict[str, Any]) -> None:
        self._desk.choose(self, Choice.clear)

    def _on_invert(self, _message: dict[str, Any]) -> None:
        self._desk.choose(self, Choice.invert)

    def _on_look(self, message: dict[str, Any]) -> None:
        place = int(message["image"])
        if not 0 <= place < self._desk.explored.number:
            raise ValueError(f"there is no image {place}")
        self._desk.look(self, place)

    def _on_save(self, message: dict[str, Any]) -> None:
        kind = str(message["what"])
        if kind not in SUFFIXES:
            raise ValueError(f"nothing is saved as {kind}")
        self._desk.save(self, str(message["name"]), kind)

    def _known(self, name: object) -> str:
        if not isinstance(name, str) or name not in self._desk.explored.columns:
            raise ValueError(f"there is no column {name}")
        return name


def _way(message: dict[str, Any]) -> str:
    if message["how"] not in HOW:
        raise ValueError(f"nothing is chosen by {message['how']}")
    return str(message["how"])
