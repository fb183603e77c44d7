"""Certificates of a cluster's own: private, and without them nobody gets in."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from distributed import Client, Scheduler

from hpdp_dask.cluster.security import load_security, make_security
from hpdp_dask.errors import InputError


def test_the_files_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    made = make_security(folder)
    assert made.require_encryption
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read = load_security(folder)
    assert read.get_tls_config_for_role("worker") == made.get_tls_config_for_role("worker")
    with pytest.raises(InputError, match="cannot be written"):
        make_security(folder)


def test_files_that_are_gone_or_open(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the cluster of these certificates has ended"):
        load_security(tmp_path)
    make_security(tmp_path / "tls")
    (tmp_path / "tls" / "key.pem").chmod(0o644)
    with pytest.raises(InputError, match=r"key.pem: others may read it"):
        load_security(tmp_path / "tls")


async def _try(address: str, security: object) -> str:
    try:
        async with Client(address, security=security, asynchronous=True, timeout="2s"):
            return "in"
    except (OSError, TimeoutError, RuntimeError, TypeError):
        return "out"


def test_only_who_has_the_files_gets_in(tmp_path: Path) -> None:
    import asyncio

    async def run() -> list[str]:
        ours, theirs = make_security(tmp_path / "ours"), make_security(tmp_path / "theirs")
        options = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        async with Scheduler(protocol="tls://", security=ours, **options) as scheduler:
            plain = scheduler.address.replace("tls://", "tcp://")
            return [
                await _try(scheduler.address, load_security(tmp_path / "ours")),
                await _try(scheduler.address, theirs),
                await _try(plain, None),
            ]

    assert asyncio.run(run()) == ["in", "out", "out"]
