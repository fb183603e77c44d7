"""What the pictures of post-processing show is what the arrays hold."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from test_drawing import pixels
from test_figures import path_of, texts

from hpdp_dask.workflow.drawing import Chart
from hpdp_dask.workflow.figures import guinier_chart, outlined_slices

FREQUENCIES = np.arange(33) / 128.0


def sloping_line(chart: Chart) -> np.ndarray:
    """The line in ink that is not level, as the one in the legend is, (2, 2)."""
    nodes = ElementTree.fromstring(chart.markup).iter("path")
    inked = [node.get("d", "") for node in nodes if "--ink" in node.get("style", "")]
    lines = [np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", d), dtype=float) for d in inked]
    return max((line for line in lines if len(line) == 2), key=lambda line: np.ptp(line[:, 1]))


def test_an_exponential_fall_is_a_straight_line() -> None:
    amplitudes = 2.0 * np.exp(-100.0 / 4 * FREQUENCIES**2)
    chart = guinier_chart(
        {"weighted": amplitudes}, FREQUENCIES, (-100.0, np.log(2.0)), (10.0, 4.0), "Plot."
    )
    assert {"weighted", "line", "1/d² (1/Å²)"} <= set(texts(chart))
    drawn, line = path_of(chart, "--series-1"), sloping_line(chart)
    for points in (drawn, line):
        slopes = np.diff(points[:, 1]) / np.diff(points[:, 0])
        assert np.ptp(slopes) < 1e-3 * abs(slopes.mean())
    # one lies on the other
    assert np.interp(line[:, 0], *drawn.T) == pytest.approx(line[:, 1], abs=0.05)
    assert "B-factor -100" in chart.description


def test_shells_without_amplitude_are_left_out() -> None:
    amplitudes = np.where(FREQUENCIES < 0.1, 1.0, 0.0)
    chart = guinier_chart({"weighted": amplitudes}, FREQUENCIES, None, (10.0, 4.0), "")
    assert "no line was fitted" in chart.description


def test_the_outline_of_a_mask_is_drawn_where_it_ends() -> None:
    volume = np.random.default_rng(0).normal(0.0, 0.01, (16,) * 3)
    mask = np.zeros((16,) * 3)
    mask[4:12, 4:12, 4:12] = 1.0
    before = volume.copy()
    panels = outlined_slices(volume, mask, 1.0, "").panels
    assert np.array_equal(volume, before)
    for panel in panels:
        image = pixels(panel)
        assert image[3, 4:12].min() == image[12, 4:12].min() == 255
        assert image[4:12, 3].min() == image[4:12, 12].min() == 255
        assert np.median(image[4:12, 4:12]) < 255
