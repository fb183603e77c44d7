"""Residual linear layers, which decoders and encoders are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualLayers(nn.Module):
    """Linear layers, each but the first and the last added to what it is given, with ReLU between.

    Parameters
    ----------
    given, width, layers, out : int
        Numbers in; of each hidden layer; hidden layers after the first; numbers out.
    """

    def __init__(self, given: int, width: int, layers: int, out: int) -> None:
        super().__init__()
        self.first = nn.Linear(given, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.last = nn.Linear(width, out)
        self.register_buffer("unit", torch.eye(width), persistent=False)

    def forward(self, given: Tensor, more: Tensor | None = None) -> Tensor:
        """Apply them; `more`, which is broadcast, is added to what the first layer gives."""
        x = self.first(given)
        if more is not None:
            x += more
        x = functional.relu_(x)
        for layer in self.hidden:
            # W x + x is (W + 1) x: a product, and no pass over the memory for the sum
            x = functional.relu_(functional.linear(x, layer.weight + self.unit, layer.bias))
        return self.last(x)

    def begin_with_nothing(self) -> None:
        """Set the last layer to zero."""
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
