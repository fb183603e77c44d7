"""An output folder appears whole or not at all, and is gone on from after a crash."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.record import read_run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An input of a run."""
    path = tmp_path / "particles.star"
    path.write_text("data_particles\n")
    return path


def opened(
    target: Path, source: Path, *, flags: tuple[str, ...] = (), **changes: Any
) -> AbstractContextManager[RunFolder]:
    """Open the output folder of one same run, but for the changes."""
    arguments: dict[str, Any] = {
        "command": ["hpdp", "cryoem", "reconstruct", str(source), "-o", str(target), *flags],
        "parameters": {"symmetry": "D3", "padding": 2},
        "inputs": [source],
        "seed": 1,
        "overwrite": False,
    }
    return output_folder(target, **(arguments | changes))


def done(target: Path, source: Path, work: Callable[[RunFolder], object], **changes: Any) -> None:
    """Do some work in an output folder."""
    with opened(target, source, **changes) as run:
        work(run)


def no_work(run: RunFolder) -> None:
    """What must not begin."""
    pytest.fail("work began")


def files(folder: Path) -> set[str]:
    """The names in a folder, hidden ones too."""
    return {entry.name for entry in folder.iterdir()}


def test_the_folder_appears_when_it_is_complete(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"
    with opened(target, source) as run:
        assert not target.exists()
        (run.path / "map.mrc").write_bytes(b"map")
        (run.scratch / "leaf").write_bytes(b"leaf")
        with run.stage("insert"):
            run.images(7)
            run.images(3)
        with run.stage("insert"):
            pass
        run.warn("the masks touch")
        run.finish({"resolution": 3.4}, cluster={"workers": 2})
    assert files(target) == {"map.mrc", "run.json"}
    assert files(tmp_path) == {"out", source.name}
    record = read_run(target)
    assert record.results == {"resolution": 3.4}
    assert record.cluster == {"workers": 2}
    assert record.warnings == ["the masks touch"]
    assert record.ended is not None
    assert record.started <= record.ended
    (stage,) = record.stages
    assert (stage.name, stage.times, stage.images) == ("insert", 2, 10)


def test_an_existing_folder_is_refused_before_any_work(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(InputError, match=r"exists already.*--overwrite"):
        done(target, source, no_work)
    assert files(tmp_path) == {"out", source.name}


def test_overwrite_replaces_at_the_end_and_only_on_success(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"
    with opened(target, source) as run:
        (run.path / "old").touch()

    def fail(run: RunFolder) -> None:
        (run.path / "new").touch()
        (run.scratch / "leaf").touch()
        raise InputError("particles.star: a bad row.")

    with pytest.raises(InputError, match="a bad row"):
        done(target, source, fail, overwrite=True)
    assert files(target) == {"old", "run.json"}
    with opened(target, source, overwrite=True) as run:
        (run.path / "new").touch()
        assert (target / "old").exists()
    assert files(target) == {"new", "run.json"}
    assert files(tmp_path) == {"out", source.name}


def test_overwrite_leaves_what_hpdp_did_not_make(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter1.tex").touch()
    with pytest.raises(InputError, match=r"did not make it"):
        done(target, source, no_work, overwrite=True)
    assert files(target) == {"chapter1.tex"}


def test_overwrite_does_not_remove_its_own_input(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"
    with opened(target, source) as run:
        (run.path / "particles.zarr").mkdir()
    inside = target / "particles.zarr"
    with pytest.raises(InputError, match=r"would remove the input"):
        done(target, source, no_work, overwrite=True, inputs=[inside])
    assert inside.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent/out", "does not exist; make it first"),
        ("particles.star/out", "does not exist; make it first"),
        ("particles.star", "is a file"),
        ("x" * 250, "cannot be made in"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused(
    tmp_path: Path, source: Path, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        done(tmp_path / name, source, no_work, overwrite=True)
    assert files(tmp_path) == {source.name}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_without_permission_is_refused(tmp_path: Path, source: Path) -> None:
    parent = tmp_path / "locked"
    parent.mkdir(mode=0o500)
    with pytest.raises(InputError, match="may write"):
        done(parent / "out", source, no_work)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write")
def test_a_parent_that_takes_no_folders_is_refused(source: Path) -> None:
    with pytest.raises(InputError, match="cannot be made in /proc"):
        done(Path("/proc/x"), source, no_work)


def test_an_absent_input_is_refused(tmp_path: Path, source: Path) -> None:
    absent = tmp_path / "absent.star"
    with pytest.raises(InputError, match=r"absent\.star: this input cannot be read"):
        done(tmp_path / "out", source, no_work, inputs=[source, absent])
    assert files(tmp_path) == {source.name}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, source: Path) -> None:
    def fill(run: RunFolder) -> None:
        (run.scratch / "leaf").touch()
        Path("/dev/full").write_text("map")

    with pytest.raises(InputError, match=r"No space left on device.*free some space"):
        done(tmp_path / "out", source, fill)
    assert files(tmp_path) == {source.name}


def test_a_full_disk_is_found_among_the_causes(tmp_path: Path, source: Path) -> None:
    def fill(run: RunFolder) -> None:
        full = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "leaf.npy")
        raise RuntimeError("a task failed") from full

    with pytest.raises(InputError, match=r"leaf\.npy: Disk quota exceeded"):
        done(tmp_path / "out", source, fill)
    assert files(tmp_path) == {source.name}


def test_a_full_disk_does_not_cost_the_iterations_before_it(tmp_path: Path, source: Path) -> None:
    def fill(run: RunFolder) -> None:
        ended = run.scratch / "iterations" / "007" / "state.json"
        ended.parent.mkdir(parents=True)
        ended.write_text("{}")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "008/half1.npy")

    with pytest.raises(InputError, match=r"008/half1\.npy: No space.*--resume goes on from it"):
        done(tmp_path / "out", source, fill)
    assert list(tmp_path.rglob("state.json"))


def test_an_interrupt_without_leaves_leaves_nothing(tmp_path: Path, source: Path) -> None:
    def stop(run: RunFolder) -> None:
        (run.path / "half.mrc").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        done(tmp_path / "out", source, stop)
    assert files(tmp_path) == {source.name}


def interrupted(target: Path, source: Path) -> None:
    """Leave what a run leaves that was interrupted after its first leaf."""

    def stop(run: RunFolder) -> None:
        (run.path / "half.mrc").touch()
        (run.scratch / "leaf").write_text("sum")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        done(target, source, stop)
    assert any("--resume" in note for note in caught.value.__notes__)


def test_resume_goes_on_from_the_leaves_of_an_interrupted_run(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"
    interrupted(target, source)
    assert not target.exists()
    with opened(target, source, flags=("--resume", "--cluster", "x"), resume=True) as run:
        assert run.record.resumed
        assert (run.scratch / "leaf").read_text() == "sum"
        assert files(run.path) == {"scratch", "run.json"}
    assert files(tmp_path) == {"out", source.name}
    assert read_run(target).resumed


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"parameters": {"symmetry": "C1", "padding": 2}},
        {"command": ["hpdp", "cryoem", "normalize"]},
        {"resume": False},
    ],
)
def test_other_work_starts_anew(tmp_path: Path, source: Path, changes: dict[str, Any]) -> None:
    target = tmp_path / "out"
    interrupted(target, source)
    with opened(target, source, **({"resume": True} | changes)) as run:
        assert not run.record.resumed
        assert files(run.scratch) == set()


def test_a_changed_input_starts_anew(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"
    interrupted(target, source)
    source.write_text("data_particles2")  # as long as before
    with opened(target, source, resume=True) as run:
        assert not run.record.resumed


def test_a_run_that_was_killed_can_be_resumed(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"
    program = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from hpdp_dask.workflow.folder import output_folder
        source = Path({str(source)!r})
        with output_folder({str(target)!r}, command=["hpdp", "cryoem", "reconstruct"],
                           parameters={{"symmetry": "D3", "padding": 2}}, inputs=[source],
                           seed=1, overwrite=False) as run:
            (run.scratch / "leaf").write_text("sum")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    with opened(target, source, command=["hpdp", "cryoem", "reconstruct"], resume=True) as run:
        assert run.record.resumed
        assert (run.scratch / "leaf").read_text() == "sum"


def test_two_runs_do_not_share_a_folder(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"
    with opened(target, source) as run:
        (run.scratch / "leaf").touch()
        with pytest.raises(InputError, match="another run is writing"):
            done(target, source, no_work)
        assert (run.scratch / "leaf").exists()


def test_results_are_kept_if_the_name_is_taken_meanwhile(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out"

    def work(run: RunFolder) -> None:
        (run.path / "map.mrc").write_bytes(b"map")
        target.mkdir()

    with pytest.raises(InputError, match=r"someone else.*\.out\.partial"):
        done(target, source, work)
    assert (tmp_path / ".out.partial" / "map.mrc").exists()


def test_stages_do_not_nest_and_images_belong_to_one(tmp_path: Path, source: Path) -> None:
    with opened(tmp_path / "out", source) as run:
        with pytest.raises(RuntimeError, match="inside a stage"):
            run.images(1)
        with run.stage("a"), pytest.raises(RuntimeError, match="inside stage 'a'"), run.stage("b"):
            pytest.fail("nested")


def test_a_stage_counts_the_processor_time_of_its_children(tmp_path: Path, source: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    with opened(tmp_path / "out", source) as run:
        with run.stage("burn"):
            subprocess.run([sys.executable, "-S", "-c", burn], check=True)
        with run.stage("rest"):
            pass
    burnt, rest = run.record.stages
    assert 0.29 < burnt.cpu_seconds < burnt.wall_seconds + 1.0
    assert rest.cpu_seconds < 0.1


def test_a_folder_is_made_without_loading_what_only_a_report_needs() -> None:
    program = (
        "import sys, hpdp_dask.workflow.folder; "
        "assert not {'matplotlib', 'jinja2', 'PIL', 'dask', 'zarr'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def leave_sums(run: RunFolder) -> None:
    """What a long reduction keeps on disk."""
    (run.scratch / "leaves").mkdir(exist_ok=True)
    (run.scratch / "leaves" / "leaf-000000000-000000099.npy").touch()


def test_a_mistake_late_in_a_run_does_not_cost_the_sums(tmp_path: Path, source: Path) -> None:
    def fail(run: RunFolder) -> None:
        leave_sums(run)
        raise InputError("the workers died.")

    with pytest.raises(InputError, match=r"the workers died\. What was done is kept in .*--resume"):
        done(tmp_path / "out", source, fail)
    with opened(tmp_path / "out", source, resume=True) as run:
        assert run.record.resumed


@pytest.mark.parametrize(("iteration", "kept"), [("000", False), ("012", True)])
def test_a_mistake_late_in_a_loop_does_not_cost_its_iterations(
    tmp_path: Path, source: Path, iteration: str, kept: bool
) -> None:
    def fail(run: RunFolder) -> None:
        folder = run.scratch / "iterations" / iteration
        folder.mkdir(parents=True)
        (folder / "state.json").write_text("{}")
        raise InputError("the workers died.")

    with pytest.raises(InputError, match="the workers died") as caught:
        done(tmp_path / "out", source, fail)
    assert ("--resume goes on" in str(caught.value)) == kept
    assert (tmp_path / ".out.partial").exists() == kept


def test_resuming_other_work_is_refused_where_it_would_cost_sums(
    tmp_path: Path, source: Path
) -> None:
    def fail(run: RunFolder) -> None:
        leave_sums(run)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        done(tmp_path / "out", source, fail)
    other = {"parameters": {"symmetry": "D2", "padding": 2}}
    with pytest.raises(InputError, match="a run with other parameters left"):
        done(tmp_path / "out", source, no_work, resume=True, **other)
    with opened(tmp_path / "out", source, resume=True) as run:
        assert run.record.resumed


def test_parameters_that_may_be_adjusted(tmp_path: Path, source: Path) -> None:
    """The record tells of each that was, over several interruptions."""

    def fail(run: RunFolder) -> None:
        leave_sums(run)
        raise InputError("the loss is no number.")

    def asked(rate: float, batch: int = 8) -> dict[str, Any]:
        parameters = {"width": 16, "training": {"rate": rate, "batch": batch}}
        return {"parameters": parameters, "adjustable": ["training.rate"]}

    target = tmp_path / "out"
    for rate in (0.4, 0.2):
        with pytest.raises(InputError, match="no number"):
            done(target, source, fail, resume=True, **asked(rate))
    with pytest.raises(InputError, match="a run with other parameters left"):
        done(target, source, no_work, resume=True, **asked(0.2, batch=4))
    with opened(target, source, resume=True, **asked(0.1)) as run:
        assert run.record.resumed
    record = read_run(target)
    assert record.parameters["training"]["rate"] == 0.1
    assert record.warnings == [
        f"Interrupted, and gone on with training.rate {now} in place of {before}."
        for before, now in ((0.4, 0.2), (0.2, 0.1))
    ]


@pytest.mark.parametrize("name", ["half1/start.npz", "directions-03.npz", "shots.zarr"])
def test_what_took_long_to_make_is_kept(tmp_path: Path, source: Path, name: str) -> None:
    def fail(run: RunFolder) -> None:
        (run.scratch / name).parent.mkdir(exist_ok=True)
        (run.scratch / name).touch()
        raise InputError("the loss is no number.")

    with pytest.raises(InputError, match="--resume goes on from it"):
        done(tmp_path / "out", source, fail)
    with opened(tmp_path / "out", source, resume=True) as run:
        assert (run.scratch / name).exists()
