"""Tasks of a stream on a cluster: submitted one by one, and heard of when they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hpdp_dask.dataflow.futures import RETRIES, Refusal, device_resources, workers_of

if TYPE_CHECKING:
    from distributed import Client, Future


class Tasks:
    """Submits tasks and tells when each has ended.

    Attributes
    ----------
    lanes : int
        Threads of all workers.
    """

    def __init__(self, client: Client) -> None:
        self.lanes = 1
        self._client = client
        self._run = uuid4().hex
        self._futures: dict[Any, Future] = {}
        self._resources: dict[str, float] | None = None

    def look(self) -> None:
        """Look which workers there are."""
        workers = workers_of(self._client).values()
        self.lanes = max(1, sum(worker["nthreads"] for worker in workers))
        self._resources = device_resources(self._client)

    def submit(
        self,
        name: str,
        of: str,
        ended: Callable[[Future], None],
        task: Callable[..., Any],
        *words: Any,
        **options: Any,
    ) -> None:
        """Submit a task.

        Parameters
        ----------
        name : str
            Of the task, on the dashboard.
        of : str
            Which of that name.
        ended : callable
            Told when it has ended, however, in another thread.
        task : callable
        *words
            What the task gets.
        **options
            What it gets by name, and those of `distributed.Client.submit`.
        """
        key = (f"{name}-{self._run}", of)
        future = self._client.submit(
            task, *words, key=key, retries=RETRIES, pure=False, resources=self._resources, **options
        )
        self._futures[key] = future
        future.add_done_callback(ended)

    def outcome(self, future: Future) -> Any:
        """Give what a task returned, and let go of it.

        Returns
        -------
        object
            The reason, as a `Refusal`, if it returned nothing.
        """
        from distributed import CancelledError, KilledWorker

        del self._futures[future.key]
        try:
            return future.result()
        except CancelledError:
            raise  # the scheduler was lost
        except KilledWorker as error:
            deaths = error.allowed_failures + 1
            return Refusal(f"{deaths} worker processes died of it, maybe of too little memory")
        except Exception as error:
            return Refusal(f"{type(error).__name__}: {error}")

    def gather(self, task: Callable[..., Any], parts: list[Any], **options: Any) -> list[Any]:
        """Run a task on each of some things and wait for them."""
        futures = self._client.map(task, parts, pure=False, retries=RETRIES, **options)
        return list(self._client.gather(futures))

    def on_each_worker(self, task: Callable[..., Any], **options: Any) -> None:
        """Run a task on each worker that is there, and wait for them; errors pass."""
        futures = [
            # if the worker goes, another may
            self._client.submit(
                task, workers=[worker], allow_other_workers=True, pure=False, **options
            )
            for worker in workers_of(self._client)
        ]
        self._client.gather(futures, errors="skip")

    def drop(self) -> None:
        """Let go of tasks that nobody waits for any more."""
        for future in self._futures.values():
            future.release()
        self._futures.clear()
