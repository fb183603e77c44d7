"""Bars in a notebook: drawn in the cell that began, in place, and without widgets."""

import io
from contextvars import ContextVar, copy_context
from html.parser import HTMLParser
from threading import Thread

import pytest
from rich.console import Console

from hpdp_dask.dataflow import progress as module
from hpdp_dask.dataflow.progress import Progress, progress_for_reader

cell = ContextVar("cell", default=None)


class Handle:
    def __init__(self, drawn):
        self.drawn = drawn

    def update(self, bars):
        self.drawn.append((cell.get(), repr(bars), bars._repr_html_()))


@pytest.fixture
def drawn(monkeypatch):
    """What a notebook would show: the cell, the text and the HTML of each drawing."""
    display = pytest.importorskip("IPython.display", reason="IPython is not installed")
    found = []

    def show(bars, display_id):
        assert display_id
        handle = Handle(found)
        handle.update(bars)
        return handle

    monkeypatch.setattr(display, "display", show)
    return found


def notebook():
    return Console(file=io.StringIO(), force_jupyter=True)


def test_bars_of_stages(drawn):
    with Progress(console=notebook()) as progress:
        for name in ("first <b>", "second"):
            stage = progress.track(name, 3000)
            stage.advance(1000)
            stage.advance(2000)
    _, text, html = drawn[-1]
    assert "first <b>: 3,000/3,000 images, " in text
    assert "first &lt;b&gt;" in html
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.feed(html)
    assert tags.count("progress") == 2
    assert len(drawn) <= 3  # not for each number


def test_images_are_counted_in_another_thread(drawn):
    def run():
        cell.set("cell of the stage")
        with Progress(console=notebook()) as progress:
            stage = progress.track("reconstruct", 10)
            counting = Thread(target=stage.advance, args=(10,))
            counting.start()
            counting.join()

    copy_context().run(run)
    assert {where for where, *_ in drawn} == {"cell of the stage"}


def test_earlier_iterations_are_folded(drawn):
    with Progress(console=notebook()) as progress:
        for iteration in range(1, 8):
            progress.track(f"refine-{iteration:03d}", 5).advance(5)
    html = drawn[-1][2]
    assert "4 before" in html
    assert "refine-004" not in html
    assert "refine-007" in html


def test_stages_draw_by_themselves_in_a_notebook_alone(drawn, monkeypatch):
    with progress_for_reader(None) as progress:
        assert progress is None
    monkeypatch.setattr(module, "Console", lambda **_: notebook())
    with progress_for_reader(None) as progress:
        progress.track("normalize", 1).advance(1)
    assert "normalize: 1/1 images" in drawn[-1][1]
    mine = Progress(console=notebook())
    with progress_for_reader(mine) as progress:
        assert progress is mine


def test_nothing_is_drawn_for_nothing(drawn):
    with Progress(console=notebook()):
        pass
    assert drawn == []
