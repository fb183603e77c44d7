"""Interrupts while workers start; seeds that no library takes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hpdp_dask.cluster
from hpdp_dask.cli.main import app
from hpdp_dask.cli.options import Interrupted
from hpdp_dask.cli.where import Where


class Started:
    """A client whose start takes note of how far it came."""

    dashboard_link = "http://127.0.0.1:8787"

    def __init__(self) -> None:
        self.course: list[str] = []

    def connect(self, *_args: Any, **_options: Any) -> Started:
        self.course.append("begun")
        signal.raise_signal(signal.SIGINT)
        self.course.append("up")
        return self

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_error: object) -> None:
        self.course.append("closed")


def work(where: Where) -> None:
    with where.connected(reads=[]):
        pytest.fail("work began")


@pytest.mark.parametrize(
    ("cluster", "course"),
    [("local", ["begun", "up", "closed"]), ("tcp://127.0.0.1:1", ["begun"])],
)
def test_an_interrupt_while_workers_start(
    cluster: str, course: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Local ones are ended in order; others, that may be waited for long, are not waited for."""
    client = Started()
    monkeypatch.setattr(hpdp_dask.cluster, "connect", client.connect)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted) as caught:
            work(Where(cluster=cluster))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.exit_code == 130
    assert client.course == course


def test_a_second_interrupt_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Started()

    def connect(*_args: Any, **_options: Any) -> Started:
        client.connect()
        return client.connect()

    monkeypatch.setattr(hpdp_dask.cluster, "connect", connect)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted):
            work(Where())
    finally:
        signal.signal(signal.SIGINT, before)
    assert client.course == ["begun", "up", "begun"]


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_out_of_range(seed: str, tmp_path: Path) -> None:
    words = ["cryoem", "heterogeneity", "train", str(tmp_path), "-o", str(tmp_path / "x")]
    result = CliRunner().invoke(app, [*words, "--seed", seed])
    assert result.exit_code == 2
    assert "--seed" in result.output
    assert list(tmp_path.iterdir()) == []
