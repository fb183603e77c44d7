"""What all tests share."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from hpdp_dask.cluster import connect, local
from hpdp_dask.numerics.arrays import has_gpu

TEST_DATA = Path(
    os.environ.get("HPDP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


# Clusters that two processes of tests start in the same moment would find the same port free, and a
# socket that is left behind by the one that comes second is a warning, so an error.
local.DASHBOARD_PORT += int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real test data; skips where it is not."""
    if not TEST_DATA.is_dir():
        pytest.skip(f"no test data at {TEST_DATA}; set HPDP_TEST_DATA to the folder")
    return TEST_DATA


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A local cluster of two workers."""
    with connect("local", workers=2, memory_limit="2GiB") as client:
        yield client


#: Markers of tests that may not skip on this machine.
REQUIRED = os.environ.get("HPDP_REQUIRED", "").split()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, Any]:
    """Let a test fail that skips where it may not."""
    report = yield
    if report.skipped and any(item.get_closest_marker(name) for name in REQUIRED):
        report.outcome = "failed"
        report.longrepr = f"may not skip here (HPDP_REQUIRED): {report.longrepr}"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no CUDA device; tell what may run side by side."""
    for item in items:
        if item.get_closest_marker("gpu") and not has_gpu():
            item.add_marker(pytest.mark.skip(reason="needs CuPy and a CUDA device"))
        if config.getoption("dist", "no") == "loadgroup":
            item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    """Name what runs in one process: a file, one notebook, and all that asks batch schedulers."""
    if item.path.parent.name == "notebooks":
        return item.name
    scheduled = any(item.get_closest_marker(name) for name in ("slurm", "sge"))
    return "cluster" if scheduled or item.path.parent.name == "cluster" else item.path.name
