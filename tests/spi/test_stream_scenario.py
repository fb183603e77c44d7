"""The scenario of a stream: labels, training, classification, of all frames once."""

import json
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from live_frames import LEAST, NAMES, draw, make_stack

from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.errors import InputError
from hpdp_dask.frames.live_sources import open_live
from hpdp_dask.spi.classify import save_model, train
from hpdp_dask.spi.features import Features
from hpdp_dask.spi.labels import LabelLog
from hpdp_dask.spi.stream.recipe import FindHits, HitRule, labelling_of
from hpdp_dask.spi.stream.sums import ClassSums, HitSum
from hpdp_dask.spi.stream.training import Settings
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.workflow.spi_stream import run_live


@pytest.fixture
def frames(tmp_path: Path):
    path = tmp_path / "frames.zarr"
    return path, *make_stack(path, 400)


def run(source: str, output: Path, client, settings: Settings | None = None, **words):
    words = {"hits": HitRule(lit_pixels=LEAST)} | words
    return run_live(
        open_live(source, 32),
        output,
        client=client,
        command=["hpdp", "spi", "stream"],
        settings=settings or Settings(),
        batch=32,
        **words,
    )


def known(truth: np.ndarray) -> dict[int, str]:
    return {frame: NAMES[index] for frame, index in enumerate(truth)}


@contextmanager
def watched(live, hear):
    live.stream.listen(lambda name, report: hear(live, name))
    yield


def test_frames_are_classified_as_they_come_and_those_before(frames, client, tmp_path):
    path, photons, truth = frames
    output, said = tmp_path / "live", []
    settings = Settings(known=known(truth), training_size=24)
    record = run(f"replay:{path}@900", output, client, settings, say=said.append)
    hits = np.flatnonzero(truth < 2)
    found = open_frames(output / "frames.zarr").load()
    np.testing.assert_array_equal(found["frame_id"], hits)
    np.testing.assert_array_equal(found["photons"], photons[hits])
    names = [str(name) for name in found["class_name"].values]
    accepted = found["label_accepted"].values == 1
    right = np.array(names)[found["label"].values] == np.array(NAMES)[truth[hits]]
    assert accepted.mean() > 0.9
    assert right[accepted].mean() > 0.99
    size = found["particle_size"].values
    assert np.median(size[truth[hits] == 0]) == pytest.approx(400, rel=0.03)
    assert np.median(size[truth[hits] == 1]) == pytest.approx(700, rel=0.03)

    results = record.results
    assert (results["frames"], results["hits"], results["unlabelled"]) == (400, len(hits), 0)
    assert [model["labels"] for model in results["trained"]] == [24]
    assert results["trained"][0]["seconds"] < 5.0
    assert any("trained on 24 labels" in words for words in said)
    means = np.load(output / "class_means.npy")
    assert means.shape == (2, 48, 48)
    np.testing.assert_allclose(np.load(output / "powder.npy"), photons[hits].mean(axis=0))
    rows = (output / "training.csv").read_text().splitlines()
    assert len(rows) == 25
    assert all(NAMES[truth[int(row.split(",")[0])]] == row.split(",")[1] for row in rows[1:])
    report = (output / "report.html").read_text()
    assert "Mean frame of each class" in report
    assert json.loads((output / "run.json").read_text())["results"]["model"] == "001"


def test_people_label_while_it_runs(frames, client, tmp_path):
    path, _, truth = frames
    asked = []

    def ask(pool, log):
        """A person who labels all that is there, each frame with a stroke of a key."""
        asked.append(pool.number)
        assert pool.read(np.array([3, 0])).shape == (2, 48, 48)
        assert pool.columns["particle_size"].shape == (pool.number,)
        acts = [(place, NAMES[truth[frame]]) for place, frame in enumerate(pool.ids.tolist())]
        threading.Timer(0.3, LabelLog(log).write, (acts, "anna")).start()

    settings = Settings(classes=("small", "large"), training_size=16)
    record = run(f"replay:{path}", tmp_path / "live", client, settings, ask=ask)
    assert len(asked) == 1
    assert asked[0] >= 16
    assert record.results["model"] is not None
    assert record.results["unlabelled"] == 0


