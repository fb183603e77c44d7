"""The report of a stream of diffraction images: what they show, which stand out, how it went."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.crystallography.watch.recipe import SHELVES, Shelf
from hpdp_dask.crystallography.watch.table import image_name
from hpdp_dask.workflow.drawing import Panel, Panels, to_panel
from hpdp_dask.workflow.report import Section, Table, write_report
from hpdp_dask.workflow.stream_sections import aside_sections, course_sections, stream_headline

if TYPE_CHECKING:
    from hpdp_dask.crystallography.image_table import ImageTables
    from hpdp_dask.dataflow.stream.driver import Stream
    from hpdp_dask.dataflow.stream.figures import Snapshot
    from hpdp_dask.dataflow.stream.ranking import Ranked
    from hpdp_dask.workflow.record import RunRecord

#: Titles of the columns of data sets.
_TITLES = {
    "data_set": "Data set",
    "images": "Images",
    "hits": "Hits",
    "resolution": "Resolution (Å)",
    "resolution_spread": "Spread (Å)",
    "resolution_best_tenth": "Best tenth (Å)",
    "several_lattices": "Several lattices",
}

#: Data sets that the report has a line for, at most.
_MOST = 200


def write_watch_report(
    stream: Stream, tables: ImageTables | None, seen: Snapshot, record: RunRecord
) -> None:
    """Write the report of a stream of images into its folder.

    Parameters
    ----------
    stream : Stream
    tables : ImageTables or None
        What was found; None if no image came.
    seen : Snapshot
    record : RunRecord
    """
    share = seen.chosen / seen.frames if seen.frames else 0.0
    headline = {
        "Images": f"{seen.frames:,}",
        "Hits": f"{seen.chosen:,} ({100 * share:.1f} %)",
        **({} if tables is None else _resolution(tables)),
        **stream_headline(seen),
    }
    sections = [
        *([] if tables is None else _data_sets(tables)),
        *_outstanding(stream, seen),
        *course_sections(seen),
        *aside_sections(seen),
    ]
    folder = stream.folder.path
    write_report(folder / "report.html", "Live images", folder.name, headline, sections, record)


def _resolution(tables: ImageTables) -> dict[str, str]:
    if "resolution" not in tables.images:
        return {}
    known = tables.images["resolution"].dropna()
    return {"Resolution, median": f"{known.median():.2f} Å" if len(known) else "none"}


def _data_sets(tables: ImageTables) -> list[Section]:
    from hpdp_dask.workflow.frame_figures import distribution_chart

    found = tables.data_sets
    rows: list[list[Any]] = [
        [None if isinstance(value, float) and np.isnan(value) else value for value in row]
        for row in found.head(_MOST).itertuples(index=False)
    ]
    text = "images.csv has a line for each image, images_data_sets.csv one for each data set."
    if len(found) > _MOST:
        text += f" Here are the first {_MOST} of {len(found):,}."
    figures = []
    if "resolution" in tables.images and tables.images["resolution"].notna().any():
        groups = {
            str(name): group["resolution"].to_numpy()
            for name, group in tables.images.groupby("data_set", sort=False)
        }
        caption = "To which resolution hits diffract"
        figures.append(distribution_chart(groups, "Resolution (Å)", caption))
    heads = [_TITLES[name] for name in found.columns]
    return [Section("Data sets", text, figures, Table(heads, rows))]


def _outstanding(stream: Stream, seen: Snapshot) -> list[Section]:
    """Show the images that stand out."""
    shown = [(shelf, seen.ranked.get(shelf.ranking.name, ())) for shelf in SHELVES]
    figures = []
    for shelf, ranked in shown:
        panels = [_panel(stream, shelf, each) for each in ranked]
        known = tuple(panel for panel in panels if panel is not None)
        if known:
            figures.append(Panels(known, f"{shelf.title}: {shelf.words}", columns=6))
    if not figures:
        return []
    text = "Each cell of a picture shows the greatest of its pixels."
    return [Section("Images that stand out", text, figures)]


def _panel(stream: Stream, shelf: Shelf, ranked: Ranked) -> Panel | None:
    picture = stream.folder.picture(ranked.frame_id)
    if picture is None:
        return None
    known = picture[np.isfinite(picture)]
    low, high = np.percentile(known, (20.0, 99.0)).tolist() if known.size else (0.0, 1.0)
    value = f"{ranked.value:.2f} Å" if shelf.unit == "Å" else f"{100 * ranked.value:.0f} %"
    name, file = image_name(stream.source, ranked.frame_id)
    panel = to_panel(picture, 1.0, (low, high), f"{value}, {name}", f"{file}: {value}")
    # how long 1/Å is depends on where the detector stood
    return replace(panel, bar_share=0.0, bar_label="")
