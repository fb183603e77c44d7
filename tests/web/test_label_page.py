"""The label page in Chromium: labels by keyboard, and that none of them is lost."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rings_and_stripes import frames_in_memory, stored_frames

from hpdp_dask.errors import InputError
from hpdp_dask.spi.labels import LabelLog, read_labels
from hpdp_dask.web.label_page import LabelPage, label
from hpdp_dask.web.server import serve

CLASSES = ["single", "other", "droplet"]
KEYS = {name: str(i + 1) for i, name in enumerate(CLASSES)}

browser_test = pytest.mark.browser


@pytest.fixture
def served(tmp_path):
    """A label page of 120 frames."""
    page = LabelPage(frames_in_memory()[0], CLASSES, tmp_path / "labels.jsonl", person="anna")
    yield page
    page.stop()


@pytest.fixture
def visit(served, new_page):
    """Open the page, with its first batch drawn."""

    def open_page(**options):
        return ready(new_page(served.url, **options))

    return open_page


def ready(page):
    page.locator(".tile.current img:not(.absent)").wait_for()
    return page


def acts_of(log):
    return [(act.label, act.frame) for act in LabelLog(log).refresh()]


def saved(page, number):
    """Wait until a number of labels is on the disk."""
    page.locator(f'[data-at="progress"]:has-text("{number} of")').wait_for()
    page.get_by_text("All saved").wait_for()


def frames_shown(page):
    return [int(tile.get_attribute("data-frame")) for tile in page.locator(".tile").all()]


def labels_shown(page):
    tiles = page.locator(".tile").all()
    return {int(t.get_attribute("data-frame")): t.get_attribute("data-label") for t in tiles}


def order(page, name):
    page.locator('[data-at="order"]').select_option(name)
    ready(page)


@browser_test
def test_forty_labels_at_ten_keys_a_second(visit, served):
    page = visit()
    typed = np.random.default_rng(0).choice(CLASSES, 40).tolist()
    for name in typed:
        page.keyboard.press(KEYS[name])
        page.wait_for_timeout(95)
    saved(page, 40)
    acts = acts_of(served.book.log.path)
    assert [name for name, _ in acts] == typed
    assert len({frame for _, frame in acts}) == 40
    assert Counter(served.labels.tolist()) == Counter(typed) + Counter({"": 80})
    page.locator('[data-at="estimate"].known').wait_for()
    shown = labels_shown(page)
    page.reload()
    ready(page)
    saved(page, 40)
    # the same batch with the same labels, and the cursor where it was
    assert labels_shown(page) == shown
    assert page.locator(".tile.current").get_attribute("data-label") == ""


@browser_test
def test_keys_in_one_burst(visit, served):
    page = visit()
    page.keyboard.type("12" * 30)
    saved(page, 60)
    assert [name for name, _ in acts_of(served.book.log.path)] == ["single", "other"] * 30


@browser_test
def test_more_keys_than_frames_change_nothing(tmp_path, new_page):
    frames, _ = frames_in_memory(110)
    frames.columns["hit"][:] = np.arange(110) >= 10
    log = LabelLog(tmp_path / "labels.jsonl")
    log.write([(frame, "droplet") for frame in range(15, 110)], "ben")
    served = LabelPage(frames, CLASSES, tmp_path / "labels.jsonl")
    try:
        page = ready(new_page(served.url))
        # with a hundred hits or more it begins with these
        page.keyboard.type("1" * 5 + "2" * 5)
        saved(page, 100)
        assert served.labels[:15].tolist() == [""] * 10 + ["single"] * 5
        assert set(served.labels[15:].tolist()) == {"droplet"}
        assert page.locator(".tile.current").count() == 0
    finally:
        served.stop()


@browser_test
def test_frames_that_arrive_meanwhile_are_offered(tmp_path, new_page):
    source, _ = frames_in_memory(12)
    more, _ = frames_in_memory(120)
    served = LabelPage(source, CLASSES, tmp_path / "labels.jsonl")
    try:
        page = ready(new_page(served.url))
        page.keyboard.type("1" * 12)
        saved(page, 12)
        assert page.locator(".tile.current").count() == 0
        for name in ("images", "columns", "feature_vectors"):
            setattr(source, name, getattr(more, name))
        ready(page)
        first = frames_shown(page)
        assert len(first) == 24
        assert set(first[:12]) == set(range(12))
        page.keyboard.type("2" * 13)
        saved(page, 25)
        assert "Batch 2" in page.locator('[data-at="place"]').inner_text()
        assert [frame for _, frame in acts_of(served.book.log.path)][:24] == first
    finally:
        served.stop()


@browser_test
def test_undo(visit, served):
    page = visit()
    first, second = frames_shown(page)[:2]
    page.keyboard.type("12")
    page.keyboard.press("Control+z")
    page.keyboard.type("3")
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("1u")
    saved(page, 2)
    assert served.labels[[first, second]].tolist() == ["single", "droplet"]
    assert page.locator(".tile.current").get_attribute("data-frame") == str(second)
    page.reload()
    ready(page)
    # what can be undone is known to the tab after a reload
    page.keyboard.type("uu")
    saved(page, 0)
    assert not served.labels[[first, second]].any()
    assert [name for name, _ in acts_of(served.book.log.path)] == [
        *("single", "other", None, "droplet", "single", "droplet", None, None)
    ]


@browser_test
def test_two_people(visit, served):
    anna, ben = visit(), visit()
    ben.locator('[data-at="person"]').fill("ben")
    ben.locator('[data-at="person"]').press("Enter")
    # they are given different frames
    assert not set(frames_shown(anna)) & set(frames_shown(ben))
    anna.keyboard.type("11")
    ben.keyboard.type("222")
    for page in (anna, ben):
        saved(page, 5)
        order(page, "review")
    assert Counter(act.person for act in LabelLog(served.book.log.path).refresh()) == {
        "anna": 2,
        "ben": 3,
    }
    assert labels_shown(anna) == labels_shown(ben)
    # a third person writes the log from elsewhere
    LabelLog(served.book.log.path).write([(frames_shown(anna)[0], "droplet")], "carl")
    tile = f'.tile[data-frame="{frames_shown(ben)[0]}"][data-label="droplet"]'
    for page in (anna, ben):
        page.locator(tile).wait_for(timeout=10_000)


@browser_test
def test_mouse_zoom_contrast_and_orders(visit, served):
    page = visit()
    order(page, "lit")
    lit = served.book.source.columns["lit_pixels"]
    frames = frames_shown(page)
    assert np.all(np.diff(lit[frames]) <= 0)
    page.locator(".tile").nth(5).click()
    page.locator('[data-at="classes"] button').nth(1).click()
    saved(page, 1)
    assert served.labels[frames[5]] == "other"
    page.locator(".tile").nth(5).dblclick()
    page.get_by_role("heading", name=f"Frame {frames[5]}").wait_for()
    page.locator('[data-at="numbers"]').get_by_text(str(lit[frames[5]])).wait_for()
    assert page.locator('[data-at="numbers"]').get_by_text("other (anna)").is_visible()
    page.keyboard.type("3")
    page.get_by_role("heading", name=f"Frame {frames[6]}").wait_for()
    page.keyboard.press("Escape")
    saved(page, 1)
    assert served.labels[frames[5]] == "droplet"
    before = page.locator(".tile img").first.get_attribute("src")
    page.keyboard.type("+s")
    page.wait_for_function(
        "before => document.querySelector('*') && before !== [...document.querySelectorAll('*')]"
        ".map(e => e.shadowRoot).filter(Boolean).map(root => root.querySelector('.tile img'))"
        ".find(Boolean).src",
        arg=before,
    )
    assert page.locator('[data-at="scale"]').input_value() == "sqrt"
    # by frame number, the page is the same for everybody, with its labels
    order(page, "stored")
    page.keyboard.press("n")
    page.locator(".tile[data-frame='24']").wait_for()
    page.reload()
    ready(page)
    assert frames_shown(page) == list(range(24, 48))
    page.locator('[data-at="only"]').select_option("given:droplet")
    page.locator(f".tile[data-frame='{frames[5]}'].current").wait_for()
    assert frames_shown(page) == [frames[5]]
    page.locator('[data-at="only"]').select_option("")
    page.locator('[data-at="size"]').select_option("60")
    page.wait_for_function("document.title")
    page.locator(".tile").nth(59).wait_for()


@browser_test
def test_what_cannot_be_saved_is_told_and_tried_again(visit, served, monkeypatch):
    page = visit()
    write = served.book.log.write

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(served.book.log, "write", full)
    page.keyboard.type("12")
    page.get_by_text(f"Not saved ({os.strerror(28)})").wait_for()
    monkeypatch.setattr(served.book.log, "write", write)
    saved(page, 2)
    assert [name for name, _ in acts_of(served.book.log.path)] == ["single", "other"]


PAGE = """
import sys, typer
from hpdp_dask.cli.spi.label import label_command
from hpdp_dask.web import server
made = server.secrets.token_urlsafe
server.secrets.token_urlsafe = lambda *_: "the-same-token"
typer.run(label_command)
"""


def start(frames, log, port):
    options = ["--classes", ",".join(CLASSES), "-o", log, "--port", str(port), "--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-c", PAGE, frames, *options],
        stdout=subprocess.PIPE,
        text=True,
        # a shell lets what it runs in the background ignore Ctrl-C, and so these tests maybe
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    line = process.stdout.readline()
    return process, line.split()[-1] if line else ""


@browser_test
def test_a_killed_page_loses_nothing(tmp_path, new_page):
    stored_frames(tmp_path / "frames.zarr")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path / "labels.jsonl"
    process, url = start(tmp_path / "frames.zarr", log, port)
    try:
        page = ready(new_page(url))
        page.keyboard.type("12312")
        saved(page, 5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert [name for name, _ in acts_of(log)] == [*CLASSES, *CLASSES[:2]]
        # labels that are given meanwhile wait in the browser
        page.keyboard.type("33")
        page.get_by_text("The server does not answer").wait_for()
        process, again = start(tmp_path / "frames.zarr", log, port)
        assert again == url
        saved(page, 7)
        assert Counter(read_labels(log, 60).tolist()) == {
            "": 53,
            "single": 2,
            "other": 2,
            "droplet": 3,
        }
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "(7 of 60 frames: 2 single, 2 other, 3 droplet)" in told
    finally:
        process.kill()
        process.communicate()


@browser_test
def test_in_the_frame_of_a_notebook_from_another_site(served, new_page):
    import panel

    with serve(lambda: panel.pane.HTML(served._repr_html_()), title="Notebook") as notebook:
        page = new_page(notebook.url.replace("127.0.0.1", "localhost"))
        inside = page.frame_locator("iframe")
        inside.locator(".tile.current img:not(.absent)").click()
        page.keyboard.type("12")
        inside.get_by_text("2 of 120 labelled").wait_for()
        inside.get_by_text("All saved").wait_for()
    assert [name for name, _ in acts_of(served.book.log.path)] == ["single", "other"]


@browser_test
@pytest.mark.parametrize(
    ("scheme", "width", "height"), [("light", 1280, 800), ("dark", 1280, 800), ("light", 420, 640)]
)
def test_pictures(visit, tmp_path, scheme, width, height):
    page = visit(color_scheme=scheme, viewport={"width": width, "height": height})
    page.keyboard.type("12213")
    saved(page, 5)
    folder = Path(os.environ.get("HPDP_SCREENSHOTS", tmp_path))
    name = folder / f"label_page_{scheme}_{width}.png"
    page.screenshot(path=name)
    with Image.open(name) as picture:
        pixels = np.asarray(picture.convert("L"), float)
    assert pixels.std() > 20
    assert (np.median(pixels[-8:]) > 128) == (scheme == "light")
    # nothing is cut off at the side
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_without_its_token_is_refused(served):
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(served.url.replace(served.server.token, ""), timeout=60)
    assert refused.value.code == 403
    refused.value.close()


def test_in_a_notebook(tmp_path):
    frames = np.ones((5, 8, 8), np.uint8)
    page = label(frames, ["single", "other"], tmp_path / "labels.jsonl")
    try:
        assert page.url in page._repr_html_()
        LabelLog(tmp_path / "labels.jsonl").write([(3, "single")], "ben")
        assert page.labels.tolist() == ["", "", "", "single", ""]
        assert repr(page).endswith("(1 of 5 frames: 1 single, 0 other)")
    finally:
        page.stop()
        page.stop()


@pytest.mark.parametrize(
    ("frames", "classes", "words"),
    [
        (np.ones((8, 8)), CLASSES, r"shape \(8, 8\), expected \(n, y, x\)"),
        (np.ones((5, 8, 8)), "single,other", "expected a list of words"),
        (np.ones((5, 8, 8)), ["single"], "expected two or more"),
        ("nowhere.zarr", CLASSES, "nowhere.zarr"),
    ],
)
def test_wrong_input(tmp_path, frames, classes, words):
    with pytest.raises(InputError, match=words):
        LabelPage(frames, classes, tmp_path / "labels.jsonl")
    assert not re.findall("labels", "".join(os.listdir(tmp_path)))


def test_a_port_that_is_taken_leaves_no_thread(served, tmp_path):
    import threading

    before = threading.active_count()
    began = time.monotonic()
    with pytest.raises(InputError, match="choose another port"):
        LabelPage(np.ones((5, 8, 8)), CLASSES, tmp_path / "b.jsonl", port=served.server.port)
    assert threading.active_count() <= before
    assert time.monotonic() - began < 60
