"""The explorer of conformations: what it shows is so, and what is chosen is what is saved."""

import re
import time
import urllib.request

import numpy as np
import pytest
from conformations import BOX, NUMBER, PIXEL, analyse, trained_folder
from scipy.ndimage import map_coordinates
from typer.testing import CliRunner

from hpdp_dask.cli import heterogeneity_explore, pages
from hpdp_dask.cryoem.heterogeneity.selection import Lasso, read_lasso, select_rows
from hpdp_dask.cryoem.heterogeneity.table import read_table
from hpdp_dask.errors import InputError
from hpdp_dask.formats import star
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.web.heterogeneity_choice import Choice, output_path
from hpdp_dask.web.heterogeneity_page import ExplorerPage, explore
from hpdp_dask.web.heterogeneity_source import MOST_CATEGORIES, Explored
from hpdp_dask.web.heterogeneity_thread import VolumeThread

pytest.importorskip("torch")

browser_test = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = trained_folder(tmp_path_factory.mktemp("trained"))
    analyse(folder)
    return folder


@pytest.fixture(scope="module")
def explored(folder):
    return Explored(folder)


@pytest.fixture
def served(folder, tmp_path):
    page = ExplorerPage(folder, output=tmp_path)
    yield page
    page.stop()


@pytest.fixture
def visit(served, new_page):
    def open_page(**options):
        return ready(new_page(served.url, viewport={"width": 1400, "height": 950}, **options))

    return open_page


def ready(page):
    page.locator('.explorer-page[data-shown][data-fine="true"]').wait_for()
    return page


def draw(page, corners, key=None):
    """Draw a lasso; corners are shares of the chart, from its upper left."""
    chart = page.locator('[data-at="chart"]').bounding_box()
    places = [
        (chart["x"] + u * chart["width"], chart["y"] + v * chart["height"]) for u, v in corners
    ]
    if key:
        page.keyboard.down(key)
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in [*places[1:], places[0]]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    if key:
        page.keyboard.up(key)


UPPER = [(0.08, 0.02), (0.98, 0.02), (0.98, 0.5), (0.08, 0.5)]
LEFT_OF_IT = [(0.08, 0.02), (0.5, 0.02), (0.5, 0.5), (0.08, 0.5)]


def count(page, number):
    page.locator(f'[data-at="count"][data-count="{number}"]').wait_for()


def save(page, name, what):
    page.locator('[data-at="name"]').fill(name)
    page.locator('[data-at="what"]').select_option(what)
    page.locator('[data-at="go"]').click()


def eventually(page, holds):
    """Wait until something is seen: what a page draws comes a moment after what it is told."""
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until, "it is never seen"
        page.wait_for_timeout(20)


def said(page, words):
    page.locator('[data-at="said"]', has_text=words).wait_for()


# ---- without a browser


def test_columns_that_are_offered(explored, folder):
    assert {"umap1", "pc1", "z2", "defocus_u", "rot"} <= set(explored.axes)
    # the same for all images
    assert not {"width1", "class_number", "optics_group"} & explored.columns.keys()
    assert explored.columns["cluster"].names == ("0", "1")
    assert explored.columns["half_set"].names == ("0", "1")
    assert "cluster" not in explored.axes
    assert explored.first() == {"x": "umap1", "y": "umap2", "colour": "cluster"}
    np.testing.assert_array_equal(np.sort(explored.drawn), np.arange(NUMBER))
    assert ["cluster", "1"] in explored.describe(3)


