"""What networks learn of simulated shots: 1/d and its error, several lattices, hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.crystallography.model_file import TASKS
from hpdp_dask.crystallography.train.augment import Augmentation, augment
from hpdp_dask.crystallography.train.scores import score

if TYPE_CHECKING:
    import torch

#: What is read of each shot.
TRUTHS = ("true_resolution", "true_hit", "true_lattices")
GEOMETRY = ("shot_wavelength", "shot_distance", "shot_pixel_size")

#: An error of 1/d by so much (1/Å) costs 1, as does to be at a loss about several lattices; and
#: how much more it costs to be at a loss about a hit, so that it is learnt as soon as 1/d.
_COSTLY, _HITS = 0.1, 3.0


@dataclass(frozen=True)
class QuadrantLearner:
    """Learns from quadrants with their truth; see `dataflow.training.Learner`.

    Attributes
    ----------
    network : str
        One of `networks.NETWORKS`.
    tasks : tuple of str
        Of `model_file.TASKS`.
    augmentation : Augmentation
    lattices_apart : bool
        What is said of several lattices is not learnt here, but fitted when the rest is trained
        (`lattice_head.fit_lattices`): with some ten thousand shots a trunk learns nothing of it.
    seed : int
        Of the first weights.
    """

    network: str = "small"
    tasks: tuple[str, ...] = TASKS
    augmentation: Augmentation = field(default_factory=Augmentation)
    lattices_apart: bool = False
    seed: int = 0
    name: str = "crystals"
    needs: tuple[str, ...] = (*TRUTHS, *GEOMETRY)

    @property
    def learnt(self) -> tuple[str, ...]:
        """Give the tasks that are learnt in the loop."""
        apart = ("lattices",) if self.lattices_apart else ()
        return tuple(task for task in self.tasks if task not in apart)

    def build(self) -> torch.nn.Module:
        """Make the network with its first weights."""
        from hpdp_dask.crystallography.networks import build_network

        network = build_network(self.network, self.seed)
        if self.lattices_apart:
            network.lattices.requires_grad_(False)
        return network

    def prepare(
        self,
        images: np.ndarray,
        rows: Mapping[str, np.ndarray],
        randoms: Sequence[np.random.Generator] | None,
    ) -> dict[str, np.ndarray]:
        """Make a batch; quadrants are changed by chance where that is asked for."""
        if randoms is not None:
            pairs = zip(images, randoms, strict=True)
            images = np.stack([augment(each, self.augmentation, random) for each, random in pairs])
        hit = rows["true_hit"] == 1
        resolution = np.where(hit, rows["true_resolution"], 1.0)
        return {
            "quadrants": images,
            "geometry": np.stack([rows[name] for name in GEOMETRY], axis=1).astype(np.float32),
            "inverse_resolution": (hit / resolution).astype(np.float32),
            "several_lattices": (rows["true_lattices"] > 1).astype(np.float32),
            "hit": hit.astype(np.float32),
        }

    def losses(self, network: torch.nn.Module, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Give the loss of each shot by task; of blanks only that of hit counts.

        The error of 1/d is learnt as the spread of a Laplace distribution about the answer, which
        itself goes by its distance to the truth alone: else shots that the network is sure of
        would soon be all that it learns from.
        """
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        found = network(batch["quadrants"], batch["geometry"], self.lattices_apart)
        hit = batch["hit"]
        distance = (found.inverse_resolution.float() - batch["inverse_resolution"]).abs()
        spread = found.log_spread.float()
        expected = distance.detach() * (-spread).exp() + spread
        parts = {
            "resolution": hit * (distance / _COSTLY + 0.1 * expected),
            "lattices": hit
            * cross_entropy(
                found.several_lattices.float(), batch["several_lattices"], reduction="none"
            ),
            "hit": _HITS * cross_entropy(found.hit.float(), hit, reduction="none"),
        }
        # what is not learnt still takes part, with nothing
        return {name: part if name in self.learnt else 0.0 * part for name, part in parts.items()}

    def outputs(
        self, network: torch.nn.Module, batch: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Give the network's answers before calibration, by the names of `networks.Outputs`."""
        found = network(batch["quadrants"], batch["geometry"], "lattices" not in self.tasks)
        return dict(found._asdict())

    def judge(
        self, outputs: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Give the figures of `scores.score` for the tasks that are learnt in the loop."""
        return score(outputs, rows, self.learnt)
