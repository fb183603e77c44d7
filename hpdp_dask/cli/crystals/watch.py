"""`hpdp crystals watch`: diffraction images that arrive, looked at while they do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpdp_dask.cli import geometry_options as given
from hpdp_dask.cli import options
from hpdp_dask.cli.options import Interrupted
from hpdp_dask.cli.pages import tell_page
from hpdp_dask.cli.stream_running import Ended, lines
from hpdp_dask.cli.where import Where, runs_on_a_cluster

if TYPE_CHECKING:
    from hpdp_dask.dataflow.stream.driver import Stream
    from hpdp_dask.dataflow.stream.figures import Snapshot
    from hpdp_dask.workflow.record import RunRecord

_PAGE = "The page"


@runs_on_a_cluster
def watch_command(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder in which images appear, or below it; *zmq://host:port* (PULL) or "
            "*zmq+sub://host:port* (SUB); *replay:FRAMES.zarr*, with *@RATE* for images a second.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(help="The folder of a model, or the name of one that comes with hpdp."),
    ] = "small",
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The folder to write; it is there while it runs."),
    ] = Path("watch"),
    quadrants: Annotated[
        int, typer.Option(help="Quadrants of each image to look at: 1, 2 or 4.")
    ] = 4,
    batch: Annotated[int, typer.Option(help="Images that one task takes at most.")] = 16,
    idle: Annotated[
        float | None,
        typer.Option(
            help="End when no image came for so many seconds; by default it goes on until it is "
            "ended.",
        ),
    ] = None,
    like: given.Like = None,
    geometry: given.Geometry = None,
    mask: given.Mask = None,
    wavelength: given.Wavelength = None,
    distance: given.Distance = None,
    pixel_size: given.PixelSize = None,
    center: given.Center = None,
    page: Annotated[
        bool, typer.Option(help="Serve a page that shows how it goes.", rich_help_panel=_PAGE)
    ] = True,
    address: Annotated[
        str,
        typer.Option(
            help="Of this machine, on which the page listens; *0.0.0.0* lets others come who know "
            "the whole address.",
            rich_help_panel=_PAGE,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Of the page; by default one that is free.", rich_help_panel=_PAGE)
    ] = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    where: Where,
) -> None:
    """Look at diffraction images while they arrive: hits, resolution, several lattices.

    A page shows the running traces and the images that stand out; a table of all images is
    written at the end. Ctrl-C ends the stream; a second one, or SIGTERM, leaves it for
    `--resume`.

    Example: `hpdp crystals watch /data/visit/run12 --model small -o run12`
    """
    from hpdp_dask.crystallography.predict import predict_measure
    from hpdp_dask.crystallography.watch.source import open_watched
    from hpdp_dask.workflow.crystals_watch import run_watch
    from hpdp_dask.workflow.stream_folder import check_folder

    told = {
        "geometry": geometry,
        "mask": mask,
        "wavelength": wavelength,
        "distance": distance,
        "pixel_size": pixel_size,
        "center": center,
    }
    described = {name: value for name, value in told.items() if value is not None}
    predict = predict_measure(model, quadrants)
    opened, predict = open_watched(source, batch, predict, idle=idle, described=described)
    check_folder(output, {}, resume=resume, overwrite=overwrite)
    with where.connected(reads=[like, geometry, mask]) as client, ExitStack() as pages:
        ended = Ended()

        @contextmanager
        def around(stream: Stream) -> Iterator[None]:
            if page:
                from hpdp_dask.web.crystals_page import CrystalsPage

                shown = CrystalsPage(stream, address=address, port=port)
                pages.callback(shown.stop)
                tell_page("Page", shown.url, shown.server.port, address)
            with ended.by_signals(stream), lines(stream, _told):
                yield

        record = run_watch(
            opened,
            output,
            predict,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            model=f"{model} {predict.digest[:16]}",
            batch=batch,
            like=like,
            resume=resume,
            overwrite=overwrite,
            around=around,
            say=lambda sentence: print(sentence, flush=True),
        )
    if record is None:
        print(f"The stream is left in {output}; --resume goes on with it.", flush=True)
        raise Interrupted(ended.interrupt)
    _tell_results(record, output)


def _told(seen: Snapshot) -> str:
    """Say to which resolution the crystals of the last seconds diffract."""
    now = seen.moments[-1].traced.get("resolution") if seen.moments else None
    return "" if now is None or now != now else f", {now:.2f} Å"


def _tell_results(record: RunRecord, output: Path) -> None:
    for warning in record.warnings:
        print(f"Note: {warning}")
    found = record.results
    aside = sum(found["set_aside"].values())
    print(f"Images: {found['frames']:,}, {found['hits']:,} hits, {aside:,} set aside")
    print(f"Report: {output / 'report.html'}")
