"""A user's mistakes on the command line: one clear sentence, exit 2, nothing half-written."""

import errno
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from distributed import Client

from hpdp_dask.cli.main import main
from hpdp_dask.formats.mrc import write_stack

OPTICS = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnImagePixelSize #5
1 300.0 2.7 0.1 3.0
"""
COLUMNS = [
    *("rlnImageName", "rlnOpticsGroup", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"),
    *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"),
    "rlnRandomSubset",
]
NUMBER, BOX = 12, 16

Run = Callable[..., tuple[int, str]]


def row_of(image: int) -> list[str]:
    name = f"{image + 1:06d}@particles.mrcs"
    return [name, "1", "15000", "14500", "30", "10", "20", "30", "0", "0", str(1 + image % 2)]


def write_star(
    folder: Path, rows: list[list[str]] | None = None, columns: list[str] = COLUMNS, optics=OPTICS
) -> Path:
    rows = [row_of(image) for image in range(NUMBER)] if rows is None else rows
    lines = [optics, "data_particles", "", "loop_", *(f"_{column}" for column in columns)]
    path = folder / "particles.star"
    path.write_text("\n".join([*lines, *(" ".join(row) for row in rows)]) + "\n")
    return path


def write_images(path: Path, images: np.ndarray) -> None:
    write_stack(path, images.astype(np.float32), 3.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good star file and its images."""
    made = tmp_path / "project"
    made.mkdir()
    random = np.random.default_rng(0)
    write_images(made / "particles.mrcs", random.standard_normal((NUMBER, BOX, BOX)))
    write_star(made)
    return made


