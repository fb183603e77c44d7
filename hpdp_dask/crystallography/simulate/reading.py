"""Settings as people write them: names and values of a YAML file or of options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hpdp_dask.crystallography.simulate.settings import Settings
from hpdp_dask.errors import InputError


def read_settings(told: Mapping[str, Any], source: str) -> Settings:
    """Make settings of names and values.

    Parameters
    ----------
    told : mapping of str to anything
        Names of `Settings`. A range may be two numbers, a single one for both ends, or text as
        `1.4,6`.
    source : str
        Where they are from, for messages.

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        A name that there is not, a value of another kind, or one that makes no sense.
    """
    kinds = {field.name: str(field.type) for field in fields(Settings)}
    unknown = [name for name in told if name not in kinds]
    if unknown:
        raise InputError(
            f"{source}: there is no setting {', '.join(map(repr, unknown))}; there are "
            f"{', '.join(kinds)}."
        )
    return Settings(
        **{name: _read(name, value, kinds[name], source) for name, value in told.items()}
    )


def _read(name: str, value: Any, kind: str, source: str) -> Any:
    try:
        match kind:
            case "Range":
                return read_range(value)
            case "int":
                if isinstance(value, bool) or int(value) != float(value):
                    raise ValueError
                return int(value)
            case "float":
                return float(value)
            case "tuple[str, ...]":
                return (value,) if isinstance(value, str) else tuple(map(str, value))
            case "str | None":
                return None if value is None else str(Path(value).absolute())
            case _:
                return value
    except (TypeError, ValueError) as error:
        expected = {"Range": "a number or two as 1.4,6", "int": "a whole number"}
        raise InputError(
            f"{source}: {name} is {value!r}, expected {expected.get(kind, 'a number')}."
        ) from error


def read_range(value: Any) -> tuple[float, float]:
    """Give the ends of a range: of two numbers, of one for both, or of text as `1.4,6`.

    Raises
    ------
    ValueError, TypeError
        It is none of these.
    """
    parts = value.split(",") if isinstance(value, str) else value
    parts = [parts] if isinstance(parts, (int, float)) else list(parts)
    if not 1 <= len(parts) <= 2:
        raise ValueError(value)
    return float(parts[0]), float(parts[-1])
