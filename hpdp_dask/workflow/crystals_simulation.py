"""The recipe of `hpdp crystals simulate`: a folder of simulated stills with a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.crystallography.simulate import Settings, simulate_frames, simulate_shots
from hpdp_dask.stacks.frames import detector_of, open_frames
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.drawing import Panel, Panels
    from hpdp_dask.workflow.record import RunRecord
    from hpdp_dask.workflow.report import Section

#: The stack of quadrants in the folder, and that of whole frames.
SHOTS, FRAMES = "shots.zarr", "frames.zarr"

#: Pictures of each kind in the report.
_SHOWN = 6

#: Least square root of counts that is drawn white, so that noise is not.
_WHITE = 5.0


def run_crystals_simulation(
    settings: Settings,
    output: Path,
    *,
    whole: bool,
    client: Client | None,
    command: Sequence[str],
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Simulate stills into a folder, with a report.

    Parameters
    ----------
    settings : Settings
    output : Path
        The folder: `shots.zarr` or `frames.zarr`, `report.html`, `run.json`.
    whole : bool
        Whole frames of one instrument, in place of quadrants.
    client : Client or None
    command : sequence of str
        The words of the command line, for the record.
    inputs : sequence of Path, optional
        Files of settings and of an atomic model, for the record.
    overwrite : bool, optional
    progress : Progress, optional

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If a setting makes no sense, or a file is not what it should be; nothing is left then.
    """
    with output_folder(
        output,
        command=command,
        parameters=asdict(settings) | {"whole": whole},
        inputs=inputs,
        seed=settings.seed,
        overwrite=overwrite,
        client=client,
    ) as run:
        stack = run.path / (FRAMES if whole else SHOTS)
        with run.stage("simulate"):
            simulate = simulate_frames if whole else simulate_shots
            simulate(settings, stack, client=client, progress=progress)
            run.images(settings.number)
        return _report(run, stack, client)


def _report(run: RunFolder, path: Path, client: Client | None) -> RunRecord:
    from hpdp_dask.workflow.report import write_report

    stack = open_frames(path)
    kinds = _kinds(stack)
    hit = stack["true_hit"].values == 1
    resolution = stack["true_resolution"].values[hit]
    spots = stack["true_spots"].values[hit]
    results = {
        "shots": stack.sizes["frame"],
        "kinds": {name: len(rows) for name, rows in kinds.items()},
        "median_resolution": float(np.median(resolution)) if len(resolution) else None,
        "median_spots": float(np.median(spots)) if len(spots) else None,
    }
    headline = {
        "Shots": f"{stack.sizes['frame']:,}",
        "With a crystal": f"{int(hit.sum()):,}",
        "With several lattices": f"{len(kinds.get('several lattices', ())):,}",
        "Median resolution": f"{np.median(resolution):.2f} Å" if len(resolution) else "none",
    }
    with run.stage("report"):
        sections = _sections(stack, kinds)
    record = run.finish(results, cluster=None if client is None else describe_cluster(client))
    write_report(
        run.path / "report.html", "Simulated stills", run.target.name, headline, sections, record
    )
    return record


def _kinds(stack: xr.Dataset) -> dict[str, np.ndarray]:
    """Give the shots of each kind that there are."""
    lattices, ice = stack["true_lattices"].values, stack["true_ice"].values == 1
    kinds = {
        "one lattice": lattices == 1,
        "several lattices": lattices > 1,
        "blank": (lattices == 0) & ~ice,
        "blank with ice": (lattices == 0) & ice,
    }
    return {name: np.flatnonzero(rows) for name, rows in kinds.items() if rows.any()}


def _sections(stack: xr.Dataset, kinds: dict[str, np.ndarray]) -> list[Section]:
    from hpdp_dask.workflow.frame_figures import distribution_chart
    from hpdp_dask.workflow.report import Section, Table

    columns = {
        name: stack[name].values
        for name in ("true_resolution", "true_spots", "true_background", "true_mosaicity")
    }
    crystals = {name: rows for name, rows in kinds.items() if not name.startswith("blank")}
    table = Table(
        (
            "Kind",
            "Shots",
            "Resolution, median (Å)",
            "Spots, median",
            "Background, median (photons)",
        ),
        [
            (
                name,
                len(rows),
                _median(columns["true_resolution"][rows]),
                _median(columns["true_spots"][rows]) if name in crystals else None,
                _median(columns["true_background"][rows]),
            )
            for name, rows in kinds.items()
        ],
    )
    charts = [
        ("true_resolution", "Resolution (Å)", "Resolution to which spots can be seen", False),
        ("true_spots", "Spots", "Spots of four standard deviations or more", True),
        ("true_mosaicity", "Mosaicity (degrees)", "Standard deviation of orientations", False),
        ("true_background", "Photons", "Diffuse scattering of a pixel, at its strongest", True),
    ]
    pictures = [_gallery(stack, name, rows[:_SHOWN]) for name, rows in kinds.items()]
    return [
        Section(
            "Shots",
            "The square root of the counts, each picture on a scale of its own.",
            pictures,
            table,
        ),
        Section(
            "What was drawn",
            "The truth is in the stack, in the variables that begin with true_.",
            [
                distribution_chart(
                    {kind: columns[name][rows] for kind, rows in crystals.items()},
                    label,
                    caption,
                    logarithmic=logarithmic,
                )
                for name, label, caption, logarithmic in charts
                if crystals
            ],
        ),
    ]


def _gallery(stack: xr.Dataset, kind: str, rows: np.ndarray) -> Panels:
    """Show shots of a kind."""
    from hpdp_dask.workflow.drawing import Panels
    from hpdp_dask.workflow.frame_figures import frame_gallery

    pictures = ImageReader(stack.attrs["path"]).take(rows)
    resolution, spots = stack["true_resolution"].values, stack["true_spots"].values
    labels = [
        f"{resolution[row]:.2f} Å, {spots[row]:,} spots" if np.isfinite(resolution[row]) else kind
        for row in rows
    ]
    caption = f"{kind[0].upper()}{kind[1:]}"
    if "pixel_x" in stack:
        return frame_gallery(pictures, detector_of(stack), labels, caption)
    steps = (stack[f"shot_{name}"].values for name in ("pixel_size", "distance", "wavelength"))
    pixel_size, distance, wavelength = (values[rows] for values in steps)
    panels = [
        _quadrant_panel(picture, step, label)
        for picture, step, label in zip(
            pictures, pixel_size / distance / wavelength, labels, strict=True
        )
    ]
    return Panels(tuple(panels), f"{caption}, the beam in the upper left corner", columns=3)


def _quadrant_panel(picture: np.ndarray, step: float, label: str) -> Panel:
    """Show a quadrant, whose cells are steps in 1/Å near the beam."""
    from hpdp_dask.workflow.drawing import scale_bar_length, to_panel

    # the first row is drawn at the bottom; spots of a cell shall outlive the binning
    rows, columns = (size // 2 * 2 for size in picture.shape)
    halves = picture[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).max(axis=(1, 3))
    white = max(float(np.percentile(halves, 99.5)), _WHITE)
    panel = to_panel(halves[::-1], 1.0, (0.0, white), label, f"Quadrant: {label}")
    width = step * columns
    length = scale_bar_length(width)
    return replace(panel, bar_share=length / width, bar_label=f"{length:g} 1/Å")


def _median(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None
