"""Options that say of images what their files do not: where the detector is, and the beam."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Where files do not say"

Geometry = Annotated[
    Path | None, typer.Option(help="A .geom file of CrystFEL.", rich_help_panel=_PANEL)
]
Mask = Annotated[
    Path | None,
    typer.Option(help="HDF5 or NumPy: 0 good, anything else bad.", rich_help_panel=_PANEL),
]
Wavelength = Annotated[float | None, typer.Option(help="Å.", rich_help_panel=_PANEL)]
Distance = Annotated[float | None, typer.Option(help="Of the detector, m.", rich_help_panel=_PANEL)]
PixelSize = Annotated[float | None, typer.Option(help="m.", rich_help_panel=_PANEL)]
Center = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="COLUMN ROW", help="Of the beam, pixels from 0.", rich_help_panel=_PANEL),
]
Like = Annotated[
    Path | None,
    typer.Option(
        help="A stack of frames, or an image, whose geometry and mask hold for these.",
        rich_help_panel=_PANEL,
    ),
]
