"""The recipe of `hpdp cryoem postprocess`: from a folder of half-maps to maps and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpdp_dask.cryoem.fsc import describe_resolution
from hpdp_dask.cryoem.postprocess import Postprocessed, postprocess
from hpdp_dask.cryoem.postprocess_inputs import half_map_files
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.numerics.sharpening import GUINIER_FROM
from hpdp_dask.workflow.folder import RunFolder, output_folder

if TYPE_CHECKING:
    from hpdp_dask.workflow.record import RunRecord
    from hpdp_dask.workflow.report import Section


def run_postprocessing(
    source: Path,
    output: Path,
    *,
    command: Sequence[str],
    mask: Path | None = None,
    mtf: Path | None = None,
    mtf_pixel_size: float | None = None,
    b_factor: float | None = None,
    low_pass: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> RunRecord:
    """Post-process the half-maps of a folder into a folder of maps, with a report.

    Parameters
    ----------
    source : Path
        With `half1.mrc` and `half2.mrc`.
    output : Path
        The folder: `map.mrc`, `map_masked.mrc`, `mask.mrc`, `fsc.csv`, `guinier.csv`,
        `report.html`, `run.json`.
    command : sequence of str
        The words of the command line, for the record.
    mask, mtf, mtf_pixel_size, b_factor, low_pass, seed : optional
        As of `hpdp_dask.cryoem.postprocess.postprocess`.
    overwrite : bool, optional

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If an input is not as it must be; nothing is left then.
    """
    parameters = {
        "mask": "auto" if mask is None else mask,
        "mtf": mtf,
        "mtf_pixel_size": mtf_pixel_size,
        "b_factor": b_factor,
        "low_pass": low_pass,
    }
    with output_folder(
        output,
        command=command,
        parameters=parameters,
        inputs=[*half_map_files(source), *(path for path in (mask, mtf) if path)],
        seed=seed,
        overwrite=overwrite,
    ) as run:
        with run.stage("postprocess"):
            result = postprocess(
                source,
                run.path,
                mask=mask,
                mtf=mtf,
                mtf_pixel_size=mtf_pixel_size,
                b_factor=b_factor,
                low_pass=low_pass,
                seed=seed,
            )
        for warning in result.warnings:
            run.warn(warning)
        return _write_report(run, result, source)


def _write_report(run: RunFolder, result: Postprocessed, source: Path) -> RunRecord:
    # Matplotlib and Jinja take as long to import as the rest takes to run.
    from hpdp_dask.workflow.report import write_report

    with run.stage("draw"):
        sections = _sections(run, result, source)
    record = run.finish(
        {
            "resolution": result.resolution,
            "resolution_unmasked": result.resolution_unmasked,
            "b_factor": result.b_factor,
            "low_pass": result.low_pass,
            "mask_share": result.mask_share,
            "box": result.box,
            "pixel_size": result.pixel_size,
        }
    )
    headline = {
        "Resolution (corrected FSC 0.143)": describe_resolution(result.resolution),
        "Without the mask": describe_resolution(result.resolution_unmasked),
        "B-factor": f"{result.b_factor:.0f} Å²",
        "Low-pass": f"{result.low_pass:.2f} Å",
        "Mask": f"{100 * result.mask_share:.1f} % of the box",
        "Pixel size": f"{result.pixel_size:.4g} Å",
    }
    title = "Post-processing"
    write_report(run.path / "report.html", title, run.target.name, headline, sections, record)
    return record


def _sections(run: RunFolder, result: Postprocessed, source: Path) -> list[Section]:
    from hpdp_dask.workflow.figures import (
        central_slices,
        fsc_chart,
        guinier_chart,
        outlined_slices,
    )
    from hpdp_dask.workflow.report import Section

    half1, half2 = (read_map(path)[0] for path in half_map_files(source))
    before = (half1 + half2) / 2
    after, pixel_size = read_map(run.path / "map.mrc")
    mask, _ = read_map(run.path / "mask.mrc")
    curves = {
        "corrected": result.curves["fsc_corrected"],
        "under the mask": result.curves["fsc_masked"],
        "without a mask": result.curves["fsc"],
        "random phases": result.curves["fsc_randomized"],
    }
    guinier, fit = result.guinier, result.guinier.fit
    randomized = "No phases were made random, since the half-maps agree to their end."
    if result.randomized_from is not None:
        randomized = (
            f"Phases were made random from {result.randomized_from:.2f} Å on; what then still "
            "correlates under the mask is the mask's doing, and is taken out of the corrected "
            "curve."
        )
    return [
        Section(
            "Fourier shell correlation",
            f"{randomized} The table is in fsc.csv.",
            [fsc_chart(curves, result.box, pixel_size, "Correlation of the half-maps per shell")],
        ),
        Section(
            "Guinier plot",
            "Amplitudes of the map under the mask. The line goes through the weighted ones, from "
            f"{GUINIER_FROM:g} Å to the resolution; its slope is a quarter of the B-factor. The "
            "table is in guinier.csv.",
            [
                guinier_chart(
                    {name.replace("_", " "): row for name, row in guinier.amplitudes.items()},
                    guinier.frequencies,
                    (fit.b_factor, fit.intercept) if fit else None,
                    (GUINIER_FROM, result.resolution),
                    "Mean amplitude per shell",
                )
            ],
        ),
        Section(
            "The map",
            "Before: the average of the half-maps, with the outline of the mask. After: map.mrc, "
            "sharpened and low-passed, not masked; map_masked.mrc is the same under the mask.",
            [
                outlined_slices(before, mask, pixel_size, "Before, and the mask"),
                central_slices(after, pixel_size, "After"),
            ],
        ),
    ]
