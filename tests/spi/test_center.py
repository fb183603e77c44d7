"""The beam centre of stacks."""

from dataclasses import replace

import numpy as np
import pytest
from frame_stacks import make_frames

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.numerics.form_factors import sphere
from hpdp_dask.spi.center import find_center
from hpdp_dask.stacks.frames import (
    add_variables,
    detector_of,
    frame_table,
    new_frames,
    open_frames,
)
from hpdp_dask.stacks.store import staging, write_images

#: Column and row of the beam in the frames; their table says the middle, (39.5, 31.5).
PLACE = (37.2, 33.6)
SHAPE = (64, 80)
METHODS = ("rings", "friedel", "sphere")


@pytest.fixture(scope="module")
def photons():
    random = np.random.default_rng(5)
    y, x = np.indices(SHAPE)
    q = np.stack([x - PLACE[0], y - PLACE[1], np.zeros(SHAPE)]) * 1e-3 / 0.5 / 8.0
    frames = []
    for _ in range(60):
        intensity = sphere(q, 500.0 * random.normal(1.0, 0.01)) ** 2
        frames.append(random.poisson(3000.0 * intensity / intensity.sum() + 0.05))
    return np.array(frames).astype(np.uint16)


@pytest.fixture
def stack(tmp_path, photons):
    mask = np.zeros(SHAPE, np.uint8)
    mask[30:36, 34:41] = 2
    return make_frames(tmp_path / "frames.zarr", photons, images_per_shard=20, mask=mask)


@pytest.mark.parametrize("method", METHODS)
def test_centre_is_found(stack, method):
    found = find_center(stack, method, client=None)
    assert np.hypot(found.place[0] - PLACE[0], found.place[1] - PLACE[1]) < 0.1
    assert 0.0 < max(found.error) < 0.1e-3
    opened = open_frames(stack)
    center = opened["beam_center"].values
    np.testing.assert_allclose(center, (np.array(PLACE) - (39.5, 31.5)) * 1e-3, atol=1e-4)
    np.testing.assert_allclose(opened["beam_center_error"].values, found.error)
    detector = detector_of(opened)
    row, column = np.unravel_index(np.argmin(np.hypot(detector.pixel_x, detector.pixel_y)), SHAPE)
    assert (column, row) == (37, 34)
    if method == "sphere":
        assert found.diameter == pytest.approx(500.0, rel=0.02)


def test_the_error_is_what_centres_scatter_by(tmp_path, photons):
    found = []
    for part in range(6):
        stack = make_frames(tmp_path / f"{part}.zarr", photons[10 * part : 10 * (part + 1)])
        found.append(find_center(stack, client=None))
    scatter = np.std([(one.x, one.y) for one in found], axis=0).mean()
    told = np.mean([one.error for one in found])
    assert 0.4 * scatter < told < 2.5 * scatter


def test_only_hits_count_and_the_background_does_not(tmp_path, photons):
    random = np.random.default_rng(0)
    slope = np.linspace(0.0, 2.0, SHAPE[1]) * np.ones(SHAPE)
    frames = np.concatenate([photons, np.zeros_like(photons)]) + random.poisson(
        slope, (120, *SHAPE)
    )
    stack = make_frames(tmp_path / "frames.zarr", frames.astype(np.uint16))
    hit = np.repeat(np.array([1, 0], np.uint8), 60)
    add_variables(stack, {"hit": (("frame",), hit), "background": (("y", "x"), slope)})
    found = find_center(stack, client=None)
    assert (found.frames, found.hits) == (60, True)
    assert np.hypot(found.place[0] - PLACE[0], found.place[1] - PLACE[1]) < 0.1


def test_the_same_on_a_cluster_and_again(stack, client):
    here = find_center(stack, client=None)
    there = find_center(stack, client=client, overwrite=True)
    assert here == there


def test_one_frame_does_not_tell_how_certain(tmp_path, photons):
    stack = make_frames(tmp_path / "frames.zarr", photons[:1])
    assert np.isnan(find_center(stack, client=None).error).all()


def test_refused(tmp_path, stack, photons):
    find_center(stack, client=None)
    with pytest.raises(InputError, match="has beam_center already; --overwrite"):
        find_center(stack, client=None)
    empty = make_frames(tmp_path / "empty.zarr", np.zeros_like(photons))
    with pytest.raises(InputError, match="no centre can be told from the sum of 60 frames"):
        find_center(empty, client=None)
    add_variables(empty, {"hit": (("frame",), np.zeros(60, np.uint8))})
    with pytest.raises(InputError, match="none of its frames is a hit"):
        find_center(empty, client=None)
    with staging(tmp_path / "bare.zarr") as folder:
        new_frames(folder, frame_table(None, {}), 60, SHAPE, np.uint16)
        write_images(folder, 0, photons)
    with pytest.raises(InputError, match=r"no pixel_x .* --geometry"):
        find_center(tmp_path / "bare.zarr", client=None)


def test_modules_have_no_column_and_row(tmp_path, photons):
    detector = flat_detector(SHAPE, 1e-3, 0.5, 8.0)
    moved = detector.pixel_x + 0.3e-3 * (np.arange(SHAPE[0]) >= 32)[:, None]
    detector = replace(detector, pixel_x=moved)
    with staging(tmp_path / "frames.zarr") as folder:
        new_frames(folder, frame_table(detector, {}), 60, SHAPE, np.uint16)
        write_images(folder, 0, photons)
    assert find_center(tmp_path / "frames.zarr", client=None).place is None
