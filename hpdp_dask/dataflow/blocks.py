"""Image by image: a stack as a Dask array of whole shards, functions of it, and its writing.

Reading, function and writing of a shard become one task, so that images neither wait in memory
nor travel. A function that uses a device uploads and downloads within itself
(`numerics.arrays`), so blocks are NumPy arrays everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from dask.callbacks import Callback
from dask.layers import ArrayValuesDep
from dask.tokenize import tokenize
from dask.utils import key_split

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.futures import RETRIES, device_resources, follow
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import write_images

if TYPE_CHECKING:
    from distributed import Client


def read_images(stack_path: str | Path) -> da.Array:
    """Give the images of a stack as a Dask array.

    Parameters
    ----------
    stack_path : str or Path
        The stack, on a file system that the workers see too.

    Returns
    -------
    (particle, y, x) dask.array.Array
        In the stored dtype; each chunk is a shard, which is read when it is computed.

    Raises
    ------
    InputError
        There is no such stack, or it has no images.
    """
    reader = ImageReader(stack_path)
    path = reader.layout.path
    lengths = _shard_lengths(reader)
    starts = np.arange(0, reader.number, reader.images_per_shard)
    shards = {(shard,): (start, start + lengths[shard]) for shard, start in enumerate(starts)}
    state = (path / reader.layout.array / "zarr.json").stat()
    return da.blockwise(
        _read_shard,
        (0, 1, 2),
        ArrayValuesDep((lengths,), shards),
        (0,),
        new_axes={1: reader.image_shape[0], 2: reader.image_shape[1]},
        align_arrays=False,
        reader=reader,
        dtype=reader.dtype,
        meta=np.empty((0, 0, 0), reader.dtype),
        name=f"read-{tokenize(str(path), state.st_mtime_ns)}",
    )


def _shard_lengths(reader: ImageReader) -> tuple[int, ...]:
    """Give the images of each shard."""
    step = reader.images_per_shard
    return tuple(min(step, reader.number - start) for start in range(0, reader.number, step))


def _read_shard(shard: tuple[int, int], *, reader: ImageReader) -> np.ndarray:
    return reader.read(*shard)


def map_images(
    images: da.Array,
    function: Callable[..., np.ndarray],
    *columns: np.ndarray | da.Array,
    dtype: np.dtype | type | None = None,
    image_shape: tuple[int, ...] | None = None,
    name: str = "map",
    **constants: Any,
) -> da.Array:
    """Apply a function to the images of each shard.

    Parameters
    ----------
    images : (n, y, x) dask.array.Array
        From `read_images` or `map_images`.
    function : callable
        `function(images, *columns, **constants)` takes the images of a shard and the same rows
        of each column, and gives as many images, or as many rows of numbers.
    *columns : (n, ...) ndarray or dask.array.Array
        What else is known of each image, with the images' chunks if a Dask array.
    dtype : dtype, optional
        Of what the function gives; by default that of the images.
    image_shape : tuple of int, optional
        Of what the function gives for one image, `()` for a number; by default that of the
        images.
    name : str, optional
        What the tasks are called on the dashboard: one word.
    **constants
        The same for all images; small, since each task carries them.

    Returns
    -------
    `(n, *image_shape)` dask.array.Array
        Lazy, in chunks of the same images.
    """
    shape = images.shape[1:] if image_shape is None else image_shape
    kind = np.dtype(images.dtype if dtype is None else dtype)
    # axis 0 is that of the particles, and each other axis has a number of its own; where the
    # images keep their axes, Dask fuses this with what comes before
    axes = count(1)
    inner = tuple(islice(axes, images.ndim - 1))
    arrays: list[Any] = [images, (0, *inner)]
    for column in columns:
        if isinstance(column, da.Array):
            if column.chunks[0] != images.chunks[0]:
                raise ValueError(f"a column in chunks of {column.chunks[0]} images for {images}")
            arrays += [column, (0, *islice(axes, column.ndim - 1))]
        else:
            arrays += [_rows_of_blocks(np.asarray(column), images.chunks[0]), (0,)]
    kept = len(shape) == len(inner)
    outer = dict(zip(inner if kept else axes, shape, strict=False))
    return da.blockwise(
        partial(_apply, function),
        (0, *outer),
        *arrays,
        new_axes={} if kept else outer,
        adjust_chunks=outer if kept else None,
        align_arrays=False,
        dtype=kind,
        meta=np.empty((0,) * (1 + len(shape)), kind),
        token=name,
        **constants,
    )


def _rows_of_blocks(column: np.ndarray, lengths: tuple[int, ...]) -> ArrayValuesDep:
    """Give each block its rows of a column."""
    if len(column) != sum(lengths):
        raise ValueError(f"a column of {len(column)} rows for {sum(lengths)} images")
    rows = np.split(column, np.cumsum(lengths)[:-1])
    return ArrayValuesDep((lengths,), {(block,): part for block, part in enumerate(rows)})


def _apply(function: Callable[..., np.ndarray], *blocks: Any, **constants: Any) -> np.ndarray:
    """Apply a function to blocks, which Dask puts into lists along axes that the result lacks."""

    def bare(block: Any) -> np.ndarray:
        return bare(block[0]) if isinstance(block, list) else block

    return function(*map(bare, blocks), **constants)


def store_images(
    images: da.Array,
    stack_path: str | Path,
    *,
    name: str | None = None,
    client: Client | None = None,
    progress: Progress | None = None,
) -> None:
    """Compute images and write them into a stack, each shard whole and by one task.

    Parameters
    ----------
    images : (n, y, x) dask.array.Array
        In chunks that are the shards of the stack.
    stack_path : str or Path
        A stack made by `stacks.store.new_stack`, on a file system that the workers see too.
    name : str, optional
        What the stage is called; by default as the tasks of the images.
    client : distributed.Client, optional
        Where to compute; by default in this process, shard after shard.
    progress : Progress, optional
        Told of each shard.

    Raises
    ------
    ValueError
        The chunks are not the shards: parallel writes would lose images.
    InputError
        The images cannot be read, or are not what the function or the stack takes.
    """
    reader = ImageReader(stack_path)
    path = reader.layout.path
    rows, columns = reader.image_shape
    chunks = (_shard_lengths(reader), (rows,), (columns,))
    if images.chunks != chunks:
        raise ValueError(f"chunks {images.chunks} for a stack of the shards {chunks}")
    name = name or key_split(images.name)
    starts = np.arange(0, reader.number, reader.images_per_shard)
    written = map_images(
        images,
        _write_shard,
        np.repeat(starts, chunks[0]),
        dtype=np.bool_,
        image_shape=(1, 1),
        name=f"store-{name}",
        path=path,
    )
    with shown(name, reader.number, client=client, progress=progress) as done:
        if client is None:
            with _CountShards(done, chunks[0], written.name):
                dask.compute(written, scheduler="synchronous")
            return
        from distributed import futures_of

        futures = futures_of(
            client.persist(written, retries=RETRIES, resources=device_resources(client))
        )
        del written
        sizes = [chunks[0][future.key[1]] for future in futures]
        follow(client, futures, lambda position: done(sizes[position]), f"{path}, {name}")


def _write_shard(images: np.ndarray, start: np.ndarray, *, path: Path) -> np.ndarray:
    """Write a shard, and say so for each of its images."""
    write_images(path, int(start[0]), images)
    return np.ones((len(images), 1, 1), np.bool_)


class _CountShards(Callback):
    """Counts the images of each shard that Dask has written in this process."""

    def __init__(self, done: Callable[[int], None], sizes: Iterable[int], name: str) -> None:
        super().__init__()
        self._done = done
        self._sizes = list(sizes)
        self._name = name

    def _posttask(self, key: Any, *_state: Any) -> None:
        if isinstance(key, tuple) and key[0] == self._name:
            self._done(self._sizes[key[1]])
