"""Networks that learn on pictures: a perceptron of three layers, and a small convolutional one.

PyTorch trains and applies them; what is kept of them are plain arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    import torch

#: Neurons of the perceptron's hidden layers; channels of the convolutions, each of which halves
#: the picture.
HIDDEN = (128, 64)
CHANNELS = (8, 16, 32, 64)

#: Steps of the training, pictures a step, highest rate of learning.
STEPS = {"mlp": 3000, "cnn": 1500}
BATCH = 32
RATE = {"mlp": 1e-3, "cnn": 4e-3}
_DECAY, _DROPOUT, _SMOOTHING = 1e-2, 0.3, 0.05

#: Pictures that are classified at once.
_AT_ONCE = 256


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes
    ----------
    kind : str
        `mlp` or `cnn`.
    middle, spread : () ndarray
        Of the pictures it was trained on, which it sees as (picture - middle) / spread.
    weights : dict of str to ndarray
        Under PyTorch's names.
    """

    kind: str
    middle: np.ndarray
    spread: np.ndarray
    weights: dict[str, np.ndarray]

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Give the probability of each class for (n, side, side) pictures, (n, k)."""
        import torch

        classes = len(list(self.weights.values())[-1])
        layers = _layers(self.kind, pictures.shape[-1], classes)
        layers.load_state_dict(
            {name: torch.from_numpy(np.array(value)) for name, value in self.weights.items()}
        )
        layers.eval()
        seen = _as_seen(pictures, self.middle, self.spread)
        with torch.inference_mode():
            parts = [torch.softmax(layers(part), 1).numpy() for part in seen.split(_AT_ONCE)]
        return np.concatenate(parts).astype(np.float64)


def check_torch() -> None:
    """Check that PyTorch is there.

    Raises
    ------
    InputError
        It is not; says how to install it.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise InputError(
            "the methods mlp and cnn need PyTorch, which is not installed; "
            "pip install hpdp-dask[learn] brings it, or take the method svm."
        ) from None


def fit_network(
    kind: str, pictures: np.ndarray, indices: np.ndarray, seed: int, steps: int | None = None
) -> Network:
    """Train a network on labelled pictures.

    In every step the pictures are turned by any angle about the beam, half a turn being Friedel's
    mates, and mirrored or not: none of it changes a particle's class. All classes are shown
    equally often.

    Parameters
    ----------
    kind : str
        `mlp` or `cnn`.
    pictures : (m, side, side) ndarray of float32
    indices : (m,) ndarray of int
        Their classes, 0 to k - 1.
    seed : int
        Of the first weights, and of which pictures are shown how.
    steps : int, optional
        By default `STEPS`.

    Returns
    -------
    Network
    """
    import torch

    steps = steps or STEPS[kind]
    middle, spread = np.asarray(pictures.mean()), np.asarray(max(pictures.std(), 1e-6))
    seen = _as_seen(pictures, middle, spread)
    classes = torch.from_numpy(indices.astype(np.int64))
    share = 1.0 / torch.bincount(classes)[classes].double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = _layers(kind, pictures.shape[-1], int(indices.max()) + 1)
        optimizer = torch.optim.AdamW(layers.parameters(), RATE[kind], weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE[kind], total_steps=steps)
        loss_of = torch.nn.CrossEntropyLoss(label_smoothing=_SMOOTHING)
        layers.train()
        for _ in range(steps):
            batch = torch.multinomial(share, BATCH, replacement=True)
            loss = loss_of(layers(_turned(seen[batch])), classes[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    weights = {name: value.numpy().copy() for name, value in layers.state_dict().items()}
    return Network(kind, middle, spread, weights)


def _layers(kind: str, side: int, classes: int) -> torch.nn.Sequential:
    """Build a network of random weights, for pictures of one channel."""
    from torch import nn

    layers: list[nn.Module] = []
    if kind == "mlp":
        layers.append(nn.Flatten())
        size = side * side
        for hidden in HIDDEN:
            layers += [nn.Linear(size, hidden), nn.ReLU(), nn.Dropout(_DROPOUT)]
            size = hidden
    else:
        size = 1
        for channels in CHANNELS:
            layers += [
                nn.Conv2d(size, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            size = channels
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(_DROPOUT)]
    return nn.Sequential(*layers, nn.Linear(size, classes))


def _as_seen(pictures: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> torch.Tensor:
    """Give (n, side, side) pictures as a network sees them, (n, 1, side, side)."""
    import torch

    seen = (np.asarray(pictures, np.float32) - np.float32(middle)) / np.float32(spread)
    return torch.from_numpy(seen)[:, None]


def _turned(seen: torch.Tensor) -> torch.Tensor:
    """Turn each picture by an angle of its own, and mirror every other one."""
    import torch
    from torch.nn import functional

    angle = 2.0 * math.pi * torch.rand(len(seen))
    cosine, sine = torch.cos(angle), torch.sin(angle)
    mirror = 1.0 - 2.0 * torch.randint(0, 2, (len(seen),))
    none = torch.zeros(len(seen))
    turn = torch.stack([cosine * mirror, -sine * mirror, none, sine, cosine, none], 1)
    grid = functional.affine_grid(turn.reshape(-1, 2, 3), list(seen.shape), align_corners=False)
    # corners that come from outside of the picture show its edge
    return functional.grid_sample(seen, grid, padding_mode="border", align_corners=False)
