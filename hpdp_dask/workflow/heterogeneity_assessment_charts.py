"""The charts of an assessment: evidence, what half-sets share, widths."""

from __future__ import annotations

import numpy as np

from hpdp_dask.cryoem.heterogeneity.agreement import Agreement
from hpdp_dask.cryoem.heterogeneity.held_out import Found
from hpdp_dask.cryoem.heterogeneity.verdict import Verdict
from hpdp_dask.workflow.drawing import (
    INK,
    MUTED,
    SERIES,
    WIDTH,
    Chart,
    chart_style,
    new_chart,
    to_chart,
)

#: Particles that a scatter shows at most; bins of a histogram.
_DRAWN, _BINS = 5000, 60


def spoken_chance(p_value: float) -> str:
    """Write a p-value; what is smaller than a normal approximation can tell, as less than that."""
    return "< 1e-16" if p_value < 1e-16 else f"{p_value:.2g}"


def evidence_chart(verdict: Verdict) -> Chart:
    """Draw what each direction gains in held-out evidence, and what it gains from a wrong side."""
    with chart_style():
        figure, axes = new_chart(WIDTH, 3.0)
        axes.set_yscale("symlog", linthresh=0.1)
        axes.set_yticks([-10, -1, -0.1, 0, 0.1, 1, 10, 100])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.axhline(0.0, color=MUTED, linewidth=1.0)
        count = len(verdict.halves[0].gains)
        number = np.arange(1, count + 1)
        for place, half in enumerate(verdict.halves):
            name = ("first", "second")[place]
            axes.errorbar(
                number + 0.16 * (place - 0.5),
                half.gains,
                3.0 * half.errors,
                color=SERIES[place],
                marker="o",
                markersize=4.5,
                linestyle="none",
                elinewidth=1.4,
                label=f"of the {name} half-set",
            )
        wrong = np.mean([half.controls for half in verdict.halves], axis=0)
        axes.plot(
            number, wrong, color=MUTED, marker="x", linestyle="none", label="from a wrong side"
        )
        axes.set_xticks(number)
        low = min(-0.2, 1.5 * min(wrong.min(), *(half.gains.min() for half in verdict.halves)))
        high = max(0.2, 2.5 * max(half.gains.max() for half in verdict.halves))
        axes.set(
            xlabel="Direction", ylabel="Gain of a held-out image (nats)", ylim=(float(low), high)
        )
        axes.legend(loc="upper right")
        spoken = ", ".join(f"{gain:.3g}" for gain in verdict.halves[0].gains)
        return to_chart(
            figure,
            "Held-out evidence by direction; bars are three standard errors",
            f"Chart of the mean gain of {count} directions, of the first half-set {spoken} nats.",
        )


def gain_chart(found: Found) -> Chart:
    """Draw how the gains of images are distributed."""
    gains, controls = found.gains.sum(1), found.controls.sum(1)
    low, high = np.quantile(np.concatenate([gains, controls]), (0.001, 0.995))
    bins = np.linspace(low, high, _BINS)
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.6)
        for values, colour, name in (
            (gains, SERIES[0], "all directions"),
            (controls, MUTED, "from a wrong side"),
        ):
            counts = np.histogram(values, bins)[0]
            axes.stairs(counts, bins, color=colour, linewidth=1.6, label=name)
        axes.axvline(0.0, color=MUTED, linewidth=1.0)
        axes.set(xlabel="Gain of an image (nats)", ylabel="Images")
        axes.legend(loc="upper right")
        return to_chart(
            figure,
            "Gains of the images",
            f"Histogram of the gains of {len(gains):,} images: {np.mean(gains > 0):.0%} gain by "
            f"all directions, {np.mean(controls > 0):.0%} by directions from a wrong side.",
        )


def correlation_chart(agreement: Agreement) -> Chart:
    """Draw how the half-sets agree, axis by axis."""
    number = np.arange(1, len(agreement.correlations) + 1)
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.4)
        shared = number <= agreement.shared
        for which, colour, name in ((shared, SERIES[0], "shared"), (~shared, MUTED, "not shared")):
            if which.any():
                values = agreement.correlations[which]
                axes.bar(number[which], values, 0.6, color=colour, label=name)
        axes.axhline(
            agreement.chance, color=SERIES[1], linewidth=1.2, linestyle=(0, (4, 2)), label="chance"
        )
        axes.set_xticks(number)
        axes.set(ylim=(0.0, 1.0), xlabel="Axis", ylabel="Correlation")
        axes.grid(False, axis="x")
        axes.legend(loc="upper right")
        spoken = ", ".join(f"{each:.2f}" for each in agreement.correlations)
        return to_chart(
            figure,
            "Agreement of the half-sets; chance stays below the line in 99 of 100 cases",
            f"Bar chart of the canonical correlations {spoken}; chance {agreement.chance:.2f}.",
        )


def places_chart(agreement: Agreement) -> Chart:
    """Draw where images are along the first axis, as each half-set has it."""
    first, second = (places[:, 0] for places in agreement.places)
    step = -(-len(first) // _DRAWN)
    with chart_style():
        figure, axes = new_chart(WIDTH, 0.8 * WIDTH)
        axes.scatter(first[::step], second[::step], s=3.0, color=SERIES[0], alpha=0.3, linewidth=0)
        ends = np.array([-1.0, 1.0]) * max(np.abs(first).max(), np.abs(second).max())
        axes.plot(ends, ends, color=INK, linewidth=0.8)
        axes.set(xlabel="By the first half-set", ylabel="By the second half-set")
        return to_chart(
            figure,
            "Places of images along the first axis",
            f"Scatter chart of the places of {len(first[::step]):,} images along the first axis as "
            f"both half-sets have it; correlation {agreement.correlations[0]:.2f}.",
        )


def width_chart(z: np.ndarray, width: np.ndarray) -> Chart:
    """Draw the widths of posteriors, by latent axis, against the spread of the images."""
    shares = width / z.std(0)
    bins = np.geomspace(
        max(1e-3, np.quantile(shares, 0.001)), max(1.2, np.quantile(shares, 0.999)), _BINS
    )
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.6)
        for k in range(shares.shape[1]):
            axes.stairs(
                np.histogram(shares[:, k], bins)[0],
                bins,
                color=SERIES[k % len(SERIES)],
                linestyle="solid" if k < len(SERIES) else "dashed",
                linewidth=1.6,
                label=f"axis {k + 1}",
            )
        axes.axvline(1.0, color=MUTED, linewidth=1.0)
        axes.set_xscale("log")
        axes.set_xticks(ticks := [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_xticklabels([f"{tick:g}" for tick in ticks])
        axes.set_xlim(bins[0], bins[-1])
        axes.set(xlabel="Width of an image's posterior / spread of all images", ylabel="Images")
        axes.legend(loc="upper left")
        spoken = ", ".join(f"{each:.2g}" for each in np.median(shares, 0))
        return to_chart(
            figure,
            "Widths of posteriors, in units of the spread of the images",
            f"Histogram of the widths of posteriors over the spread; medians by axis {spoken}.",
        )