def test_a_text_of_many_values(explored):
    from hpdp_dask.web.heterogeneity_source import _column

    names = np.array([f"m{k:03d}" for k in range(100)])
    table = explored.table.assign(
        # the first many times, each of the others once or twice
        micrograph=np.concatenate([np.repeat(names[:20], 5), names[np.arange(140) % 100]]),
        holes=np.where(np.arange(NUMBER) % 7, np.arange(NUMBER), np.nan),
    )
    column = _column(table["micrograph"])
    assert len(column.names) == MOST_CATEGORIES
    assert column.names[-1] == "others"
    assert {f"m{k:03d}" for k in range(20)} < set(column.names)
    assert (column.values[:100] == np.repeat(np.arange(20), 5)).all()
    assert np.isnan(_column(table["holes"]).values).sum() == np.isnan(table["holes"]).sum()


def test_choices_are_added_up(explored):
    table = explored.table
    right = Lasso("z1", "z2", np.array([[0, -9], [9, -9], [9, 9], [0, 9]]))
    upper = Lasso("z1", "z2", np.array([[-9, 0], [9, 0], [9, 9], [-9, 9]]))
    is_right, is_upper = table["z1"] > 0, table["z2"] > 0
    choice = Choice(explored)
    choice.draw(right)
    np.testing.assert_array_equal(choice.mask, is_right)
    assert choice.lasso is right
    choice.draw(upper, "remove")
    np.testing.assert_array_equal(choice.mask, is_right & ~is_upper)
    assert choice.lasso is None
    choice.pick("cluster", 1, "add")
    np.testing.assert_array_equal(choice.mask, is_right)
    choice.invert()
    np.testing.assert_array_equal(choice.rows, np.flatnonzero(~is_right))
    with pytest.raises(InputError, match="'cluster' is no column of numbers"):
        choice.draw(Lasso("cluster", "z1", right.polygon))


def test_names_that_are_none(tmp_path):
    assert output_path(tmp_path, " open.zarr ", "stack") == tmp_path / "open.zarr"
    for name in ("", "../open", "a/b", ".hidden", "a b"):
        with pytest.raises(InputError, match="is no name for a file here"):
            output_path(tmp_path, name, "stack")
    (tmp_path / "there.json").write_text("")
    with pytest.raises(InputError, match=r"there.json: is there already"):
        output_path(tmp_path, "there", "lasso")
    with pytest.raises(InputError, match="no such folder any more"):
        output_path(tmp_path / "gone", "there", "lasso")


def test_the_last_wish_is_granted(explored):
    made = []
    maker = VolumeThread(explored.conformations, explored.latent, lambda who, it: made.append(it))
    try:
        for place in range(40):
            maker.wish("anna", place)
        until = time.monotonic() + 60
        while not (made and made[-1].place == 39 and made[-1].is_fine):
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        maker.stop()
    assert len(made) < 40
    coarse, fine = made[-2:]
    assert (coarse.place, coarse.is_fine, len(coarse.volume), len(fine.volume)) == (
        39,
        False,
        16,
        24,
    )
    expected = explored.conformations.volume(explored.latent[39])
    np.testing.assert_allclose(fine.volume, expected, atol=1e-5)
    assert 0.1 < maker.level < 0.6


def test_folders_that_cannot_be_shown(folder, tmp_path):
    with pytest.raises(InputError, match=r"no z.npy"):
        ExplorerPage(tmp_path)
    with pytest.raises(InputError, match="no such folder to save"):
        ExplorerPage(folder, output=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"nowhere.zarr: there is no such stack"):
        ExplorerPage(folder, stack=tmp_path / "nowhere.zarr")


