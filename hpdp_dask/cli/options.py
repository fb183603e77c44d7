"""Options that several commands share, and how a command is ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: The heading of options that say where a command runs.
WHERE = "Where it runs"

MemoryLimit = Annotated[
    str | None,
    typer.Option(
        help="Of each local worker, as *4GiB*; by default its share of the machine.",
        rich_help_panel=WHERE,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from what an interrupted run left.")]
Symmetry = Annotated[
    str, typer.Option(help="Point group in RELION's setting: C1, C4, D2, T, O, I1, ...")
]
Truth = Annotated[Path | None, typer.Option(help="A map to compare with, for simulated particles.")]
#: In the range that NumPy, scikit-learn and PyTorch all take.
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of every random choice.")]
OutputFolder = Annotated[
    Path, typer.Option("--output", "-o", help="The folder to write.", show_default=False)
]
OutputStack = Annotated[
    Path, typer.Option("--output", "-o", help="The Zarr stack to write.", show_default=False)
]


class Interrupted(Exception):
    """A command was ended by Ctrl-C or by a scheduler; Typer does not see it as its own."""

    def __init__(self, interrupt: KeyboardInterrupt) -> None:
        super().__init__("\n".join(["interrupted.", *getattr(interrupt, "__notes__", [])]))
        self.exit_code = 143 if isinstance(interrupt, Terminated) else 130


class Terminated(KeyboardInterrupt):
    """The process was asked to end, as batch schedulers do at the walltime."""
