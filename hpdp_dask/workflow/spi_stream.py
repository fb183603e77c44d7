"""The recipe of `hpdp spi stream`: a source of live frames to classified hits, with a report."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask import __version__
from hpdp_dask.dataflow.stream.batches import Source
from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.dataflow.stream.figures import Snapshot
from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.dataflow.stream.found import Found
from hpdp_dask.dataflow.stream.replay import Replay
from hpdp_dask.dataflow.stream.stack import add_to_stack, write_new_stack
from hpdp_dask.dataflow.stream.task import Labelling
from hpdp_dask.dataflow.stream.totals import finish_total, folder_of
from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify import load_model
from hpdp_dask.spi.features import Features
from hpdp_dask.spi.stream.recipe import CLASSES, POWDER, HitRule, labelling_of, recipe_for
from hpdp_dask.spi.stream.scenario import Scenario
from hpdp_dask.spi.stream.sums import ClassMeans
from hpdp_dask.spi.stream.training import Settings, newest_model
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.workflow.record import start_record, write_run
from hpdp_dask.workflow.stream_folder import held_folder
from hpdp_dask.workflow.stream_running import shared_of, stream_results, timed

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord

#: The stack of hits, in the folder of the stream.
STACK = "frames.zarr"


@dataclass(frozen=True)
class Live:
    """A stream that runs, and the scenario beside it.

    Attributes
    ----------
    stream : Stream
    scenario : Scenario
    found : Found
        Where the results are.
    """

    stream: Stream
    scenario: Scenario
    found: Found


Watch = Callable[[Live], AbstractContextManager[None]]


def run_live(
    source: Source,
    output: Path,
    *,
    client: Client,
    command: Sequence[str],
    settings: Settings,
    hits: HitRule,
    batch: int,
    model: Path | None = None,
    like: Path | None = None,
    into_stack: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    ask: Callable[[Any, Path], None] | None = None,
    watch: Watch | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
) -> RunRecord | None:
    """Work on a stream until it ends, and write down what was found.

    Parameters
    ----------
    source : Source
    output : Path
        The folder: results of all frames, `frames.zarr` with the hits, `powder.npy`,
        `class_means.npy`, `training.csv`, models, `report.html`, `run.json`.
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    settings : Settings
        How a classifier comes to be.
    hits : HitRule
    batch : int
        Frames of a batch, as the source was made with.
    model : Path, optional
        The folder of a model that is in place from the start.
    like : Path, optional
        A stack of frames whose geometry, mask and background hold.
    into_stack : bool, optional
        Add the results to the stack that is replayed, in place of making one of the hits.
    resume, overwrite : bool, optional
    ask : callable, optional
        Called with the pool and the log of labels when people may begin to label.
    watch : callable, optional
        Gives what goes on around the running stream: pages, signals.
    progress : Progress, optional
    say : callable, optional
        Told, in a sentence each, how far it is.

    Returns
    -------
    RunRecord or None
        None if the stream was left and is to go on later.

    Raises
    ------
    InputError
        If something is not as it must be.
    """
    settings.check()
    if isinstance(source, Replay) and source.unit != "photons":
        raise InputError(
            f"{source.path}: frames are in ADU; make photons of them with hpdp spi calibrate first."
        )
    shared = None if like is None else shared_of(like)
    given = None if model is None else labelling_of(model.name, load_model(model))
    if into_stack:
        _check_stack(source, overwrite or resume)
    parameters: dict[str, Any] = {
        "source": source.words,
        "batch": batch,
        "hits": str(hits),
    }
    about = {**parameters, "version": __version__}
    if settings.learns:
        parameters |= {
            "method": settings.method,
            "threshold": settings.threshold,
            "training_size": settings.training_size,
        }
    if settings.classes:
        parameters["classes"] = list(settings.classes)
    inputs = [path for path in (like, model) if path is not None]
    with held_folder(output, about, resume=resume, overwrite=overwrite) as resumed:
        record = start_record(command, parameters, inputs, settings.seed)
        record.resumed = resumed
        recipe = recipe_for(output.absolute(), hits, keep=not source.keeps_frames)
        labelling = given or newest_model(output)
        stream = Stream(
            source,
            recipe,
            client=client,
            shared=shared,
            labelling=labelling,
            hold=settings.learns and labelling is None,
            say=say,
        )
        found = Found(stream.folder, None, source.again if source.keeps_frames else None)
        stream.folder.make()
        scenario = Scenario(stream, settings, found, ask=ask, say=say)
        with timed(record, "stream"), (watch or _nothing)(Live(stream, scenario, found)):
            scenario.start()
            try:
                stream.run()
            finally:
                stream.stop("leave")
                scenario.join()
        if stream.was_left:
            return None
        with timed(record, "write"):
            labelling = stream.labelling
            found = Found(stream.folder, labelling, found.again)
            _write_results(record, stream, scenario, found, into_stack, client, progress)
        return _finish(record, stream, scenario, labelling, client)


def _nothing(live: Live) -> AbstractContextManager[None]:
    return nullcontext()


def _check_stack(source: Source, overwrite: bool) -> None:
    """Check that results may be added to a stack before any of them is made."""
    if not isinstance(source, Replay):
        raise InputError(
            f"{source.words}: results are added to a stack that is replayed; here they make a "
            "stack of their own, so leave --into-stack out."
        )
    names = [*Features().columns, "lit_pixels", "photon_count", "hit", "label"]
    there = [name for name in names if name in open_frames(source.path)]
    if there and not overwrite:
        raise InputError(f"{source.path}: has {', '.join(there)} already; --overwrite replaces it.")


def _write_results(
    record: RunRecord,
    stream: Stream,
    scenario: Scenario,
    found: Found,
    into_stack: bool,
    client: Client,
    progress: Progress | None,
) -> None:
    """Make a stack of what was found, and the sums."""
    labelling = found.labelling
    history = {
        "command": " ".join(record.command),
        "stream": stream.source.words,
        "recipe": Features().recipe,
        "model": None if labelling is None else labelling.model,
    }
    folder = found.folder.path
    if not stream.done:
        record.warnings = [*record.warnings, "No frame came."]
    elif into_stack:
        assert isinstance(stream.source, Replay)
        measured = {name for measure in stream.recipe.measures for name in measure.columns}
        if labelling is not None:
            measured |= set(labelling.measure.columns)
        add_to_stack(
            found, stream.source.path, measured, client=client, history=history, overwrite=True
        )
    else:
        write_new_stack(
            found,
            folder / STACK,
            client=client,
            history=history,
            overwrite=True,
            progress=progress,
        )
    sums = folder / "sums"
    powder = finish_total(folder_of(sums, POWDER, None), POWDER, stream.done)
    np.save(folder / "powder.npy", powder)
    if labelling is not None:
        np.save(folder / "class_means.npy", class_means(stream.folder, labelling).means)
    _write_training(folder, scenario)


def class_means(folder: StreamFolder, labelling: Labelling) -> ClassMeans:
    """Give the mean frame of each class of a model, as far as it has labelled."""
    path = folder_of(folder.path / "sums", CLASSES, labelling.model)
    found: ClassMeans = finish_total(path, CLASSES, folder.labelled(labelling.model))
    shape = open_frames(folder.shared)["mask"].shape
    means, counts = (
        np.zeros((len(labelling.classes), *shape)),
        np.zeros(len(labelling.classes), int),
    )
    if len(found.counts):  # classes that nothing was accepted for yet may be missing at the end
        means[: len(found.counts)], counts[: len(found.counts)] = found
    return ClassMeans(means, counts)


def _write_training(folder: Path, scenario: Scenario) -> None:
    """Write the labels that people gave under the ids of frames, for other commands."""
    given = scenario.labels_by_id()
    if given:
        hidden = folder / ".training.csv.partial"
        with hidden.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["frame", "label"])
            rows.writerows(sorted(given.items()))
        hidden.replace(folder / "training.csv")


def _finish(
    record: RunRecord,
    stream: Stream,
    scenario: Scenario,
    labelling: Labelling | None,
    client: Client,
) -> RunRecord:
    """Complete the record, and write it and the report."""
    from hpdp_dask.workflow.reconstruction import describe_cluster
    from hpdp_dask.workflow.stream_report import write_stream_report

    seen = stream.figures.snapshot()
    record.stages[0].images = seen.came
    record.results = results_of(seen, scenario)
    if trouble := scenario.trouble:
        record.warnings = [*record.warnings, f"There is no classifier: {trouble}"]
    if seen.missing:
        record.warnings = [*record.warnings, f"{seen.missing:,} frames never came."]
    record.cluster = describe_cluster(client)
    record.ended = datetime.now(UTC)
    write_stream_report(stream, labelling, seen, record)
    write_run(record, stream.folder.path)
    return record


def results_of(seen: Snapshot, scenario: Scenario) -> dict[str, Any]:
    """Give the numbers of a stream for the record."""
    counts: Mapping[str, int] = dict(
        zip((*seen.classes, "rejected"), seen.labels.tolist(), strict=True)
        if seen.model is not None
        else ()
    )
    return {
        **stream_results(seen),
        "model": seen.model,
        "classes": counts,
        "unlabelled": seen.unlabelled if seen.model is not None else seen.chosen,
        "trained": [vars(trained) for trained in scenario.status.trained],
    }
