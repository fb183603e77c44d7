"""Settings of a YAML file, and options that go before them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hpdp_dask.errors import InputError


def merge_settings(file: Path | None, given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Put together what a YAML file says and what options say, which go before.

    Parameters
    ----------
    file : Path or None
    given : mapping of str to mapping
        Options by section, those without one under the section ""; None for one that was not
        given.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        The file is no YAML of names and values.
    """
    told: dict[str, Any] = {} if file is None else _read_yaml(file)
    for section, options in given.items():
        known = {name: value for name, value in options.items() if value is not None}
        if not section:
            told |= known
        elif known:
            before = told.get(section)
            told[section] = (dict(before) if isinstance(before, Mapping) else {}) | known
    return told


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise InputError(f"{file}: no YAML{line}; write names with their values.") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: holds no names with values, as number: 1000.")
    return found
