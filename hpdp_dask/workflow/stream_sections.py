"""What the reports of all streams tell: how it went, and what was set aside."""

from __future__ import annotations

import numpy as np

from hpdp_dask.dataflow.stream.batches import REASONS
from hpdp_dask.dataflow.stream.figures import Snapshot
from hpdp_dask.workflow.report import Section, Table


def stream_headline(seen: Snapshot) -> dict[str, str]:
    """Give numbers that a person looks for first."""
    rate = "" if not seen.came else f"{seen.mean_rate:,.{0 if seen.mean_rate > 9.95 else 1}f}"
    return {
        "Set aside": f"{sum(seen.asides.values()):,}",
        "Frames a second": rate,
        "Lag, 95 %": "" if np.isnan(seen.lag[1]) else f"{seen.lag[1]:.2f} s",
    }


def course_sections(seen: Snapshot) -> list[Section]:
    """Tell how it went; nothing of what was too short."""
    from hpdp_dask.workflow.stream_figures import course_chart

    if len(seen.moments) < 2:
        return []
    rows = [
        (part, 1000.0 * seconds / max(1, seen.came))
        for part, seconds in sorted(seen.seconds_by_part.items(), key=lambda each: -each[1])
    ]
    return [
        Section(
            "Course",
            "The lag of a frame is the time from its arrival to its result on disk.",
            [course_chart(seen.moments, "Frames a second, and the lag of 95 % of them")],
            Table(("Work of", "CPU ms a frame"), rows),
        )
    ]


def aside_sections(seen: Snapshot) -> list[Section]:
    """Tell what was set aside, if anything was."""
    if not seen.asides:
        return []
    rows = [(reason, REASONS[reason], number) for reason, number in sorted(seen.asides.items())]
    text = "set_aside.jsonl names them; frames that were set aside for their values are in results."
    return [Section("Set aside", text, table=Table(("Reason", "Frames that", "Number"), rows))]
