"""The dashboard's page of stages: what is announced, its figures, and what Chromium shows."""

import asyncio
import json
import os
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from html import unescape
from pathlib import Path
from uuid import uuid4

import dask
import pytest
from dask.utils import key_split
from distributed import Client, Scheduler

from hpdp_dask.cluster import dashboard
from hpdp_dask.cluster.panel_figures import Stages, read_stages, stage_card, stages
from hpdp_dask.cryoem.refine.stage import refine
from hpdp_dask.cryoem.simulate import phantom, potential_map, simulate_particles
from hpdp_dask.dataflow.announcements import TOPIC, shown, shown_loop
from hpdp_dask.dataflow.running import _spelled
from hpdp_dask.formats import mrc
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images


def message(number, images, seconds, **others):
    """Give a message of a stage of 1000 images."""
    return {
        "id": "a",
        "client": "someone",
        "stage": "refine",
        "status": "running",
        "number": number,
        "images": images,
        "total": 1000,
        "all_images": images,
        "iteration": None,
        "figures": {},
        "curve": [],
        "seconds": float(seconds),
    } | others


def test_rate_and_time_left_are_those_of_the_last_while():
    # 10 images a second for 50 s, then 20
    told = [(1e9 + t, message(t, 10 * t + 10 * max(0, t - 50), t)) for t in range(71)]
    (found,) = read_stages(told, {"someone"})
    assert found.status == "running"
    assert found.images_per_second == pytest.approx(20.0)
    assert found.seconds_left == pytest.approx(100 / 20)
    assert found.rates[0] == (1e9 + 1, pytest.approx(10.0))
    (ended,) = read_stages([*told, (1e9 + 80, message(80, 1000, 80, status="done"))])
    assert (ended.images_per_second, ended.seconds_left) == (pytest.approx(12.5), None)


def test_a_stage_without_an_end():
    told = [(1e9 + t, message(t, 10 * t, t, total=0)) for t in range(30)]
    (found,) = read_stages(told, {"someone"})
    assert found.images_per_second == pytest.approx(10.0)
    assert found.seconds_left is None
    assert "290" in stage_card(found)
    assert "290 of" not in stage_card(found)


def test_messages_that_overtook_each_other_and_a_client_that_left():
    told = [(1.0, message(2, 900, 9)), (1.1, message(1, 100, 1))]
    (found,) = read_stages(told, clients=set())
    assert (found.images, found.status) == (900, "lost")


@pytest.mark.parametrize(
    "wrong",
    [None, 3, "refine", {}, {"stage": "refine"}, message("1", 0, 0), message(1, None, 0)],
)
def test_what_is_no_message_is_left_out(wrong):
    assert read_stages([(1.0, wrong), (2.0, message(1, 5, 1))])[0].images == 5
    assert len(read_stages([(1.0, wrong)])) == 0


def test_figures_of_a_loop():
    figures = {"resolution": 7.25, "angular_step": 1.875, "shift_step": 0.65}
    curve = [20.0, None, 7.25]
    told = message(1, 500, 5, iteration=4, figures=figures, curve=curve)
    found = read_stages([(1.0, told)])
    assert found[0].curve == [(1, 20.0), (3, 7.25)]
    card = unescape(found._repr_html_())
    for words in ("iteration 4", "500 of 1,000", "7.2 Å", "1.88° · 0.65 Å", "left in this"):
        assert words in card


def test_text_of_others_is_escaped():
    evil = "<script>alert(1)</script>"
    told = message(1, 0, 0, stage=evil, status=evil, figures={"resolution": evil, "step": evil})
    card = stage_card(read_stages([(1.0, told)])[0])
    assert "<script" not in card
    assert "&lt;script&gt;" in card


def test_no_stage_yet():
    assert "No stage" in Stages()._repr_html_()


