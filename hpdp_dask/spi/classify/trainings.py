"""Trainings whose models are judged by frames that they have not seen, here or on workers."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.futures import RETRIES, follow, refusing
from hpdp_dask.spi.classify.model import train

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


@dataclass(frozen=True)
class Training:
    """A training, and frames to judge its model by.

    Attributes
    ----------
    method : str
    learnt, judged : (m,) ndarray of int
        Labelled frames to learn from, and others.
    seed : int
    """

    method: str
    learnt: np.ndarray
    judged: np.ndarray
    seed: int


def judge(training: Training, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Train on some labelled frames and classify others.

    Parameters
    ----------
    training : Training
    inputs : (n, ...) ndarray
        Features or pictures of all frames.
    labels : (n,) ndarray of str
        Those of frames that are not learnt are not looked at.

    Returns
    -------
    (judged, k) ndarray
        Probabilities.
    """
    known = np.full_like(labels, "")
    known[training.learnt] = labels[training.learnt]
    model = train(inputs, known, method=training.method, seed=training.seed)
    return model.probabilities(inputs[training.judged])


def judge_all(
    trainings: Sequence[Training],
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """Run trainings, each a task.

    Parameters
    ----------
    trainings : sequence of Training
        Of one method.
    inputs, labels : ndarray
        As for `judge`.
    client : distributed.Client, optional
        Where to; by default in this process, one after the other.
    progress : Progress, optional
        Told of the frames that are judged.

    Returns
    -------
    list of (judged, k) ndarray
        Probabilities, in the order of the trainings.
    """
    frames = [len(training.judged) for training in trainings]
    name = f"validate {trainings[0].method}"
    with shown(name, sum(frames), client=client, progress=progress) as advance:

        def done(place: int) -> None:
            advance(frames[place])

        if client is None:
            results = []
            for place, training in enumerate(trainings):
                results.append(judge(training, inputs, labels))
                done(place)
            return results
        run = secrets.token_hex(4)
        # each worker gets them once, not with every training
        held_inputs, held_labels = client.scatter([inputs, labels], broadcast=True, hash=False)
        futures = client.map(
            refusing(judge),
            list(trainings),
            inputs=held_inputs,
            labels=held_labels,
            key=[f"validate-{run}-{place}" for place in range(len(trainings))],
            retries=RETRIES,
            pure=False,
        )
        held = list(futures)
        follow(client, futures, done, name)
        found: list[np.ndarray] = client.gather(held)
        return found
