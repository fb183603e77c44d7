"""Volumes of a training that workers make, and write as maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpdp_dask.cryoem.heterogeneity.volume_maker import VolumeMaker, volumes_per_task
from hpdp_dask.cryoem.heterogeneity.volumes import (
    LATENT_FILE,
    WEIGHTS_FILE,
    Conformations,
    read_conformations,
)
from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.leaves import Leaf
from hpdp_dask.dataflow.numbered import make_numbered
from hpdp_dask.formats.mrc import read_map, write_map

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


class VolumeFolder(NamedTuple):
    """A folder of volumes, `volume_001.mrc` and on; its `z.npy` says where they were made.

    Attributes
    ----------
    path : Path
    number : int
        Of volumes.
    first : int
        Number of the first.
    """

    path: Path
    number: int
    first: int = 1

    @classmethod
    def at(cls, path: Path, points: np.ndarray, first: int = 1) -> VolumeFolder:
        """Make the folder for volumes at points, (k, zdim), yet without them."""
        path.mkdir(parents=True, exist_ok=True)
        np.save(path / LATENT_FILE, np.asarray(points, dtype=np.float32))
        return cls(path, len(points), first)

    @property
    def files(self) -> list[Path]:
        """Name the files of the volumes."""
        numbers = range(self.first, self.first + self.number)
        return [self.path / f"volume_{number:03d}.mrc" for number in numbers]

    def read(self) -> list[np.ndarray]:
        """Read the volumes, (N, N, N) each."""
        return [read_map(file)[0] for file in self.files]


def write_volumes(
    trained: Path,
    folders: Sequence[VolumeFolder],
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Make the volumes of folders; workers write them, and none comes to this process.

    Parameters
    ----------
    trained : Path
        A folder of a training; like the others on a file system that the workers see too.
    folders : sequence of VolumeFolder
        With their `z.npy`.
    client : distributed.Client, optional
        By default this process makes them.
    progress : Progress, optional
    say : callable, optional
        Told in words of workers that are stuck.

    Raises
    ------
    InputError
        The weights are not there any more, the disk is full, or workers died time and again.
    """
    trained = trained.absolute()
    architecture = opened(trained).architecture
    make_numbered(
        _WriteMaps(trained, tuple(folders)),
        sum(folder.number for folder in folders),
        volumes_per_task(architecture, architecture.box),
        "volumes",
        trained,
        client=client,
        progress=progress,
        say=say,
    )


@dataclass(frozen=True)
class _WriteMaps:
    """Makes volumes of folders, counted through from one to the next."""

    trained: Path
    folders: tuple[VolumeFolder, ...]

    def __call__(self, which: Leaf) -> None:
        files = [file for folder in self.folders for file in folder.files]
        points = np.concatenate([np.load(folder.path / LATENT_FILE) for folder in self.folders])
        asked = slice(which.start, which.stop)
        made = opened(self.trained)
        for file, volume in zip(files[asked], made.volumes(points[asked]), strict=True):
            write_map(file, volume, made.pixel_size)


def opened(trained: Path) -> Conformations:
    """Read a training, or give it as this process has read it if it has not changed since."""
    return newest("conformations", _state(trained), partial(read_conformations, trained))


def coarse_maker(trained: Path, box: int) -> VolumeMaker:
    """Give what makes volumes of a training with fewer voxels, made once in a process."""
    return newest(
        "coarse volumes", (_state(trained), box), lambda: VolumeMaker(opened(trained), box)
    )


def _state(trained: Path) -> tuple[Path, int]:
    return trained, (trained / WEIGHTS_FILE).stat().st_mtime_ns
