"""Diffraction images while they arrive: files of several geometries, tables, pictures."""

import json
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from crystal_images import SHAPE, Brightness, draw, expected_resolution, write_image

from hpdp_dask.crystallography.watch.pictures import SpotPicture
from hpdp_dask.crystallography.watch.recipe import FindHits, watch_recipe
from hpdp_dask.dataflow.stream import directory as stream_directory
from hpdp_dask.dataflow.stream.directory import Directory
from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.dataflow.stream.message import encode
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.frames.live_images import LIVE_SUFFIXES, MASTER, open_live_image
from hpdp_dask.frames.live_sources import IMAGES, open_live
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.store import staging, write_images
from hpdp_dask.workflow.crystals_watch import run_watch


def appearing(folder: Path, batch: int = 4, **words) -> Directory:
    words = {"settle": 0.2, "idle": 0.8} | words
    return Directory(
        folder, batch, open_live_image, LIVE_SUFFIXES, but=(MASTER,), geometries=True, **words
    )


def watch(source, output: Path, client, **words):
    words = {
        "command": ["hpdp"],
        "model": "brightness",
        "batch": 4,
        "say": lambda said: None,
    } | words
    return run_watch(source, output, Brightness(), client=client, **words)


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    folder = tmp_path / "visit"
    folder.mkdir()
    return folder


