"""The stage: a stack of simulated frames with the truth, or a small one in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import xarray as xr
import zarr

from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.shard_tasks import run_shards
from hpdp_dask.formats.frames import BAD
from hpdp_dask.spi.simulate.background import WORKS, draw_dead_pixels, true_background
from hpdp_dask.spi.simulate.exposure import Exposure, Scene, live_pixels, make_scene
from hpdp_dask.spi.simulate.settings import Settings
from hpdp_dask.spi.simulate.species import Species, check_species
from hpdp_dask.spi.simulate.truth import Brightness, draw_truth
from hpdp_dask.stacks.frames import detector_of, frame_table, new_frames, open_frames
from hpdp_dask.stacks.layout import CHUNK_BYTES, read_layout
from hpdp_dask.stacks.shard_writer import write_shard
from hpdp_dask.stacks.store import staging

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Bytes of the frames of a shard at most, and shards at least: so that all workers have work.
_SHARD_BYTES, _FEWEST_SHARDS = 32 * 2**20, 16

#: First number of the key of the random stream of dead pixels.
_DEFECTS = 2_000


def simulate(
    species: Sequence[Species],
    settings: Settings,
    output: str | Path,
    *,
    client: Client | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Simulate frames into a stack, with the truth beside them.

    Parameters
    ----------
    species : sequence of Species
    settings : Settings
    output : str or Path
        The stack to make, `frames.zarr`; whole or not at all. Beside what an imported one has, it
        has `true_class` along `true_class_name` (-1 for none), `true_kind`, `true_size` (Å, of the
        sphere of equal volume), `true_quaternion` (particle to laboratory, scalar first),
        `true_fluence` (photons per µm²), `true_photons` (mean, of particles, on good pixels),
        `true_members`, `true_separation` and `true_partner_size` (Å, of doubles),
        `true_background_scale`; and `true_background`, `true_defects` of the pixels.
    client : distributed.Client, optional
        Its workers make and write the frames, so they must see the folder and the files of atomic
        models. By default in this process. Frames do not depend on it.
    overwrite : bool, optional
    progress : Progress, optional

    Raises
    ------
    InputError
        Settings that make no sense, a file that is no atomic model, an output that exists, a disk
        that is full.
    """
    prepared = _prepare(species, settings)
    shape, dtype = settings.detector.shape, np.dtype(prepared.exposure.dtype)
    unit = "photons" if settings.readout is None else "adu"
    rows = _rows_of_shard(settings.number, shape, 4 if unit == "adu" else dtype.itemsize)
    with staging(output, overwrite) as staged:
        new_frames(
            staged, prepared.table, settings.number, shape, dtype, unit=unit, images_per_shard=rows
        )
        task = partial(
            _write_shard,
            species=prepared.species,
            exposure=prepared.exposure,
            run=uuid4().hex,
        )
        photons = run_shards(
            task, staged, "simulate", on_device=True, client=client, progress=progress
        )
        column = zarr.open_group(staged, mode="r+")["true_photons"]
        assert isinstance(column, zarr.Array)
        column[...] = np.concatenate(photons)


def simulate_frames(species: Sequence[Species], settings: Settings) -> xr.Dataset:
    """Simulate a small set of frames in memory.

    Parameters
    ----------
    species : sequence of Species
    settings : Settings

    Returns
    -------
    xarray.Dataset
        As `open_frames` gives the stack that `simulate` writes.

    Raises
    ------
    InputError
        As `simulate`.
    """
    prepared = _prepare(species, settings)
    truth = {str(name): column.values for name, column in prepared.table.data_vars.items()}
    frames = [
        prepared.exposure.frame(prepared.scene, truth, number, number)
        for number in range(settings.number)
    ]
    unit = "photons" if settings.readout is None else "adu"
    return prepared.table.assign(
        {
            unit: (("frame", "y", "x"), np.stack([frame for frame, _ in frames])),
            "true_photons": ("frame", np.array([photons for _, photons in frames], np.float32)),
        }
    )


