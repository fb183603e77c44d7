"""What `hpdp cluster doctor` finds: on this machine, of files, and of a real SLURM's mind."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpdp_dask.cluster import doctor
from hpdp_dask.cluster.doctor import Finding, check_memory, examine
from hpdp_dask.numerics.arrays import has_gpu

SITE = """\
hpdp:
  scheduler: {scheduler}
  interface: {interface}
  tls: {tls}
  shared-directory: {folder}
  groups:
    cpu: {{}}
    gpu: {{gpu: true}}
jobqueue:
  cpu: {{queue: {queue}, cores: 4, processes: 2, memory: 12GiB, walltime: "10:00:00"}}
  gpu: {{queue: gpu, cores: 1, memory: 2GiB, walltime: "02:00:00", {more}}}
"""
RIGHT = 'job-extra-directives: ["--gres=gpu:1"]'


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPDP_STATE", str(tmp_path / "state"))


def site(
    tmp_path: Path,
    scheduler: str = "slurm",
    queue: str = "cpu",
    more: str = RIGHT,
    interface: str = "lo",
    tls: str = "true",
) -> str:
    path = tmp_path / "site.yaml"
    given = {"scheduler": scheduler, "queue": queue, "more": more}
    path.write_text(SITE.format(folder=tmp_path, interface=interface, tls=tls, **given))
    return str(path)


def findings(where: str) -> dict[str, Finding]:
    return {finding.topic: finding for finding in examine(where)}


def test_this_machine() -> None:
    found = findings("local")
    assert {finding.level for finding in found.values()} <= {"ok", "warn"}
    assert "dask-jobqueue" in found["versions"].message
    assert "a worker for each" in found["cores"].message
    assert "pixels a side" in found["memory"].message


@pytest.mark.skipif(has_gpu(), reason="there is a CUDA device")
def test_no_device() -> None:
    assert findings("local-cuda")["GPUs"].level == "fail"


def test_memory_is_held_against_a_refinement() -> None:
    enough = int(doctor.IDLE_BYTES + 2 * doctor.REFINED_BYTES) + 1
    right = check_memory("memory", enough, 2, "")
    assert (right.level, right.advice) == ("ok", "")
    assert "about 256 pixels" in right.message
    # an eighth of the memory holds half the box
    half = check_memory("memory", int(doctor.IDLE_BYTES + doctor.REFINED_BYTES / 8) + 1, 1, "more")
    assert half.level == "warn"
    assert "about 128 pixels" in half.message
    assert half.advice.endswith("more")


def test_a_file_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("hpdp: {scheduler: slurmm, groups: {cpu: {}}}")
    found = findings(str(path))["file"]
    assert found.level == "fail"
    assert "slurm, pbs" in found.message


def test_a_machine_without_the_scheduler(tmp_path: Path) -> None:
    found = findings(site(tmp_path, "lsf", more='lsf-units: mb, job-extra-directives: ["-gpu 1"]'))
    assert found["commands"].level == "fail"
    assert "bsub, bkill, bjobs not found" in found["commands"].message
    assert found["group gpu, GPU"].level == "ok"
    assert "group cpu" not in found  # nobody to ask


def test_what_needs_no_scheduler(tmp_path: Path) -> None:
    found = findings(site(tmp_path, interface="ib7", tls="false", more="job-extra-directives: []"))
    assert found["network"].level == "fail"
    assert "no interface 'ib7'" in found["network"].message
    assert "lo" in found["network"].advice
    assert found["encryption"].level == "warn"
    assert found["shared folder"].level == "warn"  # tests run below /tmp
    assert found["group gpu, GPU"].level == "fail"
    assert found["group cpu, memory"].level == "warn"  # 2 threads share 6 GiB
    assert found["group cpu, walltime"].level == "ok"


@pytest.mark.slurm
def test_slurm_is_asked(slurm: Path, tmp_path: Path) -> None:
    found = findings(site(tmp_path))
    assert "fail" not in {finding.level for finding in found.values()}
    for topic in ("group cpu", "group gpu", "hpdp submit"):
        assert found[topic].message.startswith("would be taken")
    assert "partition gpu" in found["group gpu"].message
    found = findings(site(tmp_path, queue="nosuch"))
    assert found["group cpu"].level == "fail"
    assert "invalid partition specified: nosuch" in found["group cpu"].message
    assert found["group gpu"].level == "ok"
