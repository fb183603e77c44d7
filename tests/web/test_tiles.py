"""Frames as pictures: what is light, what is masked, and how long it takes."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from hpdp_dask.errors import InputError
from hpdp_dask.web.pictures import COLOURS, Contrast, Painter

GRAY = Contrast(scale="linear", high=100.0, colours="gray")
MASKED = (72, 84, 100, 255)


def look(png):
    """Give a picture as (Y, X, 4)."""
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGBA")).astype(int)


def brightness(png):
    return look(png)[..., 0]


def test_rows_go_up_and_columns_to_the_right():
    frame = np.zeros((4, 6), np.uint16)
    frame[0, 5] = 9
    found = brightness(Painter(np.zeros((4, 6), np.uint8)).paint(frame[None], GRAY)[0])
    assert found.shape == (4, 6)
    assert np.unravel_index(found.argmax(), found.shape) == (3, 5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.float32])
@pytest.mark.parametrize("scale", ["log", "sqrt", "linear"])
def test_scales(scale, dtype):
    frame = np.arange(101, dtype=dtype)[None]
    contrast = Contrast(scale=scale, high=100.0, colours="gray")
    found = brightness(Painter(np.zeros((1, 101), np.uint8)).paint(frame[None], contrast)[0])[0]
    # numbers of a detector are counted in their noise, and three times that is shown at least
    unit = 1.4826 * 25 if dtype == np.float32 else 1.0
    most = max(100 / unit, 3.0)
    share = np.array([0.0, 25.0, 100.0]) / unit
    expected = {
        "log": np.log1p(share) / np.log1p(most),
        "sqrt": np.sqrt(share / most),
        "linear": share / most,
    }
    assert found[[0, 25, 100]] == pytest.approx(255 * expected[scale], abs=2)
    assert np.all(np.diff(found) >= 0)


def test_one_photon_is_seen_but_is_not_the_brightest():
    frame = np.zeros((100, 100), np.uint8)
    frame[3, 3] = 1
    painter = Painter(np.zeros(frame.shape, np.uint8))
    found = brightness(painter.paint(frame[None], Contrast(colours="gray"))[0])
    assert found.max() == pytest.approx(255 * np.log(2) / np.log(4), abs=2)


def test_percentiles_limit():
    painter = Painter(np.zeros((100, 100), np.uint8))
    ramp = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    limited = Contrast(scale="linear", low=10.0, high=90.0, colours="gray")
    found = brightness(painter.paint(ramp[None], limited)[0])[::-1]
    assert found.ravel()[:1000].max() == 0
    assert found.ravel()[9001:].min() == 255


def test_exposure_halves_what_is_brightest():
    frame = np.arange(101, dtype=np.uint8)[None, None]
    brighter = Contrast(scale="linear", high=100.0, exposure=1.0, colours="gray")
    found = brightness(Painter(np.zeros((1, 101), np.uint8)).paint(frame, brighter)[0])[0]
    assert found[50] == 255
    assert found[25] == pytest.approx(127, abs=2)


def test_masked_pixels_have_their_own_colour_and_no_part_in_the_limits():
    frame = np.full((8, 8), 2, np.uint16)
    frame[0, 0] = 60_000
    frame[4, 4] = 5
    mask = np.zeros((8, 8), np.uint8)
    mask[0, 0], mask[0, 1] = 2, 1
    found = look(Painter(mask).paint(frame[None], GRAY)[0])
    assert tuple(found[7, 0]) == tuple(found[7, 1]) == MASKED
    assert not np.any(np.all(found[:7] == MASKED, axis=-1))
    assert found[3, 4, 0] == 255
    wrong = frame.astype(np.float32)
    wrong[2, 2], wrong[3, 3] = np.nan, np.inf
    found = look(Painter(np.zeros((8, 8), np.uint8)).paint(wrong[None], GRAY)[0])
    assert tuple(found[5, 2]) == tuple(found[4, 3]) == MASKED


def test_all_masked():
    found = look(Painter(np.full((4, 4), 2, np.uint8)).paint(np.ones((1, 4, 4), np.uint8))[0])
    assert np.all(found == MASKED)


def test_modules_stand_where_they_are_and_gaps_are_clear():
    # two modules of 4 x 4 pixels one after another in the array, side by side in the beam
    rows, columns = np.indices((4, 4), dtype=float)
    x = np.concatenate([columns - 7, columns + 3]) * 1e-4
    y = np.concatenate([rows, rows]) * 1e-4
    frame = np.concatenate([np.full((4, 4), 1), np.full((4, 4), 9)]).astype(np.uint8)
    painter = Painter(np.zeros((8, 4), np.uint8), x, y)
    found = look(painter.paint(frame[None], GRAY)[0])
    assert painter.shape == found.shape[:2] == (4, 14)
    assert np.all(found[:, 4:10, 3] == 0)
    assert np.all(found[:, :4, 3] == 255)
    assert np.all(found[:, 10:, 0] == 255)


def test_large_detectors_are_summed_not_thinned():
    rng = np.random.default_rng(0)
    frame = np.zeros((90, 60), np.uint8)
    lit = rng.choice(frame.size, 40, replace=False)
    frame.ravel()[lit] = 1
    mask = np.zeros(frame.shape, np.uint8)
    mask[:30, :30] = 1
    found = look(Painter(mask, longest=30).paint(frame[None], GRAY)[0])
    assert found.shape[:2] == (30, 20)
    expected = (frame * (mask == 0)).reshape(30, 3, 20, 3).sum((1, 3))[::-1] > 0
    is_masked = np.all(found == MASKED, axis=-1)
    assert np.array_equal((found[..., 0] > 0) & ~is_masked, expected)
    assert np.array_equal(is_masked[20:, :10], np.ones((10, 10), bool))


@pytest.mark.parametrize("colours", COLOURS)
def test_colours(colours):
    frame = np.arange(101, dtype=np.uint8)[None, None]
    contrast = Contrast(colours=colours)
    found = look(Painter(np.zeros((1, 101), np.uint8)).paint(frame, contrast)[0])
    light = found[0, :, :3] @ [0.3, 0.59, 0.11]
    assert (light[-1] > light[0]) == (colours != "gray_r")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scale": "cubic"}, "log, sqrt or linear"),
        ({"low": 50.0, "high": 50.0}, "percentiles"),
        ({"colours": "jet"}, "inferno"),
    ],
)
def test_what_cannot_be(wrong, words):
    with pytest.raises(InputError, match=words):
        Contrast(**wrong)


def test_fifty_tiles_take_a_fraction_of_a_second():
    frames = np.random.default_rng(0).poisson(0.3, (50, 224, 224)).astype(np.uint16)
    painter = Painter(np.zeros((224, 224), np.uint8))
    painter.paint(frames[:1])
    began = time.process_time()
    pictures = painter.paint(frames)
    assert time.process_time() - began < 0.5
    assert all(len(picture) < 40_000 for picture in pictures)
