"""What is submitted to each batch scheduler, and that it runs.

`HPDP_WRITE_GOLDEN=1` writes the golden files anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stand_in
import yaml
from distributed import Security

from hpdp_dask.cluster import connect
from hpdp_dask.cluster.batch import job_class
from hpdp_dask.cluster.job_options import job_options, walltime_seconds
from hpdp_dask.cluster.site import load_site
from hpdp_dask.errors import InputError

CLUSTERS = Path(__file__).parents[2] / "clusters"
GOLDEN = Path(__file__).parent / "golden"
BATCH = sorted(path.stem for path in CLUSTERS.glob("*.yaml") if path.stem != "local")


@pytest.mark.parametrize("name", BATCH)
def test_job_script(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/hpdp/bin/python")
    site = load_site(str(CLUSTERS / f"{name}.yaml"))
    [group] = site.groups.values()
    security = Security(
        tls_ca_file="/shared/certificate.pem",
        tls_worker_cert="/shared/certificate.pem",
        tls_worker_key="/shared/key.pem",
    )
    options = job_options(site, group, security=security, log_directory=tmp_path / "logs")
    job: Any = job_class(site.scheduler)("tls://10.0.0.1:8786", name=f"{group.name}-0", **options)
    script = job.job_script().replace(str(tmp_path), "/shared")
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("HPDP_WRITE_GOLDEN"):
        golden.write_text(script)
    assert script == golden.read_text()


@pytest.mark.parametrize(
    ("scheduler", "walltime", "seconds"),
    [
        ("slurm", "04:00:00", 14400),
        ("slurm", "30:00", 1800),
        ("slurm", "30", 1800),
        ("slurm", "1-12", 129600),
        ("slurm", "1-12:30", 131400),
        ("slurm", "2-00:00:30", 172830),
        ("pbs", "04:00:00", 14400),
        ("sge", "3600", 3600),
        ("lsf", "04:30", 16200),
        ("lsf", "90", 5400),
        ("slurm", "UNLIMITED", None),
    ],
)
def test_walltime(scheduler: str, walltime: str, seconds: float | None) -> None:
    assert walltime_seconds(walltime, scheduler) == seconds


def test_the_lifetime_of_the_yaml_goes_before(tmp_path: Path) -> None:
    site = load_site(str(CLUSTERS / "slurm-cpu.yaml"))
    group = site.groups["cpu"]
    for given, expected in (
        ([], "--lifetime 12660s --lifetime-stagger 1440s"),
        (["--lifetime 1h"], "--lifetime 1h"),
    ):
        group.jobqueue["worker_extra_args"] = given
        made = job_options(site, group, security=None, log_directory=tmp_path)
        words = " ".join(made["worker_extra_args"])
        assert expected in words
        assert words.count("--lifetime ") == 1


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that puts stand-ins for a batch scheduler's commands first and gives a YAML."""

    def derive(scheduler: str, **options: Any) -> str:
        programs = tmp_path / "bin"
        programs.mkdir()
        for command in stand_in.COMMANDS[scheduler]:
            path = programs / command
            words = [sys.executable, stand_in.__file__, scheduler, command]
            path.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
            path.chmod(0o755)
        monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
        said = yaml.safe_load((CLUSTERS / f"{scheduler}.yaml").read_text())
        said["hpdp"] |= {
            **{"interface": "lo", "shared-directory": str(tmp_path / "shared")},
            "groups": {"cpu": {"config": "hpdp-cpu", "workers": 2}},
        }
        small = {"cores": 1, "processes": 1, "memory": "800MiB", "death-timeout": 30}
        said["jobqueue"]["hpdp-cpu"] |= small | options
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump(said))
        return str(path)

    return derive


@pytest.mark.parametrize("scheduler", sorted(stand_in.COMMANDS))
def test_the_job_script_starts_workers(scheduler: str, site: Callable[..., str]) -> None:
    with connect(site(scheduler), wait=100) as client:
        client.wait_for_workers(2, timeout=60)
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        assert client.gather(client.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
        [pid, _] = stand_in.jobs(scheduler)
        cancel = stand_in.COMMANDS[scheduler][1]
        subprocess.run([cancel, str(pid)], check=True)
        _until(lambda: pid not in stand_in.jobs(scheduler))
        _until(lambda: len(stand_in.jobs(scheduler)) == 2)  # another took its place
    _until(lambda: stand_in.jobs(scheduler) == [])


@pytest.mark.parametrize("scheduler", sorted(stand_in.COMMANDS))
def test_what_the_batch_scheduler_says_is_shown(
    scheduler: str, site: Callable[..., str], tmp_path: Path
) -> None:
    where = site(scheduler, **{"worker-extra-args": ["--refused"]})
    with pytest.raises(InputError, match=r"workers do not start \(cpu: qsub: Unknown queue\)"):
        connect(where, wait=60)
    _until(lambda: stand_in.jobs(scheduler) == [])
    assert list((tmp_path / "shared").iterdir()) == []


def test_no_commands_of_a_batch_scheduler(
    site: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = site("lsf")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="bsub cannot be run here"):
        connect(where, wait=60)


def _until(true: Callable[[], bool], patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.1)
