"""Workers as jobs of a real Grid Engine of the tests' own: one node on this machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from hpdp_dask.cluster import connect
from hpdp_dask.errors import InputError

pytestmark = pytest.mark.sge

CLUSTERS = Path(__file__).parents[2] / "clusters"
#: Where Debian has it.
ROOT, PROGRAMS, SHARE = (
    Path(f"/{folder}/gridengine") for folder in ("var/lib", "usr/lib", "usr/share")
)
RESOURCES = SHARE / "util" / "resources"

BOOTSTRAP = """\
admin_user none
default_domain none
ignore_fqdn false
spooling_method berkeleydb
spooling_lib libspoolb
spooling_params {folder}/database
binary_path {programs}
qmaster_spool_dir {folder}/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""
ENVIRONMENT = """\
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""


@pytest.fixture(scope="module")
def sge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run Grid Engine with the variables set that its commands read; give its folder."""
    if not (PROGRAMS / "sge_qmaster").exists() or not (PROGRAMS / "sge_execd").exists():
        pytest.skip("no Grid Engine (apt-get install gridengine-master -exec -client)")
    if os.geteuid() != 0:
        pytest.skip("Grid Engine starts jobs as their users, which only root may")
    folder = tmp_path_factory.mktemp("sge")
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        for name, value in (
            ("SGE_ROOT", folder / "root"),
            ("SGE_CELL", "default"),
            ("SGE_QMASTER_PORT", _free_port()),
            ("SGE_EXECD_PORT", _free_port()),
            ("SGE_ND", 1),  # daemons stay in the foreground
        ):
            patch.setenv(name, str(value))
        patch.setenv("PATH", str(PROGRAMS), prepend=os.pathsep)
        _write_cell(folder)
        stack.enter_context(_running("sge_qmaster", folder))
        _until(lambda: _ask("qconf", "-sh") != "")
        _configure(folder)
        stack.enter_context(_running("sge_execd", folder))
        stack.callback(_cancel_all)
        _until(lambda: "lx-" in _ask("qstat", "-f"))
        yield folder


def _write_cell(folder: Path) -> None:
    """Write what the master reads when it starts."""
    host = socket.gethostname()
    common = folder / "root" / "default" / "common"
    for path in (common, folder / "qmaster" / "job_scripts", folder / "database", folder / "execd"):
        path.mkdir(parents=True)
    for name in ("bin", "lib", "util", "utilbin"):
        (folder / "root" / name).symlink_to(ROOT / name)
    (common / "bootstrap").write_text(BOOTSTRAP.format(folder=folder, programs=PROGRAMS))
    (common / "act_qmaster").write_text(f"{host}\n")
    # the address of this machine may have the name localhost
    (common / "host_aliases").write_text(f"{host} localhost\n")
    settings = {
        **{"execd_spool_dir": folder / "execd", "min_uid": 0, "min_gid": 0},
        "gid_range": "20000-20100",
    }
    text = _changed((SHARE / "default-configuration").read_text(), settings)
    (folder / "configuration").write_text(text)
    for command in (
        ["spoolinit", "berkeleydb", "libspoolb", folder / "database", "init"],
        ["spooldefaults", "configuration", folder / "configuration"],
        ["spooldefaults", "complexes", RESOURCES / "centry"],
        ["spooldefaults", "usersets", RESOURCES / "usersets"],
        ["spooldefaults", "managers", getpass.getuser()],
    ):
        subprocess.run(list(map(str, command)), check=True, capture_output=True)


def _configure(folder: Path) -> None:
    """Make a queue of this machine that starts jobs at once."""
    host = socket.gethostname()
    queue = {"qname": "all.q", "hostlist": "@allhosts", "slots": 8, "load_thresholds": "NONE"}
    quick = {"schedule_interval": "0:0:1", "flush_submit_sec": 1, "flush_finish_sec": 1}
    _ask("qconf", "-as", host)
    for option, text in (
        ("-Ahgrp", f"group_name @allhosts\nhostlist {host}\n"),
        ("-Ap", ENVIRONMENT),
        ("-Aq", _changed(_ask("qconf", "-sq"), queue | {"pe_list": "smp"})),
        ("-Msconf", _changed(_ask("qconf", "-ssconf"), quick)),
    ):
        path = folder / "said"
        path.write_text(text)
        subprocess.run(["qconf", option, str(path)], check=True, capture_output=True)


def _changed(text: str, values: dict[str, object]) -> str:
    """Give lines of a name and a value with other values."""
    names = [(line.partition(" ")[0], line) for line in text.splitlines()]
    return "".join(
        f"{name} {values[name]}\n" if name in values else f"{it}\n" for name, it in names
    )


@contextlib.contextmanager
def _running(program: str, folder: Path) -> Iterator[None]:
    with (folder / f"{program}.log").open("wb") as output:
        process = subprocess.Popen([program], stdout=output, stderr=output, cwd=folder)
    try:
        yield
    finally:
        process.kill()  # what it would keep is thrown away, and asked to end it takes seconds
        process.wait()


def _cancel_all() -> None:
    _ask("qdel", "-u", getpass.getuser())
    with contextlib.suppress(AssertionError):
        _until(lambda: jobs() == [], 10)


def _ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def jobs() -> list[str]:
    """Give the numbers of all jobs."""
    words = [line.split() for line in _ask("qstat", "-u", getpass.getuser()).splitlines()]
    return [line[0] for line in words if line and line[0].isdigit()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(true: Callable[[], bool], patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.1)


@pytest.fixture
def site(sge: Path, tmp_path: Path) -> Callable[..., str]:
    """A function that derives a YAML from the package's and gives its path."""

    def derive(**options: object) -> str:
        said = yaml.safe_load((CLUSTERS / "sge.yaml").read_text())
        said["hpdp"] |= {"interface": "lo", "shared-directory": str(tmp_path / "shared")}
        said["hpdp"]["groups"]["cpu"]["workers"] = 2
        said["jobqueue"]["hpdp-cpu"] |= {
            **{"cores": 1, "processes": 1, "memory": "800MiB", "python": sys.executable},
            **{"job-extra-directives": ["-pe smp 1"], "death-timeout": 30},
            **options,
        }
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump(said))
        return str(path)

    return derive


def test_workers_come_are_replaced_and_leave(site: Callable[..., str], tmp_path: Path) -> None:
    with connect(site(), wait=100) as client:
        client.wait_for_workers(2, timeout=60)
        assert len(jobs()) == 2
        first, _ = jobs()
        subprocess.run(["qdel", first], check=True, capture_output=True)
        assert client.gather(client.map(abs, range(-9, 0))) == list(range(9, 0, -1))
        _until(lambda: first not in jobs() and len(jobs()) == 2)
    _until(lambda: jobs() == [], 20)
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_queue_that_refuses(site: Callable[..., str]) -> None:
    with pytest.raises(InputError, match=r"workers do not start \(cpu: .*nowhere"):
        connect(site(queue="nowhere"), wait=100)
    assert jobs() == []
