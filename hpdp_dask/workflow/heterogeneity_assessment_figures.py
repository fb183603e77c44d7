"""The pictures of an assessment: evidence, what half-sets share, widths, where volumes vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.cryoem.heterogeneity.assessment import Assessment
from hpdp_dask.cryoem.heterogeneity.verdict import LEVEL
from hpdp_dask.numerics.masks import low_pass_filter
from hpdp_dask.workflow.drawing import Chart, Panels
from hpdp_dask.workflow.figures import fsc_chart, image_gallery, outlined_slices
from hpdp_dask.workflow.heterogeneity_assessment_charts import (
    correlation_chart,
    evidence_chart,
    gain_chart,
    places_chart,
    spoken_chance,
    width_chart,
)
from hpdp_dask.workflow.report import Section, Table

if TYPE_CHECKING:
    from hpdp_dask.workflow.heterogeneity_assessment import Trained

#: The outline of the particle is where the map, smoothed to this share of the box, passes this
#: share of its maximum.
_SMOOTH, _OUTLINE = 0.12, 0.15


def report_sections(
    assessed: Assessment, maps: Mapping[str, np.ndarray], trained: Trained | None
) -> list[Section]:
    """Tell what an assessment found.

    Parameters
    ----------
    assessed : Assessment
    maps : mapping of str to (N, N, N) ndarray
        `variability`, of a training also `variability_networks`, and the shared axes.
    trained : Trained or None
    """
    sections = [_evidence_section(assessed), _agreement_section(assessed, maps)]
    sections += [_width_section(assessed, trained), _variability_section(assessed, maps)]
    return sections


def _evidence_section(assessed: Assessment) -> Section:
    verdict = assessed.verdict
    rows = [
        (
            f"{half_number}, direction {k + 1}",
            float(half.gains[k]),
            float(half.errors[k]),
            float(half.controls[k]),
            spoken_chance(float(half.p_values[k])),
            "yes" if half.carrying[k] else "no",
        )
        for half_number, half in zip(("First", "Second"), verdict.halves, strict=True)
        for k in range(len(half.gains))
    ]
    text = (
        "Each half-set found directions in which its volumes differ from its map. Shown is what "
        "they add to the evidence of the images of the other half-set, in which they were not "
        "found: a direction that is not in the particles costs evidence there. Errors of "
        "brightness, pose, centre and defocus are allowed for in all models. From a wrong side the "
        f"same directions should gain nothing. A direction carries evidence at p < {LEVEL:g}."
    )
    columns = (
        "Half-set",
        "Gain of an image (nats)",
        "Standard error",
        "From a wrong side",
        "p-value",
        "Carries evidence",
    )
    figures = [evidence_chart(verdict), gain_chart(assessed.found)]
    return Section("Is there heterogeneity?", text, figures, Table(columns, rows))


def _agreement_section(assessed: Assessment, maps: Mapping[str, np.ndarray]) -> Section:
    agreement = assessed.agreement
    text = (
        "Axes that the half-sets, each by itself, have in common. The correlation is that of the "
        "places of images along an axis as the one half-set has it and as the other has it, each "
        "seen in other samples of the image: no noise is in both. The reliability is the share of "
        "the variance of places that is not noise when all samples are used."
    )
    rows = [
        (
            f"{k + 1}",
            float(agreement.correlations[k]),
            float(agreement.reliability[k]) if k < agreement.shared else None,
            "yes" if k < agreement.shared else "no",
        )
        for k in range(len(agreement.correlations))
    ]
    figures: list[Chart | Panels] = [correlation_chart(agreement)]
    if agreement.shared:
        box = len(assessed.maps.half1)
        figures += [
            places_chart(agreement),
            fsc_chart(
                {f"Axis {k + 1}": agreement.fsc[k] for k in range(agreement.shared)},
                box,
                assessed.pixel_size,
                "What volumes differ by along an axis, found by the one half-set and the other",
            ),
        ]
        names = [f"axis_{k + 1:03d}" for k in range(agreement.shared)]
        shown = [
            ("Map", assessed.maps.joined),
            *((f"Axis {k + 1}", maps[n]) for k, n in enumerate(names)),
        ]
        for axis, along in ((0, "z"), (2, "x")):
            figures.append(
                image_gallery(
                    np.stack([volume.sum(axis) for _, volume in shown]),
                    assessed.pixel_size,
                    [name for name, _ in shown],
                    f"Projections along {along} of the map and of what is added along each axis",
                )
            )
    else:
        text += " Here they have none in common."
    columns = ("Axis", "Correlation", "Reliability", "Shared")
    return Section("What both half-sets find", text, figures, Table(columns, rows))


def _width_section(assessed: Assessment, trained: Trained | None) -> Section:
    distance = float(assessed.found.distance.mean())
    text = (
        "How surely each image's place is known. Of the linear directions this can be put to the "
        "test: weights found from every second sample of an image and from the others lie apart by "
        f"{distance:.2f} times the square that their widths say (1 if widths are right, more if "
        "they are too small)."
    )
    if trained is None:
        return Section("Widths of the posteriors", text)
    text += (
        " Of the training: the width of each image's posterior against the spread of all images. "
        "Where both are alike, an axis tells nothing of the single image. The reliability takes "
        "the axis for real, and one that was found in noise may well have a half; whether it is in "
        "the particles is told above."
    )
    rows = [
        (
            f"{k + 1}",
            float(trained.z[:, k].std()),
            float(np.median(trained.width[:, k])),
            float(trained.reliability[k]),
        )
        for k in range(trained.z.shape[1])
    ]
    columns = ("Latent axis", "Spread of the images", "Median width", "Reliability")
    return Section(
        "Widths of the posteriors",
        text,
        [width_chart(trained.z, trained.width)],
        Table(columns, rows),
    )


def _variability_section(assessed: Assessment, maps: Mapping[str, np.ndarray]) -> Section:
    joined, pixel_size = assessed.maps.joined, assessed.pixel_size
    smooth = low_pass_filter(joined, pixel_size, _SMOOTH * len(joined) * pixel_size)
    particle = (smooth > _OUTLINE * smooth.max()).astype(np.float32)
    figures = []
    rows = []
    for name, words in (
        ("variability", "Along the axes that both half-sets share"),
        ("variability_networks", "Of the networks' volumes"),
    ):
        # a map of nothing needs no picture
        if name in maps and maps[name].any():
            figures.append(outlined_slices(maps[name], particle, pixel_size, words))
            inside = maps[name][particle > 0]
            rows.append((f"{name}.mrc", float(np.median(inside)), float(inside.max())))
    text = (
        "The standard deviation of volumes over all images, voxel by voxel, in units of the noise "
        "of the map: 1 is a change as large as the map's own error. White is the outline of the "
        "particle. Along shared axes the variance is a product of what two half-sets found, so "
        "noise adds nothing to it in the mean."
    )
    if not assessed.agreement.shared:
        text += " Here no axis is shared, so variability.mrc is zero throughout."
    columns = ("Map", "Median within the particle", "Largest")
    table = Table(columns, rows) if rows else None
    return Section("Where volumes vary", text, figures, table)
