"""The report of a stream of single particles: what came, what it is, how long it took."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hpdp_dask.errors import InputError
from hpdp_dask.spi.stream.recipe import SIZES
from hpdp_dask.stacks.frames import detector_of, open_frames
from hpdp_dask.workflow.report import Section, Table, write_report
from hpdp_dask.workflow.stream_sections import aside_sections, course_sections, stream_headline

if TYPE_CHECKING:
    from hpdp_dask.dataflow.stream.driver import Stream
    from hpdp_dask.dataflow.stream.figures import Snapshot
    from hpdp_dask.dataflow.stream.task import Labelling
    from hpdp_dask.workflow.record import RunRecord


def write_stream_report(
    stream: Stream, labelling: Labelling | None, seen: Snapshot, record: RunRecord
) -> None:
    """Write the report of a stream into its folder.

    Parameters
    ----------
    stream : Stream
    labelling : Labelling or None
        The model that labelled its frames.
    seen : Snapshot
    record : RunRecord
    """
    share = seen.chosen / seen.frames if seen.frames else 0.0
    headline = {
        "Frames": f"{seen.frames:,}",
        "Hits": f"{seen.chosen:,} ({100 * share:.1f} %)",
        **stream_headline(seen),
        "Model": seen.model or "none",
    }
    sections = [
        *_classes(stream, labelling, seen),
        *_hits(stream, seen),
        *course_sections(seen),
        *aside_sections(seen),
    ]
    name = stream.folder.path.name
    path = stream.folder.path / "report.html"
    write_report(path, "Live frames", name, headline, sections, record)


def _classes(stream: Stream, labelling: Labelling | None, seen: Snapshot) -> list[Section]:
    from hpdp_dask.workflow.frame_figures import frame_gallery
    from hpdp_dask.workflow.spi_stream import class_means

    if labelling is None:
        return []
    figures = []
    found = class_means(stream.folder, labelling)
    with suppress(InputError):  # no geometry, no picture
        detector = detector_of(open_frames(stream.folder.shared))
        labels = [
            f"{name}: {count:,}"
            for name, count in zip(labelling.classes, found.counts, strict=True)
        ]
        figures.append(frame_gallery(found.means, detector, labels, "Mean frame of each class"))
    rows = zip((*labelling.classes, "no class is sure enough"), seen.labels.tolist(), strict=True)
    return [
        Section(
            "Classes",
            f"All hits have labels of the model {labelling.model}."
            if not seen.unlabelled
            else f"{seen.unlabelled:,} hits have no label.",
            figures,
            Table(("Class", "Hits"), list(rows)),
        )
    ]


def _hits(stream: Stream, seen: Snapshot) -> list[Section]:
    from hpdp_dask.workflow.stream_figures import size_chart

    counts = seen.histograms.get(SIZES.column)
    if counts is None or not counts.any():
        return []
    chart = size_chart(counts, SIZES.edges, "Diameter of the sphere that scatters like the hit")
    return [Section("Hits", "powder.npy is the mean of all hits.", [chart])]
