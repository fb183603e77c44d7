"""Commands as jobs: submitted, followed, cancelled; here as processes and on a real SLURM."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import stand_in

from hpdp_dask.cluster import submit
from hpdp_dask.cluster.batch_script import command_job
from hpdp_dask.cluster.site import load_site
from hpdp_dask.cluster.submit import cancel, follow
from hpdp_dask.cluster.submitted import Submitted, all_submitted, find_submitted
from hpdp_dask.errors import InputError

RUNNER = "hpdp_dask.cli.submitted"
SITE = """\
hpdp:
  scheduler: {scheduler}
  interface: lo
  shared-directory: {folder}/shared
  groups:
    gpu: {{gpu: true}}
    cpu: {{}}
    {head}
jobqueue:
  gpu: {{queue: gpu, cores: 1, memory: 2GiB, walltime: "02:00:00", {more}}}
  cpu:
    queue: {queue}
    cores: 8
    memory: 20GiB
    walltime: "10:00:00"
    python: /site/python
    job-script-prologue: ["module load hpdp"]
    {cpu_more}
  {head_options}
"""


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPDP_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def site(tmp_path: Path, scheduler: str = "slurm", **given: str) -> str:
    path = tmp_path / "site.yaml"
    defaults = {"queue": "cpu", "more": "", "cpu_more": "", "head": "", "head_options": ""}
    path.write_text(SITE.format(folder=tmp_path, scheduler=scheduler, **(defaults | given)))
    return str(path)


def submitted(tmp_path: Path, where: str, *words: str, name: str = "task") -> Submitted:
    return submit.submit(
        where, list(words), RUNNER, name=name, log=tmp_path / f"{name}.log", partial=None
    )


def wait_for(record: Submitted, states: set[str], patience: float = 90.0) -> submit.Standing:
    end = time.monotonic() + patience
    while (standing := follow(record)).state not in states:
        assert time.monotonic() < end, standing
        time.sleep(0.2)
    return standing


def test_a_process_of_its_own(tmp_path: Path) -> None:
    right = submitted(tmp_path, "local", "info", "nowhere.zarr", name="wrong")
    record = submitted(tmp_path, "local", "--version")
    assert wait_for(record, {"done"}).words == ""
    written = record.log.read_text()
    assert "hpdp --version" in written
    assert "ended with exit code 0" in written
    assert wait_for(right, {"failed"}).words == "exit code 2"
    assert "nowhere.zarr" in right.log.read_text()
    assert [known.name for known in all_submitted()] == ["wrong", "task"]
    with pytest.raises(InputError, match="no job 'other' was submitted; known are wrong, task"):
        find_submitted("other")
    with pytest.raises(InputError, match="has ended already"):
        cancel(record)
    submit.forget(record)
    assert [known.name for known in all_submitted()] == ["wrong"]


def test_a_job_that_goes_on_is_given_resume(tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    record = submit.submit(
        "local", ["info", "x"], RUNNER, name="task", log=tmp_path / "task.log", partial=partial
    )
    wait_for(record, {"failed"})
    assert "hpdp info x --resume" in record.log.read_text()


def test_an_address_tells_no_batch_scheduler(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not tell which batch scheduler"):
        submitted(tmp_path, "tcp://127.0.0.1:1", "--version")


@pytest.mark.parametrize(
    ("scheduler", "more", "expected"),
    [
        ("slurm", "", ["#SBATCH -p cpu", "#SBATCH --cpus-per-task=2", "#SBATCH --mem=4G"]),
        ("slurm", "", ["#SBATCH -t 01:00:00", "#SBATCH --signal=B:TERM@120", "--output=said"]),
        ("pbs", "", ["#PBS -q cpu", "#PBS -l select=1:ncpus=2:mem=4096MB", "#PBS -o said"]),
        ("lsf", "lsf-units: mb", ["#BSUB -q cpu", "#BSUB -n 2", "#BSUB -M 4295", "#BSUB -o said"]),
        ("sge", "", ["#$ -q cpu", "#$ -l h_rt=01:00:00", "#$ -o said", "#$ -notify"]),
    ],
)
def test_scripts(tmp_path: Path, scheduler: str, more: str, expected: list[str]) -> None:
    found = load_site(site(tmp_path, scheduler, more=more, cpu_more=more))
    script = command_job(found, "task", ["a.module", "two words"], Path("said"), "01:00:00")
    lines = script.job_script().splitlines()
    for line in expected:
        assert any(line in written for written in lines), (line, lines)
    assert "module load hpdp" in lines
    assert lines[-1] == "exec /site/python -m a.module 'two words'"


def test_script_of_htcondor(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        "hpdp: {scheduler: htcondor, groups: {cpu: {}}}\n"
        "jobqueue: {cpu: {cores: 8, memory: 20GiB, disk: 1GiB, python: /site/python,"
        " job-script-prologue: [. /site/setup]}}\n"
    )
    script = command_job(load_site(str(path)), "task", ["a.module"], Path("said"), None)
    written = script.job_script()
    assert "Arguments = \"-c '. /site/setup; exec /site/python -m a.module'\"" in written
    assert "MY.DaskWorkerCores = 2" in written
    assert "Output = said" in written


def test_the_group_head_says_all(tmp_path: Path) -> None:
    options = 'head: {queue: long, cores: 3, memory: 6GiB, walltime: "30:00:00"}'
    found = load_site(site(tmp_path, head="head: {}", head_options=options))
    script = command_job(found, "task", ["a.module"], Path("said"), None).job_script()
    assert "#SBATCH -p long" in script
    assert "#SBATCH --cpus-per-task=3" in script
    assert "module load" not in script


@pytest.mark.parametrize("scheduler", ["pbs", "lsf", "sge"])
def test_other_schedulers_run_a_command(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-ins of their commands take the script and run it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for command in stand_in.COMMANDS[scheduler]:
        words = [sys.executable, stand_in.__file__, scheduler, command]
        (programs / command).write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
        (programs / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    path = tmp_path / "site.yaml"
    units = ", lsf-units: mb" if scheduler == "lsf" else ""
    path.write_text(
        f"hpdp: {{scheduler: {scheduler}, interface: lo, groups: {{cpu: {{}}}}}}\n"
        f"jobqueue: {{cpu: {{queue: cpu, cores: 1, memory: 1GiB{units}}}}}\n"
    )
    record = submitted(tmp_path, str(path), "--version")
    wait_for(record, {"done"})
    assert "ended with exit code 0" in record.log.read_text()


@pytest.mark.slurm
def test_slurm_runs_a_command(slurm: Path, queue: Callable[[], list[str]], tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        "hpdp: {scheduler: slurm, interface: lo, groups: {cpu: {}}}\n"
        "jobqueue: {cpu: {queue: QUEUE, cores: 1, memory: 600MiB, walltime: '00:20:00'}}\n"
    )
    text = path.read_text()
    path.write_text(text.replace("QUEUE", "nosuch"))
    with pytest.raises(InputError, match=r"refuses the job: .*[Ii]nvalid partition"):
        submitted(tmp_path, str(path), "--version")
    assert all_submitted() == []

    path.write_text(text.replace("QUEUE", "closed"))
    waiting = submitted(tmp_path, str(path), "--version", name="waiting")
    standing = follow(waiting)
    assert standing.state == "waiting"
    assert "PENDING" in standing.words
    with pytest.raises(InputError, match=r"a job waiting is there already \(waiting\)"):
        submitted(tmp_path, str(path), "--version", name="waiting")
    with pytest.raises(InputError, match="has not ended; cancel it first"):
        submit.forget(waiting)

    path.write_text(text.replace("QUEUE", "cpu"))
    record = submitted(tmp_path, str(path), "--version")
    wait_for(record, {"done"})
    assert "ended with exit code 0" in record.log.read_text()
    cancel(waiting)
    assert wait_for(waiting, {"killed"}).words == "before it began"
    assert queue() == [] or queue() == ["task"]  # SLURM may still be completing it
