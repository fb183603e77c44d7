import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from frame_stacks import make_frames

from hpdp_dask.errors import InputError
from hpdp_dask.formats.dragonfly_detector import read_detector
from hpdp_dask.formats.emc import read_emc
from hpdp_dask.frames import export_frames as module
from hpdp_dask.frames.export_frames import export_frames
from hpdp_dask.frames.import_frames import import_frames
from hpdp_dask.stacks.frames import add_variables, open_frames
from hpdp_dask.stacks.shards import ImageReader

PHOTONS = np.random.default_rng(2).poisson(0.7, (30, 8, 10)).astype(np.uint8)


@pytest.fixture
def stack(tmp_path):
    mask = np.zeros((8, 10), np.uint8)
    mask[1, 2], mask[3, 4:8] = 2, 1
    columns = {
        "train_id": np.arange(30) // 4 + 1000,
        "pulse_id": np.arange(30) % 4,
        "label": np.arange(30) % 3 - 1,
        "class_name": np.array(["icosahedron", "sphere"], object),
        "particle_size": np.linspace(500, 700, 30),
    }
    return make_frames(tmp_path / "f.zarr", PHOTONS, mask=mask, columns=columns, images_per_shard=7)


def refused(match, stack, output, **options):
    before = sorted(output.parent.iterdir())
    with pytest.raises(InputError, match=match) as caught:
        export_frames(stack, output, **options)
    assert sorted(output.parent.iterdir()) == before
    assert "\n" not in str(caught.value)


def same(stack, again):
    a, b = open_frames(stack), open_frames(again)
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        left, right = a[name].values, b[name].values
        if left.dtype.kind == "f":
            np.testing.assert_allclose(left, right, rtol=1e-12)
        else:
            assert (left == right).all()


def test_cxi_goes_around(stack, tmp_path):
    summary = export_frames(stack, tmp_path / "x.cxi")
    assert (summary.number, summary.detector_path, summary.notes) == (30, None, [])
    import_frames([summary.path], tmp_path / "again.zarr")
    same(stack, tmp_path / "again.zarr")


def test_adu_without_geometry_go_around(test_data, tmp_path):
    folder = test_data / "spi" / "pr772"
    frames = folder / "pr772_10_frames_adu_260x257.npy.gz"
    import_frames([frames], tmp_path / "f.zarr", mask=folder / "mask_260x257.npy")
    summary = export_frames(tmp_path / "f.zarr", tmp_path / "x.cxi")
    assert "no geometry" in summary.notes[0]
    import_frames([summary.path], tmp_path / "again.zarr")
    same(tmp_path / "f.zarr", tmp_path / "again.zarr")
    assert np.isinf(ImageReader(tmp_path / "again.zarr").read(0, 10)).any()
    refused("has ADU, and .emc keeps photons", tmp_path / "f.zarr", tmp_path / "x.emc")


def test_modules_go_around(tmp_path):
    path = make_frames(tmp_path / "f.zarr", PHOTONS)
    described = (path / "zarr.json").read_text().replace('"kind"', '"modules": 2, "kind"')
    (path / "zarr.json").write_text(described)
    export_frames(path, tmp_path / "x.cxi")
    with h5py.File(tmp_path / "x.cxi") as file:
        assert file["entry_1/instrument_1/detector_1/data"].shape == (30, 2, 4, 10)
    import_frames([tmp_path / "x.cxi"], tmp_path / "again.zarr")
    same(path, tmp_path / "again.zarr")
    assert open_frames(tmp_path / "again.zarr").attrs["modules"] == 2


def test_photons_and_detector_of_dragonfly(stack, tmp_path):
    summary = export_frames(stack, tmp_path / "x.emc")
    assert summary.detector_path == tmp_path / "x_det.h5"
    assert (read_emc(summary.path).read(0, 30).reshape(PHOTONS.shape) == PHOTONS).all()
    import_frames([summary.path], tmp_path / "again.zarr", geometry=summary.detector_path)
    a, b = open_frames(stack), open_frames(tmp_path / "again.zarr")
    for name in ("photons", "pixel_x", "pixel_y", "pixel_z", "mask", "wavelength", "pixel_size"):
        assert np.allclose(a[name].values, b[name].values, rtol=1e-12, atol=1e-15)


def test_the_files_of_dragonfly_come_out_as_they_went_in(test_data, tmp_path):
    folder = test_data / "spi" / "dragonfly"
    import_frames(
        [folder / "photons.emc"],
        tmp_path / "f.zarr",
        geometry=folder / "det_sim.h5",
        pixel_size=1e-3,
    )
    summary = export_frames(tmp_path / "f.zarr", tmp_path / "photons.emc")
    assert summary.path.read_bytes() == (folder / "photons.emc").read_bytes()
    ours, theirs = read_detector(summary.detector_path), read_detector(folder / "det_sim.h5")
    assert np.allclose(ours.x, theirs.x, atol=1e-9)
    assert (ours.mask == theirs.mask).all()
    assert ours.distance == theirs.distance == 300
    export_frames(tmp_path / "f.zarr", tmp_path / "x.cxi")
    import_frames([tmp_path / "x.cxi"], tmp_path / "again.zarr")
    same(tmp_path / "f.zarr", tmp_path / "again.zarr")


def test_positions_are_counted_from_the_beam(stack, tmp_path):
    add_variables(stack, {"beam_center": (("axis",), np.array([2e-3, -1e-3]))})
    export_frames(stack, tmp_path / "x.cxi")
    with h5py.File(tmp_path / "x.cxi") as file:
        # 1 mm pixels: two columns and one row from the middle
        assert np.allclose(file["entry_1/image_1/image_center"][:2], [4.5 + 2, 3.5 - 1])
    export_frames(stack, tmp_path / "x.emc")
    assert read_detector(tmp_path / "x_det.h5").x[0] == pytest.approx(-4.5 - 2)


def test_names_and_places_that_are_refused(stack, tmp_path):
    refused("must end in .cxi or .emc", stack, tmp_path / "x.h5")
    with pytest.raises(InputError, match="no such folder"):
        export_frames(stack, tmp_path / "none" / "x.cxi")
    (tmp_path / "x_det.h5").write_text("mine")
    refused("x_det.h5 exists; give another name, or --overwrite", stack, tmp_path / "x.emc")
    export_frames(stack, tmp_path / "x.emc", overwrite=True)
    refused("f.cxi: no such stack", tmp_path / "f.cxi", tmp_path / "y.cxi")


def test_dragonfly_needs_a_detector(tmp_path):
    np.save(tmp_path / "f.npy", PHOTONS)
    import_frames([tmp_path / "f.npy"], tmp_path / "f.zarr")
    refused(
        "has no geometry, and Dragonfly reads no photons", tmp_path / "f.zarr", tmp_path / "x.emc"
    )


def test_a_missing_shard_leaves_nothing(stack, tmp_path):
    shutil.rmtree(stack / "photons" / "c" / "2")
    refused("shard photons/c/2/0/0 with images 14 to 20", stack, tmp_path / "x.cxi")
    refused("shard photons/c/2/0/0 with images 14 to 20", stack, tmp_path / "x.emc")


def test_a_disk_that_is_too_small(stack, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
    refused("the disk is full: the file needs up to", stack, tmp_path / "x.cxi")
