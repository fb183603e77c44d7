"""What a user says of the detector, put together with what the files say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.crystfel import read_geometry
from hpdp_dask.formats.dragonfly_detector import read_detector
from hpdp_dask.formats.frames import Detector, flat_detector
from hpdp_dask.formats.mask_files import read_mask
from hpdp_dask.formats.stored_frames import PartialDetector, StoredFrames

#: What is possible at all, for each option; outside it is in another unit.
_RANGES = {
    "wavelength": (0.05, 500.0, "Å"),
    "distance": (1e-3, 100.0, "m"),
    "pixel_size": (1e-6, 1e-2, "m"),
}


@dataclass(frozen=True)
class Given:
    """What a user says of the detector; None where nothing.

    Attributes
    ----------
    geometry : Path or None
        A CrystFEL `.geom` file, or a detector file of Dragonfly.
    mask : Path or None
        0 good, anything else bad.
    wavelength : float or None
        Å.
    distance, pixel_size : float or None
        m.
    center : tuple of float or None
        Column and row of the beam, pixels from the centre of the first.
    """

    geometry: Path | None = None
    mask: Path | None = None
    wavelength: float | None = None
    distance: float | None = None
    pixel_size: float | None = None
    center: tuple[float, float] | None = None

    def names(self) -> tuple[str, ...]:
        """Name what is given."""
        return tuple(name for name, value in vars(self).items() if value is not None)

    def check(self) -> None:
        """Check the numbers.

        Raises
        ------
        InputError
            One is not possible; it may be in another unit.
        """
        for name, (low, high, unit) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(
                    f"--{name.replace('_', '-')} is {value:g}, expected {low:g} to {high:g} "
                    f"{unit}; give it in {unit}."
                )
        if self.center is not None and not np.isfinite(self.center).all():
            raise InputError("--center is not finite, expected a column and a row in pixels.")
        if self.geometry is not None and self.center is not None:
            raise InputError(
                f"--center: {self.geometry} says where the beam is; leave --center out, or give "
                "--pixel-size and --distance instead of --geometry."
            )


def with_detector(source: StoredFrames, given: Given) -> StoredFrames:
    """Complete what a file knows of its detector by what a user says; the user is right.

    Parameters
    ----------
    source : StoredFrames
    given : Given

    Returns
    -------
    StoredFrames
        With a detector where the geometry is known, else with what is known in `partial`.

    Raises
    ------
    InputError
        The geometry or the mask is of other pixels than the frames, or does not suffice.
    """
    given.check()
    notes = list(source.notes)
    partial = source.partial
    detector = source.detector
    known = detector.wavelength if detector is not None else partial.wavelength
    if given.geometry is not None:
        source, detector = _from_file(source, given.geometry, given, notes)
        detector = replace(detector, mask=_worse(detector.mask, _mask_of(source)))
        known = known if np.isfinite(known) else detector.wavelength
    elif detector is None:
        detector = _flat(source, given)
    else:
        detector = _moved(source, detector, given)
    if given.wavelength is not None:
        if np.isfinite(known) and not np.isclose(known, given.wavelength, rtol=1e-3):
            notes.append(
                f"--wavelength {given.wavelength:g} is used and not the {known:.6g} Å of the files"
            )
        known = given.wavelength
    if detector is None:
        partial = replace(partial, wavelength=known)
    else:
        size = _pixel_size(source, detector, given)
        detector = replace(detector, wavelength=known, pixel_size=size)
    if given.mask is not None:
        mask = read_mask(given.mask, source.shape)
        if detector is None:
            partial = replace(partial, mask=_worse(mask, partial.mask))
        else:
            detector = replace(detector, mask=_worse(mask, detector.mask))
    final = detector.mask if detector is not None else partial.mask
    if final is not None and not (final == 0).any():
        raise InputError(
            f"{given.mask or source.path}: no pixel is left good by the masks together; give "
            "another --mask."
        )
    return replace(source, detector=detector, partial=partial, notes=notes)


def _moved(source: StoredFrames, detector: Detector, given: Given) -> Detector:
    """Put the detector of a file at the distance that is given, if one is."""
    if given.center is not None:
        raise InputError(
            f"--center: {source.path} says where each pixel is; leave --center out, or give "
            "--geometry."
        )
    if given.distance is None:
        return detector
    return replace(detector, pixel_z=detector.pixel_z + given.distance - detector.distance)


def _pixel_size(source: StoredFrames, detector: Detector, given: Given) -> float:
    """Give the pixel size of a detector, or the one that is given where it is not known."""
    size = given.pixel_size
    if size is None or np.isclose(size, detector.pixel_size, rtol=0.01):
        return detector.pixel_size
    if np.isfinite(detector.pixel_size):
        raise InputError(
            f"--pixel-size is {size:g}, but {given.geometry or source.path} has pixels of "
            f"{detector.pixel_size:g} m; leave it out."
        )
    return size


def _mask_of(source: StoredFrames) -> np.ndarray | None:
    mask = source.partial.mask if source.detector is None else source.detector.mask
    return None if mask is None else mask.reshape(source.shape)


def _worse(mask: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    return mask if other is None else np.maximum(mask, other)


def _from_file(
    source: StoredFrames, path: Path, given: Given, notes: list[str]
) -> tuple[StoredFrames, Detector]:
    """Read a geometry file, and see that it is that of the frames."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; --geometry names a file.")
    if path.suffix == ".geom":
        geometry = read_geometry(path)
        notes.extend(geometry.notes)
        detector = geometry.at(given.distance)
    else:
        detector = read_detector(path).in_metres(given.pixel_size, given.distance)
    pixels, wanted = detector.mask.size, source.shape[0] * source.shape[1]
    if detector.shape != source.shape and pixels == wanted and source.flat:
        source = replace(
            source,
            shape=detector.shape,
            reader=replace(source.reader, shape=detector.shape),  # type: ignore[type-var]
            flat=False,
        )
    elif path.suffix != ".geom" and pixels == wanted:
        # a list of pixels in the order of the frames', whatever its rows
        detector = _reshaped(detector, source.shape)
    if detector.shape != source.shape:
        found, expected = (" x ".join(map(str, shape)) for shape in (detector.shape, source.shape))
        raise InputError(
            f"{path}: is of {found} pixels ({pixels}), the frames of {source.path} of {expected} "
            f"({wanted}); give the geometry of this detector."
        )
    return source, detector


