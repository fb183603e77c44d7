"""Particles in the `.cs` files of cryoSPARC: NumPy structured arrays, one row a particle.

How its conventions become RELION's (checked against what cryoDRGN parses from the same files):

- `alignments3D/pose` is a rotation vector whose matrix, transposed, is RELION's `A`.
- `alignments3D/shift` times `alignments3D/psize_A` is RELION's origin in Å: same sign, but in
  pixels of the size at which the alignment was made, which need not be that of the images.
- `blob/sign` is what images are multiplied with to have particles white: where any is -1 the
  table gets `contrast_sign` (n,) int8, -1 or 1, and the importer multiplies.
- `location/center_{x,y}_frac` are fractions of the micrograph, whose shape is stored [y, x];
  `coordinate` counts columns and rows of the micrograph file as it is stored, whose first row
  cryoSPARC (and MRC) calls the bottom. Nothing is turned over: programs that read the micrograph
  from TIFF count rows from the other side.
- Angles are in radians; classes and halves count from 0.

A 2D classification (`alignments2D`) knows only the angle in the plane: its shift and class are
read, and there are no `euler_angles`.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hpdp_dask.errors import InputError
from hpdp_dask.formats.columns import group_rows, read_integers, read_numbers
from hpdp_dask.formats.cryosparc_fields import (
    ALIGNMENTS,
    ANGLES,
    COORDINATE,
    FORMAT,
    IMAGE,
    MICROGRAPH,
    NUMBERS,
    OPTICS,
    OPTICS_GROUP,
    WIDTHS,
)
from hpdp_dask.formats.cryosparc_writing import write_particles
from hpdp_dask.formats.locations import find_stacks, strip_marks
from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.numerics.rotations import matrix_to_euler, rotation_vector_to_matrix

__all__ = ["read_particles", "write_particles"]

Fields = dict[str, np.ndarray]


def read_particles(
    paths: Path | Sequence[Path],
    pixel_size: float | None = None,
    image_folder: Path | None = None,
) -> ParticleTable:
    """Read the particles of a `.cs` file and its passthrough files.

    Parameters
    ----------
    paths : Path or sequence of Path
        The particles, then passthrough files, which add fields to the particles of the first
        file (joined by `uid`); `.gz` is gunzipped.
    pixel_size : float, optional
        Of the images, Å; instead of what the file says. Shifts change in the same ratio.
    image_folder : Path, optional
        Where to look for the stacks, after the folder of the file and those above it. Whether a
        stack exists is not checked.

    Returns
    -------
    ParticleTable
        `particles` has besides the schema's names `contrast_sign`, if any image is to be
        multiplied by -1. `half_set` is there if the particles are in two halves.

    Raises
    ------
    InputError
        Not a `.cs` file, no images or no pixel size, poses of several classes, a value that is
        not a finite number, a particle twice, a particle that a passthrough file lacks.
    """
    first, *others = [paths] if isinstance(paths, str | Path) else list(paths)
    path = Path(first)
    fields = _load(path)
    for other in others:
        _join(fields, path, _load(Path(other)), Path(other))
    if not all(name in fields for name in IMAGE):
        raise InputError(
            f"{path}: no {' and '.join(IMAGE)}, which name the images; give the passthrough file "
            "that has them after this one."
        )
    _refuse_repeated_particles(fields, path)
    optics, group, scale = _read_optics(fields, path, pixel_size)
    stack_of_row, stack_names = pd.factorize(strip_marks(_texts(fields[IMAGE[0]])))
    files = find_stacks(list(stack_names), path, image_folder)
    source = SourceTables(
        format=FORMAT,
        particles={
            name: _texts(values) if values.dtype.kind == "S" else values
            for name, values in fields.items()
        },
        blocks={
            WIDTHS: {
                name: np.array([values.dtype.itemsize])
                for name, values in fields.items()
                if values.dtype.kind == "S"
            }
        },
    )
    return ParticleTable(
        particles={**_read_particle_fields(fields, path, scale), "optics_group": group},
        optics=optics,
        image_files=files,
        image_file=stack_of_row.astype(np.int32),
        image_index=fields[IMAGE[1]].astype(np.int64),
        source=source,
        path=path,
    )


def _load(path: Path) -> Fields:
    """Read a file to one array a field."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: cannot be gunzipped: {error}; copy the file again.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if not raw.startswith(b"\x93NUMPY"):
        raise InputError(f"{path}: not a .cs file: expected a NumPy structured array.")
    try:
        array = np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path}: truncated or damaged, found {len(raw)} bytes: {error}; copy the file again."
        ) from error
    if array.dtype.names is None or array.ndim != 1:
        raise InputError(
            f"{path}: holds no table; expected a .cs file of particles, a NumPy structured array."
        )
    if "uid" not in array.dtype.names or len(array) == 0:
        raise InputError(
            f"{path}: has {'no rows' if len(array) == 0 else 'no field uid'}; expected a .cs file "
            "of particles."
        )
    return {name: np.ascontiguousarray(array[name]) for name in array.dtype.names}


def _join(fields: Fields, path: Path, others: Fields, other: Path) -> None:
    """Add the fields of a passthrough file, in place, to particles of the same uid."""
    positions = pd.Index(others["uid"])
    if not positions.is_unique:
        raise InputError(f"{other}: a uid occurs twice; export the particles again.")
    rows = positions.get_indexer(pd.Index(fields["uid"]))
    if (rows < 0).any():
        raise InputError(
            f"{other}: lacks {int((rows < 0).sum())} of the {len(rows)} particles of {path}; is "
            "it the passthrough file of the same job?"
        )
    for name, values in others.items():
        fields.setdefault(name, values[rows])


