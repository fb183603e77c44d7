"""How pictures get into a page: line drawings that follow its colours, grey images as small PNG.

A drawing is made by matplotlib in stand-in colours, which become CSS variables of the page
(`--ink`, `--muted`, `--grid`, `--series-1` to `--series-6`), so that one drawing serves the light
and the dark scheme and print. Its text stays text, in the font of the page.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

#: Stand-in colour, name of the CSS variable, colour where there is no page.
_COLOURS = (
    ("#000001", "ink", "#1c2430"),
    ("#000002", "muted", "#5b6675"),
    ("#000003", "grid", "#d9dee5"),
    ("#000011", "series-1", "#0b5cad"),
    ("#000012", "series-2", "#c2410c"),
    ("#000013", "series-3", "#0f766e"),
    ("#000014", "series-4", "#7e3bb0"),
    ("#000015", "series-5", "#a16207"),
    ("#000016", "series-6", "#be185d"),
)
INK, MUTED, GRID = (stand_in for stand_in, _, _ in _COLOURS[:3])
SERIES = tuple(stand_in for stand_in, _, _ in _COLOURS[3:])

#: Width of a chart in inches; a page shows it up to 1.6 times as wide.
WIDTH = 5.2

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "hpdp",  # or the names inside would be random, and the page another each time
    "text.color": INK,
    "text.parse_math": False,  # a `$` in a name is a `$`
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}

_LARGEST_PANEL = 384
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Chart:
    """A line drawing for a page.

    Attributes
    ----------
    markup : str
        An `<svg>` element that refers to nothing outside of itself.
    caption : str
        What it shows, under it.
    description : str
        What it shows, in words, for those who do not see it.
    """

    markup: str
    caption: str
    description: str


@dataclass(frozen=True)
class Panel:
    """A grey image with a scale bar.

    Attributes
    ----------
    source : str
        The PNG as a `data:` address.
    label : str
        Beside the image.
    description : str
        What it shows, in words, for those who do not see it.
    bar_share : float
        Length of the scale bar, as a share of the image's width.
    bar_label : str
        Its length in Å or nm.
    """

    source: str
    label: str
    description: str
    bar_share: float
    bar_label: str


@dataclass(frozen=True)
class Panels:
    """Grey images side by side under one caption.

    Attributes
    ----------
    panels : tuple of Panel
    caption : str
    columns : int
        How many fit side by side on a wide page.
    """

    panels: tuple[Panel, ...]
    caption: str
    columns: int


@contextmanager
def chart_style() -> Iterator[None]:
    """Draw with the page's fonts, sizes and stand-in colours inside the block."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a person's own matplotlibrc must not change the report
        matplotlib.rcParams.update(_STYLE)
        yield


def new_chart(width: float, height: float) -> tuple[Figure, Axes]:
    """Give an empty figure of a size in inches, and its axes; for use inside `chart_style`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def to_chart(figure: Figure, caption: str, description: str) -> Chart:
    """Turn a figure into markup that can stand in a page; for use inside `chart_style`."""
    written = io.StringIO()
    with warnings.catch_warnings():
        # a name in a script that matplotlib cannot measure is still drawn by the browser
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    # control characters in a name would be no XML
    document = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "\ufffd", written.getvalue())
    return Chart(markup=_inline(document), caption=caption, description=description)


def _inline(document: str) -> str:
    """Take an SVG document to an `<svg>` element for HTML: no namespaces, no names that clash."""
    root = ElementTree.fromstring(document)
    prefix = sha256(document.encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', document))
    for parent in list(root.iter()):
        for child in list(parent):
            # a style sheet would hold for the whole page
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if (link := element.attrib.pop(_LINK, None)) is not None:
            element.set("href", re.sub("^#", f"#{prefix}-", link))
        if (name := element.attrib.pop("id", None)) in used:
            element.set("id", f"{prefix}-{name}")
        if clip := element.get("clip-path"):
            element.set("clip-path", clip.replace("url(#", f"url(#{prefix}-"))
        if style := element.get("style"):
            element.set("style", _page_style(style))
    # the page sets the size, and the element around it describes the drawing
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update({"stroke-linejoin": "round", "aria-hidden": "true"})
    return ElementTree.tostring(root, encoding="unicode")


def _page_style(style: str) -> str:
    """Put the page's colours and its font into the style of an element."""
    for stand_in, variable, colour in _COLOURS:
        style = style.replace(stand_in, f"var(--{variable}, {colour})")
    # matplotlib before 3.11 writes the shorthand
    return re.sub(r"(font-family: |font: [^;]*?px )[^;]+", r"\1var(--font, sans-serif)", style)


def to_panel(
    image: np.ndarray,
    pixel_size: float,
    limits: tuple[float, float],
    label: str,
    description: str,
) -> Panel:
    """Turn an image into an 8-bit grey PNG with a scale bar.

    Parameters
    ----------
    image : (y, x) ndarray
        Its first row is drawn at the bottom, NaN black. Larger than 384 pixels it is binned.
    pixel_size : float
        Å.
    limits : tuple of float
        The values that are drawn black and white.
    label, description : str

    Returns
    -------
    Panel
    """
    low, high = limits
    factor = -(-max(image.shape) // _LARGEST_PANEL)
    known = np.nan_to_num(image, nan=low, posinf=high, neginf=low).astype(np.float32)
    image = _binned(known, factor)
    grey = np.clip((image - low) / max(high - low, 1e-30), 0.0, 1.0)
    written = io.BytesIO()
    Image.fromarray(np.rint(255.0 * grey[::-1]).astype(np.uint8)).save(
        written, "PNG", optimize=True
    )
    width = pixel_size * factor * image.shape[1]
    length = scale_bar_length(width)
    return Panel(
        source="data:image/png;base64," + base64.b64encode(written.getvalue()).decode(),
        label=label,
        description=description,
        bar_share=length / width,
        bar_label=f"{length:g} Å" if length < 1000 else f"{length / 10:g} nm",
    )


def _binned(image: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of `factor` x `factor` pixels; rows and columns left over are cut off."""
    rows, columns = (size // factor for size in image.shape)
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(blocks.mean(axis=(1, 3)))


def scale_bar_length(width: float) -> float:
    """Give the longest of 1, 2, 5, 10, 20, 50 ... that is at most a third of a width."""
    power = 10.0 ** np.floor(np.log10(width / 3.0))
    # 0.5 for a logarithm that was rounded up to the next power
    return float(max(step * power for step in (0.5, 1, 2, 5) if step * power <= width / 3.0))