def _reshaped(detector: Detector, shape: tuple[int, int]) -> Detector:
    return replace(
        detector,
        pixel_x=detector.pixel_x.reshape(shape),
        pixel_y=detector.pixel_y.reshape(shape),
        pixel_z=detector.pixel_z.reshape(shape),
        mask=detector.mask.reshape(shape),
    )


def _flat(source: StoredFrames, given: Given) -> Detector | None:
    """Make a flat detector where pixel size and distance are known."""
    partial: PartialDetector = source.partial
    pixel_size = partial.pixel_size if given.pixel_size is None else given.pixel_size
    distance = partial.distance if given.distance is None else given.distance
    asked = [
        f"--{name.replace('_', '-')}"
        for name in ("pixel_size", "distance", "center")
        if getattr(given, name) is not None
    ]
    if asked and source.modules > 1:
        raise InputError(
            f"{source.path}: has frames of {source.modules} modules, of which {asked[0]} does not "
            "say where they are; give --geometry."
        )
    if np.isfinite(pixel_size) and np.isfinite(distance) and source.modules == 1:
        return flat_detector(
            source.shape,
            pixel_size,
            distance,
            partial.wavelength,
            center=given.center or partial.center,
            mask=partial.mask,
        )
    if asked:
        lacking = "--pixel-size" if not np.isfinite(pixel_size) else "--distance"
        raise InputError(f"{asked[0]} needs {lacking} in m too; give both, or --geometry.")
    return None
