"""Stored frames get labels, by a model that was trained on the like."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from frame_stacks import make_frames
from labelled_frames import CLASSES, RECIPE, make_labelled, write_labels

from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify import Classify, networks, train
from hpdp_dask.spi.classify.stage import (
    classify_frames,
    count_labels,
    learn_and_classify,
    read_learning_set,
)
from hpdp_dask.stacks.frames import add_variables, open_frames

NUMBER = 120


@pytest.fixture
def stack(tmp_path: Path) -> tuple[Path, np.ndarray]:
    path = tmp_path / "frames.zarr"
    return path, make_labelled(path, NUMBER)


def some_labels(stack: tuple[Path, np.ndarray], number: int = 30) -> Path:
    path, truth = stack
    return write_labels(path.with_name("labels.csv"), truth, np.arange(0, NUMBER, NUMBER // number))


def test_all_frames_get_labels(stack: tuple[Path, np.ndarray], client: Client) -> None:
    path, truth = stack
    model = learn_and_classify(path, some_labels(stack), client=client)
    found = open_frames(path)
    assert found["class_name"].values.tolist() == CLASSES.tolist()
    given = CLASSES[found["label"].values]
    accepted = found["label_accepted"].values == 1
    assert np.mean(given[accepted] == truth[accepted]) > 0.97
    assert accepted.mean() > 0.8
    np.testing.assert_array_equal(accepted, found["label_probability"].values >= 0.75)
    np.testing.assert_allclose(
        found["label_probability"].values,
        model.probabilities(found["features"].values).max(axis=1),
        rtol=1e-6,
    )
    assert sum(count_labels(path).values()) == NUMBER
    told = found.attrs["history"][-1]
    assert told["labelled"] == dict(zip(CLASSES, model.labelled, strict=True))
    assert told["method"] == "svm-threshold"


def test_workers_say_what_this_process_says(
    stack: tuple[Path, np.ndarray], client: Client, tmp_path: Path
) -> None:
    other = tmp_path / "other.zarr"
    make_labelled(other, NUMBER)
    model = learn_and_classify(stack[0], some_labels(stack), client=client)
    classify_frames(other, model)
    for name in ("label", "label_probability", "label_accepted"):
        np.testing.assert_array_equal(
            open_frames(stack[0])[name].values, open_frames(other)[name].values
        )


def test_networks_look_at_the_frames(
    stack: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs PyTorch, the extra learn")
    monkeypatch.setitem(networks.STEPS, "mlp", 150)
    path, truth = stack
    learn_and_classify(path, some_labels(stack, 60), method="mlp")
    assert np.mean(CLASSES[open_frames(path)["label"].values] == truth) > 0.9


def test_live_frames_take_the_same_measure(stack: tuple[Path, np.ndarray]) -> None:
    path, truth = stack
    learning = read_learning_set(path, some_labels(stack), "svm", 0)
    measure = Classify(train(learning.inputs, learning.labels, recipe=learning.recipe))
    shared = open_frames(path).drop_dims("frame")
    block = xr.Dataset({"features": (("frame", "feature"), learning.inputs[:7])})
    found = measure.measure(block, measure.prepare(shared))
    assert set(found) == set(measure.columns)
    np.testing.assert_array_equal(CLASSES[found["label"]], truth[:7])


def test_labels_are_not_replaced_unasked(stack: tuple[Path, np.ndarray]) -> None:
    labels = some_labels(stack)
    learn_and_classify(stack[0], labels)
    with pytest.raises(InputError, match="--overwrite replaces them"):
        learn_and_classify(stack[0], labels)
    learn_and_classify(stack[0], labels, overwrite=True, method="svm")
    assert open_frames(stack[0])["label_accepted"].values.all()


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({**RECIPE, "version": 2}, "version 2 and not 1"),
        ({**RECIPE, "number": 9}, "number 9 and not 8"),
    ],
)
def test_features_of_another_recipe_are_refused(
    stack: tuple[Path, np.ndarray], tmp_path: Path, recipe: dict, words: str
) -> None:
    model = learn_and_classify(stack[0], some_labels(stack))
    other = tmp_path / "other.zarr"
    make_labelled(other, 30, recipe=recipe)
    with pytest.raises(InputError, match=f"trained on other features .*{words}"):
        classify_frames(other, model)
    assert "label" not in open_frames(other)


def test_pictures_of_another_detector_are_refused(
    stack: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs PyTorch, the extra learn")
    monkeypatch.setitem(networks.STEPS, "mlp", 5)
    model = learn_and_classify(stack[0], some_labels(stack), method="mlp")
    other = make_frames(tmp_path / "other.zarr", np.zeros((4, 40, 40), np.uint8))
    with pytest.raises(InputError, match=r"trained on other pictures .*take frames of the same"):
        classify_frames(other, model)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("500,virus", "frame 500.* the stack has 120 frames"),
        ("3,virus\n4,virus", "all 2 labelled frames are virus"),
        ("3,virus\n4,rod\n5,rod", "label 1 more of virus"),
    ],
)
def test_labels_that_do_not_suffice_are_refused(
    stack: tuple[Path, np.ndarray], rows: str, words: str
) -> None:
    labels = stack[0].with_name("labels.csv")
    labels.write_text(f"frame,label\n{rows}\n")
    with pytest.raises(InputError, match=words) as refused:
        learn_and_classify(stack[0], labels)
    assert str(labels) in str(refused.value)
    assert len(re.findall(r"[.?]( |$)", str(refused.value))) == 1
    assert "label" not in open_frames(stack[0])


def test_missing_features_name_the_command_that_gives_them(tmp_path: Path) -> None:
    path = tmp_path / "frames.zarr"
    truth = make_labelled(path, 30, recipe=None)
    labels = write_labels(tmp_path / "labels.csv", truth, np.arange(20))
    with pytest.raises(InputError, match=r"no features .* hpdp spi features computes them"):
        learn_and_classify(path, labels)


def test_features_of_sizes_before_are_refused(stack: tuple[Path, np.ndarray]) -> None:
    features = open_frames(stack[0])["features"].values
    add_variables(stack[0], {"features": (("frame", "feature"), features)}, overwrite=True)
    sizes = {"particle_size": (("frame",), np.full(len(stack[1]), 500.0))}
    add_variables(stack[0], sizes, overwrite=True)
    with pytest.raises(InputError, match="particle_size was replaced after the features"):
        learn_and_classify(stack[0], some_labels(stack), overwrite=True)
