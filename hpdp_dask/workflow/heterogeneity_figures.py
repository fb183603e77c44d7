"""The pictures of heterogeneity: the course of a training, the latent space, volumes along it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpdp_dask.cryoem.heterogeneity.stage import Learnt
from hpdp_dask.numerics.latent_path import points_along, principal_axes
from hpdp_dask.workflow.drawing import (
    INK,
    SERIES,
    WIDTH,
    Chart,
    Panels,
    chart_style,
    new_chart,
    to_chart,
)
from hpdp_dask.workflow.figures import central_slices, image_gallery, projections
from hpdp_dask.workflow.report import Section, Table

#: Particles that the scatter shows at most.
_DRAWN = 5000


def report_sections(learnt: Learnt, volumes: Sequence[np.ndarray]) -> list[Section]:
    """Tell what was learnt: the latent space, volumes along it, and how the training went.

    Parameters
    ----------
    learnt : Learnt
    volumes : sequence of (N, N, N) ndarray
        Along the first principal component, or the only one.
    """
    pixel_size = learnt.conformations.pixel_size
    sections = []
    middle = volumes[len(volumes) // 2]
    if learnt.z.shape[1]:
        _, shares = principal_axes(learnt.z)
        spread, width = learnt.z.std(0), learnt.width.mean(0)
        rows = [
            (f"{k + 1}", float(share), float(spread[k]), float(width[k]))
            for k, share in enumerate(shares)
        ]
        columns = (
            "Number",
            "Variance of component",
            "Spread along axis",
            "Width of posteriors",
        )
        sections += [
            Section(
                "Latent space",
                "A point for each particle. Volumes below were made at the numbered ones. An axis "
                "along which images spread no more than the posterior of each is wide holds "
                "nothing but noise. The table gives the share of the variance that each principal "
                "component has, and along each latent axis the spread of the images and the mean "
                "width of their posteriors.",
                [latent_chart(learnt.z, len(volumes))],
                Table(columns, rows),
            ),
            Section(
                "Volumes along the first component",
                "Projections along z, then along x, and what each differs by from the middle one.",
                [
                    _row(volumes, 0, pixel_size, "Along z"),
                    _row(volumes, 2, pixel_size, "Along x"),
                    _row(
                        *([each - middle for each in volumes], 0, pixel_size),
                        *("Differences along z", True),
                    ),
                ],
            ),
        ]
    sections += [
        Section(
            "Volume in the middle" if learnt.z.shape[1] else "Volume",
            "",
            [
                central_slices(middle, pixel_size, "Central slices"),
                projections(middle, pixel_size, "Projections"),
            ],
        ),
        Section(
            "Course of the training",
            "The error is the mean square of what volumes leave unexplained of the images' "
            "transforms, in units of the noise; the divergence is what latent variables cost.",
            [loss_chart(learnt.history)],
        ),
    ]
    return sections


def latent_chart(z: np.ndarray, number: int) -> Chart:
    """Draw particles, and the points where volumes were made, by principal components."""
    points = points_along(z, number)
    components, shares = principal_axes(z)
    # the points in the same frame: all of it is linear
    solved = np.linalg.lstsq(z - z.mean(0), components, rcond=None)[0]
    there = (points - z.mean(0)) @ solved
    drawn = components[:: -(-len(z) // _DRAWN)]
    second = components.shape[1] > 1
    with chart_style():
        figure, axes = new_chart(WIDTH, 0.8 * WIDTH if second else 2.5)
        if second:
            axes.scatter(drawn[:, 0], drawn[:, 1], s=3.0, color=SERIES[0], alpha=0.3, linewidth=0)
            axes.set_ylabel(f"Component 2 ({shares[1]:.0%})")
            heights = there[:, 1]
        else:
            axes.hist(drawn[:, 0], 60, color=SERIES[0])
            axes.set_ylabel("Particles")
            heights = np.zeros(number)
        axes.scatter(there[:, 0], heights, s=24.0, color=SERIES[1], zorder=3)
        for name, (x, y) in enumerate(zip(there[:, 0], heights, strict=True), start=1):
            axes.annotate(
                str(name), (x, y), xytext=(4, 4), textcoords="offset points", color=INK, fontsize=9
            )
        axes.set_xlabel(f"Component 1 ({shares[0]:.0%} of the variance)")
        return to_chart(
            figure,
            "Latent variables of the particles",
            f"Scatter chart of {len(drawn)} particles by the first principal components, with "
            f"{number} numbered points.",
        )


def loss_chart(history: Sequence[dict[str, Any]]) -> Chart:
    """Draw the parts of the loss by epoch."""
    epochs = [row["epoch"] for row in history]
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.8)
        axes.plot(
            epochs,
            [row["losses"]["error"] for row in history],
            color=SERIES[0],
            marker=".",
            label="error",
        )
        axes.plot(
            epochs,
            [sum(row["losses"].values()) for row in history],
            color=SERIES[1],
            marker=".",
            label="with the divergence",
        )
        axes.set(xlabel="Epoch", ylabel="Mean over samples")
        axes.ticklabel_format(useOffset=False)
        # above the lines, which may be anywhere
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2)
        return to_chart(
            figure, "Loss by epoch", f"Line chart of the loss over {len(epochs)} epochs."
        )


def _row(
    volumes: Sequence[np.ndarray], axis: int, pixel_size: float, caption: str, signed: bool = False
) -> Panels:
    images = np.stack([each.sum(axis) for each in volumes])
    names = [str(number) for number in range(1, len(volumes) + 1)]
    return image_gallery(images, pixel_size, names, caption, signed=signed)
