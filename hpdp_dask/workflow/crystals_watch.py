"""The recipe of `hpdp crystals watch`: images as they come to tables of what they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask import __version__
from hpdp_dask.crystallography.image_table import ImageTables, write_tables
from hpdp_dask.crystallography.watch.recipe import watch_recipe
from hpdp_dask.crystallography.watch.table import found_tables
from hpdp_dask.dataflow.columns import Measure
from hpdp_dask.dataflow.stream.batches import Source
from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.dataflow.stream.found import Found
from hpdp_dask.workflow.record import start_record, write_run
from hpdp_dask.workflow.stream_folder import held_folder
from hpdp_dask.workflow.stream_running import shared_of, stream_results, timed

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.workflow.record import RunRecord

#: The table of images, in the folder of the stream; that of data sets is beside it.
TABLE = "images.csv"


def run_watch(
    source: Source,
    output: Path,
    predict: Measure,
    *,
    client: Client,
    command: Sequence[str],
    model: str,
    batch: int,
    like: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    around: Callable[[Stream], AbstractContextManager[None]] | None = None,
    say: Callable[[str], None] = print,
) -> RunRecord | None:
    """Look at images as they come until the stream ends, and write down what was found.

    Parameters
    ----------
    source : Source
    output : Path
        The folder: results of all images, `images.csv` and `images_data_sets.csv`, `report.html`,
        `run.json`.
    predict : Measure
        Looks at an image; see `crystallography.watch.recipe.watch_recipe`.
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    model : str
        What `predict` goes by; who goes on must have the same.
    batch : int
        Images of a batch, as the source was made with.
    like : Path, optional
        A stack of frames whose geometry and mask hold.
    resume, overwrite : bool, optional
    around : callable, optional
        Gives what goes on around the running stream: a page, signals.
    say : callable, optional
        Told, in a sentence each, what a person should know.

    Returns
    -------
    RunRecord or None
        None if the stream was left and is to go on later.

    Raises
    ------
    InputError
        If something is not as it must be.
    """
    shared = None if like is None else shared_of(like)
    about = {"source": source.words, "model": model, "version": __version__}
    parameters: dict[str, Any] = {"source": source.words, "model": model, "batch": batch}
    inputs = [] if like is None else [like]
    with held_folder(output, about, resume=resume, overwrite=overwrite) as resumed:
        record = start_record(command, parameters, inputs, None)
        record.resumed = resumed
        recipe = watch_recipe(output.absolute(), predict)
        stream = Stream(source, recipe, client=client, shared=shared, say=say)
        with timed(record, "stream"), (around or _nothing)(stream):
            stream.run()
        if stream.was_left:
            return None
        with timed(record, "write"):
            tables = _write_tables(stream)
        return _finish(record, stream, tables, client)


def _nothing(stream: Stream) -> AbstractContextManager[None]:
    return nullcontext()


def _write_tables(stream: Stream) -> ImageTables | None:
    """Write what was found of all images; None if there are none."""
    if not stream.done:
        return None
    columns = [name for measure in stream.recipe.measures for name in measure.columns]
    tables = found_tables(Found(stream.folder), stream.done, stream.source, columns)
    write_tables(stream.folder.path / TABLE, tables)
    return tables


def _finish(
    record: RunRecord, stream: Stream, tables: ImageTables | None, client: Client
) -> RunRecord:
    """Complete the record, and write it and the report."""
    from hpdp_dask.workflow.crystals_watch_report import write_watch_report
    from hpdp_dask.workflow.reconstruction import describe_cluster

    seen = stream.figures.snapshot()
    record.stages[0].images = seen.came
    record.results = stream_results(seen)
    if tables is None:
        record.warnings = [*record.warnings, "No image came."]
    else:
        record.results |= {"data_sets": tables.data_sets.to_dict("records")}
    if seen.missing:
        record.warnings = [*record.warnings, f"{seen.missing:,} images never came."]
    record.cluster = describe_cluster(client)
    record.ended = datetime.now(UTC)
    write_watch_report(stream, tables, seen, record)
    write_run(record, stream.folder.path)
    return record
