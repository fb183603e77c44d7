"""Training by all workers of a cluster together, one process of a group on each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hpdp_dask.dataflow.futures import (
    Refusal,
    await_worker,
    connected,
    device_resources,
    refusing,
    workers_of,
)
from hpdp_dask.dataflow.training.course import Course
from hpdp_dask.dataflow.training.loop import Job, smaller
from hpdp_dask.dataflow.training.member import (
    ask_to_stop,
    clean,
    images_done,
    join_and_train,
    meeting_point,
)
from hpdp_dask.dataflow.training.step import TooLarge
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

#: How often workers may die, without a checkpoint in between, before the training gives up.
_ATTEMPTS = 5
#: How long after a failure it may take until the scheduler knows that a worker is gone, and until
#: another is there in its place, seconds.
_NOTICE, _RETURN = 30.0, 15.0
#: How long workers that come later have been there before the training takes them in, seconds.
_JOINING = 10.0
#: How often to look how far they are, seconds.
_EVERY = 0.5


@dataclass(frozen=True)
class _Outcome:
    """How it ended that workers trained together: done, or why not."""

    lost: int = 0
    silent: bool = False
    too_large: TooLarge | None = None
    joined: int = 0

    @property
    def done(self) -> bool:
        return not (self.lost or self.silent or self.too_large or self.joined)


def run_ranks(
    job: Job,
    client: Client,
    course: Course,
    say: Callable[[str], None] | None = None,
) -> None:
    """Train on all workers of a cluster.

    When one dies, the others go on from the last checkpoint with it or who comes in its place;
    with workers that come later, they go on from where they are.

    Parameters
    ----------
    job : Job
    client : distributed.Client
    course : Course
        Told of images that are done.
    say : callable, optional
        Told of workers that died or joined, and of memory that is too small.

    Raises
    ------
    InputError
        As `loop.run_rank`; or workers died time and again.
    """
    failures, begun = 0, -1
    with connected(client, f"{job.stack}, training"):
        while True:
            course.restart()
            if course.begun > begun:
                failures, begun = 0, course.begun
            number = len(_usable(client, job))
            outcome = _attempt(job, client, course.reached)
            if outcome.done:
                return
            if outcome.too_large is not None:
                job = replace(job, at_once=smaller(job, outcome.too_large))
            elif not outcome.joined:
                failures += 1
                if failures == _ATTEMPTS:
                    raise InputError(
                        f"{job.stack}: workers died, or did not answer, {_ATTEMPTS} times in the "
                        "training; give them more memory, or use fewer. The last checkpoint is "
                        f"kept in {job.folder}."
                    )
                _await_return(client, job, number)
            if say is not None:
                say(_told(outcome, job, course.place()))


def _told(outcome: _Outcome, job: Job, place: str) -> str:
    if outcome.too_large is not None:
        return tell_smaller(outcome.too_large, job, place)
    if outcome.lost:
        return f"{outcome.lost} of the workers died; the training goes on from {place}."
    if outcome.silent:
        return f"A worker does not answer; the training tries again from {place}."
    more = f"{outcome.joined} more workers" if outcome.joined > 1 else "One more worker"
    return f"{more} joined; the training goes on from {place}."


def tell_smaller(error: TooLarge, job: Job, place: str) -> str:
    """Say that memory was too small, and what is done about it."""
    return (
        f"The memory of the GPU is too small for {error.images} images at once; the training goes "
        f"on from {place} with {job.at_once} at once, and the same batch of "
        f"{job.settings.batch}."
    )


def _usable(client: Client, job: Job) -> list[str]:
    """Give the addresses of the workers that train: each has two images of a batch or more."""
    return sorted(workers_of(client))[: max(1, job.settings.batch // 2)]


def _attempt(job: Job, client: Client, follow: Callable[[int], None]) -> _Outcome:
    """Run one process on each worker, until all is done or something comes between."""
    await_worker(client, None)
    addresses = _usable(client, job)
    clean(job.folder)
    resources = device_resources(client)
    meeting = client.submit(
        meeting_point, workers=addresses[:1], allow_other_workers=False, pure=False
    )
    try:
        where = meeting.result(timeout=_NOTICE)
    except TimeoutError:
        # it went before it could answer, or is busy with something else
        return _Outcome(silent=True)
    futures = {
        address: client.submit(
            refusing(join_and_train),
            job,
            rank,
            len(addresses),
            where,
            workers=[address],
            allow_other_workers=False,
            resources=resources,
            retries=0,
            pure=False,
            key=f"train-{job.learner.name}-{where}-{rank}",
        )
        for rank, address in enumerate(addresses)
    }
    newcomers = _Newcomers(client, job, addresses)
    try:
        while True:
            time.sleep(_EVERY)
            follow(images_done(job.folder))
            try:
                outcome = _failure(client, futures)
            except InputError:
                _settle(client, futures)
                raise
            if outcome is not None:
                _settle(client, futures)
                return outcome
            if all(future.status == "finished" for future in futures.values()):
                follow(images_done(job.folder))
                finished = all(future.result() for future in futures.values())
                return _Outcome(joined=0 if finished else max(1, newcomers.number))
            newcomers.look()
    finally:
        for future in futures.values():
            future.release()


def _failure(client: Client, futures: Mapping[str, Future]) -> _Outcome | None:
    """Tell what went wrong, if anything did.

    One that fails takes the others with it, who know of a lost connection only: what matters is
    who was first, or which worker is gone.
    """
    until = time.monotonic() + _NOTICE
    while True:
        failed = [future for future in futures.values() if future.status == "error"]
        gone = len(set(futures) - set(workers_of(client)))
        for result in _results(futures.values()):
            if isinstance(result, Refusal):
                raise InputError(result.message)
            if isinstance(result, TooLarge):
                return _Outcome(too_large=result)
        if gone:
            return _Outcome(lost=gone)
        if not failed:
            return None
        if time.monotonic() > until:
            failed[0].result()
        time.sleep(_EVERY)


def _results(futures: Iterable[Future]) -> list[Any]:
    return [future.result() for future in futures if future.status == "finished"]


def _settle(client: Client, futures: Mapping[str, Future]) -> None:
    """Wait until the processes on the workers that are left have noticed too."""
    until = time.monotonic() + _NOTICE
    while time.monotonic() < until:
        there = set(workers_of(client))
        if not any(futures[address].status == "pending" for address in there & set(futures)):
            return
        time.sleep(_EVERY)


def _await_return(client: Client, job: Job, number: int) -> None:
    """Wait a while until there are as many workers again."""
    until = time.monotonic() + _RETURN
    while len(_usable(client, job)) < number and time.monotonic() < until:
        time.sleep(_EVERY)


class _Newcomers:
    """Has a training stop for a moment when there are workers that could take part."""

    def __init__(self, client: Client, job: Job, addresses: list[str]) -> None:
        self._client, self._job, self._addresses = client, job, addresses
        self._since, self._fresh = time.monotonic(), 0

    @property
    def number(self) -> int:
        return len(_usable(self._client, self._job)) - len(self._addresses)

    def look(self) -> None:
        """Ask the training to stop when they have been there for a while."""
        number = self.number
        if number != self._fresh:
            self._since, self._fresh = time.monotonic(), number
        if number > 0 and time.monotonic() - self._since > _JOINING:
            ask_to_stop(self._job.folder)
