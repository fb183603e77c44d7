"""The variables of a particle stack: names, dimensions, units, meaning.

A stack is an `xarray.Dataset`; nothing wraps it. `check_particles` tells in one sentence what
is wrong with one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.errors import InputError


@dataclass(frozen=True)
class Variable:
    """What a variable of a stack is.

    Attributes
    ----------
    dims : tuple of str
        Its dimensions, in order.
    kind : str
        NumPy's kind of its dtype: `f` real, `i` integer, `U` text.
    unit : str
        Empty for a number without one.
    meaning : str
    """

    dims: tuple[str, ...]
    kind: str
    unit: str
    meaning: str


#: What the attribute `kind` of a stack of particles says.
PARTICLE_KIND = "particles"

PARTICLE_VARIABLES: dict[str, Variable] = {
    "images": Variable(("particle", "y", "x"), "f", "", "particles white on dark noise"),
    "euler_angles": Variable(
        ("particle", "angle"), "f", "degree", "rot, tilt, psi; RELION's ZYZ convention"
    ),
    "shift": Variable(
        ("particle", "axis"), "f", "Å", "x, y; rlnOriginXAngst and rlnOriginYAngst of RELION"
    ),
    "defocus_u": Variable(("particle",), "f", "Å", "defocus on the first axis, under positive"),
    "defocus_v": Variable(("particle",), "f", "Å", "defocus on the second axis, under positive"),
    "defocus_angle": Variable(("particle",), "f", "degree", "from x to the first axis"),
    "phase_shift": Variable(("particle",), "f", "degree", "of a phase plate"),
    "optics_group": Variable(("particle",), "i", "", "index along optics"),
    "half_set": Variable(("particle",), "i", "", "0 or 1, fixed for the life of the data"),
    "class_number": Variable(("particle",), "i", "", "class, from 1 as in RELION"),
    "class_probability": Variable(("particle",), "f", "", "of the class it is in"),
    "micrograph": Variable(("particle",), "i", "", "index along micrograph_name"),
    "coordinate": Variable(("particle", "axis"), "f", "pixel", "x, y in the micrograph"),
    "voltage": Variable(("optics",), "f", "kV", "acceleration voltage"),
    "spherical_aberration": Variable(("optics",), "f", "mm", "of the objective lens"),
    "amplitude_contrast": Variable(("optics",), "f", "", "share of amplitude contrast"),
    "pixel_size": Variable(("optics",), "f", "Å", "of the images"),
    "micrograph_name": Variable(("micrographs",), "U", "", "path of each micrograph"),
    "image_file": Variable(
        ("particle",), "i", "", "index along image_file_name: where the image was imported from"
    ),
    "image_index": Variable(("particle",), "i", "", "which image of that file, from 0"),
    "image_file_name": Variable(("image_files",), "U", "", "path of each file of images"),
}

#: What the CTF of an image is made of.
CTF_VARIABLES = (
    "defocus_u",
    "defocus_v",
    "defocus_angle",
    "voltage",
    "spherical_aberration",
    "amplitude_contrast",
    "pixel_size",
)

#: What a pose is made of.
POSE_VARIABLES = ("euler_angles", "shift")


#: kV. Electron microscopes that make particle images are within.
VOLTAGES = (60.0, 400.0)

#: What the optics must be, for messages.
_EXPECTED = {
    "voltage": f"{VOLTAGES[0]:g} to {VOLTAGES[1]:g} kV",
    "amplitude_contrast": "a fraction, from -1 to 1",
    "pixel_size": "a positive number of Å",
}


def stack_name(stack: xr.Dataset) -> str:
    """Give the name of a stack for messages: where it is, if that is known."""
    return str(stack.attrs.get("path", stack.encoding.get("source", "the stack")))


def check_variables(stack: xr.Dataset, variables: Mapping[str, Variable], kind: str) -> None:
    """Check that what a stack has of its variables has their dimensions and kind of numbers.

    Parameters
    ----------
    stack : xarray.Dataset
    variables : mapping of str to Variable
        Those that such a stack may have.
    kind : str
        What it is a stack of.

    Raises
    ------
    InputError
        Names the stack, the variable, what was expected and what was found.
    """
    for variable, spec in variables.items():
        if variable not in stack:
            continue
        found = stack[variable]
        if found.dims != spec.dims:
            raise InputError(
                f"{stack_name(stack)}: {variable} has the dimensions {found.dims}, expected "
                f"{spec.dims}; is this a stack of {kind} made by hpdp import?"
            )
        if spec.kind != "U" and found.dtype.kind not in {"i": "iu", "f": "f"}[spec.kind]:
            raise InputError(
                f"{stack_name(stack)}: {variable} holds {found.dtype}, expected "
                f"{'integers' if spec.kind == 'i' else 'real numbers'}."
            )


def check_particles(stack: xr.Dataset, needed: tuple[str, ...] = ()) -> None:
    """Check that a dataset is a particle stack and has what a stage needs.

    Parameters
    ----------
    stack : xarray.Dataset
        As `open_stack` gives it.
    needed : tuple of str, optional
        Variables that must be there and finite; half-sets, optics groups and what the optics are
        must be possible. Of optics only the groups count that particles are in.

    Raises
    ------
    InputError
        Names the stack, the variable, what was expected and what was found.
    """
    name = stack_name(stack)
    check_variables(stack, PARTICLE_VARIABLES, "particles")
    for variable in needed:
        if variable not in stack:
            raise InputError(
                f"{name}: no {variable} ({PARTICLE_VARIABLES[variable].meaning}), which this "
                "stage needs; import a file that has it."
            )
    for variable in needed:
        if variable == "half_set":
            _check_integers(stack, variable, 2, "0 or 1")
        if variable == "optics_group" or stack[variable].dims == ("optics",):
            groups = stack.sizes.get("optics", 0)
            _check_integers(stack, "optics_group", groups, f"0 to {groups - 1}")
        if variable != "images" and stack[variable].dtype.kind == "f":
            _check_numbers(stack, variable)


def _check_integers(stack: xr.Dataset, variable: str, number: int, expected: str) -> None:
    """Check that a variable of particles, if there is such, is from 0 to before a number."""
    if variable not in stack:
        return
    values = stack[variable].values
    wrong = np.flatnonzero((values < 0) | (values >= number))
    if wrong.size:
        raise InputError(
            f"{stack_name(stack)}: {variable} of row {wrong[0]} (counted from 0) is "
            f"{values[wrong[0]]}, expected {expected}; mend the file that was imported, and import "
            "it again."
        )


def _check_numbers(stack: xr.Dataset, variable: str) -> None:
    """Check that a variable is known and finite, and possible if it is of optics."""
    name, values = stack_name(stack), stack[variable].values
    rows, what = np.arange(len(values)), "row"
    if stack[variable].dims == ("optics",):
        what = "optics group"
        if "optics_group" in stack:
            rows = np.unique(stack["optics_group"].values)
            values = values[rows]
    every = tuple(range(1, values.ndim))
    unknown = np.isnan(values)
    if unknown.any():
        raise InputError(
            f"{name}: {variable} is not known for {unknown.sum()} of {values.size} entries, the "
            f"first in {what} {rows[unknown.any(axis=every).argmax()]} (counted from 0); give it "
            "to hpdp import (hpdp import --help names the option)."
        )
    infinite = np.isinf(values).any(axis=every)
    if infinite.any():
        raise InputError(
            f"{name}: {variable} of {what} {rows[infinite.argmax()]} (counted from 0) is infinite, "
            "expected a finite number; mend the file that was imported, and import it again."
        )
    for value in values if variable in _EXPECTED else ():
        if not is_possible(variable, float(value)):
            hint = "; is it in V?" if variable == "voltage" and value > 1000 else ""
            raise InputError(
                f"{name}: {variable} is {value:g}, expected {_EXPECTED[variable]}{hint}; "
                "mend the file that was imported, and import it again."
            )


def check_images(block: xr.Dataset) -> None:
    """Check that images are finite, at hardly a cost: by the sum of each.

    Parameters
    ----------
    block : xarray.Dataset
        As `dataflow.leaves.read_blocks` gives it.

    Raises
    ------
    InputError
        Names the stack and the first image that is not.
    """
    images = block["images"].values
    with np.errstate(invalid="ignore", over="ignore"):
        sums = images.sum(axis=(1, 2), dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(sums))
    if wrong.size:
        raise InputError(
            f"{stack_name(block)}: image {block.attrs['first_image'] + wrong[0]} (counted from 0) "
            "holds values that are no finite numbers; hpdp validate tells of all such, leave them "
            "out with hpdp import --drop-bad."
        )


def is_possible(variable: str, value: float) -> bool:
    """Tell whether optics can be so at all: no unit is guessed where they cannot.

    Parameters
    ----------
    variable : str
        A variable of optics.
    value : float
        In its unit; not NaN.
    """
    if variable == "voltage":
        return VOLTAGES[0] <= value <= VOLTAGES[1]
    if variable == "amplitude_contrast":
        return -1.0 <= value <= 1.0
    if variable == "pixel_size":
        return 0.0 < value < float("inf")
    return True