@dataclass(frozen=True)
class _Prepared:
    """All that is settled before the first frame is made."""

    species: tuple[Species, ...]
    scene: Scene
    table: xr.Dataset
    exposure: Exposure


def _prepare(species: Sequence[Species], settings: Settings) -> _Prepared:
    check_species(species)
    detector = settings.detector
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(_DEFECTS,)))
    defects = draw_dead_pixels(detector.shape, settings.dead_pixels, rng)
    background = true_background(detector, settings.background, live_pixels(detector, defects))
    if settings.readout is None:
        mask = np.where(defects == WORKS, detector.mask, BAD)
        detector = replace(detector, mask=mask.astype(np.uint8))
    files = [
        each if each.file is None else replace(each, file=Path(each.file).absolute())
        for each in species
    ]
    scene = make_scene(detector, files, background, defects)
    brightness = [scene.brightness(place, settings.seed) for place in range(len(scene.species))]
    truth = draw_truth(scene.species, brightness, settings)
    turned = truth.pop("true_quaternion")
    truth["true_photons"] = np.full(settings.number, np.nan, np.float32)
    table = frame_table(detector, truth, seed=settings.seed).assign(
        true_quaternion=(("frame", "quaternion"), turned),
        true_class_name=("true_classes", np.array([each.name for each in species])),
        true_background=(("y", "x"), background),
        true_defects=(("y", "x"), defects),
    )
    exposure = Exposure(settings.seed, _count_type(scene, brightness, truth), settings.readout)
    return _Prepared(tuple(files), scene, table, exposure)


def _count_type(
    scene: Scene, brightness: Sequence[Brightness], truth: Mapping[str, np.ndarray]
) -> str:
    """Give the smallest type that surely holds all counts."""
    kind = truth["true_class"]
    size = np.array([each.size for each in brightness])[kind]
    # the waves of all members may add up, and the amplitude grows with the volume
    members = np.float64(truth["true_members"]) ** 2 * (truth["true_size"] / size) ** 6
    peak = np.array([each.brightest for each in brightness])[kind] * truth["true_fluence"] * members
    scale = truth["true_background_scale"].max() * scene.background.max(initial=0.0)
    most = np.nanmax(peak, initial=0.0) + scale
    return "uint16" if most + 10.0 * most**0.5 + 100.0 < 2**16 else "uint32"


def _rows_of_shard(number: int, shape: tuple[int, int], itemsize: int) -> int:
    """Give how many frames a shard holds: whole megabytes, unless there are few frames."""
    frame = shape[0] * shape[1] * itemsize
    rows = max(1, min(_SHARD_BYTES // frame, -(-number // _FEWEST_SHARDS)))
    chunk = max(1, CHUNK_BYTES // frame)
    return rows if rows < chunk else rows // chunk * chunk


def _write_shard(
    path: Path, shard: int, *, species: tuple[Species, ...], exposure: Exposure, run: str
) -> np.ndarray:
    """Make and write a shard; give the mean photons of the particles of its frames."""
    layout = read_layout(path)
    first, last = layout.shard_range(shard)
    stack = open_frames(path)
    scene = newest("scene", run, lambda: _scene_of(stack, species))
    rows = stack.drop_dims("y").isel(frame=slice(first, last))
    truth = {str(name): column.values for name, column in rows.data_vars.items()}
    photons = np.empty(last - first, np.float32)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(first, last, layout.images_per_chunk):
            stop = min(start + layout.images_per_chunk, last)
            block = np.empty((stop - start, *layout.image_shape), layout.dtype)
            for number in range(start, stop):
                row = number - first
                block[number - start], photons[row] = exposure.frame(scene, truth, row, number)
            yield block

    write_shard(path, shard, blocks())
    return photons


def _scene_of(stack: xr.Dataset, species: tuple[Species, ...]) -> Scene:
    background, defects = (stack[name].values for name in ("true_background", "true_defects"))
    return make_scene(detector_of(stack), species, background, defects)
