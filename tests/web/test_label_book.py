"""What visitors of a label page share, without a browser: orders, filters, saving, the choice."""

import os

import numpy as np
import pytest
from rings_and_stripes import frames_in_memory, stored_frames

from hpdp_dask.errors import InputError
from hpdp_dask.spi.labels import LabelLog, read_labels
from hpdp_dask.stacks.frames import add_variables
from hpdp_dask.web.label_book import LabelBook
from hpdp_dask.web.label_source import FramesInMemory, StoredFrames

CLASSES = ["single", "other"]


@pytest.fixture
def book(tmp_path):
    return LabelBook(frames_in_memory()[0], CLASSES, LabelLog(tmp_path / "labels.jsonl"))


def test_orders(book):
    lit = book.source.columns["lit_pixels"]
    assert {"instructive", "random", "stored", "lit", "largest", "review"} <= set(book.orders())
    assert "unsure" not in book.orders()
    assert np.array_equal(book.arrange("stored", ""), np.arange(120))
    assert np.all(np.diff(lit[book.arrange("lit", "")]) <= 0)
    random = book.arrange("random", "")
    assert sorted(random) == list(range(120))
    # what a filter leaves out moves no other
    hits = book.source.columns["hit"] == 1
    assert np.array_equal(book.arrange("random", "hit"), random[hits[random]])
    sizes = book.source.columns["particle_size"]
    sizes[7] = np.nan
    assert book.arrange("largest", "")[-1] == book.arrange("smallest", "")[-1] == 7


def test_labels_pass_filters_and_review(book):
    book.save([("a", 5, "single"), ("b", 9, "other"), ("c", 2, "single"), ("d", 5, None)], "anna")
    assert book.arrange("review", "").tolist() == [2, 9]
    assert book.arrange("review", "given:other").tolist() == [9]
    assert set(range(120)) - set(book.arrange("stored", "open").tolist()) == {2, 9}
    book.save([("e", 9, "single")], "ben")
    assert book.arrange("review", "").tolist() == [9, 2]


def test_acts_are_saved_once(book):
    book.save([("a", 5, "single")], "anna")
    book.save([("a", 5, "single"), ("b", 6, "other")], "anna")
    assert len(book.log.path.read_text().splitlines()) == 2
    assert [(act.frame, act.label) for act in book.acts] == [(5, "single"), (6, "other")]


@pytest.mark.parametrize("act", [("a", 120, "single"), ("a", -1, "single"), ("a", 1, "rod")])
def test_what_is_not_there_is_refused(book, act):
    with pytest.raises(InputError):
        book.save([act], "anna")
    assert not book.log.path.exists()


def test_others_are_seen_and_a_new_log_begins_anew(book, tmp_path):
    LabelLog(book.log.path).write([(3, "other")], "ben")
    book.look(now=True)
    assert book.labels()[3] == "other"
    epoch = book.epoch
    LabelLog(tmp_path / "other.jsonl").write([(4, "single")], "ben")
    os.replace(tmp_path / "other.jsonl", book.log.path)
    book.look(now=True)
    assert book.epoch == epoch + 1
    assert book.labels()[[3, 4]].tolist() == ["", "single"]


def test_nobody_is_shown_what_another_has(book):
    first = book.instructive("", 24)
    second = book.instructive("", 24, taken=first.tolist())
    assert not np.intersect1d(first, second).size
    hits = book.instructive("hit", 60)
    assert np.all(book.source.columns["hit"][hits] == 1)


def test_estimate_and_what_it_lacks(book):
    truth = frames_in_memory()[1]
    assert book.estimate()[1] == "an estimate needs 4 more single and 4 more other"
    book.save([(str(i), i, str(truth[i])) for i in range(30)], "anna")
    found, why_not = book.estimate()
    assert why_not == ""
    assert found.labelled == 30
    assert found.precision > 0.9
    book.source.feature_vectors = None
    assert book.estimate() == (None, "no estimate without features (hpdp spi features)")


