"""What a check of data says: `hpdp validate` prints a list of these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    level : str
        `ok`, `warning` (look at it) or `error` (it will not work).
    topic : str
        What was checked: `pixel size`, `contrast`, ...
    message : str
        What was found.
    advice : str
        What to do; empty if nothing.
    """

    level: str
    topic: str
    message: str
    advice: str = ""
