"""`hpdp cryoem postprocess` as a person types it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.cli.main import main
from hpdp_dask.formats.mrc import read_map, write_map
from hpdp_dask.numerics.masks import low_pass_filter, soft_sphere

BOX, PIXEL_SIZE = 32, 3.0

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """A folder with half-maps of points in a sphere."""
    folder = tmp_path / "map"
    folder.mkdir()
    generator = np.random.default_rng(0)
    signal = np.clip(generator.normal(0.5, 1.0, (BOX,) * 3), 0, None) * soft_sphere(BOX, 8, 2)
    for name in ("half1", "half2"):
        noisy = low_pass_filter(signal, PIXEL_SIZE, 7.0) + generator.normal(0, 0.1, signal.shape)
        write_map(folder / f"{name}.mrc", noisy.astype(np.float32), PIXEL_SIZE)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command; gives its exit code, standard output and standard error."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hpdp", "cryoem", "postprocess", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_it_writes_maps_curves_and_a_report(run: Run, halves: Path, tmp_path: Path) -> None:
    output = tmp_path / "sharp"
    code, said, _ = run(halves, "-o", output, "--b-factor", "-40", "--low-pass", "8")
    assert code == 0
    assert {path.name for path in output.iterdir()} == {
        *("map.mrc", "map_masked.mrc", "mask.mrc", "fsc.csv", "guinier.csv"),
        *("report.html", "run.json"),
    }
    record = json.loads((output / "run.json").read_text())
    assert f"{record['results']['resolution']:.2f} Å" in said
    assert "-40 Å²" in said
    assert record["parameters"] == {
        "mask": "auto",
        "mtf": None,
        "mtf_pixel_size": None,
        "b_factor": -40.0,
        "low_pass": 8.0,
    }
    report = (output / "report.html").read_text()
    for word in ("Guinier plot", "random phases", "Before, and the mask", "-40 Å²"):
        assert word in report
    assert not (output / "scratch").exists()


def test_the_mask_it_wrote_can_be_given_again(run: Run, halves: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(halves, "-o", first)[0] == 0
    assert run(halves, "-o", second, "--mask", first / "mask.mrc")[0] == 0
    assert np.array_equal(read_map(first / "map.mrc")[0], read_map(second / "map.mrc")[0])


def test_mistakes_are_one_sentence_and_leave_nothing(
    run: Run, halves: Path, tmp_path: Path
) -> None:
    write_map(tmp_path / "mask.mrc", np.zeros((BOX,) * 3, dtype=np.float32), PIXEL_SIZE)
    before = sorted(tmp_path.rglob("*"))
    for words, named in (
        ((tmp_path,), "half1.mrc"),
        ((tmp_path / "nowhere",), "half1.mrc"),
        ((halves, "--mask", tmp_path / "mask.mrc"), "empty"),
        ((halves, "--mask", tmp_path / "none.mrc"), "none.mrc"),
        ((halves, "--low-pass", "1"), "low_pass"),
    ):
        code, _, message = run(*words, "-o", tmp_path / "out")
        assert code == 2
        assert message.startswith("hpdp: ")
        assert len(message.strip().splitlines()) == 1
        assert named in message
        assert sorted(tmp_path.rglob("*")) == before


def test_the_source_is_not_replaced(run: Run, halves: Path) -> None:
    code, _, message = run(halves, "-o", halves, "--overwrite")
    assert code == 2
    assert "would remove the input" in message or "will not replace" in message
    assert (halves / "half1.mrc").exists()
