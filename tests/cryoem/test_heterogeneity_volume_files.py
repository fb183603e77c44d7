"""Volumes that workers make are those that one process makes."""

import json

import numpy as np
import pytest

from hpdp_dask.cryoem.heterogeneity.architecture import Architecture
from hpdp_dask.cryoem.heterogeneity.landscape import map_landscape
from hpdp_dask.cryoem.heterogeneity.volume_files import VolumeFolder, write_volumes
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations, read_conformations
from hpdp_dask.formats.mrc import read_map

torch = pytest.importorskip("torch")

BOX, PIXEL = 16, 8.0


class Counting:
    """Stands for a bar."""

    def __init__(self):
        self.told = {}

    def track(self, name, number):
        self.told[name] = [0, number]
        counts = self.told[name]

        class Stage:
            def advance(self, more):
                counts[0] += more

        return Stage()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

    torch.manual_seed(0)
    architecture = Architecture(BOX, 2, width=32, layers=1, linear=False, encoder="mlp", encoded=4)
    made = Conformations(
        architecture,
        HeterogeneityNetwork(architecture).eval(),
        np.exp(-np.arange(BOX // 2 + 1) / 3.0).astype(np.float32),
        None,
        None,
        PIXEL,
    )
    folder = tmp_path_factory.mktemp("trained")
    (folder / "run.json").write_text(json.dumps({"results": {"networks": made.save(folder)}}))
    return folder


def test_workers_write_the_same_volumes(trained, client, tmp_path):
    points = np.random.default_rng(0).standard_normal((19, 2)).astype(np.float32)
    found = []
    for name, where in (("here", None), ("there", client)):
        folders = [
            VolumeFolder.at(tmp_path / name / "a", points[:7]),
            VolumeFolder.at(tmp_path / name / "b" / "c", points[7:], first=0),
        ]
        progress = Counting()
        write_volumes(trained, folders, client=where, progress=progress)
        assert progress.told == {"volumes": [19, 19]}
        found.append(folders)
    here, there = found
    assert there[1].files[-1].name == "volume_011.mrc"
    assert {each.name for each in there[0].path.iterdir()} == {
        "z.npy",
        *(f"volume_00{number}.mrc" for number in range(1, 8)),
    }
    for mine, theirs in zip(here, there, strict=True):
        np.testing.assert_array_equal(mine.read(), theirs.read())
    assert read_map(there[0].files[0])[1] == pytest.approx(PIXEL)
    expected = read_conformations(trained).volume(points[9])
    np.testing.assert_array_equal(there[1].read()[2], expected)


def test_workers_map_the_same_landscape(trained, client, tmp_path):
    z = np.random.default_rng(1).standard_normal((120, 2))
    here, there = (
        map_landscape(trained, z, 20, scratch=tmp_path, client=where) for where in (None, client)
    )
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(here.at_images, there.at_images)
    np.testing.assert_array_equal(here.components, there.components)


def test_a_training_that_is_trained_again_is_read_again(trained, tmp_path):
    import os
    import shutil

    again = shutil.copytree(trained, tmp_path / "again")
    folder = VolumeFolder.at(tmp_path / "first", np.zeros((1, 2)))
    write_volumes(again, [folder])
    before = read_conformations(again)
    with torch.no_grad():
        before.network.decoder.layers.last.weight *= 2.0
        before.network.decoder.layers.last.bias *= 2.0
    (again / "run.json").write_text(json.dumps({"results": {"networks": before.save(again)}}))
    os.utime(again / "weights.safetensors", ns=(1, 1))
    other = VolumeFolder.at(tmp_path / "second", np.zeros((1, 2)))
    write_volumes(again, [other])
    np.testing.assert_allclose(other.read()[0], 2.0 * folder.read()[0], atol=1e-5)
