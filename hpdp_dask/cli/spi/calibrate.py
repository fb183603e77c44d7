"""`hpdp spi calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, called, runs_on_a_cluster


@runs_on_a_cluster
def calibrate_command(
    frames: Annotated[Path, typer.Argument(help="A Zarr stack of ADU.", show_default=False)],
    output: options.OutputStack,
    gain: Annotated[
        float | None,
        typer.Option(
            help="ADU a photon; by default that of the peak of single photons.", show_default=False
        ),
    ] = None,
    common_mode: Annotated[
        str,
        typer.Option(
            help="Pixels that share an offset in a frame: *rows*, *half-rows*, *columns*, "
            "*half-columns*, *quadrants*, a block as *64x64*, or *none*."
        ),
    ] = "half-rows",
    mask: Annotated[
        list[Path] | None,
        typer.Option(
            help="Pixels that are bad, besides those masked already: .npy or HDF5, 0 good; several "
            "add up.",
            show_default=False,
        ),
    ] = None,
    photon_from: Annotated[
        float,
        typer.Option(help="Share of a photon from which one more is counted; 0.5 rounds."),
    ] = 0.5,
    keep_bad: Annotated[
        bool, typer.Option("--keep-bad", help="Do not look for dead, hot and noisy pixels.")
    ] = False,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Make photons of what a detector read out.

    Offsets that pixels share in a frame are taken off, bad pixels are found and masked, and the
    rest is divided by the gain and rounded.

    Example: `hpdp spi calibrate adu.zarr -o frames.zarr --mask mask.npy`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.calibrate import calibrate

    masks = mask or []
    with (
        where.connected(reads=[frames, *masks], writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        done = calibrate(
            frames,
            output,
            gain=gain,
            common_mode=common_mode,
            masks=masks,
            find_bad=not keep_bad,
            from_share=photon_from,
            client=client,
            overwrite=overwrite,
            history={"command": called()},
            progress=progress,
        )
    peak = done.peak
    if gain is None and peak is not None:
        print(
            f"Gain: {peak.gain:.3f} ADU a photon (within {peak.error:.3f}). The peak of single "
            f"photons is {peak.ratio:.1f} times as high as the valley before it, "
            f"{peak.significance:.0f} standard deviations; two photons "
            f"{'make a peak too' if peak.doubled else 'make none'}."
        )
        if not peak.doubled or peak.significance < 15:
            print("Note: this is not sure; compare with what is known of the detector (--gain).")
    else:
        print(f"Gain: {done.gain:.3f} ADU a photon, as given")
        if peak is not None and abs(peak.gain - done.gain) > 0.1 * done.gain:
            print(f"Note: the peak of single photons is at {peak.gain:.3f} ADU.")
    print(f"Noise: {done.noise:.3f} ADU, {done.noise / done.gain:.3f} photons")
    bad = ", ".join(f"{number:,} {name}" for name, number in done.bad.items() if number)
    print(
        f"Bad pixels: {sum(done.bad.values()):,} of {done.pixels:,}" + (f" ({bad})" if bad else "")
    )
    if done.not_whole:
        print(f"Note: {done.not_whole:,} frames are mostly not finite; they have no photons there.")
    print(f"Stack: {done.path} ({done.number:,} frames of photons, {done.dtype})")