def test_command(folder, tmp_path, monkeypatch):
    import typer

    seen = []

    def look(server, address, browser):
        seen.append((urllib.request.urlopen(server.url).status, address, browser))

    monkeypatch.setattr(pages, "keep_open", look)
    app = typer.Typer()
    app.command()(heterogeneity_explore.explore_command)
    done = CliRunner().invoke(
        app, [str(folder), "-o", str(tmp_path), "--no-browser"], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert seen == [(200, "127.0.0.1", False)]


# ---- in Chromium


@browser_test
def test_lasso_count_and_export(visit, served, folder, tmp_path):
    page = visit()
    truth = read_table(folder)["z1"].to_numpy()
    # upwards is umap2, which is -3 z1
    draw(page, UPPER)
    count(page, (truth < 0).sum())
    assert page.locator('[data-at="count"]').inner_text() == "160 of 240 chosen"
    eventually(page, lambda: page.locator(".gallery canvas").count() == 12)
    np.testing.assert_array_equal(served.chosen, np.flatnonzero(truth < 0))
    save(page, "closed", "stack")
    said(page, "160 particles: ")
    save(page, "closed", "star")
    said(page, f"160 particles: {tmp_path / 'closed.star'}")
    save(page, "closed", "lasso")
    said(page, f"A lasso around 160 particles: {tmp_path / 'closed.json'}")
    stack = open_stack(tmp_path / "closed.zarr")
    whole = open_stack(folder.parent / "particles.zarr")
    rows = np.flatnonzero(truth < 0)
    assert stack.sizes["particle"] == 160
    np.testing.assert_array_equal(stack["euler_angles"], whole["euler_angles"][rows])
    readers = ImageReader(tmp_path / "closed.zarr"), ImageReader(folder.parent / "particles.zarr")
    np.testing.assert_array_equal(readers[0].take([0, 159]), readers[1].take(rows[[0, 159]]))
    assert "umap1 and umap2" in stack.attrs["selected"]
    latent = star.read_table(tmp_path / "closed.star", "particles")["hpdpLatent1"]
    np.testing.assert_allclose(latent, truth[rows], atol=1e-5)
    lasso = read_lasso(tmp_path / "closed.json")
    np.testing.assert_array_equal(select_rows(read_table(folder), lasso=lasso), rows)
    save(page, "closed", "lasso")
    said(page, "is there already; give another name")
    page.locator('[data-at="said"].bad').wait_for()


@browser_test
def test_parts_are_added_and_taken_away(visit, served, folder):
    page = visit()
    table = read_table(folder)
    draw(page, UPPER)
    count(page, 160)
    draw(page, LEFT_OF_IT, "Alt")
    page.locator('[data-at="what"] option[value="lasso"][disabled]').wait_for(state="attached")
    kept = len(served.chosen)
    assert 0 < kept < 160
    taken = np.setdiff1d(np.flatnonzero(table["z1"] < 0), served.chosen)
    assert table["umap1"][taken].max() < table["umap1"][served.chosen].min()
    draw(page, LEFT_OF_IT, "Shift")
    count(page, 160)
    page.get_by_role("button", name="Invert").click()
    count(page, 80)
    page.get_by_role("button", name="Clear").click()
    count(page, 0)
    page.locator(".legend button", has_text="1").click()
    count(page, 80)
    np.testing.assert_array_equal(served.chosen, np.flatnonzero(table["cluster"] == 1))
    page.locator(".legend button", has_text="0").click(modifiers=["Shift"])
    count(page, NUMBER)


def canvas(page, name, channel=0):
    """Give the numbers of a canvas, 0 to 255, its first row at the bottom."""
    side, *values = page.locator(f'[data-at="{name}"]').evaluate(
        """(c, channel) => {
          const picture = c.getContext("2d").getImageData(0, 0, c.width, c.height);
          return [c.width, ...picture.data.filter((_, i) => i % 4 === channel)];
        }""",
        channel,
    )
    return np.array(values, float).reshape(side, side)[::-1]


def silhouette(page):
    """Give where the surface is seen, its first row at the bottom, and the enlargement."""
    enlarged = float(page.locator('[data-at="surface"]').get_attribute("data-zoom"))
    return canvas(page, "surface", 3) > 0, enlarged


def projected(volume, level, axis, side, enlarged):
    """Give where a surface is seen along an axis, by trilinear interpolation."""
    fine = 4
    places = np.arange(fine * (BOX - 1) + 1) / fine
    finer = map_coordinates(volume, np.meshgrid(places, places, places, indexing="ij"), order=1)
    shadow = (finer > level).any(axis)
    pixels = ((np.arange(side) + 0.5) - side / 2) * BOX / (side * enlarged) + BOX / 2
    there = np.clip(np.rint(pixels * fine).astype(int), 0, len(places) - 1)
    return shadow[np.ix_(there, there)]


@browser_test
def test_the_volume_of_an_image(visit, served, explored):
    page = visit()
    page.locator('[data-at="image"]').fill("7")
    page.locator('[data-at="image"]').press("Enter")
    page.locator(f'.explorer-page[data-volume="7 {BOX}"]').wait_for()
    assert "kept" in page.locator('[data-at="state"]').inner_text()
    assert f"{2 * PIXEL:.0f} Å" in page.locator('[data-at="state"]').inner_text()
    volume = explored.conformations.volume(explored.latent[7])
    for axis in range(3):
        for name, expected in (
            (f"slice{axis}", np.take(volume, BOX // 2, axis)),
            (f"projection{axis}", volume.sum(axis)),
        ):
            # brightest voxels may be white, and black is nothing
            found = canvas(page, name)
            middle = (found > 0) & (found < 255)
            assert np.corrcoef(found[middle], expected[middle])[0, 1] > 0.998, name
    expected = explored.views.expected(7, volume)
    assert np.corrcoef(canvas(page, "expected").ravel(), expected.ravel())[0, 1] > 0.99
    # of the noise a part is beyond black and white
    recorded = explored.views.recorded([7])[0]
    assert np.corrcoef(canvas(page, "recorded").ravel(), recorded.ravel())[0, 1] > 0.98
    level = served._desk._maker.level

    def overlap(axis):
        """Tell how much of what is seen along an axis, [z, y] or [y, z], should be."""
        seen, enlarged = silhouette(page)
        there = projected(volume, level, axis, len(seen), enlarged)
        there = there.T if axis == 2 else there
        return (seen & there).sum() / (seen | there).sum()

    eventually(page, lambda: overlap(0) > 0.96)
    # a quarter turn: what looked to the eye, z, looks to the right, and x away
    surface = page.locator('[data-at="surface"]').bounding_box()
    x, y = surface["x"] + 10, surface["y"] + surface["height"] / 2
    inner = page.locator('[data-at="surface"]').evaluate("c => c.clientWidth")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + np.pi / 2 / 3.5 * inner, y, steps=5)
    page.mouse.up()
    eventually(page, lambda: overlap(2) > 0.94)
    # a higher level shows less
    turned = silhouette(page)[0].sum()
    page.locator('[data-at="level"]').fill("600")
    eventually(page, lambda: silhouette(page)[0].sum() < 0.8 * turned)


@browser_test
def test_what_has_moved(visit):
    page = visit()

    def call(image):
        page.locator('[data-at="image"]').fill(str(image))
        page.locator('[data-at="image"]').press("Enter")
        page.locator(f'.explorer-page[data-volume="{image} {BOX}"]').wait_for()

    def orange():
        red, blue = canvas(page, "surface"), canvas(page, "surface", 2)
        return red > blue

    def in_upper_half():
        """Tell whether something is orange, and where: image 3 points up, along y, 4 down."""
        found = orange()
        upper = found[len(found) // 2 :].sum()
        return found.sum() > 0.01 * found.size and upper > 0.9 * found.sum()

    call(3)
    assert not orange().any()
    page.get_by_role("button", name="Compare").click()
    call(4)
    eventually(page, in_upper_half)
    page.get_by_role("button", name="Compared with 3").click()
    eventually(page, lambda: not orange().any())


@browser_test
def test_the_point_under_the_cursor(visit):
    page = visit()
    root = page.locator(".explorer-page")
    chart = page.locator('[data-at="chart"]').bounding_box()

    def to(u, v):
        page.mouse.move(chart["x"] + u * chart["width"], chart["y"] + v * chart["height"], steps=3)

    # the middle of the upper group, then of the lower one
    images = []
    for height in (0.17, 0.78):
        for across in np.linspace(0.4, 0.6, 41):
            to(across, height)
            if page.locator('[data-at="tip"]').is_visible():
                break
        told = page.locator('[data-at="tip"]').inner_text()
        image, cluster = map(int, re.fullmatch(r"Image (\d+) · cluster (\d)", told).groups())
        assert cluster == (1 if height > 0.5 else 0)
        page.locator(f'.explorer-page[data-volume="{image} {BOX}"]').wait_for()
        images.append(image)
    assert images[0] % 3 != 0
    assert images[1] % 3 == 0
    # a click keeps it, until Escape
    page.mouse.down()
    page.mouse.up()
    page.locator(".chart .pinned").wait_for()
    to(0.5, 0.17)
    page.locator('[data-at="tip"]').wait_for()
    page.wait_for_timeout(200)
    assert root.get_attribute("data-volume") == f"{images[1]} {BOX}"
    page.keyboard.press("Escape")
    to(0.51, 0.17)
    page.locator(f'.explorer-page:not([data-volume="{images[1]} {BOX}"])').wait_for()


@browser_test
def test_axes_colours_and_zoom(visit, folder):
    page = visit()
    assert page.locator(".legend button").all_inner_texts() == ["0", "1"]
    page.locator('[data-at="colour"]').select_option("defocus_u")
    page.locator('[data-at="x"]').select_option("z1")
    page.locator('.explorer-page[data-shown="z1 umap2 defocus_u"]').wait_for()
    names = page.locator(".chart text.name")
    eventually(page, lambda: names.all_text_contents() == ["z1", "umap2"])
    defocus = read_table(folder)["defocus_u"]
    low = float(page.locator(".legend").inner_text().split()[0])
    assert low == pytest.approx(np.percentile(defocus, 1), rel=0.02)
    ticks = page.locator(".chart text:not(.name)").all_text_contents()
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -300)
    page.locator(".chart text:not(.name)", has_text=re.compile(r"^−?0\.\d")).first.wait_for()
    assert page.locator(".chart text:not(.name)").all_text_contents() != ticks
    page.get_by_role("button", name="All").click()
    eventually(page, lambda: page.locator(".chart text:not(.name)").all_text_contents() == ticks)


@browser_test
def test_in_a_notebook(folder, new_page, tmp_path):
    page = explore(folder, output=tmp_path)
    try:
        html = page._repr_html_()
        (tmp_path / "cell.html").write_text(html)
        cell = new_page((tmp_path / "cell.html").as_uri())
        frame = cell.frame_locator("iframe")
        frame.locator(".explorer-page[data-shown]").wait_for()
        frame.locator(".legend button", has_text="1").click()
        frame.locator('[data-at="count"][data-count="80"]').wait_for()
        assert len(page.chosen) == 80
    finally:
        page.stop()


def test_what_others_could_send(served):
    from hpdp_dask.web.heterogeneity_view import ExplorerView

    view = ExplorerView(served._desk)
    told = []
    view.tell = told.append
    for message in (
        {},
        {"kind": "look", "image": NUMBER},
        {"kind": "column", "name": "nothing"},
        {"kind": "lasso", "x": "z1", "y": "z2", "polygon": [[0, 0], [1, "a"]], "how": "new"},
        {"kind": "lasso", "x": "z1", "y": "z2", "polygon": [[0, 0], [1, 1]], "how": "new"},
        {"kind": "lasso", "x": "z1", "y": "z2", "polygon": [[0, 0], [1, 1], [0, 1]], "how": "no"},
        {"kind": "save", "what": "zip", "name": "a"},
        {"kind": "handle_msg"},
    ):
        view._handle_msg(message)
        assert told.pop()["kind"] == "problem"
        assert not told
