"""A served page: who may see it, where it listens, how it ends."""

import asyncio
import socket
import threading
import urllib.error
import urllib.request

import panel
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from hpdp_dask.errors import InputError
from hpdp_dask.web.server import serve


def words():
    return panel.pane.HTML("some words")


@pytest.fixture(scope="module")
def server():
    with serve(words, title="A page") as server:
        yield server


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_page_is_there(server):
    assert server.url.startswith(f"http://127.0.0.1:{server.port}/")
    with urllib.request.urlopen(server.url, timeout=60) as answer:
        assert "<title>A page</title>" in answer.read().decode()
    assert status(f"{server.url}favicon.ico") == 200
    assert status(f"{server.url}static/js/bokeh.min.js") == 200


@pytest.mark.parametrize(
    "path",
    ["", "static/js/bokeh.min.js", "favicon.ico", "ws", "TOKENx/", "x/TOKEN/", "?token=TOKEN"],
)
def test_nothing_without_the_token(server, path):
    path = path.replace("TOKEN", server.token)
    assert status(f"http://127.0.0.1:{server.port}/{path}") == 403


def test_no_websocket_without_the_token(server):
    async def connect(path):
        url = f"ws://127.0.0.1:{server.port}/{path}"
        connection = await websocket_connect(HTTPRequest(url), subprotocols=["bokeh"])
        connection.close()
        assert await connection.read_message() is None

    with pytest.raises(HTTPClientError, match="403"):
        asyncio.run(connect("ws"))
    # with it the door is open, though Bokeh then wants to know of a session
    asyncio.run(connect(f"{server.token}/ws"))


def test_resources_are_all_of_this_server(server):
    with urllib.request.urlopen(server.url, timeout=60) as answer:
        text = answer.read().decode()
    assert "https://cdn" not in text
    assert "unpkg.com" not in text


def test_two_servers_have_their_own_tokens(server):
    with serve(words, title="Other") as other:
        assert other.token != server.token
        assert status(f"http://127.0.0.1:{other.port}/{server.token}/") == 403
        assert status(other.url) == 200
    assert status(server.url) == 200


def test_port_that_is_taken(server):
    with pytest.raises(InputError, match=f"port {server.port} of 127.0.0.1"):
        serve(words, title="Late", port=server.port)


def test_address_that_is_not_of_this_machine():
    with pytest.raises(InputError, match=r"192\.0\.2\.1"):
        serve(words, title="Far", address="192.0.2.1")


def test_stop_frees_the_port_and_may_be_called_again():
    before = threading.active_count()
    server = serve(words, title="Short", token="secret")
    assert server.url == f"http://127.0.0.1:{server.port}/secret/"
    assert status(server.url) == 200
    waiting = threading.Thread(target=server.wait)
    waiting.start()
    server.stop()
    server.stop()
    waiting.join(60)
    assert not waiting.is_alive()
    assert threading.active_count() <= before
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", server.port))


def test_within_a_running_loop_as_in_a_notebook():
    async def cell():
        with serve(words, title="Notebook") as server:
            return await asyncio.to_thread(status, server.url)

    assert asyncio.run(cell()) == 200


def test_frame_for_a_notebook(server, monkeypatch):
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    assert f'src="{server.url}"' in server._repr_html_()
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/someone/")
    assert f'src="/user/someone/proxy/{server.port}/{server.token}/"' in server._repr_html_()


@pytest.mark.browser
def test_callbacks_run_in_the_server_s_thread(new_page):
    threads = []

    def make_page():
        button = panel.widgets.Button(label="press", value=False)
        told = panel.pane.HTML("nothing")

        def press(_event):
            threads.append(threading.current_thread().name)
            told.object = "pressed"

        button.on_click(press)
        return panel.Column(button, told)

    with serve(make_page, title="Buttons") as server:
        page = new_page(server.url)
        page.get_by_text("press", exact=True).click()
        page.get_by_text("pressed").wait_for()
    assert threads == ["page Buttons"]
