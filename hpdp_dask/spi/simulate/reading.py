"""Settings as people write them: sections of a YAML file, and words for a species."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.crystfel import read_geometry
from hpdp_dask.formats.frames import Detector, flat_detector
from hpdp_dask.spi.simulate.detectors import lcls_detector, with_shadows
from hpdp_dask.spi.simulate.settings import Background, Beam, Readout, Settings
from hpdp_dask.spi.simulate.species import ASPECTS, KINDS, Species

T = TypeVar("T")

#: What is simulated where nobody says what: like a day at LCLS.
DEFAULT_SPECIES = (
    "icosahedron:name=virus,size=600,spread=0.02,share=2",
    "sphere:name=nanoparticle,size=450,spread=0.08",
    "rod:name=rod,size=420,spread=0.05",
)
DEFAULT_KINDS = {"single": 0.65, "double": 0.1, "aggregate": 0.05, "droplet": 0.05, "empty": 0.15}
DEFAULT_NUMBER = 1000

_SPECIES_NUMBERS = ("size", "spread", "aspect", "density", "share", "photons")

#: Sections of a file of settings, and what each may say.
_SECTIONS: dict[str, tuple[str, ...]] = {
    "detector": (
        *("geometry", "shape", "pixel_size", "distance", "wavelength", "center", "polarization"),
        *("gap", "beam_stop"),
    ),
    **{
        name: tuple(field.name for field in fields(kind))
        for name, kind in (("beam", Beam), ("background", Background), ("readout", Readout))
    },
    "kinds": KINDS,
}
_KEYS = ("number", "seed", "dead_pixels", "separation", "species", *_SECTIONS)


def read_settings(told: Mapping[str, Any], where: str) -> tuple[list[Species], Settings]:
    """Read species and settings.

    Parameters
    ----------
    told : mapping
        `number`, `seed`, `dead_pixels` and `separation`; `species`, a list of words as
        `read_species` takes them or of mappings; and the sections `detector`, `beam`,
        `background`, `readout` and `kinds`, under the names of the attributes of `Settings` and of
        what it holds. The detector is a CrystFEL `geometry`, or flat with a `shape`, `pixel_size`,
        `distance`, `center`; both may have a `wavelength`, `polarization`, `gap` and `beam_stop`.
        What is left out is as in the default set, like a day at LCLS.
    where : str
        Where it is written, for messages.

    Returns
    -------
    species : list of Species
    settings : Settings

    Raises
    ------
    InputError
        A word is not known, a value is none or makes no sense.
    """
    _check_words(told, _KEYS, where)
    sections: dict[str, dict[str, Any]] = {}
    for name, known in _SECTIONS.items():
        section = told.get(name)
        if section is not None and not isinstance(section, Mapping):
            raise InputError(f"{where}: {name} is {section!r}, expected names with their values.")
        sections[name] = dict(section or {})
        _check_words(sections[name], known, f"{where}: {name}")
    listed = told.get("species") or DEFAULT_SPECIES
    if isinstance(listed, str | Mapping):
        listed = [listed]
    species = [
        read_species(each) if isinstance(each, str) else _species(each, f"{where}: species")
        for each in listed
    ]
    kinds = {
        kind: _number(share, f"{where}: kinds: {kind}") for kind, share in sections["kinds"].items()
    }
    detector = _detector(sections["detector"], f"{where}: detector")
    readout = None
    if told.get("readout") is not None:
        readout = Readout(**_numbers(sections["readout"], f"{where}: readout"))
    return species, Settings(
        number=_integer(told.get("number", DEFAULT_NUMBER), f"{where}: number"),
        detector=detector,
        beam=_beam(sections["beam"], f"{where}: beam"),
        background=Background(**_numbers(sections["background"], f"{where}: background")),
        kinds=kinds or DEFAULT_KINDS,
        separation=_pair(told.get("separation", (1.1, 2.5)), _number, f"{where}: separation"),
        dead_pixels=_number(told.get("dead_pixels", 0.0), f"{where}: dead_pixels"),
        readout=readout,
        seed=_integer(told.get("seed", 0), f"{where}: seed"),
    )


def read_species(words: str) -> Species:
    """Read a species from words.

    Parameters
    ----------
    words : str
        The shape, a colon, and what is known of it: `icosahedron:size=600,spread=0.05,name=virus`,
        `model:file=4bed.pdb.gz`. Without a name it is called by its shape, or its file.

    Returns
    -------
    Species

    Raises
    ------
    InputError
        The words are not of this form, or make no sense.
    """
    where = f"species {words!r}"
    shape, _, rest = words.partition(":")
    return _species({"shape": shape.strip()} | read_pairs(rest, where), where)


def read_pairs(words: str, where: str) -> dict[str, str]:
    """Read `name=value,name=value`.

    Raises
    ------
    InputError
        The words are not of this form.
    """
    found = {}
    for part in filter(None, (part.strip() for part in words.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise InputError(
                f"{where}: {part!r} is no name with a value; write it like size=600,spread=0.05."
            )
        found[key] = value
    return found


def _species(told: Mapping[str, Any], where: str) -> Species:
    if not isinstance(told, Mapping):
        raise InputError(f"{where}: {told!r} is no species; write shape: sphere, size: 600.")
    _check_words(told, tuple(field.name for field in fields(Species)), where)
    if told.get("shape") not in ASPECTS:
        raise InputError(
            f"{where}: the shape is {told.get('shape')!r}, expected one of {', '.join(ASPECTS)}."
        )
    given = {key: str(value) for key, value in told.items() if value is not None}
    attributes: dict[str, Any] = dict(given)
    for key in given.keys() & set(_SPECIES_NUMBERS):
        attributes[key] = _number(told[key], f"{where}: {key}")
    if "file" in given:
        attributes["file"] = Path(given["file"])
        attributes.setdefault("name", Path(given["file"]).name.partition(".")[0])
    attributes.setdefault("name", given["shape"])
    return Species(**attributes)


def _beam(told: Mapping[str, Any], where: str) -> Beam:
    numbers: dict[str, Any] = _numbers(told, where)
    # 0 stands for no spread, as in options of the command line
    if "shape" in numbers:
        numbers["shape"] = numbers["shape"] or None
    if "pulses_per_train" in numbers:
        numbers["pulses_per_train"] = _integer(
            numbers["pulses_per_train"], f"{where}: pulses_per_train"
        )
    return Beam(**numbers)


def _detector(told: Mapping[str, Any], where: str) -> Detector:
    """Make the detector: of a geometry file, or flat; like the default where nothing is said."""
    numbers = _numbers(
        {
            key: told[key]
            for key in ("pixel_size", "distance", "wavelength", "beam_stop")
            if key in told
        },
        where,
    )
    for key in ("pixel_size", "distance", "wavelength"):
        if not numbers.get(key, 1.0) > 0:
            raise InputError(f"{where}: {key} is {numbers[key]}, expected a positive number.")
    if "geometry" in told:
        for key in ("shape", "center", "pixel_size"):
            if key in told:
                raise InputError(
                    f"{where}: {key} is for a flat detector, and {told['geometry']} says it too; "
                    "leave it out."
                )
        found = read_geometry(Path(str(told["geometry"]))).at(numbers.get("distance"))
        found = replace(found, wavelength=numbers.get("wavelength", found.wavelength))
        gap, beam_stop = 0, 0.0
    else:
        default = lcls_detector()
        found = flat_detector(
            _pair(told.get("shape", default.shape), _positive, f"{where}: shape"),
            numbers.get("pixel_size", default.pixel_size),
            numbers.get("distance", default.distance),
            numbers.get("wavelength", default.wavelength),
            center=_pair(told["center"], _number, f"{where}: center") if "center" in told else None,
        )
        gap, beam_stop = 2, 8.0
    polarization = told.get("polarization", "x")
    if polarization not in ("x", "y", "none"):
        raise InputError(f"{where}: polarization is {polarization!r}, expected x, y or none.")
    return with_shadows(
        replace(found, polarization=polarization),
        _integer(told.get("gap", gap), f"{where}: gap"),
        numbers.get("beam_stop", beam_stop),
    )


def _check_words(told: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse words that are not known, and ask whether one that is was meant."""
    for key in told:
        if key not in known:
            alike = get_close_matches(str(key), known, 1, 0.6)
            meant = f"did you mean {alike[0]!r}?" if alike else f"expected {', '.join(known)}."
            raise InputError(f"{where}: {key!r} is not known; {meant}")


def _pair(value: Any, read: Callable[[Any, str], T], where: str) -> tuple[T, T]:
    """Read two values: a list, or words with an x between them."""
    parts = value.lower().replace(",", "x").split("x") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        raise InputError(f"{where} is {value!r}, expected two numbers.")
    return read(parts[0], where), read(parts[1], where)


def _numbers(told: Mapping[str, Any], where: str) -> dict[str, float]:
    return {key: _number(value, f"{where}: {key}") for key, value in told.items()}


def _number(value: Any, where: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{where} is {value!r}, expected a number.") from None


def _integer(value: Any, where: str) -> int:
    number = _number(value, where)
    if not np.isfinite(number) or number != int(number):
        raise InputError(f"{where} is {value!r}, expected a whole number.")
    return int(number)


def _positive(value: Any, where: str) -> int:
    number = _integer(value, where)
    if number < 1:
        raise InputError(f"{where} is {value!r}, expected whole numbers from 1 on.")
    return number
