"""The map of views keeps areas and puts each view where it belongs."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hpdp_dask.numerics.rotations import euler_to_matrix, matrix_to_euler, random_rotations
from hpdp_dask.workflow import sphere
from hpdp_dask.workflow.drawing import Chart
from hpdp_dask.workflow.sphere import orientation_map

angle = st.floats(-720.0, 720.0)


def picture(chart: Chart) -> np.ndarray:
    """The coloured map in a drawing as it is shown, (y, x, 4)."""
    node = next(ElementTree.fromstring(chart.markup).iter("image"))
    data = base64.b64decode(node.get("href", "").partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    stretch = re.fullmatch(
        r"matrix\(([\d.]+) 0 0 (-?[\d.]+) [\d.]+ [\d.]+\)", node.get("transform", "")
    )
    assert stretch is not None
    return pixels[::-1] if float(stretch[2]) < 0 else pixels


@given(angle, angle, angle)
def test_the_view_is_the_last_row_of_the_matrix(rot: float, tilt: float, psi: float) -> None:
    turn, fall = sphere._view_of(np.array([[rot, tilt, psi]]))
    found = [np.cos(turn) * np.sin(fall), np.sin(turn) * np.sin(fall), np.cos(fall)]
    expected = euler_to_matrix([rot, tilt, psi])[2]
    np.testing.assert_allclose(np.ravel(found), expected, atol=1e-12)
    assert 0.0 <= fall[0] <= np.pi


def test_uniform_views_have_density_one() -> None:
    angles = np.radians(matrix_to_euler(random_rotations(400_000, 0)))
    density = sphere._cell_density(angles[:, 0], angles[:, 1], 12)
    images_per_cell = 400_000 / len(density)
    assert len(density) > 150
    assert abs(density - 1.0).max() < 6.0 / np.sqrt(0.5 * images_per_cell)
    assert density.mean() == pytest.approx(1.0, abs=0.02)


def test_the_map_keeps_areas() -> None:
    # a share of the ellipse holds the same share of the sphere: compare cells with their pixels
    y, x = np.mgrid[-0.999:1:0.002, -1.999:2:0.002]
    inside = (x / 2) ** 2 + y**2 < 1.0
    theta = np.arcsin(y[inside])
    latitude = np.arcsin((2 * theta + np.sin(2 * theta)) / np.pi)
    longitude = np.pi * x[inside] / (2 * np.cos(theta))
    counts = np.bincount(sphere._cell_of(longitude, np.pi / 2 - latitude, 10))
    edges = np.cos(np.arange(11) * np.pi / 10)
    cells, _ = sphere._cells_in_bands(10)
    expected = np.repeat((edges[:-1] - edges[1:]) / (2 * cells), cells)
    np.testing.assert_allclose(counts / counts.sum(), expected, rtol=0.02)


def test_the_graticule_is_the_inverse_of_the_picture() -> None:
    latitude = np.radians(np.linspace(-89, 89, 50))
    x, y = sphere._mollweide(np.full(50, 1.0), latitude)
    theta = np.arcsin(y)
    np.testing.assert_allclose(
        np.arcsin((2 * theta + np.sin(2 * theta)) / np.pi), latitude, atol=1e-6
    )
    np.testing.assert_allclose(np.pi * x / (2 * np.cos(theta)), 1.0, atol=1e-6)


def test_one_view_colours_one_place() -> None:
    # rot 90, tilt 45: to the right of the middle and above it
    chart = orientation_map(np.tile([90.0, 45.0, 10.0], (50, 1)), "Views.")
    pixels = picture(chart).astype(int)
    grey = np.array([154, 160, 168, 255])
    coloured = (pixels[..., 3] == 255) & np.any(pixels != grey, axis=-1)
    share = coloured.sum() / (pixels[..., 3] > 0).sum()
    cells, _ = sphere._cells_in_bands(6)
    assert share == pytest.approx(1.0 / cells.sum(), rel=0.35)
    row, column = (float(np.mean(place)) for place in np.nonzero(coloured))
    height, width = coloured.shape
    assert width * 0.55 < column < width * 0.85
    assert row < 0.45 * height
    assert "no image" in chart.markup
    assert "of 50 images" in chart.description


def test_no_views_are_an_empty_map() -> None:
    assert "100 % of the sphere has no image" in orientation_map(np.empty((0, 3)), "").description


def test_full_coverage_names_no_empty_cells() -> None:
    chart = orientation_map(matrix_to_euler(random_rotations(50_000, 1)), "")
    assert "no image" not in chart.markup
