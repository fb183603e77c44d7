"""The pictures of an agreement of two trainings: places of images, volumes, and what they share."""

from __future__ import annotations

import numpy as np

from hpdp_dask.cryoem.fsc import describe_resolution
from hpdp_dask.cryoem.heterogeneity.half_trainings import HALVES, HalfTraining
from hpdp_dask.cryoem.heterogeneity.latent_agreement import LatentAgreement, VolumeAgreement
from hpdp_dask.numerics.canonical import canonical_pairs
from hpdp_dask.workflow.drawing import (
    INK,
    MUTED,
    SERIES,
    WIDTH,
    Chart,
    Panels,
    chart_style,
    new_chart,
    to_chart,
)
from hpdp_dask.workflow.figures import fsc_chart, image_gallery
from hpdp_dask.workflow.report import Section, Table

#: Particles that a scatter shows at most.
_DRAWN = 5000


def report_sections(
    halves: tuple[HalfTraining, HalfTraining], latent: LatentAgreement, volumes: VolumeAgreement
) -> list[Section]:
    """Tell how far two trainings agree.

    Parameters
    ----------
    halves : tuple of HalfTraining
    latent : LatentAgreement
    volumes : VolumeAgreement
    """
    rows = [
        (
            f"{k + 1}",
            f"{latent.correlations[k]:.3f}",
            f"{latent.together[k]:.3f}" if k < len(latent.together) else "",
            "yes" if k < latent.shared else "no",
        )
        for k in range(len(latent.correlations))
    ]
    return [
        Section(
            "Places of the images",
            "Two trainings, each on one half-set, gave places to the images of both. Directions of "
            "the two latent spaces that go together were found with every second image; shown is "
            "how the places of the other images correlate along them. Each network saw every "
            "second sample of an image's transform, the one those that the other did not: so they "
            "have no noise in common, and directions that are noise correlate about zero. Places "
            "by all samples correlate more: they are surer, but the noise of an image is then the "
            "same for both.\n\n"
            "Along the principal curves of the two latent spaces, whatever their shape, the rank "
            f"correlation is {latent.curve:.3f} by other samples, and {latent.curve_together:.3f} "
            "by all.",
            [correlation_chart(latent), places_chart(halves)],
            Table(("Direction", "Correlation", "By all samples", "Found by both"), rows),
        ),
        _volumes_section(volumes),
    ]


def correlation_chart(latent: LatentAgreement) -> Chart:
    """Draw how places correlate, direction by direction, by other samples and by all."""
    number = np.arange(1, len(latent.correlations) + 1)
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.4)
        shared = number <= latent.shared
        for which, colour, name in (
            (shared, SERIES[0], "found by both"),
            (~shared, MUTED, "not found by both"),
        ):
            if which.any():
                values = latent.correlations[which]
                axes.bar(number[which], values, 0.6, color=colour, label=name)
        axes.plot(
            number[: len(latent.together)],
            latent.together,
            color=SERIES[1],
            marker="D",
            markersize=5.0,
            linestyle="none",
            clip_on=False,
            zorder=3,
            label="by all samples",
        )
        axes.axhline(latent.chance, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
        axes.set_xticks(number)
        low = min(0.0, float(latent.correlations.min()), float(latent.together.min()))
        axes.set(ylim=(low - (0.02 if low else 0.0), 1.0), xlabel="Direction", ylabel="Correlation")
        axes.grid(False, axis="x")
        axes.legend(loc="upper right")
        spoken = ", ".join(f"{each:.2f}" for each in latent.correlations)
        return to_chart(
            figure,
            "Agreement by direction; what is below the line is no sign of anything",
            f"Bar chart of the correlations {spoken}; the line is at {latent.chance:.2f}.",
        )


def places_chart(halves: tuple[HalfTraining, HalfTraining]) -> Chart:
    """Draw where images are along the first direction, as each training has it."""
    pairs = canonical_pairs(halves[0].apart, halves[1].apart)
    step = -(-len(pairs.first) // _DRAWN)
    first, second = pairs.first[::step, 0], pairs.second[::step, 0]
    with chart_style():
        figure, axes = new_chart(WIDTH, 0.8 * WIDTH)
        axes.scatter(first, second, s=3.0, color=SERIES[0], alpha=0.3, linewidth=0)
        axes.set(xlabel="By the first training", ylabel="By the second training")
        return to_chart(
            figure,
            "Places of the images along the first direction, each training by samples of its own, "
            "in units of their spread",
            f"Scatter chart of the places of {len(first):,} images along the first direction as "
            f"both trainings have it; correlation {pairs.correlations[0]:.2f}.",
        )


def _volumes_section(volumes: VolumeAgreement) -> Section:
    count = len(volumes.fsc)
    curves = {f"Place {place + 1}": volumes.fsc[place] for place in (0, count // 2, count - 1)}
    told = [(f"{place + 1}", curve) for place, curve in enumerate(volumes.fsc)]
    rows = [
        (name, *(describe_resolution(each) for each in volumes.resolutions(curve)))
        for name, curve in [*told, ("What moves, all places", volumes.motion)]
    ]
    box, pixel_size = volumes.volumes.shape[-1], volumes.pixel_size
    # without the mean grey value, which tells nothing
    moves = np.concatenate([[np.nan], volumes.motion[1:]])
    caption = "Volumes of the two trainings, and what they differ by from the mean of all places"
    figures: list[Chart | Panels] = [
        fsc_chart({**curves, "What moves": moves}, box, pixel_size, caption)
    ]
    names = [str(place) for place in range(1, count + 1)]
    flat = volumes.volumes.sum(2)
    differences = flat - flat.mean(1, keepdims=True)
    for what, made in (("Volumes", flat), ("Differences", differences)):
        for name, mine in zip(HALVES, made, strict=True):
            caption = f"{what} by the {name} training, projected along z"
            signed = what == "Differences"
            figures.append(image_gallery(mine, pixel_size, names, caption, signed=signed))
    text = (
        "At each place the same images tell where it is in either latent space, in order along "
        "the first principal component. No image is in both volumes, so that the FSC tells of "
        "resolution as it does for half-maps: 0.143 for what both together would show. Most of a "
        "volume is the same at all places. What moves is what volumes differ by from the mean of "
        "those of all places."
    )
    return Section("Volumes", text, figures, Table(("Place", "FSC 0.5", "FSC 0.143"), rows))