@pytest.fixture
def run(client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line on the tests' cluster; gives its exit code and standard error."""

    def run(*words: str | Path, clustered: bool = True) -> tuple[int, str]:
        where = ["--cluster", client.scheduler.address] if clustered else []
        monkeypatch.setattr(sys, "argv", ["hpdp", *map(str, words), *where])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return int(ended.value.code or 0), captured.err

    return run


@pytest.fixture
def refuses(run: Run, folder: Path) -> Callable[..., None]:
    """See that importing the star file is refused, with words of the sentence."""

    def refuses(*words: str) -> None:
        before = sorted(folder.iterdir())
        code, message = run("import", folder / "particles.star", "-o", folder / "out.zarr")
        assert code == 2
        assert message.startswith("hpdp: ")
        assert len(message.strip().splitlines()) == 1
        for word in words:
            assert word in message
        assert sorted(folder.iterdir()) == before

    return refuses


@pytest.fixture
def stack(run: Run, folder: Path) -> Path:
    code, _ = run("import", folder / "particles.star", "-o", folder / "stack.zarr")
    assert code == 0
    return folder / "stack.zarr"


def test_a_star_file_without_a_needed_column(folder: Path, refuses) -> None:
    write_star(folder, [row_of(0)[1:]], COLUMNS[1:])
    refuses("particles.star", "rlnImageName")


def test_an_unknown_optics_group(folder: Path, refuses) -> None:
    rows = [row_of(image) for image in range(NUMBER)]
    rows[3][1] = "7"
    write_star(folder, rows)
    refuses("particles.star", "row 4", "optics group 7")


def test_rows_that_repeat(folder: Path, refuses) -> None:
    write_star(folder, [row_of(0), row_of(1), row_of(0)])
    refuses("particles.star", "000001@particles.mrcs")


def test_a_row_with_too_few_fields(folder: Path, refuses) -> None:
    write_star(folder, [row_of(0), row_of(1)[:-2], row_of(2)])
    refuses("particles.star", "line", "9", "11")


def test_a_value_that_is_no_number(folder: Path, refuses) -> None:
    rows = [row_of(0), row_of(1)]
    rows[1][2] = "deep"
    write_star(folder, rows)
    refuses("particles.star", "rlnDefocusU", "deep")


def test_an_image_outside_of_its_stack(folder: Path, refuses) -> None:
    write_star(folder, [row_of(0), row_of(NUMBER + 3)])
    refuses("particles.mrcs", str(NUMBER + 4), str(NUMBER))


def test_a_truncated_stack(folder: Path, refuses) -> None:
    path = folder / "particles.mrcs"
    size = path.stat().st_size
    with path.open("r+b") as opened:
        opened.truncate(size - 1000)
    refuses("particles.mrcs", "truncated")


def test_stacks_of_different_boxes(folder: Path, refuses) -> None:
    write_images(folder / "others.mrcs", np.zeros((2, 20, 20)))
    rows = [row_of(0), row_of(1)]
    rows[1][0] = "000001@others.mrcs"
    write_star(folder, rows)
    refuses("others.mrcs", "20", "16")


def test_a_missing_pixel_size(folder: Path, run: Run, refuses) -> None:
    optics = OPTICS.replace("_rlnImagePixelSize #5\n", "").replace(" 3.0\n", "\n")
    write_star(folder, optics=optics)
    refuses("particles.star", "pixel size", "--pixel-size")
    words = ("import", folder / "particles.star", "-o", folder / "out.zarr", "--pixel-size", "3")
    assert run(*words)[0] == 0


def test_images_that_are_not_finite(folder: Path, run: Run, refuses) -> None:
    images = np.random.default_rng(0).standard_normal((NUMBER, BOX, BOX))
    images[4, 2, 3], images[7, 1, 1] = np.nan, np.inf
    write_images(folder / "particles.mrcs", images)
    refuses("2 of 12", "5@", "8@", "--drop-bad")


def test_bad_images_are_left_out_and_listed(
    folder: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch, client: Client
) -> None:
    images = np.random.default_rng(0).standard_normal((NUMBER, BOX, BOX))
    images[4, 2, 3] = np.nan
    write_images(folder / "particles.mrcs", images)
    words = ["import", folder / "particles.star", "-o", folder / "out.zarr", "--drop-bad"]
    words += ["--cluster", client.scheduler.address]
    monkeypatch.setattr(sys, "argv", ["hpdp", *map(str, words)])
    with pytest.raises(SystemExit, match="0"):
        main()
    said = capsys.readouterr().out
    assert "Left out 1 images" in said
    assert "5@" in said
    assert "11 particles" in said


def test_images_that_are_not_square(folder: Path, refuses) -> None:
    write_images(folder / "particles.mrcs", np.zeros((NUMBER, BOX, BOX + 2)))
    refuses("particles.mrcs", "18", "16", "square")


def test_an_odd_box(folder: Path, refuses) -> None:
    write_images(folder / "particles.mrcs", np.zeros((NUMBER, 17, 17)))
    refuses("particles.mrcs", "17", "odd")


def test_a_file_that_is_not_there(folder: Path, refuses) -> None:
    (folder / "particles.mrcs").unlink()
    refuses("particles.mrcs", "--metadata-only")


def test_an_impossible_symmetry(stack: Path, run: Run, folder: Path) -> None:
    code, message = run("cryoem", "reconstruct", stack, "-o", folder / "map", "--symmetry", "Q5")
    assert code == 2
    assert "Q5" in message
    assert not (folder / "map").exists()


def test_an_output_that_exists(stack: Path, run: Run, folder: Path) -> None:
    words = ("import", folder / "particles.star", "-o", stack)
    code, message = run(*words)
    assert code == 2
    assert "--overwrite" in message
    assert run(*words, "--overwrite")[0] == 0
    words = ("cryoem", "reconstruct", stack, "-o", folder / "map")
    assert run(*words)[0] == 0
    code, message = run(*words)
    assert code == 2
    assert "--overwrite" in message
    assert run(*words, "--overwrite")[0] == 0


def test_a_full_disk(stack: Path, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr("hpdp_dask.workflow.reconstruction.write_reconstruction_report", full)
    before = sorted(folder.iterdir())
    code, message = run("cryoem", "reconstruct", stack, "-o", folder / "map")
    assert code == 2
    assert "No space left" in message
    assert sorted(folder.iterdir()) == before


def test_a_disk_with_too_little_space_for_an_import(
    folder: Path, refuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    refuses("free")


@pytest.mark.parametrize("verb", ["normalize", "reconstruct"])
def test_a_corrupted_chunk(verb: str, stack: Path, run: Run, folder: Path) -> None:
    shard = next(path for path in (stack / "images" / "c").rglob("*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[100] ^= 0xFF
    shard.write_bytes(bytes(content))
    before = sorted(folder.iterdir())
    code, message = run("cryoem", verb, stack, "-o", folder / "out")
    assert code == 2
    assert str(shard.relative_to(stack)) in message
    assert sorted(folder.iterdir()) == before


def test_a_missing_shard(stack: Path, run: Run, folder: Path) -> None:
    shutil.rmtree(stack / "images" / "c")
    code, message = run("cryoem", "reconstruct", stack, "-o", folder / "map")
    assert code == 2
    assert "images/c/0" in message


def test_maps_that_do_not_fit_each_other(run: Run, folder: Path) -> None:
    for name, box, pixel_size in (("a", 8, 1.0), ("b", 10, 1.0), ("c", 8, 1.2)):
        with mrcfile.new(folder / f"{name}.mrc") as opened:
            opened.set_data(np.ones((box, box, box), np.float32))
            opened.voxel_size = pixel_size
    code, message = run("fsc", folder / "a.mrc", folder / "b.mrc", clustered=False)
    assert code == 2
    assert "10 x 10 x 10" in message
    code, message = run("fsc", folder / "a.mrc", folder / "c.mrc", clustered=False)
    assert code == 2
    assert "1.2 Å" in message


def test_a_stack_that_is_none(run: Run, folder: Path) -> None:
    code, message = run("cryoem", "reconstruct", folder, "-o", folder.parent / "map")
    assert code == 2
    assert "hpdp import" in message


def test_a_cluster_that_is_none(
    stack: Path, folder: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["cryoem", "reconstruct", stack, "-o", folder / "map", "--cluster", "moon"]
    monkeypatch.setattr(sys, "argv", ["hpdp", *map(str, words)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "moon" in capsys.readouterr().err