def test_frames_that_arrive_meanwhile(tmp_path):
    source, _ = frames_in_memory(100)
    book = LabelBook(source, CLASSES, LabelLog(tmp_path / "labels.jsonl"))
    book.save([(str(i), i, CLASSES[i % 2]) for i in range(90)], "anna")
    more, _ = frames_in_memory(150, seed=1)
    source.images, source.feature_vectors = more.images, more.feature_vectors
    source.columns = more.columns
    assert len(book.labels()) == 150
    chosen = book.instructive("", 40)
    assert chosen.min() >= 90
    assert chosen.max() >= 100
    book.save([("new", 149, "other")], "anna")
    assert book.arrange("review", "")[0] == 149


def test_what_is_known_of_a_frame(book):
    told = dict(book.numbers(3))
    assert list(told)[:2] == ["lit pixels", "particle size"]
    assert told["particle size"].endswith(" Å")
    assert told["train id"] == "1003"


def test_a_stack_is_a_source(tmp_path):
    stored_frames(tmp_path / "frames.zarr")
    source = StoredFrames(tmp_path / "frames.zarr")
    memory, _ = frames_in_memory(60)
    assert (source.name, source.number) == ("frames.zarr", 60)
    wanted = np.array([40, 3, 3, 59])
    assert np.array_equal(source.read(wanted), memory.read(wanted))
    assert np.allclose(source.features(wanted), memory.features(wanted), atol=1e-6)
    assert np.array_equal(source.mask, memory.mask)
    assert source.positions[0].shape == (48, 48)
    assert np.array_equal(source.columns["lit_pixels"], memory.columns["lit_pixels"])
    book = LabelBook(source, CLASSES, LabelLog(tmp_path / "labels.jsonl"))
    assert len(set(book.instructive("", 10).tolist())) == 10
    book.save([("a", 3, "single")], "anna")
    assert read_labels(tmp_path / "labels.jsonl", 60)[3] == "single"


def test_predictions_of_a_stack_are_words(tmp_path):
    stored_frames(tmp_path / "frames.zarr", 4)
    add_variables(
        tmp_path / "frames.zarr",
        {
            "label": (("frame",), np.array([1, 0, -1, 1], np.int16)),
            "label_probability": (("frame",), np.array([0.9, 0.6, np.nan, 0.8], np.float32)),
            "true_size": (("frame",), np.ones(4)),
            "class_name": (("classes",), np.array(["other", "single"])),
        },
    )
    source = StoredFrames(tmp_path / "frames.zarr")
    book = LabelBook(source, CLASSES, LabelLog(tmp_path / "labels.jsonl"))
    assert book.filters()["predicted:single"] == "Predicted single"
    assert book.arrange("unsure", "").tolist() == [1, 3, 0, 2]
    assert book.arrange("stored", "predicted:single").tolist() == [0, 3]
    assert book.instructive("predicted:single", 9).tolist() in ([0, 3], [3, 0])
    told = dict(book.numbers(1))
    assert not any("true" in name for name in told)
    assert (told["predicted"], told["predicted probability"]) == ("other", "0.6")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["single"], "The classes are single; expected two or more words"),
        (["single", ""], "expected two or more"),
        (["single", "single"], "each of them once"),
        ([f"c{i}" for i in range(10)], "expected 9 or fewer"),
    ],
)
def test_wrong_classes(tmp_path, classes, words):
    with pytest.raises(InputError, match=words):
        LabelBook(frames_in_memory(3)[0], classes, LabelLog(tmp_path / "labels.jsonl"))


def test_classes_of_the_log_are_added(tmp_path):
    LabelLog(tmp_path / "labels.jsonl").write([(1, "rod")], "ben")
    log = LabelLog(tmp_path / "labels.jsonl")
    assert LabelBook(frames_in_memory(3)[0], CLASSES, log).classes == ("single", "other", "rod")


def test_log_of_another_stack(tmp_path):
    LabelLog(tmp_path / "labels.jsonl").write([(70, "single")], "ben")
    source = FramesInMemory(np.zeros((60, 4, 4), np.uint8))
    with pytest.raises(InputError, match="frame 70, but the stack has 60 frames"):
        LabelBook(source, CLASSES, LabelLog(tmp_path / "labels.jsonl"))
