"""`hpdp spi stream`: frames that arrive, classified while they do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.options import Interrupted
from hpdp_dask.cli.pages import tell_page
from hpdp_dask.cli.stream_running import Ended, lines
from hpdp_dask.cli.where import Where, runs_on_a_cluster

if TYPE_CHECKING:
    from hpdp_dask.dataflow.stream.figures import Snapshot
    from hpdp_dask.workflow.record import RunRecord
    from hpdp_dask.workflow.spi_stream import Live

_LEARN, _FRAMES, _PAGES = "How a classifier comes to be", "The frames", "Pages"


@runs_on_a_cluster
def stream_command(
    source: Annotated[
        str,
        typer.Option(
            help="A folder in which files appear; *zmq://host:port* (PULL) or "
            "*zmq+sub://host:port* (SUB); *replay:FRAMES.zarr*, with *@RATE* for frames a second.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The folder of the stream; it is there while it runs.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels of frames that are known beforehand, in place of a person's.",
            rich_help_panel=_LEARN,
        ),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            help="Names of the classes that people label, in the order of the keys: "
            "*single,other*.",
            rich_help_panel=_LEARN,
        ),
    ] = "",
    method: Annotated[
        str, typer.Option(help="Of `hpdp spi classify`.", rich_help_panel=_LEARN)
    ] = "svm-threshold",
    threshold: Annotated[
        float,
        typer.Option(help="Probability from which a label is accepted.", rich_help_panel=_LEARN),
    ] = 0.75,
    training_size: Annotated[
        int, typer.Option(help="Labelled frames that are enough.", rich_help_panel=_LEARN)
    ] = 40,
    model: Annotated[
        Path | None,
        typer.Option(
            help="A folder of `hpdp spi classify`: its model labels from the start.",
            rich_help_panel=_LEARN,
        ),
    ] = None,
    hits: Annotated[
        str,
        typer.Option(
            help="Frames that are hits: *all*; with more lit pixels than a number; *auto*, above "
            "the others of the batch by 4 standard deviations, or *auto:SIGMAS*.",
            rich_help_panel=_FRAMES,
        ),
    ] = "all",
    batch: Annotated[
        int, typer.Option(help="Frames that one task takes.", rich_help_panel=_FRAMES)
    ] = 128,
    like: Annotated[
        Path | None,
        typer.Option(
            help="A stack of frames whose geometry, mask and background hold for these.",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    geometry: Annotated[
        Path | None,
        typer.Option(help="Of files in a folder; as for `hpdp import`.", rich_help_panel=_FRAMES),
    ] = None,
    wavelength: Annotated[
        float | None,
        typer.Option(help="Å, of files in a folder.", rich_help_panel=_FRAMES),
    ] = None,
    distance: Annotated[
        float | None,
        typer.Option(help="Sample to detector, m, of files in a folder.", rich_help_panel=_FRAMES),
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Edge of a pixel, m, of files in a folder.", rich_help_panel=_FRAMES),
    ] = None,
    gain: Annotated[
        float | None,
        typer.Option(
            help="ADU a photon, where frames come as they were read out.",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(
            help="End when no frame came for so many seconds; by default it goes on until it is "
            "ended.",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    into_stack: Annotated[
        bool,
        typer.Option(
            "--into-stack",
            help="Add the results to the stack that is replayed, in place of a stack of hits.",
        ),
    ] = False,
    page: Annotated[
        bool, typer.Option(help="Serve a page that shows how it goes.", rich_help_panel=_PAGES)
    ] = True,
    label_page: Annotated[
        bool,
        typer.Option(
            "--label-page", help="Serve a page on which people label.", rich_help_panel=_PAGES
        ),
    ] = False,
    address: Annotated[
        str,
        typer.Option(
            help="Of this machine, on which pages listen; *0.0.0.0* lets others come who know the "
            "whole address.",
            rich_help_panel=_PAGES,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Of the page; by default one that is free.", rich_help_panel=_PAGES)
    ] = 0,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    where: Where,
) -> None:
    """Classify frames while they arrive.

    Hits, sizes and features are computed as frames come; a training set gathers and is labelled;
    a classifier learns and labels all frames, those too that came before it. Ctrl-C ends the
    stream and writes what was found; a second one, or SIGTERM, leaves it for `--resume`.

    Example: `hpdp spi stream --source replay:frames.zarr@556 -o live --classes single,other
    --label-page`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.frames.live_sources import open_live
    from hpdp_dask.spi.stream.recipe import HitRule
    from hpdp_dask.spi.stream.training import Settings
    from hpdp_dask.workflow.spi_stream import run_live
    from hpdp_dask.workflow.stream_folder import check_folder

    rule = HitRule.of(hits)
    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    given = {
        "geometry": geometry,
        "wavelength": wavelength,
        "distance": distance,
        "pixel_size": pixel_size,
    }
    described = {name: value for name, value in given.items() if value is not None}
    opened = open_live(source, batch, idle=idle, gain=gain, described=described)
    settings = Settings(
        classes=names,
        known=None if labels is None else _known(labels, opened.number),
        method=method,
        threshold=threshold,
        training_size=training_size,
        seed=seed,
    )
    _check(label_page, names, labels)
    check_folder(output, {}, resume=resume, overwrite=overwrite)
    with (
        where.connected(reads=[like, model, geometry]) as client,
        Progress() as progress,
        ExitStack() as pages,
    ):
        shown: list[Any] = []
        ended = Ended()

        @contextmanager
        def watch(live: Live) -> Iterator[None]:
            if page:
                from hpdp_dask.web.live_page import LivePage

                live_page = LivePage(live, address=address, port=port)
                pages.callback(live_page.stop)
                shown.append(live_page)
                tell_page("Page", live_page.url, live_page.server.port, address)

            def told(seen: Snapshot) -> str:
                left = f", {seen.unlabelled:,} to be labelled" if seen.model else ""
                return f"{left}; {live.scenario.status.words}"

            with ended.by_signals(live.stream), lines(live.stream, told):
                yield

        def ask(pool: Any, log: Path) -> None:
            from hpdp_dask.web.label_page import LabelPage

            label = LabelPage(pool, names, log, threshold=threshold, seed=seed, address=address)
            pages.callback(label.stop)
            tell_page("Label page", label.url, label.server.port, address)
            for each in shown:
                each.show_label_page(label.url)

        record = run_live(
            opened,
            output,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            settings=settings,
            hits=rule,
            batch=batch,
            model=model,
            like=like,
            into_stack=into_stack,
            resume=resume,
            overwrite=overwrite,
            ask=ask if label_page else None,
            watch=watch,
            progress=progress,
            say=lambda sentence: print(sentence, flush=True),
        )
    if record is None:
        print(f"The stream is left in {output}; --resume goes on with it.", flush=True)
        raise Interrupted(ended.interrupt)
    _tell_results(record, output)


