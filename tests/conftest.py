"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from hpdp_dask.cluster import connect
from hpdp_dask.numerics.arrays import has_gpu

TEST_DATA = Path(
    os.environ.get("HPDP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real test data; skips where it is not."""
    if not TEST_DATA.is_dir():
        pytest.skip(f"no test data at {TEST_DATA}; set HPDP_TEST_DATA to the folder")
    return TEST_DATA


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A local cluster of two workers."""
    with connect("local", workers=2, memory_limit="1GiB") as client:
        yield client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` where there is no CUDA device."""
    if has_gpu():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs CuPy and a CUDA device"))
