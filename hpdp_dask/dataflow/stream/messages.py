"""Frames that come as ZeroMQ messages as a stream; `message` says what is in one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.stream.batches import (
    FRAME_ID,
    Aside,
    Batch,
    EndOfStream,
    batch_name,
)
from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.dataflow.stream.ids import Intervals
from hpdp_dask.dataflow.stream.message import Frames, decode
from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole

#: Messages that wait in the socket of this process: few where more wait with the sender, more
#: where they would be lost.
PULLED, PUBLISHED = 16, 1000

#: A batch that does not fill is handed out after so long, seconds.
_GATHER = 0.5

#: Frames whose number is so far behind the last are late.
WINDOW = 100_000


class Messages:
    """Frames that come as messages.

    What has come is written into the folder of the stream before anybody works on it, so it
    outlives this process and its workers (what is still in the sockets at a SIGKILL does not:
    numbers that never came are counted). When the stream is full no message is received: with
    PUSH and PULL frames wait, first here, then with whoever sends, who waits in the end; a
    publisher drops frames for subscribers who lag, and they are counted as missing.

    Parameters
    ----------
    address : str
        As *tcp://host:port*; a host `*` is this one's: then others connect to it.
    batch : int
        Frames of a batch; fewer when nothing more comes for half a second.
    subscribe : bool, optional
        Subscribe to a publisher (SUB), rather than pull from who pushes (PULL).
    idle : float, optional
        The stream ends when nothing came for so many seconds; by default it goes on until it is
        ended.
    count : callable, optional
        Makes photons of frames as they were read out; is pickled into tasks.

    Raises
    ------
    InputError
        The address is none.
    """

    keeps_frames = False
    number = None

    def __init__(
        self,
        address: str,
        batch: int,
        *,
        subscribe: bool = False,
        idle: float | None = None,
        count: Callable[[xr.Dataset], xr.Dataset] | None = None,
    ) -> None:
        self.words = address.replace("tcp", "zmq+sub" if subscribe else "zmq", 1)
        self._address = address
        self._batch = batch
        self._idle = idle
        self._count = count
        self._held: deque[Frames] = deque()
        self._first_arrival = self._last_arrival = 0.0
        self._asides: deque[Aside] = deque()
        self._left: deque[Batch] = deque()
        self._came = time.monotonic()
        self._ended = False
        self._seen = Intervals()
        self._socket = _open(address, subscribe)

    @property
    def missing(self) -> int:
        """Give how many numbers never came, between the first and the last that did."""
        return self._seen.missing

    def begin(self, folder: Path, done: Collection[str]) -> None:
        """Find the frames that came before; those that have no results come again."""
        stream = StreamFolder(folder)
        self._incoming = stream.incoming
        self._incoming.mkdir(exist_ok=True)
        for name in done:
            self._seen.update(stream.ids(name))
            self._remove(name)
        for unfinished in self._incoming.glob(".*.part"):
            unfinished.unlink()
        now = time.time()
        for file in sorted(self._incoming.glob("*.npz")):
            with np.load(file, allow_pickle=False) as found:
                ids = found[FRAME_ID]
            self._seen.update(ids)
            self._left.append(
                Batch(file.stem, len(ids), (now, now), _ReadIncoming(file, self._count))
            )
        self._came = time.monotonic()

    def next(self, patience: float) -> Batch | Aside | None:
        """Receive until a batch is full, or has waited long enough."""
        if self._left:
            return self._left.popleft()
        until = time.monotonic() + patience
        while True:
            if self._asides:
                return self._asides.popleft()
            held = sum(len(frames.ids) for frames in self._held)
            now = time.monotonic()
            if held >= self._batch or (
                held and (self._ended or time.time() - self._first_arrival > _GATHER)
            ):
                return self._hand_out()
            quiet = self._idle is not None and now - self._came > self._idle
            if self._ended or (quiet and not held):
                raise EndOfStream
            if now >= until:
                return None
            if self._socket.poll(min(0.1, until - now) * 1000):
                self._receive()

    def _receive(self) -> None:
        parts = self._socket.recv_multipart()
        self._came = time.monotonic()
        try:
            frames = decode(parts)
        except ValueError as error:
            self._asides.append(Aside("damaged", "message", 1, str(error)))
            return
        if frames is None:
            self._ended = True
            return
        last = self._seen.last
        repeated = np.array([frame in self._seen for frame in frames.ids.tolist()])
        late = ~repeated & (frames.ids < last - WINDOW)
        for reason, wrong in (("repeated", repeated), ("late", late)):
            if wrong.any():
                ids = frames.ids[wrong]
                what = f"frames {ids[0]} to {ids[-1]}"
                self._asides.append(Aside(reason, what, len(ids), f"came after frame {last}"))
        frames = frames.take(~(repeated | late))
        if not frames.ids.size:
            return
        self._seen.update(frames.ids)
        if not self._held:
            self._first_arrival = time.time()
        self._last_arrival = time.time()
        self._held.append(frames)

    def _hand_out(self) -> Batch:
        """Write a batch of what is held into the folder, and hand it out."""
        parts, number, first = [], 0, self._held[0]
        while self._held and number < self._batch:
            frames = self._held[0]
            if frames.kind != first.kind:
                break
            if len(frames.ids) > self._batch - number:
                self._held[0] = frames.take(slice(self._batch - number, None))
                frames = frames.take(slice(self._batch - number))
            else:
                self._held.popleft()
            parts.append(frames)
            number += len(frames.ids)
        ids = np.concatenate([part.ids for part in parts])
        file = self._incoming / f"{batch_name(int(ids.min()), int(ids.max()))}.npz"
        photons = np.concatenate([part.photons for part in parts])
        columns = {
            name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns
        }
        # bare, since checksums of an archive would cost more than all else of the way to a worker
        with write_whole(file.with_suffix(".npy"), photons.nbytes) as stream:
            np.save(stream, photons, allow_pickle=False)
        with write_whole(file, ids.nbytes) as stream:
            np.savez(stream, allow_pickle=False, **{FRAME_ID: ids}, **columns)
        arrived = self._first_arrival, self._last_arrival
        self._first_arrival = self._last_arrival
        return Batch(file.stem, number, arrived, _ReadIncoming(file, self._count))

    def shared(self, geometry: int = 0) -> xr.Dataset | None:
        """Messages say nothing of the detector."""
        return None

    def again(self, name: str) -> Callable[[], xr.Dataset]:
        """Refuse: what came is kept as far as it is hits."""
        raise NotImplementedError("messages come once")

    def place_of(self, frame_id: int) -> tuple[str, int]:
        """Give the address, and the number of a frame as its sender counts."""
        return self.words, frame_id

    def waiting(self) -> int:
        """Tell how many frames were received and not handed out; of others nobody knows."""
        return sum(len(frames.ids) for frames in self._held)

    def settled(self, batch: Batch) -> None:
        """Remove what was written of a batch that has results."""
        self._remove(batch.name)

    def _remove(self, name: str) -> None:
        for suffix in (".npz", ".npy"):
            (self._incoming / f"{name}{suffix}").unlink(missing_ok=True)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(linger=0)


def _open(address: str, subscribe: bool) -> Any:
    from zmq.constants import SocketOption, SocketType
    from zmq.error import ZMQError
    from zmq.sugar.context import Context

    socket = Context.instance().socket(SocketType.SUB if subscribe else SocketType.PULL)
    socket.set_hwm(PUBLISHED if subscribe else PULLED)
    if subscribe:
        socket.setsockopt(SocketOption.SUBSCRIBE, b"")
    try:
        (socket.bind if "//*" in address else socket.connect)(address)
    except ZMQError as error:
        socket.close(linger=0)
        raise InputError(
            f"{address}: {error}; give an address as zmq://host:port, or zmq://*:port to be "
            "connected to."
        ) from error
    return socket


@dataclass(frozen=True)
class _ReadIncoming:
    """Reads a batch that was written as it came; the file of its ids was written last."""

    file: Path
    count: Callable[[xr.Dataset], xr.Dataset] | None

    def __call__(self) -> xr.Dataset:
        with np.load(self.file, allow_pickle=False) as found:
            columns = dict(found)
        photons = np.load(self.file.with_suffix(".npy"), allow_pickle=False)
        block = xr.Dataset(
            {"photons": (("frame", "y", "x"), photons)}
            | {name: ("frame", values) for name, values in columns.items()}
        )
        return block if self.count is None else self.count(block)
