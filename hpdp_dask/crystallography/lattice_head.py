"""Fitting the head for several lattices alone, of a network whose trunk is trained.

The features of `lattice_features` do not depend on the trunk, so that they are made once for each
shot, and the head, which is small, is fitted to them in a minute. With some ten thousand shots a
trunk learns nothing of lattices but the shots by heart; its part in the answer is taken away.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from hpdp_dask.crystallography.lattice_features import lattice_features
from hpdp_dask.crystallography.networks import LatticeHead, QuadrantNetwork, above_background

#: Passes over the shots, shots of a step, highest rate of learning, decay of weights.
_EPOCHS, _BATCH, _RATE, _DECAY = 60, 128, 3e-3, 1e-2


def features_of(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Make the features of shots.

    Parameters
    ----------
    batches : iterable of tuple
        Quadrants (n, SIDE, SIDE) of uint8, and geometry (n, 3): wavelength (Å), distance (m),
        pixel size (m).

    Returns
    -------
    (shots, FEATURES) ndarray of float32
    """
    parts = []
    with torch.inference_mode():
        for quadrants, geometry in batches:
            above = above_background(torch.from_numpy(quadrants).float())
            shots = torch.from_numpy(np.asarray(geometry, np.float32))
            parts.append(lattice_features(above, shots).numpy())
    return np.concatenate(parts)


def fit_lattices(
    network: QuadrantNetwork, features: np.ndarray, several: np.ndarray, seed: int
) -> None:
    """Fit the head for several lattices, in place.

    Parameters
    ----------
    network : QuadrantNetwork
        What its trunk says of lattices counts no more.
    features : (n, FEATURES) ndarray of float32
        Of hits, from `features_of`.
    several : (n,) ndarray of bool
    seed : int
        Of the first weights and the order of shots.
    """
    seen = torch.from_numpy(features)
    truth = torch.from_numpy(np.asarray(several, np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = LatticeHead()
        steps = -(-len(seen) // _BATCH)
        optimizer = torch.optim.AdamW(head.parameters(), _RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, _RATE, total_steps=_EPOCHS * steps
        )
        head.train()
        for _ in range(_EPOCHS):
            for chosen in torch.randperm(len(seen)).tensor_split(steps):
                loss = binary_cross_entropy_with_logits(head(seen[chosen]), truth[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    network.lattices.load_state_dict(head.state_dict())
    network.silence_trunk_on_lattices()