def test_stages_are_announced(client):
    with suppress(ZeroDivisionError), shown("broken", 50, client=client, progress=None) as done:
        done(20)
        done(1 // 0)
    with shown("whole", 50, client=client, progress=None) as done:
        done(30)
        (now,) = [stage for stage in wait_for(client, "whole", images=0)]
        assert now.status == "running"
        done(20)
    whole, broken = stages(client)[:2]
    assert (whole.stage, whole.status, whole.images, whole.total) == ("whole", "done", 50, 50)
    assert (broken.stage, broken.status, broken.images) == ("broken", "failed", 20)


def wait_for(client, name, images):
    for _ in range(100):
        found = [stage for stage in stages(client) if stage.stage == name]
        if found and found[0].images >= images:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{name} was not announced")


def test_nobody_is_told_without_a_cluster():
    with shown_loop("alone", client=None, progress=None) as loop:
        loop.begin_pass("alone-001", 10, 1)(10)


@pytest.mark.parametrize("name", ["refine-001", "classify-001", "first-averages", "search-012"])
def test_tasks_are_named_by_stage_and_step(client, name):
    """Dask must not take a word of a name for a hash, as it does those like *classify*."""
    key = (f"expect-{_spelled(name)}-{uuid4().hex}", 0)
    assert key_split(key).lower() == f"expect-{name.rstrip('-0123456789')}"


def test_page_is_linked_and_on_this_machine_only(client):
    assert client.dashboard_link.startswith("http://127.0.0.1:")
    for page in ("status", "stages"):
        assert '<a href="stages">Stages</a>' in read(client.dashboard_link, page)


def test_pane_for_jupyterlab(client):
    assert json.loads(read(client.dashboard_link, "individual-plots.json"))[
        "Individual Stages"
    ] == ("/individual-stages")
    assert "Documentation" not in read(client.dashboard_link, "individual-stages")


def read(link, page):
    with urllib.request.urlopen(link.replace("status", page)) as answer:
        return answer.read().decode()


@pytest.mark.parametrize("preload", [True, False])
def test_page_of_a_scheduler_of_others(preload):
    async def visit():
        options = {"preload": ["hpdp_dask.cluster.dashboard"]} if preload else {}
        async with (
            Scheduler(dashboard_address="127.0.0.1:0", host="127.0.0.1", **options) as scheduler,
            Client(scheduler.address, asynchronous=True) as client,
        ):
            if not preload:
                for _ in range(2):
                    await client.register_plugin(dashboard.StagesPage())
            link = f"http://127.0.0.1:{scheduler.http_server.port}/status"
            return [await asyncio.to_thread(read, link, page) for page in ("status", "stages")]

    for page in asyncio.run(visit()):
        assert page.count('<a href="stages">Stages</a>') == 1


def test_link_goes_through_jupyterhub(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/someone/")
    with dask.config.set({"distributed.dashboard.link": "{scheme}://{host}:{port}/status"}):
        dashboard.link_through_jupyterhub()
        from distributed.utils import format_dashboard_link

        assert format_dashboard_link("127.0.0.1", 8787) == "/user/someone/proxy/8787/status"
    with dask.config.set({"distributed.dashboard.link": "mine/{port}"}):
        dashboard.link_through_jupyterhub()
        assert dask.config.get("distributed.dashboard.link") == "mine/{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Chromium, driven by Playwright; of the test extra, but its system packages are not pip's."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        # as root it runs only without its sandbox; it sees pages of this machine alone
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


NAMES_SHOWN = """
() => [...Bokeh.documents[0]._all_models.values()].some(
    model => [...(model.data?.get?.("name") ?? model.data?.name ?? [])].includes("expect-refine"))
"""


@pytest.mark.browser
def test_pictures_of_a_refinement(client, browser, tmp_path):
    """Named tasks and our figures are there while particles are refined."""
    table, images = simulate_particles(
        phantom(), 480, 32, pixel_size=6.5, snr=0.2, shift_sigma=5.0, seed=2
    )
    stack, reference = tmp_path / "particles.zarr", tmp_path / "reference.mrc"
    new_stack(stack, to_dataset(table, 0), len(images), 32)
    write_images(stack, 0, images)
    mrc.write_map(reference, potential_map(phantom().at(), 32, 6.5), 6.5)
    (tmp_path / "scratch").mkdir()
    running = threading.Thread(
        target=refine,
        args=(stack, tmp_path, tmp_path / "scratch"),
        kwargs={
            "reference": reference,
            "symmetry": "D3",
            "initial_resolution": 40.0,
            "mask_diameter": 175.0,
            "client": client,
        },
    )
    status, panel = (browser.new_page(viewport={"width": 1300, "height": 760}) for _ in range(2))
    status.goto(client.dashboard_link)
    panel.goto(client.dashboard_link.replace("status", "stages"))
    running.start()
    try:
        panel.get_by_text("refine · iteration").first.wait_for(timeout=60_000)
        # of the first iteration, so not before the second
        panel.get_by_text("° ·").first.wait_for(timeout=60_000)
        status.wait_for_function(NAMES_SHOWN, timeout=60_000)
        panel.wait_for_timeout(1500)
        pictures = {"stages": panel, "status": status}
        folder = Path(os.environ.get("HPDP_SCREENSHOTS", tmp_path))
        for name, page in pictures.items():
            page.screenshot(path=folder / f"{name}.png")
            assert (folder / f"{name}.png").stat().st_size > 10_000
        for words in ("images per second", "resolution", "sampling", "of 480"):
            assert panel.get_by_text(words).first.is_visible()
    finally:
        running.join()
    refined = stages(client)[0]
    assert (refined.stage, refined.status) == ("refine", "done")
    assert len(refined.curve) == refined.iteration
    assert refined.resolution < 25.0
    groups = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))
    assert "expect-refine" in groups
    assert client.get_events(TOPIC)
