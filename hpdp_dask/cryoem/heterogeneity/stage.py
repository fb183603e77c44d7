"""The stage: from a stack with poses to networks, the latent variables of images, and volumes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.heterogeneity.architecture import Architecture
from hpdp_dask.cryoem.heterogeneity.directions import Directions
from hpdp_dask.cryoem.heterogeneity.learner import ConformationLearner, amplitudes
from hpdp_dask.cryoem.heterogeneity.observations import Optics
from hpdp_dask.cryoem.heterogeneity.rounds import keep
from hpdp_dask.cryoem.heterogeneity.subspace import find_directions, measure_noise
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations
from hpdp_dask.cryoem.reconstruct import BackProjection
from hpdp_dask.cryoem.unposed import one_pixel_size
from hpdp_dask.dataflow.training import TrainingSettings, apply_to_all, train_network
from hpdp_dask.dataflow.training.train import check_torch
from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.symmetry import point_group
from hpdp_dask.stacks.schema import CTF_VARIABLES, POSE_VARIABLES, check_particles
from hpdp_dask.stacks.store import open_stack

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Shells that latent variables are found by, at most.
_ENCODED = 16

#: With fewer images for each dimension, what is found is noise.
_FEWEST = 50

#: What training starts from, in its folder; where the search for that is kept, until it is done.
START_FILE, _ROUNDS = "start.npz", "rounds"


@dataclass(frozen=True)
class HeterogeneitySettings:
    """What is trained, and how.

    Attributes
    ----------
    zdim : int
        Dimensions of the latent variable; 0 for one volume of all images.
    width, layers : int
        Of the decoder.
    features : str
        Of `architecture.FEATURES`.
    linear : bool
        Start from a linear model of the volumes (`subspace`); without, as cryoDRGN does, from
        nothing.
    encoder : str or None
        Of `architecture.ENCODERS`; by default `posterior` with a linear start, else `mlp`.
    samples : int
        Frequencies of an image that a step looks at, chosen by chance; 0 for all.
    divergence : float
        Weight of the divergence of latent variables from their prior.
    training : TrainingSettings
    """

    zdim: int = 8
    width: int = 256
    layers: int = 3
    features: str = "gaussian"
    linear: bool = True
    encoder: str | None = None
    samples: int = 512
    divergence: float = 1.0
    training: TrainingSettings = TrainingSettings(  # noqa: RUF009  (frozen, so all may share it)
        epochs=8,
        batch=32,
        rate=1e-3,
        decay=0.0,
        longest_gradient=10.0,
        precision="fastest",
    )


@dataclass(frozen=True)
class Learnt:
    """What was learnt of a stack.

    Attributes
    ----------
    conformations : Conformations
        Makes volumes.
    z, width : (n, zdim) ndarray of float32
        Latent variable of each image, and the standard deviation of its posterior.
    history : list of dict
        As `dataflow.training.Trained` has it.
    """

    conformations: Conformations
    z: np.ndarray
    width: np.ndarray
    history: list[dict[str, Any]]


def check_settings(stack: xr.Dataset, settings: HeterogeneitySettings) -> Architecture:
    """See that a stack and settings go together, and give the networks' architecture.

    Raises
    ------
    InputError
        What is wrong.
    """
    path = stack.attrs["path"]
    needed = ("images", *POSE_VARIABLES, *CTF_VARIABLES, "optics_group", "half_set")
    check_particles(stack, (*needed, *(("phase_shift",) if "phase_shift" in stack else ())))
    one_pixel_size(stack)
    box, number = stack.sizes["x"], stack.sizes["particle"]
    if box % 2 or box < 16:
        raise InputError(
            f"{path}: the images have {box} pixels a side, expected an even number of 16 or more; "
            "hpdp cryoem normalize --box makes it even."
        )
    linear = settings.linear and settings.zdim > 0
    encoder = settings.encoder or ("posterior" if settings.linear else "mlp")
    architecture = Architecture(
        box,
        settings.zdim,
        settings.width,
        settings.layers,
        settings.features,
        linear=linear,
        encoder=encoder,
        encoded=encoded_shells(box),
        images=number if encoder == "none" else 0,
    )
    if number < _FEWEST * settings.zdim:
        raise InputError(
            f"{path}: {number:,} particles for a latent variable of {settings.zdim} dimensions, "
            f"expected {_FEWEST} or more for each; give more particles or a smaller --zdim."
        )
    if number < settings.training.batch:
        raise InputError(
            f"{path}: {number:,} particles do not fill one batch of {settings.training.batch}; "
            "give more particles or a smaller --batch."
        )
    if settings.samples < 0:
        raise InputError(f"--samples is {settings.samples}, expected 0 (all) or more.")
    if not settings.divergence >= 0.0:
        raise InputError(f"the weight of the divergence is {settings.divergence}, expected 0 on.")
    return architecture


def encoded_shells(box: int) -> int:
    """Give the last shell that latent variables are found by."""
    return min(_ENCODED, box // 2 - 2)


def learn_conformations(
    stack_path: Path,
    settings: HeterogeneitySettings,
    folder: Path,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    tell: Callable[[dict[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Learnt:
    """Learn the conformations of the particles of a stack.

    First comes the map of all images, then the noise and the directions in which volumes differ
    from the map (`subspace.find_directions`), then the training of the networks.

    Parameters
    ----------
    stack_path : Path
        With poses, CTF and half-sets.
    settings : HeterogeneitySettings
    folder : Path
        For checkpoints and for what workers read, on a file system that they see. What an
        interrupted run of the same training left there is gone on from.
    client, progress, tell, say : optional
        As for `dataflow.training.train_network`.

    Returns
    -------
    Learnt

    Raises
    ------
    InputError
        See `check_settings` and `train_network`.
    """
    check_torch()
    stack = open_stack(stack_path)
    architecture = check_settings(stack, settings)
    optics, box = Optics.of(stack), architecture.box
    folder = folder.absolute()
    start = folder / START_FILE
    if not start.exists():
        _find_start(stack_path, settings, optics, box, start, client, progress, say)
    shown = stack.sizes["particle"] * settings.training.epochs
    learner = ConformationLearner(
        architecture,
        optics,
        str(start),
        settings.samples,
        settings.divergence,
        # an encoder that knows nothing yet would only learn to say nothing
        rise=0.0 if settings.linear else 0.25 * shown,
    )
    trained = train_network(
        stack_path,
        learner,
        settings.training,
        folder / "training",
        client=client,
        progress=progress,
        tell=tell,
        say=say,
    )
    number = stack.sizes["particle"]
    if settings.zdim:
        found = apply_to_all(
            trained.network,
            learner,
            stack_path,
            folder,
            threads=settings.training.threads,
            client=client,
            progress=progress,
            say=say,
        )
    else:
        found = dict.fromkeys(("z", "width"), np.zeros((number, 0), np.float32))
    began = Directions.read(start)
    conformations = Conformations(
        architecture,
        trained.network,
        amplitudes(learner),
        began.mean if architecture.linear else None,
        began.joined,
        one_pixel_size(stack),
    )
    return Learnt(conformations, found["z"], found["width"], trained.history)


def _find_start(
    stack_path: Path,
    settings: HeterogeneitySettings,
    optics: Optics,
    box: int,
    start: Path,
    client: Client | None,
    progress: Progress | None,
    say: Callable[[str], None] | None,
) -> None:
    """Make the map of all images and, for a linear start, the directions; write them whole."""
    rounds = start.with_name(_ROUNDS)
    rounds.mkdir(exist_ok=True)
    half_sets = open_stack(stack_path)["half_set"].values
    reduction = BackProjection(box, box // 2, point_group("C1"), bool(np.ptp(half_sets) == 0))
    mean = reduce_images(stack_path, reduction, client=client, progress=progress).joined
    if settings.linear and settings.zdim:
        found = find_directions(
            stack_path,
            mean,
            settings.zdim,
            optics,
            rounds,
            radius=encoded_shells(box),
            seed=settings.training.seed,
            client=client,
            progress=progress,
            say=say,
        )
    else:
        noise = measure_noise(stack_path, mean, optics, rounds, client=client, progress=progress)
        none = np.zeros((0, box, box, box), np.float32)
        found = Directions(mean, none, noise, np.zeros(0), box // 2)
    keep(found, start)
    # a network file system keeps names of files that a worker still reads; they are no failure
    shutil.rmtree(rounds, ignore_errors=True)
