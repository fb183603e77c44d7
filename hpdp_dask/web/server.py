"""A page of Panel served to those who know its address, from a thread of this process.

The address holds a secret, so that on a machine with many users nobody else can look or write;
whatever is asked for without it, the websocket too, is refused (403). The secret is the first
part of the *path*, not a cookie: browsers withhold cookies in the frames of notebooks, and two
pages of one machine would share them.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from bokeh.server.server import Server as BokehServer

log = logging.getLogger(__name__)

#: Addresses that stand for all of a machine's.
_EVERYWHERE = ("", "0.0.0.0", "::")


class Server:
    """A page that is served; made by `serve`.

    Attributes
    ----------
    url : str
        Where the page is, with the secret.
    token : str
        The secret.
    port : int
    """

    def __init__(
        self,
        make_page: Callable[[], Any],
        title: str,
        address: str,
        port: int,
        token: str | None,
    ) -> None:
        self.token = secrets.token_urlsafe(24) if token is None else token
        self._loop = asyncio.new_event_loop()
        self._started: threading.Event = threading.Event()
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._server: BokehServer | None = None
        self._thread = threading.Thread(
            target=self._run,
            args=(make_page, title, address, port),
            name=f"page {title}",
            daemon=True,
        )
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        assert self._server is not None
        self.port: int = self._server.port or 0
        host = socket.getfqdn() if address in _EVERYWHERE else address
        host = f"[{host}]" if ":" in host else host
        self.url: str = f"http://{host}:{self.port}/{self.token}/"

    def stop(self) -> None:
        """End it; open pages say that they lost their server. May be called again."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def wait(self) -> None:
        """Wait until it was stopped, from this or another thread, or by Ctrl-C."""
        # in short turns: a wait without an end holds Ctrl-C back on some systems
        while not self._stopped.wait(1.0):
            pass

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def frame(self, height: int = 900) -> str:
        """Give the page as a frame, for a notebook.

        Parameters
        ----------
        height : int, optional
            Pixels.

        Returns
        -------
        str
            HTML. On a JupyterHub the browser reaches this machine through its proxy only.
        """
        hub = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
        source = f"{hub}proxy/{self.port}/{self.token}/" if hub else self.url
        return (
            f'<iframe src="{escape(source)}" style="width: 100%; height: {height}px; '
            'border: 0; border-radius: 6px;"></iframe>'
        )

    def _repr_html_(self) -> str:
        return self.frame()

    def _run(self, make_page: Callable[[], Any], title: str, address: str, port: int) -> None:
        """Serve until the loop is stopped; the whole life of the thread."""
        asyncio.set_event_loop(self._loop)
        try:
            try:
                self._server = _listen(make_page, title, address, port, self.token)
                self._server.start()
            except BaseException as error:
                self._error = error
                return
            finally:
                self._started.set()
            self._loop.run_forever()
            _end(self._server, self.token, self._loop)
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()
            self._stopped.set()


def serve(
    make_page: Callable[[], Any],
    *,
    title: str,
    address: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
) -> Server:
    """Serve a page from a thread of this process, which goes on working.

    Parameters
    ----------
    make_page : callable
        Makes what one visitor sees, anything that Panel shows; called in the server's thread
        for each browser tab. Callbacks of the page run in that thread too: what takes long goes
        to another.
    title : str
        Of the browser's tab.
    address : str, optional
        Of this machine, on which to listen; by default only programs of this machine reach it.
        *0.0.0.0* is every address it has.
    port : int, optional
        By default one that is free.
    token : str, optional
        The secret of the address, of letters, digits, `-` and `_`; by default a new one.

    Returns
    -------
    Server
        Listening already: `url` is where.

    Raises
    ------
    InputError
        The port is taken or may not be used, or the address is not this machine's.

    Examples
    --------
    >>> with serve(lambda: pn.pane.Markdown("# Hello"), title="Hello") as server:  # doctest: +SKIP
    ...     print(server.url)
    ...     server.wait()
    """
    return Server(make_page, title, address, port, token)


def _listen(
    make_page: Callable[[], Any], title: str, address: str, port: int, token: str
) -> BokehServer:
    """Make a server in a thread whose event loop is set; it does not answer yet."""
    from bokeh.server.views.ico_handler import IcoHandler
    from panel.io.server import get_server
    from tornado.ioloop import IOLoop
    from tornado.routing import PathMatches, Rule

    _check_free(address, port)
    server: BokehServer = get_server(
        make_page,
        port=port,
        address=address,
        title=title,
        prefix=token,
        loop=IOLoop.current(),
        server_id=token,
    )
    application = server._tornado
    # whoever knows the secret may connect, from the frame of any notebook or through a tunnel
    application.websocket_origins.add("*")
    application.settings["log_function"] = _log_failure
    rules = application.wildcard_router.rules
    rules.insert(0, Rule(PathMatches(f"/{token}/favicon.ico"), IcoHandler, {"app": application}))
    refused = Rule(_without(token), _refusal())
    rules.insert(0, refused)
    return server


def _check_free(address: str, port: int) -> None:
    """Check that a port can be had; Tornado would leave a socket open."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.create_server((address, port), family=family).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"The page cannot listen on port {port} of {address or 'this machine'} ({reason}); "
            "choose another port or address."
        ) from error


def _without(token: str) -> Any:
    """Match requests that do not hold the secret."""
    from tornado.routing import Matcher

    class WithoutSecret(Matcher):
        def match(self, request: Any) -> dict[str, Any] | None:
            given = request.path.lstrip("/").partition("/")[0]
            known = hmac.compare_digest(given.encode(), token.encode())
            return None if known else {}

    return WithoutSecret()


def _refusal() -> type:
    """Give a handler that answers everything with 403."""
    from tornado.web import RequestHandler

    class Refusal(RequestHandler):
        def prepare(self) -> None:
            self.set_status(403)
            self.finish("This page needs its whole address, as it was printed.")

    return Refusal


def _log_failure(handler: Any) -> None:
    """Tell of requests that failed here; of those that were refused or lost nobody need know."""
    if handler.get_status() >= 500:
        log.error("%s failed (%d)", handler._request_summary(), handler.get_status())


def _end(server: BokehServer, token: str, loop: asyncio.AbstractEventLoop) -> None:
    """End a server whose loop has stopped, and all that runs in the loop."""
    from panel.io.state import state

    server.stop()
    # Bokeh leaves connections open that are in use
    loop.run_until_complete(server._http.close_all_connections())
    state._servers.pop(token, None)
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
