"""The live page in Chromium: what it shows while a stream runs, and that it can end it."""

import threading
from contextlib import contextmanager

import pytest
from live_frames import LEAST, NAMES, make_stack

from hpdp_dask.frames.live_sources import open_live
from hpdp_dask.spi.stream.recipe import HitRule
from hpdp_dask.spi.stream.training import Settings
from hpdp_dask.web.live_page import LivePage
from hpdp_dask.workflow.spi_stream import run_live

#: So many frames that they do not end before the page was looked at, on a busy machine too.
MANY = 6000


class Running:
    """A stream with a live page, in a thread."""

    def __init__(self, source, output, client, settings, **options):
        self.begun = threading.Event()
        self.record = None
        words = {"client": client, "command": ["hpdp"], "settings": settings, "batch": 32}
        words |= {"hits": HitRule(lit_pixels=LEAST), "watch": self.watch, "say": lambda words: None}
        self.thread = threading.Thread(target=self.run, args=(source, output, words | options))
        self.thread.start()
        assert self.begun.wait(60)

    @contextmanager
    def watch(self, live):
        self.page = LivePage(live)
        self.live = live
        self.begun.set()
        yield

    def run(self, source, output, words):
        self.record = run_live(open_live(source, 32), output, **words)

    def end(self):
        self.live.stream.stop("leave")
        self.thread.join(60)
        self.page.stop()


@pytest.fixture
def stream(client, tmp_path):
    running = []

    def start(settings, rate, number=1500, **options):
        path = tmp_path / "frames.zarr"
        _, truth = make_stack(path, number)
        known = {frame: NAMES[index] for frame, index in enumerate(truth)}
        found = Running(
            f"replay:{path}@{rate}",
            tmp_path / "live",
            client,
            settings(known),
            **options,
        )
        running.append(found)
        return found

    yield start
    for each in running:
        each.end()


def tile(page, name):
    return page.locator(".tiles section", has_text=name).locator("b")


@pytest.mark.browser
def test_the_page_shows_a_stream_and_ends_it(stream, new_page):
    running = stream(lambda known: Settings(known=known, training_size=16), rate=120, number=MANY)
    page = new_page(running.page.url)
    page.get_by_text("model 001 on 16 labels").wait_for()
    assert page.locator('[data-at="source"]').inner_text().startswith("replay:")
    for name in ("small", "large"):
        card = page.locator(".class", has_text=name)
        card.locator("figure:not(.mean) img").nth(1).wait_for()
        assert card.locator("figure.mean img").get_attribute("alt") == "Frame mean"
        painted = card.locator("figure img").first.evaluate("image => image.naturalWidth")
        assert painted == 48
    page.locator(".class", has_text="No class is sure enough").wait_for()
    frames = int(tile(page, "Frames").first.inner_text().replace(",", ""))
    assert 0 < frames < MANY
    share = float(tile(page, "Hits").inner_text().removesuffix(" %"))
    assert 60 < share < 95
    # a line takes two looks at the stream, which a busy machine may not have had yet
    for drawn in ('[data-at="sizes"] .bars', '[data-at="rate"] polyline'):
        page.locator(drawn).wait_for(state="attached")
        assert page.locator(drawn).count() == 1
    page.get_by_text("Nothing was set aside.").wait_for()
    page.locator('[data-at="work"] tr').nth(2).wait_for()

    page.get_by_role("button", name="End the stream").click()
    page.get_by_role("button", name="Really end it?").click()
    page.get_by_text("no more frames come").or_(page.get_by_text("ended ·")).first.wait_for()
    running.thread.join(60)
    assert running.record is not None
    assert running.record.results["frames"] < MANY
    assert running.record.results["unlabelled"] == 0
    running.page.stop()
    page.get_by_text("The stream has ended.").wait_for()


@pytest.mark.browser
def test_the_page_leads_to_the_labels_and_trains_again(stream, new_page):
    asked = []

    def ask(pool, log):
        asked.append((pool, log))
        running.page.show_label_page("http://127.0.0.1:1/labels")

    running = stream(
        lambda known: Settings(classes=("small", "large"), training_size=8), rate=200, ask=ask
    )
    page = new_page(running.page.url)
    page.locator(".steps .now", has_text="Label").wait_for()
    link = page.get_by_role("link", name="Label hits")
    link.wait_for()
    assert link.get_attribute("href") == "http://127.0.0.1:1/labels"
    page.locator(".class", has_text="Hits").locator("img").first.wait_for()

    from hpdp_dask.spi.labels import LabelLog

    pool, path = asked[0]
    log = LabelLog(path)
    kind = ["small" if size < 550 else "large" for size in pool.columns["particle_size"]]
    log.write(list(enumerate(kind[:9])), "anna")
    page.get_by_text("model 001 on 9 labels").wait_for()
    log.write(list(enumerate(kind[:11])), "anna")
    page.get_by_role("button", name="Train again").click()
    page.get_by_text("model 002 on 11 labels").wait_for()
