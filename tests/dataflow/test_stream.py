"""Live frames: the same numbers as of stored ones, each frame once, whatever comes between."""

import threading
from pathlib import Path

import numpy as np
import pytest
from slow_loop import wait_for
from stream_measures import (
    MEASURES,
    Lit,
    Means,
    Powder,
    is_hit,
    lit_pixels,
    make_frames,
    model,
)

from hpdp_dask.dataflow.columns import measure_images
from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.dataflow.stream.found import Found
from hpdp_dask.dataflow.stream.replay import Replay
from hpdp_dask.dataflow.stream.report import Histogram
from hpdp_dask.dataflow.stream.stack import add_to_stack, write_new_stack
from hpdp_dask.dataflow.stream.task import Recipe
from hpdp_dask.dataflow.stream.totals import Total, finish_total
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames

TOTALS = (Total("powder", Powder(), "chosen"), Total("bright", Powder(), "labelled"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "frames.zarr"


def recipe(folder: Path, **words) -> Recipe:
    return Recipe(folder, MEASURES, choice="hit", totals=TOTALS, **words)


def all_results(folder: Path, columns=("frame_id", "lit_pixels")) -> np.ndarray:
    """Give columns of all frames, as they are in the files, sorted by id."""
    stream = StreamFolder(folder)
    parts = [stream.results(name, *columns) for name in sorted(stream.done())]
    return np.stack([np.concatenate([part[name] for part in parts]) for name in columns])


def test_live_frames_are_measured_as_stored_ones(client, path, tmp_path):
    photons = make_frames(path, 300)
    measure_images(path, MEASURES, client=client)
    stored = open_frames(path).load()
    stream = Stream(
        Replay(path, 64), Recipe(tmp_path / "live", MEASURES), client=client, labelling=model()
    )
    stream.run()
    folder = StreamFolder(tmp_path / "live")
    for name in sorted(folder.done()):
        found = folder.results(name)
        for column in ("lit_pixels", "hit", "features", "particle_size"):
            np.testing.assert_array_equal(found[column], stored[column].values[found["frame_id"]])
    assert stream.figures.snapshot().labels.sum() == len(photons)


def test_what_was_chosen_becomes_a_stack_and_columns(client, path, tmp_path):
    photons = make_frames(path, 300)
    hit = is_hit(photons)
    recipe_ = recipe(tmp_path / "live", shown=(Histogram("particle_size", 50, 1000),))
    stream = Stream(Replay(path, 64), recipe_, client=client, labelling=model())
    stream.run()
    seen = stream.figures.snapshot()
    assert (seen.frames, seen.chosen, seen.unlabelled) == (300, hit.sum(), 0)
    assert seen.histograms["particle_size"].sum() == hit.sum()
    assert 0 < seen.lag[0] <= seen.lag[-1]

    found = Found(stream.folder, model(), stream.source.again)
    made = tmp_path / "hits.zarr"
    assert write_new_stack(found, made, client=client, history={"command": "x"}) == hit.sum()
    hits = open_frames(made).load()
    np.testing.assert_array_equal(hits["photons"], photons[hit])
    np.testing.assert_array_equal(hits["frame_id"], np.flatnonzero(hit))
    above = photons[hit].sum(axis=(1, 2)) - 20.0
    np.testing.assert_array_equal(hits["label"], above > 0)
    assert hits["class_name"].values.tolist() == ["dim", "bright"]
    assert hits["pixel_x"].shape == (6, 8)

    names = ("lit_pixels", "hit", "features", "label", "label_probability", "label_accepted")
    add_to_stack(found, path, names, client=client, history={})
    added = open_frames(path).load()
    np.testing.assert_array_equal(added["lit_pixels"], lit_pixels(photons))
    np.testing.assert_array_equal(added["label"].values[~hit], -1)
    np.testing.assert_array_equal(added["label"].values[hit], hits["label"])
    assert np.isnan(added["features"].values[~hit]).all()
    with pytest.raises(InputError, match="has lit_pixels"):
        add_to_stack(found, path, names, client=client, history={})


def test_a_model_that_comes_late_labels_earlier_frames_too(client, path, tmp_path):
    photons = make_frames(path, 1500, images_per_shard=500)
    stream = Stream(
        Replay(path, 25, rate=2000.0), recipe(tmp_path / "live"), client=client, hold=True
    )
    running = threading.Thread(target=stream.run)
    running.start()
    wait_for(lambda: len(stream.done) > 10)
    stream.put_model(model("1", at=20.0))
    wait_for(lambda: stream.figures.snapshot().labels.sum() > 100)
    assert stream.figures.snapshot().model == "1"
    stream.put_model(model("2", at=30.0))
    wait_for(lambda: len(stream.done) == 60 and stream.figures.snapshot().unlabelled == 0)
    assert not stream.ended.is_set()  # it is held
    stream.release()
    running.join(60)

    hits = photons[is_hit(photons)]
    total = hits.sum(axis=(1, 2), dtype=np.int64)
    seen = stream.figures.snapshot()
    expected = np.where(np.abs(total - 30) > 1, total > 30, 2)
    np.testing.assert_array_equal(seen.labels, np.bincount(expected, minlength=3))
    for label, examples in seen.examples.items():
        if label == 2:
            continue  # no class
        assert all((photons[example.frame_id].sum() > 30) == label for example in examples)
    # every frame was labelled once by the last model, and counted once in its sums
    labelled = sorted(stream.folder.labelled("2"))
    assert labelled == sorted(stream.done)
    ids = np.concatenate([stream.folder.labels("2", name)["frame_id"] for name in labelled])
    np.testing.assert_array_equal(ids, np.flatnonzero(is_hit(photons)))
    sums = tmp_path / "live" / "sums"
    for folder, of in (("powder", TOTALS[0]), ("bright-2", TOTALS[1])):
        np.testing.assert_array_equal(
            finish_total(sums / folder, of, stream.done), hits.sum(axis=0)
        )
        assert len(list((sums / folder).iterdir())) < 16 + 60 / 16


def test_a_stream_that_was_left_goes_on(client, path, tmp_path):
    photons = make_frames(path, 400)
    left = Stream(Replay(path, 20, rate=400.0), recipe(tmp_path / "live"), client=client)
    running = threading.Thread(target=left.run)
    running.start()
    wait_for(lambda: len(left.done) > 3)
    left.stop("leave")
    running.join(60)
    assert 3 < len(left.done) < 20

    again = Stream(Replay(path, 20), recipe(tmp_path / "live"), client=client, labelling=model())
    again.run()
    seen = again.figures.snapshot()
    assert (seen.frames, seen.came) == (400, 400 - 20 * len(left.done))
    assert seen.unlabelled == 0
    found = all_results(tmp_path / "live")
    np.testing.assert_array_equal(found, [np.arange(400), lit_pixels(photons)])
    powder = finish_total(tmp_path / "live" / "sums" / "powder", TOTALS[0], again.done)
    np.testing.assert_array_equal(powder, photons[is_hit(photons)].sum(axis=0))

    nothing = Stream(Replay(path, 20), recipe(tmp_path / "live"), client=client, labelling=model())
    nothing.run()
    seen = nothing.figures.snapshot()
    assert (seen.frames, seen.came, seen.unlabelled) == (400, 0, 0)


def test_the_source_waits_while_the_stream_is_full(client, path, tmp_path):
    make_frames(path, 400)
    given = []

    class Watched(Replay):
        def next(self, patience):
            found = super().next(patience)
            given.append(len(stream.done))
            return found

    slow = Recipe(tmp_path / "live", (Lit(seconds=0.1),))
    stream = Stream(Watched(path, 20), slow, client=client)
    stream.run()
    # two workers: two batches each, and one that is being asked for
    under_way = [asked - done for asked, done in enumerate(given)]
    assert max(under_way) <= 5
    assert stream.figures.snapshot().frames == 400


def test_frames_that_fail_are_set_aside(client, path, tmp_path):
    make_frames(path, 200, poisoned=(110, 155, 157))
    poisonous = Recipe(tmp_path / "live", (Lit(), Means(poison=200)))
    stream = Stream(Replay(path, 20), poisonous, client=client)
    stream.run()
    seen = stream.figures.snapshot()
    assert seen.asides == {"failed": 40}
    assert seen.frames == 160
    assert {aside.words for aside in stream.folder.asides()} == {"poison."}
    # who goes on tries them again
    again = Stream(Replay(path, 20), Recipe(tmp_path / "live", MEASURES), client=client)
    again.run()
    assert again.figures.snapshot().frames == 200
    assert again.figures.snapshot().asides == {}


def test_measures_that_refuse_everything_end_the_stream(client, path, tmp_path):
    make_frames(path, 200)
    measures = (Lit(), Means(poison=0))
    stream = Stream(Replay(path, 20), Recipe(tmp_path / "live", measures), client=client)
    with pytest.raises(InputError, match=r"the first 5 batches of frames all failed: poison\."):
        stream.run()
    assert stream.ended.is_set()


def test_a_model_that_refuses_is_told_of_and_frames_stay_measured(client, path, tmp_path):
    make_frames(path, 200)
    said = []
    stream = Stream(
        Replay(path, 20),
        recipe(tmp_path / "live"),
        client=client,
        labelling=model("7", refuses=True),
        say=said.append,
    )
    stream.run()
    seen = stream.figures.snapshot()
    assert (seen.frames, seen.asides, seen.labels.sum()) == (200, {}, 0)
    assert set(said) == {"model 7: made for other features."}


def test_a_replay_keeps_its_time(client, path, tmp_path):
    make_frames(path, 300)
    stream = Stream(Replay(path, 30, rate=600.0), recipe(tmp_path / "live"), client=client)
    stream.run()
    seen = stream.figures.snapshot()
    assert seen.seconds > 0.45
    assert seen.lag[0] < 5.0
    with pytest.raises(InputError, match="rate above 0"):
        Replay(path, 30, rate=0.0)


def test_a_replay_of_several_rounds_counts_on(client, path, tmp_path):
    photons = make_frames(path, 50)
    stream = Stream(Replay(path, 20, repeats=3), recipe(tmp_path / "live"), client=client)
    stream.run()
    found = all_results(tmp_path / "live")
    np.testing.assert_array_equal(found, [np.arange(150), np.tile(lit_pixels(photons), 3)])