def test_labels_keep_their_frames_when_the_stream_goes_on(frames, client, tmp_path):
    path, _, truth = frames
    settings = Settings(classes=("small", "large"), training_size=12)
    seen, live = [], []

    def label_some(pool, log):
        """A person who labels some of the frames; then the process is ended, or goes on."""
        seen.append(pool.ids[:60].tolist())
        first, last = (0, 8) if len(seen) == 1 else (8, 20)
        acts = [(place, NAMES[truth[pool.ids[place]]]) for place in range(first, last)]
        LabelLog(log).write(acts, "anna")
        if len(seen) == 1:
            live[0].stream.stop("leave")

    @contextmanager
    def watch(running):
        live.append(running)
        yield

    options = {"ask": label_some, "watch": watch, "resume": True}
    assert run(f"replay:{path}@800", tmp_path / "live", client, settings, **options) is None
    record = run(f"replay:{path}", tmp_path / "live", client, settings, **options)
    assert seen[1][: len(seen[0])] == seen[0]
    assert record.results["trained"][0]["labels"] == 20
    found = open_frames(tmp_path / "live" / "frames.zarr").load()
    names = np.array([str(name) for name in found["class_name"].values])
    right = names[found["label"].values] == np.array(NAMES)[truth[found["frame_id"].values]]
    assert right.mean() > 0.95


def test_a_stream_that_is_left_ends_as_an_unbroken_one(frames, client, tmp_path):
    path, _, truth = frames
    model = tmp_path / "model"
    model.mkdir()
    stack = open_frames(path).load()
    features = Features().measure(stack, Features().prepare(stack))["features"]
    labels = np.where(np.arange(400) < 60, np.array(NAMES)[truth], "")
    save_model(model, train(features, labels, recipe=Features().recipe))

    def leave(live, name):
        if len(live.stream.done) == 4:
            live.stream.stop("leave")

    broken, whole = tmp_path / "broken", tmp_path / "whole"
    options = {"model": model, "hits": HitRule()}
    left = run(
        f"replay:{path}@900", broken, client, watch=lambda live: watched(live, leave), **options
    )
    assert left is None
    assert not (broken / "run.json").exists()
    assert 4 <= len(StreamFolder(broken).done()) < 13
    with pytest.raises(InputError, match="--resume goes on with it"):
        run(f"replay:{path}", broken, client, **options)
    with pytest.raises(InputError, match="had the hits"):
        run(f"replay:{path}", broken, client, model=model, resume=True)
    record = run(f"replay:{path}", broken, client, resume=True, **options)
    assert record.resumed
    run(f"replay:{path}", whole, client, **options)
    found, expected = (open_frames(each / "frames.zarr").load() for each in (broken, whole))
    assert set(found.variables) == set(expected.variables)
    for name in expected.variables:
        np.testing.assert_array_equal(found[name].values, expected[name].values)
    assert found.sizes["frame"] == 400


def test_results_can_go_into_the_stack_that_is_replayed(frames, client, tmp_path):
    path, _, truth = frames
    settings = Settings(known=known(truth), training_size=20)
    run(f"replay:{path}", tmp_path / "live", client, settings, into_stack=True)
    stack = open_frames(path).load()
    np.testing.assert_array_equal(stack["hit"], truth < 2)
    assert (stack["label"].values[truth == 2] == -1).all()
    assert (stack["label"].values[truth < 2] >= 0).all()
    assert stack.attrs["history"][-1]["recipe"] == Features().recipe
    with pytest.raises(InputError, match="--overwrite replaces it"):
        run(f"replay:{path}", tmp_path / "again", client, into_stack=True)
    assert not (tmp_path / "again").exists()


def test_labels_of_too_few_frames_are_said_and_nothing_is_lost(frames, client, tmp_path):
    path, _, truth = frames
    few = {int(np.flatnonzero(truth == index)[0]): NAMES[index] for index in (0, 1)}
    record = run(f"replay:{path}", tmp_path / "live", client, Settings(known=few))
    assert record.results["model"] is None
    assert any("There is no classifier" in warning for warning in record.warnings)
    assert open_frames(tmp_path / "live" / "frames.zarr").sizes["frame"] == (truth < 2).sum()


def test_files_without_geometry_take_that_of_a_stack(frames, client, tmp_path):
    path, _, _ = frames
    photons, truth = draw(40, seed=7)
    folder = tmp_path / "incoming"
    folder.mkdir()
    np.save(folder / "a.npy", photons)
    source = open_live(str(folder), 32, idle=0.5)
    options = {
        "client": client,
        "command": ["hpdp"],
        "settings": Settings(),
        "hits": HitRule(lit_pixels=LEAST),
        "batch": 32,
    }
    with pytest.raises(InputError, match=r"geometry|pixel_x|wavelength"):
        run_live(source, tmp_path / "live", **options)
    assert not (tmp_path / "live").exists()
    source = open_live(str(folder), 32, idle=0.5)
    run_live(source, tmp_path / "live", like=path, **options)
    found = open_frames(tmp_path / "live" / "frames.zarr")
    np.testing.assert_array_equal(found["photons"], photons[truth < 2])


