"""Networks made ready to answer quickly: batch norms folded in, half the bits where it is faster.

On processors the convolutions run with their channels last, and in bfloat16 where the processor
multiplies it (AVX-512 BF16, AMX); on a GPU always. The heads stay in float32. Answers move by
about a hundredth of their own error through this.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hpdp_dask.crystallography.lattice_features import lattice_features
from hpdp_dask.crystallography.model_file import TASKS
from hpdp_dask.crystallography.networks import Outputs, QuadrantNetwork

#: Quadrants that go through a network at once: enough to keep a processor's core busy, and few
#: enough to leave its caches useful; and a GPU.
_AT_ONCE = {"cpu": 8, "cuda": 64}


class Answers(NamedTuple):
    """What a network says of n quadrants, before calibration: `networks.Outputs` on the host.

    Attributes
    ----------
    inverse_resolution, log_spread, several_lattices, hit : (n,) ndarray of float32
    """

    inverse_resolution: np.ndarray
    log_spread: np.ndarray
    several_lattices: np.ndarray
    hit: np.ndarray


class Predictor:
    """Runs a network on quadrants.

    Parameters
    ----------
    network : QuadrantNetwork
        In its mode of evaluation; it is copied.
    tasks : sequence of str, optional
        What it was trained for, of `model_file.TASKS`. Spots are only searched for lattices where
        these are asked for, and of quadrants that are hits if that is known too: of others the
        logit of several lattices means nothing.
    device : str, optional
        By default a GPU if there is one.
    dtype : torch.dtype, optional
        Of the trunk; by default the fastest that the device has.
    """

    def __init__(
        self,
        network: QuadrantNetwork,
        tasks: Sequence[str] = TASKS,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = dtype or fastest_dtype(self.device)
        self._tasks = tuple(tasks)
        self._network = fold_norms(network).to(self.device)
        self._network.trunk.to(self.dtype)

    def __call__(self, quadrants: np.ndarray, geometry: np.ndarray) -> Answers:
        """Look at quadrants.

        Parameters
        ----------
        quadrants : (n, SIDE, SIDE) NumPy or CuPy array of uint8
        geometry : (n, 3) ndarray
            Wavelength (Å), distance (m), and edge of a pixel of the quadrant (m).

        Returns
        -------
        Answers
        """
        step = _AT_ONCE[self.device]
        seen = torch.as_tensor(quadrants, device=self.device)
        shots = torch.as_tensor(geometry, dtype=torch.float32, device=self.device)
        with torch.inference_mode():
            parts: list[Outputs] = [
                self._look(seen[first : first + step], shots[first : first + step])
                for first in range(0, len(seen), step)
            ]
        return Answers(
            *(torch.cat(values).cpu().numpy() for values in zip(*parts, strict=True))
            if parts
            else (np.empty(0, np.float32) for _ in Answers._fields)
        )

    def _look(self, seen: torch.Tensor, shots: torch.Tensor) -> Outputs:
        outputs, above = self._network.look(seen, shots)
        if "lattices" not in self._tasks:
            return outputs
        asked = outputs.hit >= 0 if "hit" in self._tasks else torch.ones_like(outputs.hit) > 0
        if asked.any():
            features = lattice_features(above[asked], shots[asked])
            outputs.several_lattices[asked] += self._network.lattices(features)
        return outputs


def fastest_dtype(device: str) -> torch.dtype:
    """Give the type of numbers that convolutions run fastest in on a device."""
    if device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


def fold_norms(network: QuadrantNetwork) -> QuadrantNetwork:
    """Copy a network, with each batch norm folded into the convolution before it."""
    network = copy.deepcopy(network).eval()
    for module in list(network.trunk.modules()):
        for place in ("1", "2", "3"):
            if hasattr(module, f"bn{place}"):
                convolution = getattr(module, f"conv{place}")
                norm = getattr(module, f"bn{place}")
                setattr(module, f"conv{place}", fuse_conv_bn_eval(convolution, norm))
                setattr(module, f"bn{place}", nn.Identity())
        shortcut = getattr(module, "downsample", None)
        if isinstance(shortcut, nn.Sequential):
            module.downsample = fuse_conv_bn_eval(shortcut[0], shortcut[1])
    return network