def _check(label_page: bool, classes: tuple[str, ...], labels: Path | None) -> None:
    """Check options that only together say what to do."""
    from hpdp_dask.errors import InputError

    if label_page and labels is not None:
        raise InputError("--labels stands for a person, so leave --label-page out, or --labels.")
    if label_page and len(classes) < 2:
        raise InputError("the label page needs two classes or more: --classes single,other.")
    if classes and not label_page:
        raise InputError(
            "--classes are what people choose from on a page; add --label-page, or give --labels."
        )


def _known(path: Path, number: int | None) -> dict[int, str]:
    """Read labels by the ids of frames."""
    from hpdp_dask.spi.label_files import read_label_file
    from hpdp_dask.spi.labels import read_labels

    if number is None:
        return read_label_file(path, 0)
    labels = read_labels(path, number)
    return {frame: str(label) for frame, label in enumerate(labels) if label}


def _tell_results(record: RunRecord, output: Path) -> None:
    for warning in record.warnings:
        print(f"Note: {warning}")
    found = record.results
    aside = sum(found["set_aside"].values())
    print(f"Frames: {found['frames']:,}, {found['hits']:,} hits, {aside:,} set aside")
    if found["model"] is not None:
        told = ", ".join(f"{count:,} {name}" for name, count in found["classes"].items())
        print(f"Classes: {told} (model {found['model']})")
    print(f"Report: {output / 'report.html'}")
