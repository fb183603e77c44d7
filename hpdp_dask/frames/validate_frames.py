"""A second pair of eyes on frames: is the geometry that of the detector, are these photons?

Nothing is changed. What all frames share is checked in whole, frames on a sample that is spread
evenly over them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import BAD, GOOD, Detector
from hpdp_dask.frames.counts import to_counts
from hpdp_dask.frames.describe_frames import known_of
from hpdp_dask.frames.sources import open_source
from hpdp_dask.frames.stored_stacks import is_stack, read_stack
from hpdp_dask.stacks.findings import Finding
from hpdp_dask.stacks.shards import ImageReader

#: Frames that are looked at, if they are not more than these bytes.
SAMPLE = 200
SAMPLE_BYTES = 256 * 2**20

#: Å. X-ray lasers that image particles are within.
WAVELENGTHS = (0.3, 60.0)
#: m. Pixels of detectors, binned or not.
PIXEL_SIZES = (2e-5, 2e-3)
#: Share of the photons of a sample that one pixel may have, and of pixels that may be masked.
HOTTEST, MASKED = 0.05, 0.5
#: Share of the pixels of a frame that may be saturated.
SATURATED = 0.01


def validate_frames(path: str | Path) -> list[Finding]:
    """Check a stack, file or run of frames for what is wrong or unlikely.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Finding

    Raises
    ------
    InputError
        There is no such file, or it cannot be opened.
    """
    path = Path(path)
    # a file may lack what --geometry and --wavelength will say
    lacking = "error" if is_stack(path) else "warning"
    if is_stack(path):
        source = read_stack(path)
        try:
            _check_shards(ImageReader(path))
        except InputError as error:
            return [Finding("error", "frames", str(error))]
    else:
        source = open_source(path)
    detector, mask, wavelength = known_of(source)
    findings = [
        *(Finding("warning", "file", note) for note in source.notes),
        *_check_detector(detector, wavelength, lacking),
        *_check_mask(mask),
        *_check_identity(source.columns),
    ]
    counted = source.unit == "photons"
    try:
        frames = _sample(source.read, source.number, source.shape)
        if counted:
            bad = None if mask is None else mask == BAD
            frames = {frame: to_counts(image, bad, frame, path) for frame, image in frames.items()}
    except InputError as error:
        return [*findings, Finding("error", "photons" if counted else "frames", str(error))]
    images = np.concatenate(list(frames.values()))
    good = np.ones(source.shape, bool) if mask is None else mask == GOOD
    findings += _check_saturation(images, good, source.saturation)
    check = _check_photons if counted else _check_adu
    return [*findings, *check(images, good)]


def _check_shards(reader: ImageReader) -> None:
    """See that no shard is missing."""
    layout = reader.layout
    for shard in range(layout.shards):
        if not layout.shard_file(shard).exists():
            reader.read(*layout.shard_range(shard))


def _sample(
    read: Callable[[int, int], np.ndarray], number: int, shape: tuple[int, int]
) -> dict[int, np.ndarray]:
    """Read frames that are spread evenly, by their number."""
    most = min(SAMPLE, max(1, SAMPLE_BYTES // (8 * shape[0] * shape[1])))
    chosen = np.unique(np.linspace(0, number - 1, min(number, most)).astype(np.int64))
    return {frame: read(frame, frame + 1) for frame in chosen.tolist()}


def _check_detector(detector: Detector | None, wavelength: float, lacking: str) -> list[Finding]:
    findings = []
    if not np.isfinite(wavelength):
        findings.append(
            Finding(lacking, "wavelength", "not known", "give --wavelength when importing")
        )
    else:
        low, high = WAVELENGTHS
        likely = low <= wavelength <= high
        findings.append(
            Finding("ok", "wavelength", f"{wavelength:.5g} Å")
            if likely
            else Finding("warning", "wavelength", f"{wavelength:.5g} Å", "is it in Å?")
        )
    if detector is None:
        advice = "give --geometry, or --pixel-size and --distance, when importing"
        return [*findings, Finding(lacking, "geometry", "not known", advice)]
    size, distance = detector.pixel_size, detector.distance
    if np.isfinite(size) and not PIXEL_SIZES[0] <= size <= PIXEL_SIZES[1]:
        findings.append(Finding("warning", "pixel size", f"{size:g} m", "is it in m?"))
    good = detector.mask == GOOD
    x, y = detector.pixel_x[good], detector.pixel_y[good]
    message = f"{distance:g} m from the sample"
    if good.any() and (x.min() > 0 or x.max() < 0 or y.min() > 0 or y.max() < 0):
        advice = "is the geometry that of these frames?"
        findings.append(
            Finding("warning", "geometry", f"{message}; the beam misses the detector", advice)
        )
    else:
        findings.append(Finding("ok", "geometry", message))
    return findings


def _check_mask(mask: np.ndarray | None) -> list[Finding]:
    if mask is None:
        advice = "hpdp import --mask takes one"
        return [Finding("warning", "mask", "none: all pixels count as good", advice)]
    share = float(np.mean(mask != GOOD))
    message = f"{100 * share:.2f} % of the pixels are masked"
    if share > MASKED:
        return [Finding("warning", "mask", message, "is it the other way round (0 is good)?")]
    return [Finding("ok", "mask", message)]


def _check_identity(columns: Mapping[str, np.ndarray]) -> list[Finding]:
    """Check that trains rise and that no pulse is there twice."""
    if "train_id" not in columns:
        return []
    trains = columns["train_id"].astype(np.int64)
    pairs = np.stack([trains, columns.get("pulse_id", np.arange(len(trains))).astype(np.int64)])
    twice = len(trains) - np.unique(pairs, axis=1).shape[1]
    if twice:
        advice = "is a file imported twice?"
        return [
            Finding("warning", "trains", f"{twice} frames have train and pulse of another", advice)
        ]
    falls = np.flatnonzero(np.diff(trains) < 0)
    if falls.size:
        at = int(falls[0])
        message = f"out of order: train {trains[at + 1]} follows {trains[at]} at frame {at + 1}"
        advice = "thresholds of each train still hold; was the run merged by hand?"
        return [Finding("warning", "trains", message, advice)]
    return [Finding("ok", "trains", f"{len(np.unique(trains))} in order")]


def _check_saturation(images: np.ndarray, good: np.ndarray, saturation: float) -> list[Finding]:
    """Look for frames of which a large part counted no further."""
    if not np.isfinite(saturation):
        return []
    shares = np.array([np.mean(image[good] >= saturation) for image in images])
    worst = float(shares.max(initial=0))
    if worst <= SATURATED:
        return [Finding("ok", "saturation", f"up to {100 * worst:.2g} % of the pixels of a frame")]
    message = (
        f"{int((shares > SATURATED).sum())} of {len(images)} frames have more than "
        f"{100 * SATURATED:g} % of their pixels at {saturation:g} or above"
    )
    return [Finding("warning", "saturation", message, "was the beam attenuated too little?")]


def _check_photons(photons: np.ndarray, good: np.ndarray) -> list[Finding]:
    counts = photons[:, good].sum(axis=1, dtype=np.int64)
    message = (
        f"{counts.mean():.5g} a frame ({counts.min()} to {counts.max()}) in {len(photons)} frames"
    )
    if not counts.any():
        return [Finding("error", "photons", message, "are these the right frames, or the mask?")]
    findings = [Finding("ok", "photons", message)]
    total = photons[:, good].sum(axis=0, dtype=np.int64)
    if total.max() > HOTTEST * total.sum() and total.size > 100:
        row, column = (int(index[np.argmax(total)]) for index in np.nonzero(good))
        share = 100 * total.max() / total.sum()
        findings.append(
            Finding(
                "warning",
                "hot pixels",
                f"row {row}, column {column} has {share:.1f} % of all photons",
                "mask it with --mask when importing",
            )
        )
    if not counts.all():
        findings.append(
            Finding("warning", "empty frames", f"{int((counts == 0).sum())} without a photon")
        )
    return findings


def _check_adu(frames: np.ndarray, good: np.ndarray) -> list[Finding]:
    numbers = frames[:, good]
    finite = np.isfinite(numbers)
    if not finite.any():
        return [Finding("error", "ADU", "no finite number in good pixels", "give another --mask")]
    low, middle, high = np.percentile(numbers[finite], (0.1, 50, 99.9))
    message = f"{low:.5g} to {high:.5g}, median {middle:.5g}, in {len(frames)} frames"
    findings = [Finding("ok", "ADU", message, "make photons with hpdp spi calibrate")]
    if not finite.all():
        pixels = int((~finite).any(axis=0).sum())
        findings.append(
            Finding(
                "warning",
                "ADU",
                f"{pixels} pixels of the mask's good ones are infinite or have no number in some "
                "frame",
                "hpdp spi calibrate masks them",
            )
        )
    return findings
