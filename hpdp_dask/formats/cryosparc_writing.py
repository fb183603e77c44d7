"""Particles written to `.cs` files of cryoSPARC."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd

from hpdp_dask.errors import InputError
from hpdp_dask.formats.columns import SAME, merge_column
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
from hpdp_dask.formats.locations import name_stacks, names_in_source
from hpdp_dask.formats.mrc_header import read_info
from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.numerics.rotations import (
    angular_distance,
    euler_to_matrix,
    matrix_to_rotation_vector,
    rotation_vector_to_matrix,
)

Fields = dict[str, np.ndarray]


def write_particles(path: Path, table: ParticleTable) -> None:
    """Write particles as a `.cs` file.

    A table that came from cryoSPARC is written with all its fields; numbers are replaced where
    they differ from those of the file by more than 1e-6 relative (poses: by that part of half a
    turn), and what is new gets new fields. Any other table is written with the fields `blob`,
    `ctf` and `alignments3D` that its values fill, and `uid` that follow from the names of the
    images, so that they are the same each time. Images are named relative to the folder of the
    file if they are inside, else as in the file that was read.

    Without `contrast_sign`, the sign of a table from cryoSPARC stays, and that of another is 1:
    RELION's images are white. Coordinates need the shape of the micrographs, and are written
    where it is known.

    Parameters
    ----------
    path : Path
    table : ParticleTable
        Rows of `source` are those of `particles`.

    Raises
    ------
    InputError
        A row names no image, the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    if not table.image_files or (table.image_file < 0).any():
        raise InputError(
            f"{table.path}: row {int(np.argmin(table.image_file)) + 1} names no image, and a .cs "
            "file of particles has one in each row; leave the row out."
        )
    known = table.source.format == FORMAT
    fields: Fields = dict(table.source.particles) if known else {}
    names = _name_images(fields, table, path)
    if not known:
        fields |= _new_fields(names, table)
    fields[IMAGE[0]] = names
    _put(fields, IMAGE[1], table.image_index, np.uint32)
    _update_optics(fields, table)
    _update_particles(fields, table)
    widths = table.source.blocks.get(WIDTHS, {}) if known else {}
    array = _to_structured(fields, {name: int(width[0]) for name, width in widths.items()})
    text = io.BytesIO()
    np.save(text, array, allow_pickle=False)
    with write_whole(path, array.nbytes) as file:
        file.write(text.getbuffer())


def _name_images(fields: Fields, table: ParticleTable, path: Path) -> np.ndarray:
    before, _ = names_in_source(table)
    stacks = name_stacks(table.image_files, path, table.image_file, before)
    names = np.array(stacks, dtype=object)[table.image_file]
    # a path that means the same keeps its mark
    return np.where(before == names, fields.get(IMAGE[0], names), names)


def _new_fields(names: np.ndarray, table: ParticleTable) -> Fields:
    """Begin the fields of a table that does not come from cryoSPARC."""
    number = len(table)
    images = pd.DataFrame({"stack": names, "index": table.image_index})
    # an image may be there several times, with other poses
    images["time"] = images.groupby(["stack", "index"]).cumcount()
    fields = {
        "uid": pd.util.hash_pandas_object(images, index=False).to_numpy(),
        IMAGE[0]: names,
        "blob/sign": np.ones(number, np.float32),
        "ctf/type": np.full(number, "imported", dtype=object),
        OPTICS_GROUP: table.particles["optics_group"].astype(np.uint32),
        "ctf/scale": np.ones(number, np.float32),
    }
    stack = next((file for file in table.image_files if file.exists()), None)
    if stack is not None:
        fields["blob/shape"] = np.tile(np.array(read_info(stack).shape[1:], np.uint32), (number, 1))
    return fields


def _put(fields: Fields, name: str, values: np.ndarray, dtype: type = np.float32) -> None:
    """Update a field in its own dtype, or add it."""
    before = fields.get(name)
    after = merge_column(before, values)
    if after.dtype != object:
        after = after.astype(dtype if before is None else before.dtype)
    fields[name] = after


def _update_optics(fields: Fields, table: ParticleTable) -> None:
    group = table.particles["optics_group"]
    for name, field in OPTICS.items():
        if field in fields or np.isfinite(table.optics[name]).any():
            _put(fields, field, table.optics[name][group])


def _update_particles(fields: Fields, table: ParticleTable) -> None:
    particles = table.particles
    for name, field in NUMBERS.items():
        if name in particles:
            values = particles[name]
            _put(fields, field, np.radians(values) if name in ANGLES else values)
    kind = next((name for name in ALIGNMENTS if f"{name}/pose" in fields), ALIGNMENTS[0])
    if "euler_angles" in particles:
        _update_pose(fields, f"{kind}/pose", particles["euler_angles"])
    if "shift" in particles:
        group = particles["optics_group"]
        size = f"{kind}/psize_A"
        lengths = fields.setdefault(
            size, table.optics["pixel_size"][group].astype(np.float32)
        ).astype(np.float64)
        _put(fields, f"{kind}/shift", particles["shift"] / lengths[:, None])
    if "half_set" in particles:
        _put(fields, f"{kind}/split", particles["half_set"], np.uint32)
    # RELION's class 0 is none, which cryoSPARC cannot say
    if "class_number" in particles and (particles["class_number"] > 0).all():
        _put(fields, f"{kind}/class", particles["class_number"] - 1, np.uint32)
    if "class_probability" in particles:
        _put(fields, f"{kind}/class_posterior", particles["class_probability"])
    if "contrast_sign" in particles:
        _put(fields, "blob/sign", particles["contrast_sign"])
    if "micrograph" in particles:
        _put(fields, MICROGRAPH, particles["micrograph"])
    if "coordinate" in particles and COORDINATE[2] in fields:
        fractions = particles["coordinate"] / fields[COORDINATE[2]][:, ::-1]
        for axis in (0, 1):
            _put(fields, COORDINATE[axis], fractions[:, axis])


def _update_pose(fields: Fields, name: str, euler_angles: np.ndarray) -> None:
    """Replace rotation vectors that turn otherwise; many vectors mean one rotation."""
    after = np.swapaxes(euler_to_matrix(euler_angles), -1, -2)
    vectors = matrix_to_rotation_vector(after)
    if name not in fields:
        fields[name] = vectors.astype(np.float32)
        return
    before = fields[name]
    turned = angular_distance(rotation_vector_to_matrix(before), after) > 180.0 * SAME
    fields[name] = np.where(turned[:, None], vectors, before).astype(before.dtype)


def _to_structured(fields: Fields, widths: dict[str, int]) -> np.ndarray:
    """Make the structured array; text gets the bytes that it had, or that it needs."""
    columns = {}
    for name, values in fields.items():
        if values.dtype == object:
            encoded = np.array([os.fsencode(text) for text in values], dtype=bytes)
            width = max(widths.get(name, 1), encoded.dtype.itemsize)
            values = encoded.astype(f"S{width}")
        columns[name] = values
    dtype = [(name, values.dtype, values.shape[1:]) for name, values in columns.items()]
    array = np.zeros(len(fields["uid"]), dtype)
    for name, values in columns.items():
        array[name] = values
    return array
