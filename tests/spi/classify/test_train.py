"""Training by all methods, what is refused, and a model on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_svm import blobs

from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify import FEATURE_METHODS, METHODS, Model, load_model, save_model, train
from hpdp_dask.spi.classify import networks as networks_module

NAMES = np.array(["double", "rod", "virus"])
RECIPE = {"kind": "features", "number": 12, "version": 1}


def inputs_for(method: str, number: int = 90):
    """Make features, or pictures that differ in a corner, and labels of a third of them."""
    features, indices = blobs(3, number)
    labels = np.where(np.arange(number) < number // 3, NAMES[indices], "")
    if method in FEATURE_METHODS:
        return features, labels, NAMES[indices]
    pictures = np.random.default_rng(0).normal(0.0, 0.1, (number, 16, 16)).astype(np.float32)
    y, x = np.mgrid[:16, :16] - 7.5
    pictures += np.exp(-((np.hypot(x, y) - 1.0 - 2.5 * indices[:, None, None]) ** 2))
    return pictures, labels, NAMES[indices]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks need not learn much here."""
    monkeypatch.setattr(networks_module, "STEPS", {"mlp": 200, "cnn": 60})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_is_kept_without_pickle(method: str, tmp_path: Path) -> None:
    inputs, labels, truth = inputs_for(method)
    model = train(inputs, labels, method=method, seed=2, recipe=RECIPE)
    assert model.classes == ("double", "rod", "virus")
    assert model.labelled == (10, 10, 10)
    given, probability = model.predict(inputs)
    assert np.mean(given == truth) > 0.95
    assert probability.min() >= (0.0 if method == "svm-threshold" else 1 / 3)

    save_model(tmp_path, model)
    assert {file.name for file in tmp_path.iterdir()} == {"model.json", "model.npz"}
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "fi" for name in arrays.files)
    again = load_model(tmp_path)
    assert isinstance(again, Model)
    np.testing.assert_array_equal(again.probabilities(inputs), model.probabilities(inputs))
    assert (again.digest, again.threshold, again.seed) == (model.digest, model.threshold, 2)


def test_a_threshold_rejects_what_lies_between_the_classes() -> None:
    features, indices = blobs(2, 200, apart=2.0)
    model = train(features, NAMES[indices], method="svm-threshold", threshold=0.9)
    halfway = (features[indices == 0].mean(axis=0) + features[indices == 1].mean(axis=0)) / 2
    label, probability = model.predict(np.stack([halfway, features[0], features[1]]))
    assert label.tolist() == ["", "double", "rod"]
    assert probability[0] < 0.9 <= probability[1:].min()
    accepting = train(features, NAMES[indices], method="svm", threshold=0.9)
    assert "" not in accepting.predict(halfway[None])[0]
    np.testing.assert_array_equal(accepting.probabilities(features), model.probabilities(features))


def test_a_frame_without_features_spoils_no_other() -> None:
    features, indices = blobs(2, 60)
    labels = np.where(np.arange(60) < 30, NAMES[indices], "")
    broken = features.copy()
    broken[40] = np.nan
    broken[41, 3] = np.inf
    model = train(broken, labels)
    assert np.isfinite(model.probabilities(broken)).all()
    others = np.delete(np.arange(60), [40, 41])
    given, _ = model.predict(broken[others])
    assert np.mean(given == NAMES[indices][others]) > 0.9
    assert model.probabilities(broken[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([""] * 6, "no frame has a label; label 2 or more of each class"),
        (["rod", "rod", "rod", "", "", ""], "all 3 labelled frames are rod; expected two classes"),
        (["rod", "rod", "virus", "", "", ""], "label 1 more of virus"),
        (["rod", "virus", "double", "rod", "", ""], "label 1 more of double, 1 more of virus"),
    ],
)
def test_labels_that_do_not_suffice_are_refused(labels: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        train(np.zeros((6, 4)), np.array(labels), name="labels.csv")
    assert str(refused.value).startswith("labels.csv: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"method": "forest"}, "no such method"), ({"threshold": 75}, "a probability from 0 to 1")],
)
def test_options_that_make_no_sense_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        train(np.zeros((4, 2)), np.array(["a", "a", "b", "b"]), **options)


def test_a_model_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder that hpdp spi classify --labels made"):
        load_model(tmp_path)
    features, indices = blobs(2, 20)
    save_model(tmp_path, train(features, NAMES[indices]))
    described = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**described, "version": 99}))
    with pytest.raises(InputError, match="of version 99"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({**described, "method": "forest"}))
    with pytest.raises(InputError, match="the method forest is not known"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(described))
    (tmp_path / "model.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path)
