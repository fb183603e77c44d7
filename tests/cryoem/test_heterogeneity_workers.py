"""Heterogeneity learnt by workers together: what one process learns with the same batches."""

import json

import numpy as np
import pytest

from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.dataflow.training import TrainingSettings
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images
from hpdp_dask.workflow.heterogeneity import run_heterogeneity_training

pytest.importorskip("torch")

NUMBER, BOX = 120, 16
WORDS = ["hpdp", "cryoem", "heterogeneity", "train"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    path = tmp_path_factory.mktemp("stack") / "particles.zarr"
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    volume = np.exp(-(x**2 + y**2 + z**2) / 8.0) + np.exp(-((x - 3) ** 2 + y**2 + z**2) / 4.0)
    table, images = simulate_particles(
        volume.astype(np.float32), NUMBER, BOX, pixel_size=10.0, snr=1.0, shift_sigma=5.0
    )
    new_stack(path, to_dataset(table, 0), NUMBER, BOX, images_per_shard=32)
    write_images(path, 0, images)
    return path


@pytest.mark.parametrize("linear", [True, False])
def test_workers_learn_what_one_process_learns(stack, client, tmp_path, linear):
    """Which frequencies are chosen, and what chance adds to latent variables, is each image's."""
    settings = HeterogeneitySettings(
        zdim=2,
        width=16,
        layers=1,
        samples=60,
        linear=linear,
        training=TrainingSettings(
            epochs=3, batch=20, rate=2e-3, decay=0.0, seed=1, precision="float32"
        ),
    )
    said, histories = [], []
    for name, where in (("one", None), ("two", client)):
        run_heterogeneity_training(
            stack, tmp_path / name, settings, client=where, command=WORDS, say=said.append
        )
        record = json.loads((tmp_path / name / "run.json").read_text())
        histories.append(record["results"]["history"])
    for alone, together in zip(*histories, strict=True):
        assert together["losses"] == pytest.approx(alone["losses"], rel=1e-3)
        assert 0.0 <= together["waited"] <= 1.0
    assert sum(line.startswith("Epoch 3: error") for line in said) == 2
    z = [np.load(tmp_path / name / "z.npy") for name in ("one", "two")]
    assert np.abs(z[1] - z[0]).max() < 1e-3 * z[0].std()
