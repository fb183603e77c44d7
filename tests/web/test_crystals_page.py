"""The live page of diffraction images in Chromium: what it shows, and that it can end a stream."""

import threading
from contextlib import contextmanager

import pytest
from crystal_images import Brightness, draw, write_image

from hpdp_dask.frames.live_sources import IMAGES, open_live
from hpdp_dask.web.crystals_page import CrystalsPage
from hpdp_dask.workflow.crystals_watch import run_watch


@pytest.fixture
def watched(client, tmp_path):
    """A folder that is watched, its page, and the record when it has ended."""
    folder = tmp_path / "visit"
    folder.mkdir()
    begun, found = threading.Event(), {}

    @contextmanager
    def around(stream):
        found["page"], found["stream"] = CrystalsPage(stream), stream
        begun.set()
        yield

    def run():
        source = open_live(str(folder), 8, fewest=1, folder=IMAGES)
        words = {"client": client, "command": ["hpdp"], "model": "brightness", "batch": 8}
        found["record"] = run_watch(
            source, tmp_path / "watch", Brightness(), around=around, say=print, **words
        )

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)
    yield folder, found, thread
    found["stream"].stop("leave")
    thread.join(60)
    found["page"].stop()


def tile(page, name):
    return page.locator(".tiles section", has_text=name)


@pytest.mark.browser
def test_the_page_shows_images_as_they_appear_and_ends_the_stream(watched, new_page):
    folder, found, thread = watched
    page = new_page(found["page"].url)
    page.get_by_text("None yet.").first.wait_for()
    images = draw(30)
    for place in range(20):
        write_image(folder / f"a_{place:04d}.cbf", images[place])
    page.get_by_text("Hits", exact=True).first.wait_for()
    best = page.locator(".shelf", has_text="Best")
    best.locator("figure img").nth(2).wait_for()
    assert best.locator("figure").first.get_attribute("title").startswith(str(folder))
    assert "Å" in best.locator("figcaption b").first.inner_text()
    decoded = "async image => { await image.decode(); return image.naturalWidth; }"
    assert best.locator("figure img").first.evaluate(decoded) > 30
    page.locator('.tiles section b:text-is("20")').wait_for()
    tile(page, "Hits").get_by_text("65.0 %").wait_for()
    tile(page, "Resolution").get_by_text("Å").wait_for()
    page.locator('[data-at="last"] circle').nth(12).wait_for()
    page.locator('[data-at="counts"] .bars').wait_for()

    # a better one takes the first place, and can be looked at
    images[25, 30, 24] = 100_000
    write_image(folder / "b_0000.cbf", images[25])
    best.locator('figure[title$="b_0000.cbf"]').wait_for()
    assert best.locator("figure").first.get_attribute("title").endswith("b_0000.cbf")
    best.locator("figure").first.click()
    page.locator(".large span", has_text="b_0000.cbf").wait_for()
    page.keyboard.press("Escape")
    page.locator(".large").wait_for(state="hidden")

    # whoever comes later sees all of it
    other = new_page(found["page"].url)
    other.locator(".shelf", has_text="Best").locator("figure img").nth(5).wait_for()

    page.get_by_role("button", name="End the stream").click()
    page.get_by_role("button", name="Really end it?").click()
    thread.join(60)
    assert found["record"].results["frames"] == 21
    found["page"].stop()
    page.get_by_text("The stream has ended.").wait_for()
