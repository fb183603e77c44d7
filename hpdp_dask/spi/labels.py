"""Labels that people give to frames: a log that grows line by line, and files from elsewhere.

The log holds one line of JSON for each act of labelling:

    {"frame": 17, "label": "single", "person": "anna", "time": "2026-03-01T09:12:44.120Z"}

The last act on a frame holds; a label of null takes the label away. A line is written at once,
in one piece, at the end of the file, and is on the disk when `LabelLog.write` returns. So several
people may write one log on a shared file system, and nothing that was said is lost: what a crash
left of a line is passed over, and the next line starts anew.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.spi.label_files import read_label_file

#: Seconds to wait for others that write; a line takes them milliseconds. Some network file
#: systems know no locks, and there the system's own append must do.
_PATIENCE = 3.0


@dataclass(frozen=True)
class Act:
    """One act of labelling.

    Attributes
    ----------
    frame : int
        From 0.
    label : str or None
        None takes the label away.
    person : str
    time : str
        UTC, as ISO 8601 has it.
    """

    frame: int
    label: str | None
    person: str
    time: str


class LabelLog:
    """A log of labels that others may write too.

    Parameters
    ----------
    path : str or Path
        Made at the first act if it is not there.

    Attributes
    ----------
    path : Path
    acts : dict of int to Act
        What holds for each frame that has been labelled, as of the last `refresh`, of which there
        was none yet; acts that took a label away are there too.
    damaged : int
        Lines that could not be read, as crashes leave them.
    identity : tuple of int or None
        Of the file on its device; another when the file was replaced.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.acts: dict[int, Act] = {}
        self.damaged = 0
        self._read_to = 0
        self._line = 0
        self.identity: tuple[int, int] | None = None

    def check_writable(self) -> None:
        """Check that acts can be written, before anybody labels anything.

        Raises
        ------
        InputError
            There is no such folder, or the person may not write there.
        """
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise InputError(f"{self.path}: labels need a file in a folder that exists.")
        if not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise InputError(f"{self.path}: may not be written; choose another file of labels.")

    def write(self, given: Sequence[tuple[int, str | None]], person: str) -> None:
        """Add acts at the end, all in one piece; they are on the disk when this returns.

        Parameters
        ----------
        given : sequence of (int, str or None)
            Frames and their labels.
        person : str
            Who says so.

        Raises
        ------
        OSError
            They could not be written; nothing of them is there.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        acts = [Act(int(frame), label, person, now) for frame, label in given]
        lines = "".join(json.dumps(asdict(act)) + "\n" for act in acts)
        is_new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o664)
        try:
            alone = _lock(handle)  # until the file is closed
            size = os.fstat(handle).st_size
            unfinished = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            _append(handle, size if alone else None, ("\n" if unfinished else "") + lines)
        finally:
            os.close(handle)
        if is_new:
            _sync_folder(self.path.parent)

    def refresh(self) -> list[Act]:
        """Read what has been added since the last time, by whomever.

        Returns
        -------
        list of Act
            In the order of the file. All of them where the file was replaced by another.

        Raises
        ------
        InputError
            It is no log of labels, or cannot be read.
        """
        try:
            added = self._read_added()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}).") from error
        whole = added[: added.rfind(b"\n") + 1]
        self._read_to += len(whole)
        found = []
        for line in whole.splitlines():
            self._line += 1
            act = _read_act(line, f"{self.path}, line {self._line}")
            if act is None:
                self.damaged += bool(line.strip())
            else:
                found.append(act)
        if self.damaged and not found and not self.acts:
            raise InputError(
                f"{self.path}: not a log of labels, expected lines of JSON with frame and label; "
                "choose another file."
            )
        self.acts.update((act.frame, act) for act in found)
        return found

    def _read_added(self) -> bytes:
        """Read what is new in the file, or all of another file."""
        # opened anew, since network file systems look at the server then
        handle = os.open(self.path, os.O_RDONLY)
        try:
            status = os.fstat(handle)
            identity = status.st_dev, status.st_ino
            if identity != self.identity or status.st_size < self._read_to:
                self.identity = identity
                self._read_to = self._line = self.damaged = 0
                self.acts = {}
            return os.pread(handle, status.st_size - self._read_to, self._read_to)
        finally:
            os.close(handle)

    @property
    def labels(self) -> dict[int, str]:
        """Labels that hold, by frame."""
        return {frame: act.label for frame, act in self.acts.items() if act.label is not None}


def read_labels(path: str | Path, number: int) -> np.ndarray:
    """Read the labels of frames.

    Parameters
    ----------
    path : str or Path
        A log of the label page; a CSV file with the columns `frame` and `label`; an `.npz` with
        `frame` and `label`, or with `label` for all frames; an `.npy` for all frames. Frames
        count from 0. Labels are words or whole numbers; empty, NaN and numbers below 0 are none.
    number : int
        Frames of the stack.

    Returns
    -------
    (number,) ndarray of str
        Empty where there is no label.

    Raises
    ------
    InputError
        The file cannot be read or holds something else, a frame is not in the stack, or a frame
        has two labels.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of labels.")
    if _is_log(path):
        log = LabelLog(path)
        log.refresh()
        found = log.labels
    else:
        found = read_label_file(path, number)
    check_inside(found, number, path)
    labels = np.full(number, "", dtype=f"<U{max(map(len, found.values()), default=1)}")
    labels[list(found)] = list(found.values())
    return labels


def check_inside(labels: Mapping[int, object], number: int, path: Path) -> None:
    """Check that labelled frames are in a stack.

    Raises
    ------
    InputError
        Names the first that is not.
    """
    outside = sorted(frame for frame in labels if not 0 <= frame < number)
    if outside:
        others = f" and {len(outside) - 1} others" if len(outside) > 1 else ""
        raise InputError(
            f"{path}: there is a label for frame {outside[0]}{others}, but the stack has "
            f"{number} frames, counted from 0; are they labels of another stack?"
        )


def _is_log(path: Path) -> bool:
    if path.suffix.lower() in (".npz", ".npy", ".csv"):
        return False
    with path.open("rb") as file:
        return path.suffix == ".jsonl" or file.read(64).lstrip()[:1] == b"{"


def _read_act(line: bytes, where: str) -> Act | None:
    """Read a line; None if it is empty or was cut short."""
    try:
        found = json.loads(line)
    except ValueError:  # not JSON, or not UTF-8
        return None
    fields = found if isinstance(found, dict) else {}
    frame, label = fields.get("frame"), fields.get("label")
    if (
        not isinstance(frame, int)
        or isinstance(frame, bool)
        or "label" not in fields
        or not (label is None or (isinstance(label, str) and label))
    ):
        raise InputError(
            f"{where}: expected a whole number as frame and a word, or null, as label; mend or "
            "remove the line."
        )
    return Act(frame, label, str(fields.get("person", "")), str(fields.get("time", "")))


def _lock(handle: int) -> bool:
    """Hold a file against others that write it; tell whether that could be had."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except (BlockingIOError, PermissionError):  # another has it
            time.sleep(0.005)
        except OSError:
            return False
    return False


def _append(handle: int, size: int | None, text: str) -> None:
    """Write at the end of a file, down to the disk; cut it back to `size` if that fails."""
    data = text.encode()
    try:
        written = os.write(handle, data)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)
    except OSError:
        if size is not None:
            os.ftruncate(handle, size)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
