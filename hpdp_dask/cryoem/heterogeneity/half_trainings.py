"""Two trainings that share no image: one on each half-set, and each then shown all images.

What the two have in common is in the particles, as with half-maps. The networks begin with other
random numbers too, or what those make of noise would look like an agreement.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.heterogeneity.directions import read_seen
from hpdp_dask.cryoem.heterogeneity.halves import assigned_halves
from hpdp_dask.cryoem.heterogeneity.learner import ConformationLearner
from hpdp_dask.cryoem.heterogeneity.observations import Optics, observe
from hpdp_dask.cryoem.heterogeneity.stage import (
    START_FILE,
    HeterogeneitySettings,
    check_settings,
    learn_conformations,
)
from hpdp_dask.cryoem.heterogeneity.volumes import NETWORKS, Conformations, read_conformations
from hpdp_dask.cryoem.subset import keep_particles
from hpdp_dask.dataflow.training import apply_to_all
from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.numerics.fourier import half_plane, unpack
from hpdp_dask.stacks.store import open_stack

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

HALVES = ("first", "second")

#: What a half leaves in its folder: what says that it is done, and its images, as long as they are
#: needed.
_DONE, _IMAGES = "run.json", "particles.zarr"


@dataclass(frozen=True)
class HalfTraining:
    """Networks that were trained on one half-set, and what they say of the images of both.

    Attributes
    ----------
    conformations : Conformations
    z, width : (n, zdim) ndarray of float32
        Latent variables of all images, and the widths of their posteriors.
    apart : (n, zdim) ndarray of float32
        Latent variables by every second sample of the images' transforms, those that the other
        half's are not by; see `EverySecond`.
    history : list of dict
        Of the training, as `dataflow.training.Trained` has it.
    """

    conformations: Conformations
    z: np.ndarray
    width: np.ndarray
    apart: np.ndarray
    history: list[dict[str, Any]]


def check_halves(stack: xr.Dataset, settings: HeterogeneitySettings) -> None:
    """See that each half-set of a stack can be trained on by itself.

    Raises
    ------
    InputError
        What is wrong.
    """
    if not settings.zdim:
        raise InputError(
            "--zdim is 0, expected 1 or more: there is no latent variable to agree on; hpdp cryoem "
            "reconstruct makes half-maps."
        )
    if settings.encoder == "none":
        raise InputError(
            "--encoder is none: images that a network was not trained on have no latent variable "
            "then, so half-sets cannot be compared; train with another encoder."
        )
    check_settings(stack, settings)
    halves = assigned_halves(stack)
    for half_set, name in enumerate(HALVES):
        try:
            check_settings(stack.isel(particle=np.flatnonzero(halves == half_set)), settings)
        except InputError as error:
            raise InputError(f"The {name} half-set by itself is not enough: {error}") from None


def train_halves(
    stack_path: Path,
    settings: HeterogeneitySettings,
    folder: Path,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    tell: Callable[[dict[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[HalfTraining, HalfTraining]:
    """Train networks on each half-set by itself, then show all images to both.

    Parameters
    ----------
    stack_path : Path
        With poses and CTF. If all its images are in one half-set, they go into halves by turns.
    settings : HeterogeneitySettings
        Of both; the seed of the second training is greater by one.
    folder : Path
        For what workers read, on a file system that they see, with room for the images of one
        half-set. What an interrupted run of the same work left there is gone on from; a half that
        was done is not trained again.
    client, progress, tell, say : optional
        As for `stage.learn_conformations`.

    Returns
    -------
    tuple of HalfTraining

    Raises
    ------
    InputError
        See `check_halves` and `stage.learn_conformations`.
    """
    stack = open_stack(stack_path)
    check_halves(stack, settings)
    folders = [folder.absolute() / f"half{half_set + 1}" for half_set in (0, 1)]
    for half_set, here in enumerate(folders):
        if not (here / _DONE).exists():
            if say is not None:
                say(f"The {HALVES[half_set]} half-set:")
            training = replace(settings.training, seed=settings.training.seed + half_set)
            _train(
                *(stack, half_set, replace(settings, training=training), here),
                client=client,
                progress=progress,
                tell=tell,
                say=say,
            )
    found = []
    for half_set, here in enumerate(folders):
        conformations = read_conformations(here)
        shown = (conformations.architecture, Optics.of(stack), str(here / START_FILE))
        own, apart = (
            apply_to_all(
                *(conformations.network, each, stack_path, here),
                threads=settings.training.threads,
                client=client,
                progress=progress,
                say=say,
            )
            for each in (ConformationLearner(*shown), EverySecond(*shown, first=half_set))
        )
        history = json.loads((here / _DONE).read_text())["results"]["history"]
        found.append(HalfTraining(conformations, own["z"], own["width"], apart["z"], history))
    return found[0], found[1]


def _train(
    stack: xr.Dataset,
    half_set: int,
    settings: HeterogeneitySettings,
    folder: Path,
    *,
    client: Client | None,
    progress: Progress | None,
    tell: Callable[[dict[str, Any]], None] | None,
    say: Callable[[str], None] | None,
) -> None:
    """Train on one half-set; leave the networks and what they begin from."""
    folder.mkdir(exist_ok=True)
    images = folder / _IMAGES
    if not images.exists():
        rows = np.flatnonzero(assigned_halves(stack) == half_set)
        what = f"the {HALVES[half_set]} half-set"
        keep_particles(stack, rows, images, what, client=client, progress=progress)
    try:
        learnt = learn_conformations(
            images, settings, folder, client=client, progress=progress, tell=tell, say=say
        )
    except InputError as error:
        raise InputError(
            f"In the training on the {HALVES[half_set]} half-set, whose images are counted by "
            f"themselves: {error}"
        ) from error
    results = {NETWORKS: learnt.conformations.save(folder), "history": learnt.history}
    written = json.dumps({"results": results}).encode()
    with write_whole(folder / _DONE, len(written)) as file:
        file.write(written)
    # its checkpoints stay: they tell that there is something to go on from
    shutil.rmtree(images)


@dataclass(frozen=True)
class EverySecond(ConformationLearner):
    """Shows a network every second sample of an image's transform.

    In the place of the others is what the network begins from: the map of its half-set, which
    tells nothing of what is particular about the image. So two networks that see other samples
    share no noise: what they agree on is in the particle.

    Attributes
    ----------
    first : int
        The first sample that it sees, 0 or 1.
    """

    first: int = 0
    name: str = "samples"

    def prepare(
        self,
        images: np.ndarray,
        rows: Mapping[str, np.ndarray],
        randoms: Sequence[np.random.Generator] | None,
    ) -> dict[str, np.ndarray]:
        """Make a batch of every second sample."""
        plane = half_plane(self.architecture.box, self.architecture.encoded)
        seen = read_seen(Path(self.start), self.architecture.box)
        power = seen.model.noise
        observed = observe(images, rows, self.optics, plane, power)
        samples = observed.ctf * seen.mean(observed.rotations, plane)
        samples[:, self.first :: 2] = observed.transforms[:, self.first :: 2]
        samples *= np.sqrt(power)[plane.shell]
        # the transforms are centred, so that nothing is to be moved
        centred = {**rows, "shift": np.zeros_like(rows["shift"])}
        return super().prepare(unpack(samples, plane), centred, randoms)
