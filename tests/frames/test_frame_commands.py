"""`hpdp import`, `export`, `info` and `validate` of frames, and of what is none."""

import sys

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from hpdp_dask.cli import frame_files
from hpdp_dask.cli.main import app, main
from hpdp_dask.formats.mrc import write_stack
from hpdp_dask.stacks.frames import open_frames

PHOTONS = np.random.default_rng(11).poisson(0.5, (12, 9, 12)).astype(np.int32)


@pytest.fixture
def hpdp(monkeypatch, capsys, client):
    """Run `hpdp` here, on the tests' own cluster: its exit code, and all it said in one line."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hpdp", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code
        said = capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    return run


@pytest.fixture
def on_cluster(client):
    return ["--cluster", client.scheduler.address]


@pytest.fixture
def frames(tmp_path):
    np.savez(tmp_path / "frames.npz", frames=PHOTONS, labels=np.arange(12) % 2)
    return tmp_path / "frames.npz"


def test_the_whole_way(hpdp, on_cluster, frames, tmp_path):
    beam = ["--pixel-size", 2e-4, "--distance", 0.3, "--wavelength", 6.2, "--center", 5, 4]
    stack = tmp_path / "f.zarr"
    code, said = hpdp("import", frames, "-o", stack, *beam, *on_cluster)
    assert code == 0, said
    assert "(12 frames, 9x12, photons as uint8, 1/" in said
    detector = open_frames(stack)
    assert float(detector["pixel_x"][0, 5]) == 0
    assert float(detector["pixel_y"][4, 0]) == 0
    code, said = hpdp("info", stack)
    assert code == 0
    for words in (
        "number 12",
        "shape 9, 12",
        "unit photons",
        "wavelength 6.2",
        "labels 0: 6, 1: 6",
    ):
        assert words in said
    code, said = hpdp("validate", stack)
    assert code == 0, said
    assert "ok photons:" in said
    for name in ("x.cxi", "x.emc"):
        code, said = hpdp("export", stack, "-o", tmp_path / name)
        assert code == 0, said
        assert "(12 frames)" in said
    code, said = hpdp("info", tmp_path / "x.cxi")
    assert "frames (cxi)" in said
    code, said = hpdp("validate", tmp_path / "x.emc")
    assert code == 0
    assert "give --geometry" in said


def test_mistakes_are_one_sentence(hpdp, on_cluster, frames, tmp_path):
    bad = PHOTONS.copy()
    bad[3, 2, 1] = -1
    np.save(tmp_path / "bad.npy", bad)
    np.save(tmp_path / "mask.npy", np.zeros((4, 4)))
    with h5py.File(tmp_path / "cut.h5", "w") as file:
        file["f"] = PHOTONS
    (tmp_path / "cut.h5").write_bytes((tmp_path / "cut.h5").read_bytes()[:4000])
    write_stack(tmp_path / "p.mrcs", np.zeros((2, 8, 8), np.float32), 1.0)
    for words, expected in (
        ((frames, "--voltage", 300), "--voltage is for particles, and"),
        ((frames, "--drop-bad"), "--drop-bad is for particles, and"),
        ((frames, tmp_path / "p.mrcs"), "frames.npz holds frames and"),
        ((tmp_path / "p.mrcs", "--wavelength", 1), "--wavelength is for frames, and"),
        ((tmp_path / "bad.npy",), "frame 3 holds -1 in row 2, column 1"),
        ((tmp_path / "cut.h5",), "truncated: expected"),
        ((frames, "--mask", tmp_path / "mask.npy"), "the mask is of 4 x 4 pixels"),
        ((frames, "--geometry", tmp_path / "none.geom"), "there is no such file or folder"),
        ((tmp_path / "none.cxi",), "there is no such file or folder"),
    ):
        code, said = hpdp("import", *words, "-o", tmp_path / "out.zarr", *on_cluster)
        assert code == 2
        assert expected in said
        assert said.count("hpdp: ") == 1
        assert not any(path.name.startswith((".out", "out")) for path in tmp_path.iterdir())


def test_exports_of_frames_have_images(hpdp, on_cluster, frames, tmp_path):
    hpdp("import", frames, "-o", tmp_path / "f.zarr", *on_cluster)
    code, said = hpdp("export", tmp_path / "f.zarr", "-o", tmp_path / "x.cxi", "--no-images")
    assert code == 2
    assert "--no-images is for particles" in said
    code, said = hpdp("export", tmp_path / "f.zarr", "-o", tmp_path / "x.star")
    assert code == 2
    assert "must end in .cxi or .emc" in said
    code, said = hpdp("validate", tmp_path / "f.zarr")
    assert code == 1
    assert "error geometry: not known" in said


def test_help_tells_apart_what_is_for_which():
    said = CliRunner().invoke(app, ["import", "--help"], env={"COLUMNS": "200"}).stdout
    places = [said.rindex(word) for word in ("─ Particles", "--voltage", "─ Frames", "--geometry")]
    assert places == sorted(places)


def test_a_folder_of_hdf5_is_a_run(tmp_path):
    assert not frame_files.are_frames([tmp_path / "none"])
    assert frame_files.are_frames([tmp_path])
