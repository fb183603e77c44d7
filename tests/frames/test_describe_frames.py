import numpy as np
import pytest
from frame_stacks import make_frames
from xfel_run import make_run

from hpdp_dask.frames.describe_frames import describe_frames

PHOTONS = np.random.default_rng(2).poisson(0.2, (30, 8, 10)).astype(np.uint8)


def test_a_stack(tmp_path):
    mask = np.zeros((8, 10), np.uint8)
    mask[1, 2], mask[3, 4:8] = 2, 1
    columns = {
        "train_id": np.arange(30) // 4 + 1000,
        "label": np.arange(30) % 3 - 1,
        "class_name": np.array(["icosahedron", "sphere"], object),
    }
    told = describe_frames(make_frames(tmp_path / "f.zarr", PHOTONS, mask=mask, columns=columns))
    assert told["kind"] == "stack of frames"
    assert (told["number"], told["shape"], told["unit"]) == (30, [8, 10], "photons")
    assert told["compression"] > 1
    assert (told["distance"], told["pixel_size"], told["wavelength"]) == (0.5, 1e-3, 8.0)
    # the corner is 5.7 mm from the beam, half a metre away
    angle = np.arctan2(np.hypot(4.5, 3.5), 500)
    assert told["resolution_at_edge"] == pytest.approx(8.0 / (2 * np.sin(angle / 2)))
    assert (told["pixels_good"], told["pixels_bad"], told["pixels_for_merging_only"]) == (75, 1, 4)
    assert told["trains"] == "8 (1000 to 1007)"
    assert told["labels"] == ["icosahedron: 10", "sphere: 10", "none: 10"]
    assert told["of_each_frame"] == ["train_id", "label"]
    assert told["bytes_on_disk"] > 0


def test_files_and_runs(test_data, tmp_path):
    told = describe_frames(test_data / "spi" / "dragonfly" / "photons.emc")
    assert (told["kind"], told["number"], told["geometry"]) == ("frames (emc)", 400, False)
    assert "4225 pixels are taken for 65 x 65" in told["notes"][0]
    told = describe_frames(test_data / "spi" / "pr772" / "pr772_30_labelled.npz")
    assert told["labels"] == ["0: 19", "1: 11"]
    told = describe_frames(make_run(tmp_path / "run", missing=[3]))
    assert (told["kind"], told["modules"], told["trains"]) == (
        "frames (run)",
        16,
        "3 (10000 to 10002)",
    )
    assert "module 3" in told["notes"][0]
