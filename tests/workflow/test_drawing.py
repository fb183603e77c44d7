"""Drawings follow the page, stand alone, and survive any name."""

import base64
import io
import re

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hpdp_dask.workflow.drawing import Panel, scale_bar_length, to_panel
from hpdp_dask.workflow.figures import timing_bars


def pixels(panel: Panel) -> np.ndarray:
    """The image of a panel, first row at the top."""
    head, _, data = panel.source.partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.mode == "L"
    return np.asarray(image)


def test_a_panel_is_an_8_bit_image_with_its_first_row_at_the_bottom() -> None:
    image = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 9.0]])
    panel = to_panel(image, 10.0, (0.0, 4.0), "label", "what it is")
    assert pixels(panel).tolist() == [[191, 255, 255], [0, 64, 128]]
    assert panel.bar_label == "10 Å"
    assert panel.bar_share == pytest.approx(1 / 3)


def test_a_large_image_is_binned_and_keeps_its_scale() -> None:
    image = np.kron(np.arange(4.0).reshape(2, 2), np.ones((500, 500)))
    panel = to_panel(image, 2.0, (0.0, 3.0), "", "")
    shown = pixels(panel)
    assert shown.shape == (333, 333)
    assert (shown[-1, 0], shown[0, -1]) == (0, 255)
    assert panel.bar_label == "500 Å"
    assert panel.bar_share == pytest.approx(500 / (333 * 3 * 2.0))


def test_unknown_pixels_are_black() -> None:
    image = np.array([[np.nan, np.inf], [-np.inf, 1.0]])
    assert pixels(to_panel(image, 1.0, (0.0, 1.0), "", "")).tolist() == [[0, 255], [0, 255]]


def test_long_scale_bars_are_in_nanometres() -> None:
    assert to_panel(np.zeros((4, 4)), 1000.0, (0.0, 1.0), "", "").bar_label == "100 nm"


@given(st.floats(1e-3, 1e6))
def test_a_scale_bar_is_round_and_fits(width: float) -> None:
    length = scale_bar_length(width)
    assert width / 7.5001 <= length <= width / 3.0
    assert re.fullmatch(r"[125]\.0+e[+-]\d+", f"{length:.6e}")


@pytest.mark.parametrize("name", ["a$b$", "<b>&\"'", "\x01\x1b[0m", "分類", "#000001", "%s {0}"])
def test_any_name_can_be_drawn(name: str) -> None:
    chart = timing_bars({name: 1.0}, "")
    shown = name.translate({1: "\ufffd", 27: "\ufffd"})
    for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        shown = shown.replace(sign, escaped)
    assert f">{shown}</text>" in chart.markup


def test_a_drawing_takes_its_colours_and_its_font_from_the_page() -> None:
    chart = timing_bars({"insert": 1.0}, "")
    assert "var(--series-1, #0b5cad)" in chart.markup
    assert "var(--font, sans-serif)" in chart.markup
    assert not re.search(r"#0000[01]\d", chart.markup)
    assert "DejaVu" not in chart.markup


def test_a_drawing_refers_to_nothing_but_itself() -> None:
    markup = timing_bars({"insert": 1.0, "merge": 2.0}, "").markup
    assert "http" not in markup
    assert "<style" not in markup
    names = re.findall(r' id="([^"]+)"', markup)
    assert len(names) == len(set(names))
    wanted = set(re.findall(r'href="#([^"]+)"', markup) + re.findall(r"url\(#([^)]+)\)", markup))
    assert wanted == set(names)


def test_drawings_do_not_share_names_and_do_not_change() -> None:
    one, two = timing_bars({"insert": 1.0}, ""), timing_bars({"insert": 2.0}, "")
    names = [set(re.findall(r' id="([^"]+)"', chart.markup)) for chart in (one, two)]
    assert names[0]
    assert not names[0] & names[1]
    assert timing_bars({"insert": 1.0}, "") == one


def test_the_settings_of_matplotlib_neither_matter_nor_change() -> None:
    before = timing_bars({"insert": 1.0}, "")
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "axes.facecolor": "black"}):
        assert timing_bars({"insert": 1.0}, "") == before
        assert matplotlib.rcParams["font.size"] == 30