def test_images_are_looked_at_as_they_appear(client, incoming, tmp_path, monkeypatch):
    monkeypatch.setattr(stream_directory, "_DAMAGED", 0.4)
    images = draw(14)
    images[:, 10, :] = -1  # between modules
    for place in range(6):
        write_image(incoming / f"a_{place + 1:04d}.cbf", images[place])
    # the detector is moved, and the images are of a crystal of another folder
    (incoming / "far").mkdir()
    for place in range(6, 12):
        write_image(incoming / "far" / f"b_{place:04d}.cbf", images[place], distance=0.2)
    whole = write_image(tmp_path / "c_0001.cbf", images[12]).read_bytes()
    (incoming / "c_0001.cbf").write_bytes(whole[: len(whole) // 2])
    (incoming / "c_0002.cbf.part").write_bytes(whole)
    (incoming / "notes.txt").write_text("no image")
    output = incoming / "watch"  # where its own files are no images
    record = watch(appearing(incoming), output, client)
    assert record.results["frames"] == 12
    assert record.results["set_aside"] == {"damaged": 1}
    aside = StreamFolder(output).asides()[0]
    assert aside.what.endswith("c_0001.cbf")
    assert "truncated" in aside.words

    table = pd.read_csv(output / "images.csv")
    assert table["file"].tolist() == [
        *(str(incoming / f"a_{place + 1:04d}.cbf") for place in range(6)),
        *(str(incoming / "far" / f"b_{place:04d}.cbf") for place in range(6, 12)),
    ]
    assert table["data_set"].tolist() == ["a"] * 6 + ["far/b"] * 6
    distances = [0.1] * 6 + [0.2] * 6
    expected = [
        expected_resolution(image, distance) if image.max() > 50 else np.nan
        for image, distance in zip(images[:12], distances, strict=True)
    ]
    np.testing.assert_allclose(table["resolution"], expected, rtol=1e-5)
    np.testing.assert_array_equal(table["hit"], np.isfinite(expected))
    sets = pd.read_csv(output / "images_data_sets.csv")
    assert sets["hits"].tolist() == [4, 4]
    names = {name.name for name in output.glob("shared*.zarr")}
    assert names == {"shared.zarr", "shared-1.zarr"}
    assert "Images that stand out" in (output / "report.html").read_text()
    assert json.loads((output / "run.json").read_text())["results"]["hits"] == 8


def test_a_stream_of_images_goes_on(client, incoming, tmp_path):
    images = draw(9, seed=2)
    for place in range(5):
        write_image(incoming / f"a_{place:04d}.cbf", images[place])
    watch(appearing(incoming), tmp_path / "watch", client)
    for place in range(5, 9):
        write_image(incoming / f"a_{place:04d}.cbf", images[place])
    with pytest.raises(InputError, match="--resume goes on with it"):
        watch(appearing(incoming), tmp_path / "watch", client)
    with pytest.raises(InputError, match="had the model brightness, now it is other"):
        watch(appearing(incoming), tmp_path / "watch", client, model="other", resume=True)
    record = watch(appearing(incoming), tmp_path / "watch", client, resume=True)
    assert record.resumed
    assert record.results["frames"] == 9
    watch(appearing(incoming), tmp_path / "whole", client)
    found, expected = (pd.read_csv(tmp_path / name / "images.csv") for name in ("watch", "whole"))
    pd.testing.assert_frame_equal(found, expected)


def test_the_images_that_stand_out_have_pictures(client, incoming, tmp_path):
    images = draw(40, seed=3)
    path = tmp_path / "frames.zarr"
    detector = flat_detector(SHAPE, 172e-6, 0.1, 1.0)
    with staging(path) as staged:
        new_frames(staged, frame_table(detector, {}), 40, SHAPE, np.uint16)
        write_images(staged, 0, images.astype(np.uint16))
    seen = []

    @contextmanager
    def around(stream):
        yield
        seen.append(stream.figures.snapshot())

    source = open_live(f"replay:{path}", 5, fewest=1, folder=IMAGES)
    watch(source, tmp_path / "watch", client, around=around)
    (snapshot,) = seen
    hits = np.flatnonzero(images.max(axis=(1, 2)) > 50)
    resolution = np.array([expected_resolution(images[place]) for place in hits])
    best, worst = (hits[order] for order in (np.argsort(resolution), np.argsort(-resolution)))
    assert [each.frame_id for each in snapshot.ranked["best"]] == best[:6].tolist()
    assert [each.frame_id for each in snapshot.ranked["worst"]] == worst[:6].tolist()
    shown = {each.frame_id for ranked in snapshot.ranked.values() for each in ranked}
    kept = {int(file.stem) for file in (tmp_path / "watch" / "pictures").iterdir()}
    assert kept == shown
    assert set(snapshot.points["frame_id"]) == set(hits)


def test_messages_take_the_geometry_of_an_image(client, tmp_path):
    import zmq

    images = draw(10, seed=4)
    like = write_image(tmp_path / "like.cbf", images[0], distance=0.3)
    sender = zmq.Context.instance().socket(zmq.PUSH)
    port = sender.bind_to_random_port("tcp://127.0.0.1")
    source = open_live(f"zmq://127.0.0.1:{port}", 4, fewest=1, folder=IMAGES)
    running = threading.Thread(target=partial(watch, source, tmp_path / "watch", client, like=like))
    running.start()
    for place in range(10):
        sender.send_multipart(encode(place, images[place : place + 1]))
    sender.send_multipart([b'{"end": true}'])
    running.join(60)
    sender.close(linger=0)
    table = pd.read_csv(tmp_path / "watch" / "images.csv")
    hits = images.max(axis=(1, 2)) > 50
    expected = [expected_resolution(image, 0.3) for image in images[hits]]
    np.testing.assert_allclose(table["resolution"][hits], expected, rtol=1e-5)
    assert table["frame"].tolist() == list(range(10))


def test_images_without_geometry_are_asked_for_it(incoming, tmp_path):
    write_image(incoming / "a.cbf", draw(1)[0], distance=float("nan"))
    with pytest.raises(InputError, match="--distance"):
        open_live_image(incoming / "a.cbf")
    found = open_live_image(incoming / "a.cbf", distance=0.2)
    assert found.detector.distance == pytest.approx(0.2)


def test_an_image_like_another_is_opened_by_its_header(incoming):
    images = draw(3)
    paths = [write_image(incoming / f"a_{place}.cbf", images[place]) for place in range(2)]
    paths.append(write_image(incoming / "b.cbf", images[2], distance=0.15))
    sources = [open_live_image(path) for path in paths]
    assert sources[0].detector is sources[1].detector
    assert sources[2].detector.distance == pytest.approx(0.15)
    for source, image, path in zip(sources, images, paths, strict=True):
        np.testing.assert_array_equal(source.read(0, 1)[0], image)
        assert source.path == path


def test_data_files_have_the_geometry_of_their_master(incoming):
    import h5py

    images = draw(5).astype(np.uint32)
    with h5py.File(incoming / "x_master.h5", "w") as file:
        detector = file.create_group("entry/instrument/detector")
        for name, value in (
            *(("x_pixel_size", 75e-6), ("y_pixel_size", 75e-6), ("detector_distance", 0.12)),
            *(("beam_center_x", 20.0), ("beam_center_y", 25.0)),
        ):
            detector[name] = value
            detector[name].attrs["units"] = "m" if "beam" not in name else "pixel"
        file["entry/instrument/beam/incident_wavelength"] = 0.98
        file["entry/instrument/beam/incident_wavelength"].attrs["units"] = "angstrom"
        for number in (1, 2):
            name = f"data_{number:06d}"
            file[f"entry/data/{name}"] = h5py.ExternalLink(f"x_{name}.h5", "entry/data/data")
    for number, part in ((1, images[:3]), (2, images[3:])):
        with pytest.raises(InputError):
            open_live_image(incoming / f"x_data_{number:06d}.h5")
        with h5py.File(incoming / f"x_data_{number:06d}.h5", "w") as file:
            file["entry/data/data"] = part
        found = open_live_image(incoming / f"x_data_{number:06d}.h5")
        np.testing.assert_array_equal(found.read(0, found.number), part)
        assert found.detector.distance == pytest.approx(0.12)
        assert found.detector.wavelength == pytest.approx(0.98)
    (incoming / "x_master.h5").rename(incoming / "elsewhere")
    with pytest.raises(InputError, match=r"x_master\.h5 is not beside it"):
        open_live_image(incoming / "x_data_000001.h5")


def test_a_picture_shows_the_brightest_good_pixel_of_each_cell():
    mask = np.zeros((90, 120), np.uint8)
    mask[40:50] = 2
    detector = flat_detector(mask.shape, 1e-4, 0.1, 1.0, mask=mask)
    frame = np.ones(mask.shape, np.uint32)
    frame[7, 100] = 900
    frame[45, 60] = 5000
    picture = SpotPicture(longest=30)
    shown = picture.make(frame, picture.prepare(frame_table(detector, {})))
    assert shown.shape == (22, 30)
    assert np.nanmax(shown) == 900
    assert np.unravel_index(np.nanargmax(shown), shown.shape) == (1, 24)
    assert np.isnan(shown[10]).all()


def test_hits_are_told_only_where_the_model_tells_them():
    import xarray as xr

    block = xr.Dataset({"hit_probability": ("frame", np.array([0.2, 0.5, np.nan], np.float32))})
    assert FindHits().measure(block, None)["hit"].tolist() == [0, 1, 0]
    assert watch_recipe(Path("x"), Brightness()).choice == "hit"
    lit = type("Lit", (), {"columns": {}, "name": "lit", "needs": ()})()
    recipe = watch_recipe(Path("x"), lit)
    assert (recipe.choice, recipe.rankings, recipe.traces) == (None, (), ())
