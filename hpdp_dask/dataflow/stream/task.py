"""What workers do with the batches of a stream: measure them, and label them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from hpdp_dask.dataflow.columns import Column, Measure, Runner
from hpdp_dask.dataflow.futures import refusing
from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.stream.batches import FRAME_ID, Batch
from hpdp_dask.dataflow.stream.checks import checked
from hpdp_dask.dataflow.stream.folder import (
    ASIDE_REASON,
    CHOSEN,
    StreamFolder,
    as_block,
    rows_of_chosen,
)
from hpdp_dask.dataflow.stream.ranking import Outstanding, Picture, Ranking, Trace
from hpdp_dask.dataflow.stream.report import Histogram, Report
from hpdp_dask.dataflow.stream.totals import Total, add_part, folder_of
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frame_schema import FRAME_IMAGES
from hpdp_dask.stacks.frames import open_frames


@dataclass(frozen=True)
class Recipe:
    """What is done with every frame of a stream. Pickled into each task.

    Attributes
    ----------
    folder : Path
        Of the stream.
    measures : tuple of Measure
        One after the other.
    choice : str or None
        A column that one of the measures gives: later measures get only frames for which it is
        not 0, and only these are labelled. None: all frames.
    keep : bool
        Keep the photons of chosen frames.
    totals : tuple of Total
    shown : tuple of Histogram
    traces : tuple of Trace
        Columns that are followed over time.
    rankings : tuple of Ranking
        Frames that stand out.
    picture : Picture or None
        Makes small pictures of these.
    """

    folder: Path
    measures: tuple[Measure, ...]
    choice: str | None = None
    keep: bool = False
    totals: tuple[Total, ...] = ()
    shown: tuple[Histogram, ...] = ()
    traces: tuple[Trace, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    picture: Picture | None = None


@dataclass(frozen=True)
class Labelling:
    """A model that labels frames.

    Attributes
    ----------
    model : str
        Its name, which goes with every label.
    measure : Measure
        Gives `label`, `label_probability` and `label_accepted`.
    classes : tuple of str
        What labels mean.
    photons : bool
        Whether it looks at the frames themselves; else their columns are enough.
    """

    model: str
    measure: Measure
    classes: tuple[str, ...]
    photons: bool = False


@refusing
def measure_batch(
    batch: Batch,
    *,
    recipe: Recipe,
    labelling: Labelling | None,
    bars: Mapping[str, float] | None = None,
) -> Report:
    """Measure the frames of a batch, and label them if there is a model.

    Parameters
    ----------
    batch : Batch
    recipe : Recipe
    labelling : Labelling or None
    bars : mapping of str to float, optional
        Values that frames must reach to stand out; others need no picture.

    Returns
    -------
    Report
        Small: what was found is in the folder of the stream.
    """
    folder = StreamFolder(recipe.folder)
    if folder.result_file(batch.name).exists():
        return report_of(folder, batch.name, recipe)
    report = Report()
    with report.timed("read"):
        block = batch.read()
    with report.timed("check"):
        block, asides = checked(block, recipe.folder, recipe.measures, batch.geometry)
    frames = {str(name): block[name].values for name in block.variables if name not in FRAME_IMAGES}
    chosen = frames
    for measure, runner in zip(recipe.measures, runners_of(recipe, batch.geometry), strict=True):
        with report.timed(measure.name):
            found = _run(runner, measure, block)
            chosen.update(found)
            block = block.assign(as_block(found).variables)
        if recipe.choice in found:
            frames[CHOSEN] = found[recipe.choice] != 0
            _fold(recipe, "frames", block, batch.name, report)
            chosen = {}
            if not frames[CHOSEN].all():
                block = block.isel(frame=np.flatnonzero(frames[CHOSEN]))
    if chosen is frames:
        _fold(recipe, "frames", block, batch.name, report)
    _fold(recipe, "chosen", block, batch.name, report)
    with report.timed("write"):
        if recipe.keep:
            folder.keep(batch.name, block["photons"].values)
        folder.write_results(batch.name, frames, {} if chosen is frames else chosen, asides)
    report.count({**frames, **chosen}, asides.values(), recipe.shown)
    _follow(block, batch, recipe, bars, report)
    if labelling is None:
        report.show(batch.name, block[FRAME_ID].values)
        return report
    try:
        _label(block, batch.name, recipe, labelling, report)
    except InputError as error:
        # what was measured stands; the model is at fault
        report.model, report.trouble = None, str(error)
    return report


@refusing
def label_batches(
    batches: Sequence[tuple[str, Callable[[], xr.Dataset] | None]],
    *,
    recipe: Recipe,
    labelling: Labelling,
) -> Report:
    """Label frames of batches that have results already.

    Parameters
    ----------
    batches : sequence of (str, callable or None)
        Names, and what reads the frames again; None where their photons are kept.
    recipe : Recipe
    labelling : Labelling

    Returns
    -------
    Report
        Of labels alone.
    """
    folder = StreamFolder(recipe.folder)
    report = Report()
    photons = labelling.photons or any(total.of == "labelled" for total in recipe.totals)
    for name, read in batches:
        with report.timed("read again"):
            results = folder.results(name)
            rows = rows_of_chosen(results)
            block = as_block(_of_chosen(results, rows))
            if photons:
                block["photons"] = ("frame", "y", "x"), _photons(folder, name, read, block)
        _label(block, name, recipe, labelling, report)
    return report


@refusing
def report_of_all(names: Sequence[str], *, recipe: Recipe) -> Report:
    """Report on batches that were done before."""
    total, outstanding = Report(), Outstanding(recipe.rankings)
    for name in names:
        found = report_of(StreamFolder(recipe.folder), name, recipe)
        total.add(found)
        outstanding.add(found.ranked)
    total.ranked = outstanding.frames
    return total


@refusing
def labels_of_all(names: Sequence[str], *, recipe: Recipe, labelling: Labelling) -> Report:
    """Report on labels that a model gave before."""
    report = Report(model=labelling.model)
    for name in names:
        found = StreamFolder(recipe.folder).labels(labelling.model, name)
        report.count_labels(found, len(labelling.classes))
    return report


def report_of(folder: StreamFolder, name: str, recipe: Recipe) -> Report:
    """Report on a batch that has results."""
    results = folder.results(name)
    report = Report()
    report.count(results, results[ASIDE_REASON].tolist(), recipe.shown)
    if recipe.traces or recipe.rankings:
        columns = _of_chosen(results, rows_of_chosen(results))
        report.follow(columns, recipe.traces, recipe.rankings)
    return report


def runners_of(recipe: Recipe, geometry: int = 0) -> list[Runner]:
    """Give what runs each measure on frames of a geometry, made once in each process."""
    token = tokenize(recipe.folder, recipe.measures, geometry)

    def make() -> list[Runner]:
        shared = open_frames(StreamFolder(recipe.folder).shared_of(geometry))
        return [Runner((measure,), shared, token) for measure in recipe.measures]

    return newest("stream", token, make)


def _run(runner: Runner, measure: Measure, block: xr.Dataset) -> dict[str, np.ndarray]:
    if block.sizes["frame"]:
        return runner.run(block)
    return {name: _none_of(column) for name, column in measure.columns.items()}


def _none_of(column: Column) -> np.ndarray:
    return np.zeros((0, *column.shape), np.dtype(column.dtype))


def _follow(
    block: xr.Dataset,
    batch: Batch,
    recipe: Recipe,
    bars: Mapping[str, float] | None,
    report: Report,
) -> None:
    """Note what is followed of the chosen frames, and make pictures of those that stand out."""
    if not recipe.traces and not recipe.rankings:
        return
    columns = {str(name): block[name].values for name in block.variables}
    report.follow(columns, recipe.traces, recipe.rankings, bars)
    if recipe.picture is None:
        return
    picture, folder = recipe.picture, StreamFolder(recipe.folder)
    with report.timed("pictures"):
        shown = {each.frame_id for frames in report.ranked.values() for each in frames}
        values = next(columns[name] for name in FRAME_IMAGES if name in columns)
        token = tokenize(recipe.folder, picture, batch.geometry)
        prepared = newest(
            "stream pictures",
            token,
            lambda: picture.prepare(open_frames(folder.shared_of(batch.geometry))),
        )
        for frame_id, frame in zip(columns[FRAME_ID].tolist(), values, strict=True):
            if frame_id in shown:
                folder.write_picture(frame_id, picture.make(frame, prepared))


def _fold(recipe: Recipe, of: str, block: xr.Dataset, name: str, report: Report) -> None:
    for total in recipe.totals:
        if total.of == of:
            with report.timed("totals"):
                folder = folder_of(recipe.folder / "sums", total, report.model)
                add_part(folder, name, total, block)


def _label(
    block: xr.Dataset, name: str, recipe: Recipe, labelling: Labelling, report: Report
) -> None:
    """Label frames and write the labels."""
    folder = StreamFolder(recipe.folder)
    report.model = labelling.model
    with report.timed(labelling.measure.name):
        if folder.label_file(labelling.model, name).exists():
            found = folder.labels(labelling.model, name)
            report.count_labels(found, len(labelling.classes))
            return
        token = tokenize(recipe.folder, labelling)

        def make() -> Runner:
            return Runner((labelling.measure,), open_frames(folder.shared), token)

        found = _run(newest("stream labels", token, make), labelling.measure, block)
        block = block.assign(as_block(found).variables)
    _fold(recipe, "labelled", block, name, report)
    with report.timed("write labels"):
        folder.write_labels(labelling.model, name, {FRAME_ID: block[FRAME_ID].values, **found})
    report.count_labels(found, len(labelling.classes))
    report.show(name, block[FRAME_ID].values, found, len(labelling.classes))


def _of_chosen(results: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Give the columns of the chosen frames, those too that all frames have."""
    names = [name for name in results if not name.startswith("aside_") and name != CHOSEN]
    if CHOSEN not in results:
        return {name: results[name] for name in names}
    # what was measured before the choice stands in front of the column that says it
    before = list(results).index(CHOSEN)
    return {
        name: results[name][rows] if list(results).index(name) < before else results[name]
        for name in names
    }


def _photons(
    folder: StreamFolder,
    name: str,
    read: Callable[[], xr.Dataset] | None,
    block: xr.Dataset,
) -> np.ndarray:
    if read is None:
        return folder.kept(name)
    again = read()
    rows = np.flatnonzero(np.isin(again[FRAME_ID].values, block[FRAME_ID].values))
    photons: np.ndarray = again["photons"].values[rows]
    return photons
