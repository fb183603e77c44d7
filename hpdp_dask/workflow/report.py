"""The report of a run: one HTML page that needs nothing but itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from hpdp_dask.workflow.drawing import Chart, Panels
from hpdp_dask.workflow.figures import format_seconds, timing_bars
from hpdp_dask.workflow.fingerprint import Input
from hpdp_dask.workflow.record import RunRecord


@dataclass(frozen=True)
class Table:
    """A table of text and numbers.

    Attributes
    ----------
    columns : sequence of str
        Heads; all empty for a table of names and values.
    rows : sequence of sequence
        Numbers are set to the right, real ones with four digits; None stays empty.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes
    ----------
    title : str
    text : str
        Plain text; an empty line parts paragraphs.
    figures : sequence of Chart or Panels
    table : Table, optional
    """

    title: str
    text: str = ""
    figures: Sequence[Chart | Panels] = ()
    table: Table | None = None


def write_report(
    path: Path,
    title: str,
    subtitle: str,
    headline: Mapping[str, str],
    sections: Sequence[Section],
    run: RunRecord,
) -> None:
    """Write a self-contained page: headline numbers, warnings, sections, and how it was made.

    Parameters
    ----------
    path : Path
        The HTML file; written whole or not at all.
    title, subtitle : str
    headline : mapping of str to str
        The numbers that a person looks for first, with their units, under their names.
    sections : sequence of Section
        What the run shows; after them come its parameters, timing, inputs and versions.
    run : RunRecord
        As `RunFolder.finish` gives it.
    """
    page = template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        headline=headline,
        sections=[*sections, *_sections_of(run)],
        command=shlex.join(run.command),
        warnings=run.warnings,
        version=run.versions.get("hpdp_dask", ""),
        started=run.started.astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)


def template(name: str) -> Template:
    """Give a template of this folder that knows how to draw sections; it escapes all text."""
    environment = Environment(
        loader=PackageLoader("hpdp_dask.workflow", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = format_cell
    environment.tests["quantity"] = _is_quantity
    environment.tests["chart"] = lambda figure: isinstance(figure, Chart)
    # the markup of a chart is ours; every text in it was escaped when it was drawn
    environment.filters["drawing"] = lambda chart: Markup(chart.markup)
    return environment.get_template(name)


def _sections_of(run: RunRecord) -> list[Section]:
    """Tell how the results were made: parameters, timing, inputs, machine and versions."""
    sections = []
    if run.parameters:
        rows = [(name, _spoken(value)) for name, value in run.parameters.items()]
        sections.append(Section("Parameters", table=Table(("Parameter", "Value"), rows)))
    if run.stages:
        sections.append(_timing(run))
    if run.inputs:
        sections.append(Section("Inputs", table=_inputs(run.inputs)))
    sections.append(Section("Machine and versions", table=_provenance(run)))
    return sections


def _timing(run: RunRecord) -> Section:
    """Tell how long each stage took."""
    seconds = {stage.name: stage.wall_seconds for stage in run.stages}
    total = sum(seconds.values())
    rows = [
        (
            stage.name,
            round(stage.wall_seconds, 2),
            round(stage.cpu_seconds, 2),
            stage.images or None,
            stage.images / stage.wall_seconds if stage.images and stage.wall_seconds else None,
        )
        for stage in run.stages
    ]
    text = f"All stages together took {format_seconds(total)}."
    if run.resumed:
        text += " The run went on from an interrupted one, whose time is not in it."
    columns = ("Stage", "Wall clock (s)", "CPU (s)", "Images", "Images per second")
    return Section("Timing", text, [timing_bars(seconds, "")], Table(columns, rows))


def _inputs(inputs: Sequence[Input]) -> Table:
    rows = [
        (
            source.path,
            format_bytes(source.bytes),
            source.files,
            source.sha256[:16] + (" (sampled)" if source.sampled else ""),
        )
        for source in inputs
    ]
    return Table(("Input", "Size", "Files", "SHA-256, first digits"), rows)


def _provenance(run: RunRecord) -> Table:
    machine = run.machine
    rows: list[tuple[str, str]] = [
        ("Host", f"{machine.host}, {machine.system}"),
        (
            "Processor",
            f"{machine.processor}, {machine.cores} cores, "
            f"{format_bytes(machine.memory_bytes)} of memory",
        ),
    ]
    if machine.gpus:
        rows.append(("GPU", ", ".join(machine.gpus)))
    if run.cluster:
        rows.append(("Cluster", _spoken(run.cluster)))
    rows.append(("Seed", "none" if run.seed is None else str(run.seed)))
    if run.git_commit:
        rows.append(("Commit", run.git_commit))
    rows.append(("Versions", ", ".join(f"{name} {found}" for name, found in run.versions.items())))
    return Table(("", ""), rows)


def _spoken(value: Any) -> str:
    """Write a parameter for people: no quotes and braces, yes and no, none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_spoken(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_spoken(item) for item in value)
    return str(value)


def format_cell(value: Any) -> str:
    """Write a cell of a table: integers by thousands, real numbers with four digits."""
    if not _is_quantity(value):
        return "" if value is None else str(value)
    if isinstance(value, Integral):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _is_quantity(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def format_bytes(number: int) -> str:
    """Write a size in binary units: `512 B`, `1.5 MiB`, `120 GiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = next((p for p in range(len(units)) if number < 1023.5 * 1024**p), len(units) - 1)
    size = number / 1024**power
    return f"{size:.0f} {units[power]}" if size >= 99.5 else f"{size:.3g} {units[power]}"
