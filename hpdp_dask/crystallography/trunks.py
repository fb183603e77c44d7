"""Trunks of networks: what makes features of quadrants, before anything is said of them.

The residual networks of He et al. 2016 (CVPR, 770) for one channel, and one made for processors.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class SmallTrunk(nn.Module):
    """A trunk for processors: few channels, and a first convolution that steps by four pixels.

    Its eight-pixel windows overlap, so that it sees spots that lie close to each other apart.

    Parameters
    ----------
    widths : tuple of int
        Channels of the four stages.
    """

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.channels = widths[1], widths[3]
        self.conv1 = nn.Conv2d(1, widths[0], 8, stride=4, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = BasicBlock(widths[0], widths[0])
        self.layer2 = BasicBlock(widths[0], widths[1], 2)
        self.layer3 = BasicBlock(widths[1], widths[2], 2)
        self.layer4 = BasicBlock(widths[2], widths[3], 2)

    def forward(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give features at 1/8 of the (n, 1, SIDE, SIDE) quadrants, and at 1/32."""
        found = functional.relu(self.bn1(self.conv1(seen)), inplace=True)
        fine = self.layer2(self.layer1(found))
        return fine, self.layer4(self.layer3(fine))


class ResidualTrunk(nn.Module):
    """A residual network without its last layer; weights are named as in torchvision.

    Parameters
    ----------
    blocks : tuple of int
        Of the four stages.
    bottleneck : bool
        Blocks of three convolutions, instead of two.
    """

    def __init__(self, blocks: tuple[int, int, int, int], bottleneck: bool) -> None:
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock
        growth = 4 if bottleneck else 1
        self.channels = 128 * growth, 512 * growth
        self.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = 64
        for stage, number in enumerate(blocks):
            outputs = 64 * 2**stage * growth
            steps = [1 if stage == 0 else 2] + [1] * (number - 1)
            sizes = [inputs] + [outputs] * (number - 1)
            layers = [block(size, outputs, step) for size, step in zip(sizes, steps, strict=True)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            inputs = outputs

    def forward(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give features at 1/8 of the (n, 1, SIDE, SIDE) quadrants, and at 1/32."""
        found = self.maxpool(functional.relu(self.bn1(self.conv1(seen)), inplace=True))
        fine = self.layer2(self.layer1(found))
        return fine, self.layer4(self.layer3(fine))


class BasicBlock(nn.Module):
    """Two convolutions, and what came in added to them."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, found: torch.Tensor) -> torch.Tensor:
        """Apply the block."""
        within = functional.relu(self.bn1(self.conv1(found)), inplace=True)
        within = self.bn2(self.conv2(within))
        return functional.relu(within + self.downsample(found), inplace=True)


class Bottleneck(nn.Module):
    """A convolution of a quarter of the channels between two that lead there and back."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        between = outputs // 4
        self.conv1 = nn.Conv2d(inputs, between, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(between)
        self.conv2 = nn.Conv2d(between, between, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(between)
        self.conv3 = nn.Conv2d(between, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, found: torch.Tensor) -> torch.Tensor:
        """Apply the block."""
        within = functional.relu(self.bn1(self.conv1(found)), inplace=True)
        within = functional.relu(self.bn2(self.conv2(within)), inplace=True)
        within = self.bn3(self.conv3(within))
        return functional.relu(within + self.downsample(found), inplace=True)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Bring what comes into a block to the shape of what comes out."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
