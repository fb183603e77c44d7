"""Models on disk."""

import json

import pytest

torch = pytest.importorskip("torch")

from hpdp_dask.crystallography.model_file import (  # noqa: E402
    Calibration,
    Model,
    describe_model,
    find_model,
    load_model,
    save_model,
    shipped_models,
)
from hpdp_dask.crystallography.networks import build_network  # noqa: E402
from hpdp_dask.errors import InputError  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    calibration = Calibration(1.5, 0.7, 2.0)
    model = Model(
        build_network("small", 5), ("resolution", "hit"), calibration, {"images": 10}, {"hit": 0.9}
    )
    save_model(tmp_path, model, "# A model\n")
    return tmp_path


def described_as(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_comes_back(folder):
    found = load_model(folder)
    assert found.tasks == ("resolution", "hit")
    assert found.calibration == Calibration(1.5, 0.7, 2.0)
    assert (found.training, found.metrics) == ({"images": 10}, {"hit": 0.9})
    assert not found.network.training
    weights = build_network("small", 5).state_dict()
    assert all(
        torch.equal(weights[name], kept) for name, kept in found.network.state_dict().items()
    )
    assert {path.name for path in folder.iterdir()} == {
        *("model.json", "model.safetensors", "README.md")
    }


def test_another_preprocessing_is_refused(folder):
    preprocessing = {"version": 2, "side": 512, "most_counts": 65025}
    described_as(folder, preprocessing=preprocessing)
    with pytest.raises(InputError, match=r"preprocessing is .*'version': 2.*train the model again"):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 9}, "version is 9, this hpdp reads 1"),
        ({"kind": "other"}, "describes no model of hpdp crystals train"),
        ({"network": "resnet99"}, "no network 'resnet99'"),
        ({"network": "resnet18"}, "is not as this hpdp writes models"),
        ({"calibration": {"heat": 1}}, "is not as this hpdp writes models"),
    ],
)
def test_what_is_no_model_is_refused(folder, changes, told):
    described_as(folder, **changes)
    with pytest.raises(InputError, match=told):
        load_model(folder)


def test_damaged_files_are_refused(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    with pytest.raises(InputError, match=r"is not what model\.json tells of"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(InputError, match="No such file"):
        load_model(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        describe_model(folder)


def test_names_are_those_of_models_that_ship(tmp_path):
    with pytest.raises(InputError, match=r"huge: no model; expected a folder with model.json"):
        find_model("huge")
    for name in shipped_models():
        assert describe_model(find_model(name))["network"]
