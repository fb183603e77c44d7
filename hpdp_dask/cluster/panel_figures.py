"""What stages have announced, as figures for the dashboard's page of stages and for notebooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any

from hpdp_dask.dataflow.announcements import TOPIC

if TYPE_CHECKING:
    from distributed import Client

#: Over how many seconds, at least, the rate of a running stage is taken.
_RECENT = 10.0

Events = Iterable[tuple[float, Any]]


@dataclass(frozen=True)
class StageFigures:
    """How far a stage is.

    Attributes
    ----------
    stage : str
        Its name.
    status : str
        *running*, *done*, *failed*, or *lost*: whoever ran it has left without a word.
    iteration : int or None
        Of a loop: the one that runs, or the last.
    images, total : int
        How many are done, of this iteration in a loop, and how many there are to do; 0 where
        nobody knows, as in a stream.
    images_per_second : float or None
        Over the last while of a running stage, else over its whole time.
    seconds_left : float or None
        Of this iteration, in a loop.
    seconds : float
        Since it began.
    resolution : float or None
        Å, of the last iteration that ended.
    sampling : str
        Steps of the search in that iteration; empty if there is none.
    curve : list of tuple
        Iteration and resolution, Å, where there is one.
    rates : list of tuple
        Time, seconds since 1970, and images per second then.
    """

    stage: str
    status: str
    iteration: int | None
    images: int
    total: int
    images_per_second: float | None
    seconds_left: float | None
    seconds: float
    resolution: float | None
    sampling: str
    curve: list[tuple[int, float]]
    rates: list[tuple[float, float]]

    def _repr_html_(self) -> str:
        return stage_card(self)


class Stages(list[StageFigures]):
    """Stages, the last that began first; a notebook shows them as the dashboard does."""

    def _repr_html_(self) -> str:
        return "".join(map(stage_card, self)) or "<p>No stage has been announced yet.</p>"


def stages(client: Client) -> Stages:
    """Give what the dashboard's page of stages shows.

    Parameters
    ----------
    client : distributed.Client

    Returns
    -------
    list of StageFigures
        The last that began first.
    """
    return read_stages(client.get_events(TOPIC))


def read_stages(events: Events, clients: Collection[str] | None = None) -> Stages:
    """Make figures of the messages of stages.

    Parameters
    ----------
    events : iterable of tuple
        Times and messages as the scheduler keeps them. What is no such message is left out:
        whoever is connected may write to the topic.
    clients : collection of str, optional
        Names of the clients that are connected now.

    Returns
    -------
    list of StageFigures
        The last that began first.
    """
    told: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for at, message in events:
        if _is_sound(message):
            told.setdefault(message["id"], []).append((at, message))
    return Stages(
        _figures(sorted(messages, key=lambda entry: entry[1]["number"]), clients)
        for messages in reversed(told.values())
    )


def _is_sound(message: Any) -> bool:
    kinds: dict[str, Any] = {
        **dict.fromkeys(("id", "stage", "status"), str),
        **dict.fromkeys(("number", "images", "total", "all_images"), int),
        "seconds": float,
        "iteration": int | None,
        "figures": Mapping,
        "curve": list | tuple,
    }
    return isinstance(message, Mapping) and all(
        isinstance(message.get(name), kind) for name, kind in kinds.items()
    )


def _figures(
    told: list[tuple[float, dict[str, Any]]], clients: Collection[str] | None
) -> StageFigures:
    last = told[-1][1]
    status = last["status"]
    if status == "running" and clients is not None and last.get("client") not in clients:
        status = "lost"
    rates = list(_rates(told))
    rate = rates[-1][1] if rates and status == "running" else None
    if rate is None and last["seconds"] > 0 and last["all_images"] > 0:
        rate = last["all_images"] / last["seconds"]
    left = last["total"] - last["images"] if last["total"] else None
    curve = [
        (iteration, float(resolution))
        for iteration, resolution in enumerate(last["curve"], start=1)
        if _is_quantity(resolution)
    ]
    resolution = last["figures"].get("resolution")
    return StageFigures(
        stage=last["stage"],
        status=status,
        iteration=last["iteration"],
        images=last["images"],
        total=last["total"],
        images_per_second=rate,
        seconds_left=left / rate if rate and left is not None and status == "running" else None,
        seconds=last["seconds"],
        resolution=float(resolution) if _is_quantity(resolution) else None,
        sampling=_sampling(last["figures"]),
        curve=curve,
        rates=rates,
    )


def _rates(told: list[tuple[float, dict[str, Any]]]) -> Iterable[tuple[float, float]]:
    """Give images per second against what was told a while before each message."""
    before = 0
    for at, message in told:
        while (
            message["seconds"] - told[before + 1][1]["seconds"] >= _RECENT
            if before + 1 < len(told)
            else False
        ):
            before += 1
        earlier = told[before][1]
        seconds = message["seconds"] - earlier["seconds"]
        if seconds >= 1.0:
            yield at, max(0.0, (message["all_images"] - earlier["all_images"]) / seconds)


def _is_quantity(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _sampling(figures: Mapping[str, Any]) -> str:
    angle = figures.get("angular_step", figures.get("step"))
    shift = figures.get("shift_step")
    words = [f"{angle:.3g}°"] if _is_quantity(angle) else []
    return " · ".join(words + ([f"{shift:.3g} Å"] if _is_quantity(shift) else []))


#: Of a running stage, one that is done, and others.
_COLOURS = {"running": "#0b5cad", "done": "#0f766e"}
_OTHER_COLOUR = "#c2410c"


def stage_card(figures: StageFigures) -> str:
    """Draw a stage as HTML, for the dashboard and notebooks; every text in it is escaped."""
    colour = _COLOURS.get(figures.status, _OTHER_COLOUR)
    share = 100.0 * min(1.0, max(0.0, figures.images / figures.total)) if figures.total else 0.0
    name = escape(figures.stage)
    if figures.iteration is not None:
        name += f' <span style="font-weight: 400;">· iteration {figures.iteration}</span>'
    cells = [
        (f"{figures.images:,}" + (f" of {figures.total:,}" if figures.total else ""), "images"),
        (_number(figures.images_per_second), "images per second"),
    ]
    if figures.iteration is not None:
        resolution = "–" if figures.resolution is None else f"{figures.resolution:.1f} Å"
        cells += [(resolution, "resolution"), (figures.sampling or "–", "sampling")]
    if figures.status == "running":
        of_what = "left" if figures.iteration is None else "left in this iteration"
        cells.append((_duration(figures.seconds_left), of_what))
    else:
        cells.append((_duration(figures.seconds), "in all"))
    return (
        '<div style="box-sizing: border-box; margin: 0 0 10px; '
        "padding: 10px 16px; background: #fff; color: #1c2430; border: 1px solid #d9dee5; "
        f"border-left: 5px solid {colour}; border-radius: 4px; "
        'font-family: Helvetica, Arial, sans-serif;">'
        '<div style="display: flex; justify-content: space-between; font-size: 16px;">'
        f'<b>{name}</b><span style="color: {colour};">{escape(figures.status)}</span></div>'
        '<div style="height: 6px; margin: 8px 0 10px; background: #e8ecf1; border-radius: 3px;">'
        f'<div style="height: 6px; width: {share:.1f}%; background: {colour}; '
        'border-radius: 3px;"></div></div>'
        '<div style="display: flex; flex-wrap: wrap; gap: 4px 32px;">'
        + "".join(
            f'<div style="min-width: 110px;"><div style="font-size: 20px; line-height: 26px; '
            f'font-variant-numeric: tabular-nums;">{escape(value)}</div>'
            f'<div style="font-size: 12px; color: #5b6675;">{label}</div></div>'
            for value, label in cells
        )
        + "</div></div>"
    )


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
