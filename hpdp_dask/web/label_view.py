"""The label page as a component of Panel: one for each browser tab.

Imports Panel, so it is imported when a page is made. What happens in the browser is in
`label_page.js` and the files beside it; messages go both ways, each with its `kind`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import panel
import param
from panel.custom import JSComponent

from hpdp_dask.errors import InputError
from hpdp_dask.web.label_desk import SIDES, LabelDesk
from hpdp_dask.web.label_orders import first_filter
from hpdp_dask.web.pictures import Contrast

_SCRIPTS = ("label_store.js", "label_deck.js", "label_drawing.js", "label_page.js")
_HERE = Path(__file__).parent

#: Characters of a person's name that are kept.
_LONGEST_NAME = 60


class LabelView(JSComponent):
    """A label page in a browser.

    Parameters
    ----------
    desk : LabelDesk
        What it works with; shared by all visitors.
    person : str
        Name that a visitor has until another is given.
    """

    full_page = param.Boolean(default=True, doc="It fills the window.")

    _esm = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    _stylesheets = [(_HERE / "label_page.css").read_text(encoding="utf-8")]  # noqa: RUF012

    def __init__(self, desk: LabelDesk, person: str, **parameters: Any) -> None:
        super().__init__(**parameters)
        self._desk = desk
        self._person = person
        self._epoch = -1
        self._told = 0
        if panel.state.curdoc is not None:
            panel.state.on_session_destroyed(lambda _context: desk.leave(self))

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to the browser; from any thread."""
        self._send_msg(message)

    def update(self) -> None:
        """Send what was labelled since the last time, and that the server is there."""
        book = self._desk.book
        is_new = self._epoch != book.epoch
        acts = book.acts if is_new else book.acts[self._told :]
        self._epoch, self._told = book.epoch, len(book.acts)
        last = {act.frame: act for act in acts}
        labels = [[act.frame, act.label, act.person] for act in last.values()]
        self.tell({"kind": "labels", "all": is_new, "labels": labels, "number": book.source.number})

    def _handle_msg(self, message: dict[str, Any]) -> None:
        """Do what the browser asks; what it sends is checked, since others could write it."""
        try:
            getattr(self, f"_on_{message['kind']}")(message)
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            self.tell({"kind": "problem", "text": f"The page was not understood: {error}"})

    def _on_hello(self, _message: dict[str, Any]) -> None:
        book = self._desk.book
        self._epoch, self._told = book.epoch, len(book.acts)
        self.tell(
            {
                "kind": "start",
                "name": book.source.name,
                "number": book.source.number,
                "classes": list(book.classes),
                "log": str(book.log.path),
                "person": self._person,
                "orders": book.orders(),
                "filters": book.filters(),
                "only": first_filter(book.source.columns),
                "labels": [
                    [act.frame, act.label, act.person]
                    for act in book.log.acts.values()
                    if act.label is not None
                ],
            }
        )
        self._desk.enter(self)

    def _on_acts(self, message: dict[str, Any]) -> None:
        acts = [
            (str(name), int(frame), None if label is None else str(label))
            for name, frame, label in message["acts"]
        ]
        self._desk.save(self, acts, str(message["person"])[:_LONGEST_NAME])

    def _on_want(self, message: dict[str, Any]) -> None:
        order, only = str(message["order"]), str(message["only"])
        book = self._desk.book
        if order not in book.orders() or only not in book.filters():
            raise ValueError(f"there is no order {order}, or no filter {only}")
        size = max(1, min(200, int(message["size"])))
        if order == "instructive":
            self._desk.choose(self, only, size, map(int, message["shown"]))
        else:
            start = None if message["start"] is None else max(0, int(message["start"]))
            self._desk.arrange(self, order, only, start, size)

    def _on_paint(self, message: dict[str, Any]) -> None:
        contrast = Contrast(
            scale=message["scale"],
            high=float(message["high"]),
            exposure=float(message["exposure"]),
            colours=message["colours"],
        )
        number = self._desk.book.source.number
        frames = [int(frame) for frame in message["frames"] if 0 <= int(frame) < number]
        if message["size"] not in SIDES:
            raise ValueError(f"there is no size {message['size']}")
        self._desk.paint(self, frames, message["size"], int(message["version"]), contrast)

    def _on_describe(self, message: dict[str, Any]) -> None:
        frame = int(message["frame"])
        if not 0 <= frame < self._desk.book.source.number:
            raise ValueError(f"there is no frame {frame}")
        self._desk.describe(self, frame)
