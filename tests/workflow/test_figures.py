"""What a report shows is what the arrays hold."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from test_drawing import pixels

from hpdp_dask.workflow.drawing import Chart
from hpdp_dask.workflow.figures import (
    central_slices,
    defocus_histogram,
    format_seconds,
    fsc_chart,
    image_gallery,
    projections,
    timing_bars,
)


def texts(chart: Chart) -> list[str]:
    """All text in a drawing."""
    return [node.text or "" for node in ElementTree.fromstring(chart.markup).iter("text")]


def path_of(chart: Chart, variable: str) -> np.ndarray:
    """The points of the longest line of a colour, (n, 2)."""
    lines = [
        np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", node.get("d", "")), dtype=float)
        for node in ElementTree.fromstring(chart.markup).iter("path")
        if variable in node.get("style", "")
    ]
    return max(lines, key=len)


def test_an_fsc_is_drawn_in_place_with_both_axes_named() -> None:
    curve = np.linspace(1.0, 0.0, 33)
    chart = fsc_chart({"half-maps": curve, "with truth": curve**2}, 64, 2.0, "Half-maps.")
    shown = texts(chart)
    for expected in ("0.5", "0.143", "Spatial frequency (1/Å)", "Resolution (Å)", "4", "10"):
        assert expected in shown
    assert {"half-maps", "with truth"} <= set(shown)
    # a straight curve from corner to corner stays one, whatever the simplification
    line = path_of(chart, "--series-1")
    slope = np.diff(line[:, 1]) / np.diff(line[:, 0])
    assert np.ptp(slope) < 1e-3 * abs(slope.mean())
    # 1 - k / 32 falls below 0.143 at shell 28 of a box of 128 Å
    assert "half-maps: first below 0.143 at 4.57 Å" in chart.description


def test_an_fsc_that_never_falls_or_is_not_known_is_drawn() -> None:
    chart = fsc_chart({"a": np.ones(9), "b": np.full(9, np.nan)}, 16, 1.0, "")
    assert "a: above 0.143 throughout" in chart.description
    assert fsc_chart({"a": -0.3 * np.ones(9)}, 16, 1.0, "").markup


def test_slices_are_those_through_the_centre() -> None:
    volume = np.zeros((8, 8, 8))
    volume[4, 4, 6] = volume[6, 4, 4] = 1.0  # points on +x and on +z
    across_z, across_y, across_x = central_slices(volume, 10.0, "Slices.").panels
    # rows count from the top, and y or z goes up
    assert np.argwhere(pixels(across_z) > 0).tolist() == [[3, 6]]
    assert np.argwhere(pixels(across_y) > 0).tolist() == [[1, 4], [3, 6]]
    assert np.argwhere(pixels(across_x) > 0).tolist() == [[1, 4]]
    assert across_z.label == "z = 4; x →, y ↑"
    assert "z up" in across_x.description


def test_projections_are_sums_on_one_scale() -> None:
    volume = np.zeros((4, 4, 4))
    volume[:, 1, 2] = 1.0  # a rod along z
    along_z, along_y, along_x = projections(volume, 1.0, "").panels
    assert np.argwhere(pixels(along_z) > 0).tolist() == [[2, 2]]
    assert pixels(along_z).max() == 255
    assert np.all(pixels(along_y)[:, 2] == pixels(along_x)[:, 1])
    assert 0 < pixels(along_y).max() < 128


def test_images_are_each_on_their_own_scale() -> None:
    images = np.stack([np.eye(4), 100.0 * np.eye(4), np.zeros((4, 4)), np.full((4, 4), np.nan)])
    shown = image_gallery(images, 1.0, list("abcd"), "Images.").panels
    assert [panel.label for panel in shown] == list("abcd")
    assert np.array_equal(pixels(shown[0]), pixels(shown[1]))
    assert pixels(shown[2]).max() == pixels(shown[3]).max() == 0


def test_defocus_is_in_micrometres() -> None:
    chart = defocus_histogram([1e4, 2e4, 3e4, np.nan], [2e4, 3e4, 4e4, 1.0], "Defocus.")
    assert "3 images: from 1.50 to 3.50 µm, median 2.50 µm" in chart.description
    assert "Mean defocus (µm)" in texts(chart)
    assert "none is known" in defocus_histogram([], [], "").description


def test_timing_names_each_stage() -> None:
    chart = timing_bars({"read": 1.5, "insert": 200.0}, "Time.")
    assert {"read", "insert", "1.50 s", "3 min 20 s"} <= set(texts(chart))
    assert (
        chart.description == "Bar chart of the time of each stage: read 1.50 s, insert 3 min 20 s."
    )
    assert timing_bars({"read": 0.0}, "").markup


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (0.424, "0.42 s"),
        (9.996, "10.0 s"),
        (59.96, "1 min 00 s"),
        (245.4, "4 min 05 s"),
        (3599.6, "1 h 00 min"),
        (11230, "3 h 07 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
