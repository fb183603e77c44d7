"""What `hpdp spi classify` leaves: the model, a report on how good it is, the table of methods."""

import json
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from labelled_frames import make_labelled, write_labels

from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify import load_model, networks, validation
from hpdp_dask.spi.classify.scores import Reliability
from hpdp_dask.spi.classify.stage import classify_frames
from hpdp_dask.spi.classify.validation import LearningCurve
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.workflow.spi_classification import run_spi_classification
from hpdp_dask.workflow.spi_classification_figures import (
    confusion_chart,
    learning_chart,
    reliability_chart,
)
from hpdp_dask.workflow.spi_comparison import comparison_table, run_spi_comparison

WORDS = ["hpdp", "spi", "classify"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats by the dozen are for figures, not for tests."""
    for name, value in (("REPEATS", 1), ("DRAWS", 2), ("SIZES", 4), ("FOLDS", 3)):
        monkeypatch.setattr(validation, name, value)


@pytest.fixture
def frames(tmp_path: Path) -> tuple[Path, Path]:
    """A stack and labels of half its frames."""
    stack = tmp_path / "frames.zarr"
    truth = make_labelled(stack)
    return stack, write_labels(tmp_path / "labels.csv", truth, np.arange(0, 120, 2))


def test_the_folder_holds_model_and_report(
    frames: tuple[Path, Path], client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "classified"
    record = run_spi_classification(*frames, folder, client=client, command=WORDS)
    names = {entry.name for entry in folder.iterdir()}
    assert names == {"model.json", "model.npz", "report.html", "run.json", "logs"}
    page = (folder / "report.html").read_text()
    for words in (
        *("Precision and recall", "Calibration", "How many labels", "Nearest to the boundary"),
        *("Confusion matrix", "virus: ", "rejected"),
    ):
        assert words in page
    results = json.loads((folder / "run.json").read_text())["results"]
    assert results["mean_precision"] > 0.97
    assert results["mean_recall"] > 0.8
    assert results["enough_labels"] in range(9, 46)
    assert sum(results["classes"].values()) == results["accepted_frames"]
    assert record.results == results

    model = load_model(folder)
    assert model.metrics["precision"] == results["precision"]
    other = tmp_path / "later.zarr"
    truth = make_labelled(other, 60, seed=5)
    classify_frames(other, model, client=client)
    label = open_frames(other)["label"].values
    assert np.mean(np.array(model.classes)[label] == truth) > 0.95


def test_too_few_labels_to_judge_are_told(
    frames: tuple[Path, Path], client: Client, tmp_path: Path
) -> None:
    stack, labels = frames
    kept = labels.read_text().splitlines()
    few = [kept[0]]
    for name in ("virus", "rod", "double"):
        few += [row for row in kept if row.endswith(name)][:2]
    labels.write_text("\n".join(few) + "\n")
    record = run_spi_classification(stack, labels, tmp_path / "out", client=client, command=WORDS)
    assert "1 more of double, 1 more of rod, 1 more of virus" in record.warnings[0]
    assert "not known" in (tmp_path / "out" / "report.html").read_text()


def test_a_mistake_leaves_nothing(
    frames: tuple[Path, Path], client: Client, tmp_path: Path
) -> None:
    frames[1].write_text("frame,label\n1,virus\n2,virus\n")
    with pytest.raises(InputError, match="expected two classes"):
        run_spi_classification(*frames, tmp_path / "out", client=client, command=WORDS)
    assert {entry.name for entry in tmp_path.iterdir()} == {"frames.zarr", "labels.csv"}
    assert "class_name" not in open_frames(frames[0])


def test_all_methods_are_compared(
    frames: tuple[Path, Path], client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs PyTorch, the extra learn")
    monkeypatch.setattr(networks, "STEPS", {"mlp": 30, "cnn": 5})
    client.run(lambda: setattr(networks, "STEPS", {"mlp": 30, "cnn": 5}))
    folder = tmp_path / "compared"
    found, record = run_spi_comparison(*frames, folder, client=client, command=WORDS)
    client.run(lambda: setattr(networks, "STEPS", {"mlp": 3000, "cnn": 1500}))
    assert list(found.scores) == ["svm-threshold", "svm", "kmeans", "spectral", "mlp", "cnn"]
    for method in ("svm-threshold", "svm", "kmeans", "spectral"):
        assert found.scores[method].mean_precision > 0.97
    assert found.scores["svm-threshold"].accepted < found.scores["svm"].accepted == 1.0
    columns, rows = comparison_table(found)
    assert columns == ["Method", "Precision", "Recall", "Accepted", "double", "rod", "virus"]
    assert rows[0][0] == "SVM on features, with threshold"
    assert set(record.results) == set(found.scores)
    assert "spectral clustering on features" in (folder / "report.html").read_text()
    assert "label" not in open_frames(frames[0])


def test_charts_are_drawn_of_anything() -> None:
    one = Reliability(np.array([1.0]), np.array([1.0]), np.array([5]), 0.0)
    assert "<svg" in reliability_chart(one, 0.0, "").markup
    curve = LearningCurve(np.array([4, 8, 9]), np.zeros(3), np.zeros(3))
    assert "<svg" in learning_chart(curve, "").markup
    names = ["a very long name of a class", "<b>", "$x_1$"]
    chart = confusion_chart(np.eye(3, 4, dtype=int), names, True, "")
    assert "a very long n…" in chart.markup
    assert "&lt;b&gt;" in chart.markup
