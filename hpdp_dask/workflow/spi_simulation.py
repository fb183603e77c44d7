"""The recipe of `hpdp spi simulate`: a folder of simulated frames with the truth and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.formats.frames import GOOD
from hpdp_dask.spi.simulate import Settings, Species, read_pairs, simulate, true_labels
from hpdp_dask.stacks.frames import detector_of, open_frames, unit_of
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster
from hpdp_dask.workflow.settings_file import merge_settings

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord
    from hpdp_dask.workflow.report import Section

#: Frames of each species, and of each kind, that the report shows.
_SHOWN = 6

#: Pixels across the finest fringes of a particle below which they are not well sampled.
_FINEST = 2.0


def gather_settings(
    file: Path | None, given: Mapping[str, Mapping[str, Any]], kinds: str | None
) -> dict[str, Any]:
    """Put together what a YAML file says and what options say, which go before.

    Parameters
    ----------
    file : Path or None
    given : mapping of str to mapping
        Options by section, those without one under the section ""; None for one that was not
        given.
    kinds : str or None
        Shares as `single=0.8,empty=0.2`.

    Returns
    -------
    dict
        As `read_settings` takes it.

    Raises
    ------
    InputError
        The file is no YAML of names and values.
    """
    told = merge_settings(file, given)
    if kinds is not None:
        told["kinds"] = read_pairs(kinds, "--kinds")
    return told


def run_spi_simulation(
    species: Sequence[Species],
    settings: Settings,
    output: Path,
    *,
    client: Client | None,
    command: Sequence[str],
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Simulate frames into a folder, with a report.

    Parameters
    ----------
    species : sequence of Species
    settings : Settings
    output : Path
        The folder: `frames.zarr`, `report.html`, `run.json`.
    client : Client or None
    command : sequence of str
        The words of the command line, for the record.
    inputs : sequence of Path, optional
        Files of settings, geometry and atomic models, for the record.
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
        parameters=_parameters(species, settings),
        inputs=inputs,
        seed=settings.seed,
        overwrite=overwrite,
        client=client,
    ) as run:
        frames = run.path / "frames.zarr"
        with run.stage("simulate"):
            simulate(species, settings, frames, client=client, progress=progress)
            run.images(settings.number)
        return _report(run, frames, client)


def _parameters(species: Sequence[Species], settings: Settings) -> dict[str, Any]:
    detector = settings.detector
    return {
        "number": settings.number,
        "species": {
            each.name: {
                key: str(value) if isinstance(value, Path) else value
                for key, value in asdict(each).items()
                if key != "name" and value is not None
            }
            for each in species
        },
        "kinds": dict(settings.kinds),
        "separation": list(settings.separation),
        "beam": asdict(settings.beam),
        "background": asdict(settings.background),
        "detector": {
            "rows": detector.shape[0],
            "columns": detector.shape[1],
            "pixel_size": detector.pixel_size,
            "distance": detector.distance,
            "wavelength": detector.wavelength,
            "polarization": detector.polarization,
            "good_pixels": int((detector.mask == GOOD).sum()),
        },
        "dead_pixels": settings.dead_pixels,
        "readout": None if settings.readout is None else asdict(settings.readout),
    }


def _report(run: RunFolder, frames: Path, client: Client | None) -> RunRecord:
    from hpdp_dask.workflow.report import write_report

    stack = open_frames(frames)
    labels = true_labels(stack)
    single = stack["true_kind"].values == "single"
    photons = stack["true_photons"].values
    _warn_of_fringes(run, stack)
    names, counts = np.unique(labels, return_counts=True)
    results = {
        "frames": len(labels),
        "labels": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "photons_of_single_hits": float(np.mean(photons[single])) if single.any() else None,
        "background_photons": float(_background(stack)),
    }
    headline = {
        "Frames": f"{len(labels):,}",
        "Single hits": f"{int(single.sum()):,}",
        "Photons of single hits, median": f"{np.median(photons[single]):,.0f}"
        if single.any()
        else "none",
        "Background photons of a frame": f"{_background(stack):,.0f}",
    }
    with run.stage("report"):
        sections = _sections(stack, labels)
    record = run.finish(results, cluster=None if client is None else describe_cluster(client))
    write_report(
        run.path / "report.html",
        "Simulated frames",
        run.target.name,
        headline,
        sections,
        record,
    )
    return record


def _background(stack: xr.Dataset) -> float:
    """Give the mean photons of a frame without a particle, on good pixels."""
    good = stack["mask"].values == GOOD
    scale = stack["true_background_scale"].values.mean()
    return float(stack["true_background"].values[good].sum(dtype=np.float64) * scale)


def _warn_of_fringes(run: RunFolder, stack: xr.Dataset) -> None:
    """Tell of particles whose fringes are finer than the pixels, each of which is one point."""
    detector = detector_of(stack)
    step = detector.pixel_size / detector.distance / detector.wavelength
    largest = float(np.nanmax([*stack["true_size"].values, 0.0]))
    across = 1.0 / (step * largest) if largest else np.inf
    if across < _FINEST:
        run.warn(
            f"the fringes of the largest particle, {largest:.0f} Å, are {across:.1f} pixels apart, "
            "too fine for this detector, which is simulated at the centres of its pixels"
        )


def _sections(stack: xr.Dataset, labels: np.ndarray) -> list[Section]:
    from hpdp_dask.workflow.frame_figures import distribution_chart, frame_gallery
    from hpdp_dask.workflow.report import Section, Table

    reader = ImageReader(stack.attrs["path"])
    detector = detector_of(stack)
    photons, size = stack["true_photons"].values, stack["true_size"].values
    fluence = stack["true_fluence"].values
    names = stack["true_class_name"].values.tolist()
    order = [*names, *sorted(set(labels) - set(names))]
    groups = {name: np.flatnonzero(labels == name) for name in order}
    groups = {name: rows for name, rows in groups.items() if len(rows)}
    galleries = [
        frame_gallery(
            reader.take(rows[:_SHOWN]),
            detector,
            [_told(photons[row], size[row]) for row in rows[:_SHOWN]],
            f"{name}: {len(rows):,} frames",
        )
        for name, rows in groups.items()
    ]
    table = Table(
        (
            "Label",
            "Frames",
            "Photons, median",
            "Size, median (Å)",
            "Fluence, median (10⁹ photons/µm²)",
        ),
        [
            (
                name,
                len(rows),
                _median(photons[rows]) if name != "empty" else None,
                _median(size[rows]),
                _median(fluence[rows] / 1e9) if name != "empty" else None,
            )
            for name, rows in groups.items()
        ],
    )
    of_particles = {name: rows for name, rows in groups.items() if name != "empty"}
    single = {name: size[rows] for name, rows in of_particles.items() if name in names}
    unit = "photons" if unit_of(stack) == "photons" else "ADU"
    return [
        Section(
            "Frames",
            f"Frames of each species and of each other kind, in {unit}, each on a logarithmic "
            "scale of its own; modules and pixels are where they stand, gaps are black.",
            galleries,
            table,
        ),
        Section(
            "Photons and sizes",
            "Mean photons that particles scatter onto the good pixels, before noise, and the "
            "diameters of the spheres of equal volume of single particles.",
            [
                distribution_chart(
                    {name: photons[rows] for name, rows in of_particles.items()},
                    "Photons of a frame",
                    "Photons from particles",
                    logarithmic=True,
                ),
                distribution_chart(single, "Size (Å)", "Sizes of single particles"),
            ],
        ),
    ]


def _told(photons: float, size: float) -> str:
    words = [f"{photons:,.0f} photons"] if photons else ["no particle"]
    return ", ".join([*words, f"{size:.0f} Å"] if np.isfinite(size) else words)


def _median(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None
