"""Pauses after failures, and how many jobs the work needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpdp_dask.cluster import groups
from hpdp_dask.cluster.groups import LONGEST_PAUSE, Held
from hpdp_dask.cluster.site import load_site


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """A group of jobs with 16 workers each, at a time that stands still."""
    monkeypatch.setattr(groups.time, "monotonic", lambda: 1000.0)
    path = Path(__file__).parents[2] / "clusters" / "slurm-cpu.yaml"
    return Held(load_site(str(path)).groups["cpu"], {})


def test_pauses_grow_to_minutes(held: Held) -> None:
    pauses = []
    for _ in range(12):
        held.failed("refused", ended=False)
        pauses.append(held.pause)
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == LONGEST_PAUSE == 300
    held.worked()
    assert (held.pause, held.words) == (0, "")


def test_workers_are_rounded_up_to_jobs(held: Held) -> None:
    assert [held.jobs_for(number) for number in (0, 1, 16, 17)] == [0, 1, 1, 2]


def test_jobs_follow_the_work(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.between = 1, 4
    wanted = []
    for now, tasks in ((0, 0), (1, 40), (2, 1000), (3, 10), (6, 10), (9, 10)):
        monkeypatch.setattr(groups.time, "monotonic", lambda now=now: 1000.0 + now)
        held.follow(tasks)
        wanted.append(held.jobs)
    assert wanted == [1, 3, 4, 4, 4, 1]