def test_frames_as_they_were_read_out_are_counted(frames, client, tmp_path):
    photons, _ = draw(40, seed=7)
    adu = 30.0 * photons + np.random.default_rng(1).normal(0, 1, photons.shape)
    adu[5] = np.nan
    adu[6, 3, 3] = np.inf
    folder = tmp_path / "incoming"
    folder.mkdir()
    np.save(folder / "a.npy", adu.astype(np.float32))
    run_live(
        open_live(str(folder), 32, idle=0.5, gain=30.0),
        tmp_path / "live",
        client=client,
        command=["hpdp"],
        settings=Settings(),
        hits=HitRule(),
        batch=32,
        like=frames[0],
    )
    found = open_frames(tmp_path / "live" / "frames.zarr").load()
    expected = np.delete(np.arange(40), 5)
    np.testing.assert_array_equal(found["frame_id"], expected)
    photons[6, 3, 3] = 0
    np.testing.assert_array_equal(found["photons"], photons[expected])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("replay:nowhere.zarr", "no such stack"),
        ("replay:nowhere.zarr@fast", "the rate is 'fast'"),
        ("zmq://host", "expected zmq://host:port"),
        ("zmq://host:70000", "a port from 1 to 65535"),
        ("karabo://host:1", "no source karabo"),
        ("nowhere", "no such folder"),
    ],
)
def test_sources_that_are_none_are_refused(words, expected):
    with pytest.raises(InputError, match=expected):
        open_live(words, 128)


def test_mistakes_are_told_before_anything_is_made(frames, client, tmp_path):
    path, output = frames[0], tmp_path / "live"
    with pytest.raises(InputError, match="of 1 class; expected two"):
        run(f"replay:{path}", output, client, Settings(known={1: "a", 2: "a"}))
    with pytest.raises(InputError, match="no such method"):
        run(f"replay:{path}", output, client, Settings(method="magic"))
    with pytest.raises(InputError, match="batches of 5 frames"):
        open_live(f"replay:{path}", 5)
    with pytest.raises(InputError, match="expected all, a number"):
        HitRule.of("some")
    made = train(np.random.default_rng(0).normal(size=(20, 3)), np.repeat(["a", "b"], 10))
    with pytest.raises(InputError, match="trained on other features"):
        labelling_of("m", made)
    output.mkdir()
    with pytest.raises(InputError, match=r"no stream\.json"):
        run(f"replay:{path}", output, client, overwrite=True)


def test_hits_stand_out_of_their_batch(frames):
    _, photons, truth = frames
    import xarray as xr

    lit = (photons > 0).sum(axis=(1, 2))
    some = np.concatenate([np.flatnonzero(truth == 2)[:60], np.flatnonzero(truth < 2)[:5]])
    block = xr.Dataset({"lit_pixels": ("frame", lit[some])})
    for words, expected in (
        ("auto", truth[some] < 2),
        ("all", np.ones(65)),
        ("140", truth[some] < 2),
    ):
        measure = FindHits(HitRule.of(words))
        np.testing.assert_array_equal(measure.measure(block, None)["hit"] != 0, expected)


def test_sums_of_classes_add_up_in_any_order():
    import xarray as xr

    generator = np.random.default_rng(1)
    photons = generator.poisson(0.5, (30, 4, 5)).astype(np.uint8)
    label, accepted = generator.integers(0, 3, 30), generator.integers(0, 2, 30)
    blocks = [
        xr.Dataset(
            {
                "photons": (("frame", "y", "x"), photons[part]),
                "label": ("frame", label[part]),
                "label_accepted": ("frame", accepted[part]),
            }
        )
        for part in (slice(0, 1), slice(1, 12), slice(12, 12), slice(12, 30))
    ]
    reduction = ClassSums()
    parts = [reduction.fold(reduction.start(), block) for block in blocks]
    for order in ([0, 1, 2, 3], [2, 3, 1, 0]):
        total = reduction.start()
        for place in order:
            total = reduction.merge(total, parts[place])
        found = reduction.finish(total)
        for index in range(3):
            chosen = (label == index) & (accepted == 1)
            assert found.counts[index] == chosen.sum()
            np.testing.assert_allclose(found.means[index], photons[chosen].mean(axis=0))
    powder = HitSum()
    total = powder.merge(powder.fold(powder.start(), blocks[3]), powder.start())
    np.testing.assert_allclose(powder.finish(total), photons[12:].mean(axis=0))
