"""What `hpdp import` and `hpdp export` do with frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from hpdp_dask.cli.where import Where


def are_frames(inputs: Sequence[Path]) -> bool:
    """Tell whether files are of frames and not of particles.

    Raises
    ------
    InputError
        Some are of the one and some of the other.
    """
    from hpdp_dask.frames.sources import holds_frames

    of_frames = [holds_frames(path) for path in inputs]
    if any(of_frames) and not all(of_frames):
        frames, particles = inputs[of_frames.index(True)], inputs[of_frames.index(False)]
        raise InputError(
            f"{frames} holds frames and {particles} does not; import them into stacks of their own."
        )
    return all(of_frames)


def refuse_options(given: Mapping[str, Any], path: Path, others: str) -> None:
    """Refuse options that mean nothing for what is imported.

    Parameters
    ----------
    given : mapping
        By name; of those that were not given None, False or the default.
    path : Path
        What is imported.
    others : str
        What the options are for.

    Raises
    ------
    InputError
        One was given.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    for name, value in given.items():
        if value:
            raise InputError(
                f"--{name.replace('_', '-')} is for {others}, and {path} is none of these; leave "
                "it out."
            )


def import_frame_files(
    inputs: Sequence[Path], output: Path, *, overwrite: bool, where: Where, given: dict[str, Any]
) -> None:
    """Import frames, and say what came of it."""
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.frames.import_frames import import_frames

    with (
        where.connected(
            reads=[*inputs, given["geometry"], given["mask"]], writes=output, overwrite=overwrite
        ) as client,
        Progress() as progress,
    ):
        summary = import_frames(
            inputs, output, client=client, overwrite=overwrite, progress=progress, **given
        )
    for note in summary.notes:
        print(f"Note: {note}")
    rows, columns = summary.shape
    raw = summary.number * rows * columns * summary.dtype.itemsize
    print(
        f"Stack: {summary.path} ({summary.number:,} frames, {rows}x{columns}, {summary.unit} as "
        f"{summary.dtype}, 1/{raw / summary.stored_bytes:.1f} of their size)"
        if summary.unit == "photons"
        else f"Stack: {summary.path} ({summary.number:,} frames, {rows}x{columns}, ADU)"
    )


def export_frame_stack(stack: Path, output: Path, *, overwrite: bool) -> None:
    """Export frames, and say what came of it."""
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.frames.export_frames import export_frames

    with Progress() as progress:
        summary = export_frames(stack, output, overwrite=overwrite, progress=progress)
    for note in summary.notes:
        print(f"Note: {note}")
    beside = f" with {summary.detector_path}" if summary.detector_path else ""
    print(f"Exported: {summary.path}{beside} ({summary.number:,} frames)")