def _refuse_repeated_particles(fields: Fields, path: Path) -> None:
    repeated = pd.Index(fields["uid"]).duplicated()
    if repeated.any():
        row = int(np.argmax(repeated))
        raise InputError(
            f"{path}: row {row + 1} repeats the particle (uid {fields['uid'][row]}) of an earlier "
            "row; remove one of them."
        )


def _read_optics(
    fields: Fields, path: Path, pixel_size: float | None
) -> tuple[Fields, np.ndarray, float | np.ndarray]:
    """Make optics groups; tell also by how much the given pixel size enlarges all lengths."""
    number = len(fields["uid"])
    unknown = np.full(number, np.nan)
    columns = {
        name: _decimal(fields[field], read_numbers(fields, field, path))
        if field in fields
        else unknown
        for name, field in OPTICS.items()
    }
    scale: float | np.ndarray = 1.0
    if pixel_size is not None:
        if OPTICS["pixel_size"] in fields:
            scale = pixel_size / columns["pixel_size"]
        columns["pixel_size"] = np.full(number, float(pixel_size))
    sizes = columns["pixel_size"]
    if not (sizes > 0).all():
        raise InputError(
            f"{path}: no positive {OPTICS['pixel_size']} in row {int(np.argmin(sizes > 0)) + 1}; "
            "give the pixel size with --pixel-size."
        )
    keys = list(columns.values())
    if OPTICS_GROUP in fields:
        keys.append(fields[OPTICS_GROUP])
    first, group = group_rows(keys)
    return {name: values[first] for name, values in columns.items()}, group, scale


def _decimal(stored: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Give what was typed, 2.7, for what was stored as float32, 2.700000047683716."""
    if stored.dtype != np.float32:
        return numbers
    different, row = np.unique(stored, return_inverse=True)
    return np.array([float(str(number)) for number in different])[row]


def _read_particle_fields(fields: Fields, path: Path, scale: float | np.ndarray) -> Fields:
    found: Fields = {}
    for name, field in NUMBERS.items():
        if field in fields:
            values = read_numbers(fields, field, path)
            found[name] = np.degrees(values) if name in ANGLES else values
    if "defocus_u" in found:
        found.setdefault("phase_shift", np.zeros(len(fields["uid"])))
    found |= _read_alignments(fields, path, scale)
    if MICROGRAPH in fields:
        found["micrograph"] = _texts(fields[MICROGRAPH])
    if all(name in fields for name in COORDINATE):
        x, y, shape = (read_numbers(fields, name, path) for name in COORDINATE)
        found["coordinate"] = np.stack([x * shape[:, 1], y * shape[:, 0]], axis=1)
    if "blob/sign" in fields:
        sign = read_numbers(fields, "blob/sign", path)
        if not np.isin(sign, (-1, 1)).all():
            row = int(np.argmin(np.isin(sign, (-1, 1))))
            raise InputError(
                f"{path}: blob/sign of row {row + 1} is {sign[row]}, expected 1 or -1; mend the "
                "row."
            )
        if (sign < 0).any():
            found["contrast_sign"] = sign.astype(np.int8)
    return found


def _read_alignments(fields: Fields, path: Path, scale: float | np.ndarray) -> Fields:
    """Read pose, shift, half-set and class from the best alignments that the file has."""
    found: Fields = {}
    kind = next((name for name in ALIGNMENTS if f"{name}/pose" in fields), None)
    if kind is None:
        return found
    if kind == "alignments_class_0" and "alignments_class_1/pose" in fields:
        raise InputError(
            f"{path}: holds a pose for each of several classes (alignments_class_0, "
            "alignments_class_1, ...); export the particles of one class."
        )
    pose = read_numbers(fields, f"{kind}/pose", path)
    if kind != "alignments2D":
        matrices = np.swapaxes(rotation_vector_to_matrix(pose), -1, -2)
        found["euler_angles"] = matrix_to_euler(matrices)
    if f"{kind}/shift" in fields:
        size = f"{kind}/psize_A"
        if size not in fields:
            raise InputError(
                f"{path}: no field {size}, the pixel size of {kind}/shift; export the particles "
                "again from a current cryoSPARC."
            )
        pixels = read_numbers(fields, f"{kind}/shift", path)
        lengths = read_numbers(fields, size, path) * scale
        found["shift"] = pixels * lengths[:, None]
    if f"{kind}/split" in fields:
        half_set = read_integers(fields, f"{kind}/split", path)
        if not np.isin(half_set, (0, 1)).all():
            row = int(np.argmin(np.isin(half_set, (0, 1))))
            raise InputError(
                f"{path}: {kind}/split of row {row + 1} is {half_set[row]}, expected 0 or 1; mend "
                "the row."
            )
        # one half alone is cryoSPARC's way to say that there are none
        if half_set.min() != half_set.max():
            found["half_set"] = half_set
    if f"{kind}/class" in fields:
        found["class_number"] = read_integers(fields, f"{kind}/class", path) + 1
    if f"{kind}/class_posterior" in fields:
        found["class_probability"] = read_numbers(fields, f"{kind}/class_posterior", path)
    return found


def _texts(values: np.ndarray) -> np.ndarray:
    """Turn bytes into `str`; rows that have the same share it."""
    row, different = pd.factorize(values.astype(object))
    return np.array([os.fsdecode(text) for text in different], dtype=object)[row]
