import shutil

import numpy as np
from frame_stacks import make_frames

from hpdp_dask.frames.import_frames import import_frames
from hpdp_dask.frames.validate_frames import validate_frames

PHOTONS = np.random.default_rng(2).poisson(0.2, (30, 20, 20)).astype(np.uint8)


def levels(findings):
    return {finding.topic: finding.level for finding in findings}


def found(findings, topic):
    return next(finding for finding in findings if finding.topic == topic)


def test_a_good_stack(tmp_path):
    path = make_frames(tmp_path / "f.zarr", PHOTONS, columns={"train_id": np.arange(30)})
    findings = validate_frames(path)
    assert set(levels(findings).values()) == {"ok"}
    mean = PHOTONS.sum(axis=(1, 2)).mean()
    assert found(findings, "photons").message.startswith(f"{mean:.5g} a frame")


def test_a_stack_without_geometry(tmp_path):
    np.save(tmp_path / "f.npy", PHOTONS)
    told = levels(validate_frames(tmp_path / "f.npy"))
    assert (told["geometry"], told["wavelength"], told["mask"]) == ("warning",) * 3
    import_frames([tmp_path / "f.npy"], tmp_path / "f.zarr")
    told = levels(validate_frames(tmp_path / "f.zarr"))
    assert (told["geometry"], told["wavelength"], told["mask"]) == ("error", "error", "warning")


def test_what_is_unlikely(tmp_path):
    photons = PHOTONS.copy()
    photons[:, 4, 5] = 200
    photons[7] = 0
    mask = np.zeros((20, 20), np.uint8)
    mask[:, :12] = 2
    mask[4, 5] = 0
    columns = {"train_id": np.array([5, 4, *range(6, 34)]), "pulse_id": np.zeros(30, int)}
    path = make_frames(tmp_path / "f.zarr", photons, columns=columns, mask=mask, center=(40.0, 5.0))
    findings = validate_frames(path)
    told = levels(findings)
    assert told["mask"] == told["geometry"] == told["hot pixels"] == "warning"
    assert "the beam misses the detector" in found(findings, "geometry").message
    assert "row 4, column 5" in found(findings, "hot pixels").message
    assert "train 4 follows 5 at frame 1" in found(findings, "trains").message
    assert found(findings, "empty frames").message == "1 without a photon"


def test_trains_that_are_there_twice(tmp_path):
    columns = {"train_id": np.arange(30) // 2, "pulse_id": np.zeros(30, int)}
    path = make_frames(tmp_path / "f.zarr", PHOTONS, columns=columns)
    assert (
        "15 frames have train and pulse of another"
        in found(validate_frames(path), "trains").message
    )


def test_files_that_hold_no_photons(tmp_path):
    frames = PHOTONS.astype(np.int32)
    frames[3, 2, 1] = -7
    np.save(tmp_path / "f.npy", frames)
    finding = found(validate_frames(tmp_path / "f.npy"), "photons")
    assert finding.level == "error"
    assert "holds -7 in row 2, column 1" in finding.message


def test_a_missing_shard(tmp_path):
    path = make_frames(tmp_path / "f.zarr", PHOTONS, images_per_shard=10)
    shutil.rmtree(path / "photons" / "c" / "1")
    (finding,) = validate_frames(path)
    assert finding.level == "error"
    assert "images 10 to 19" in finding.message


def test_adu_with_infinities(test_data, tmp_path):
    folder = test_data / "spi" / "pr772"
    findings = validate_frames(folder / "pr772_10_frames_adu_260x257.npy.gz")
    told = [finding for finding in findings if finding.topic == "ADU"]
    assert [finding.level for finding in told] == ["ok", "warning"]
    assert "infinite or have no number" in told[1].message
