"""Neural networks that look at a quadrant of a diffraction image.

All have the same heads, on a trunk that is one of the residual networks of He et al. 2016 (CVPR,
770), for one channel, or `small`, which is made for processors. The heads do not ask the trunk to
learn where the beam is: features are averaged over rings about it, and the resolution is read off
along the radius, by the same weights at any radius. What they find is a radius on the detector;
the geometry of the shot makes 1/d of it (as in Mendez et al. 2024, Acta Cryst. D80, 26). Of several
lattices they are told what an indexing program would look at (`lattice_features`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from hpdp_dask.crystallography.lattice_features import FEATURES, lattice_features
from hpdp_dask.crystallography.trunks import ResidualTrunk, SmallTrunk
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.quadrants import SIDE

#: Blocks of each stage, and whether a block is a bottleneck.
_RESIDUAL = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}

#: Names that `build_network` knows, from the fastest to the slowest.
NETWORKS = ("small", *_RESIDUAL)

#: Channels of the stages of `small`, at 1/4, 1/8, 1/16 and 1/32 of the quadrant.
_SMALL_CHANNELS = (16, 32, 64, 96)

#: Pixels of a quadrant to a cell of the features that are averaged over rings, and to a ring.
_CELL = 8

#: The background of a cell is that of so many cells around it, an odd number.
_AROUND = 5

#: Rings of the resolution: some lie beyond the corner of the quadrant, since spots that fade off
#: slowly tell of a limit that the detector does not reach.
_RINGS = 128

#: Features along the radius, of the whole image, and the dropout between.
_RADIAL, _WHOLE, _DROPOUT = 24, 64, 0.2


class Outputs(NamedTuple):
    """What a network says of n quadrants, before calibration.

    Attributes
    ----------
    inverse_resolution : (n,) tensor
        1/d, 1/Å.
    log_spread : (n,) tensor
        Natural logarithm of the error it expects of 1/d, 1/Å.
    several_lattices, hit : (n,) tensor
        Logits.
    """

    inverse_resolution: torch.Tensor
    log_spread: torch.Tensor
    several_lattices: torch.Tensor
    hit: torch.Tensor


class QuadrantNetwork(nn.Module):
    """A trunk with heads.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.trunk: SmallTrunk | ResidualTrunk
        if name == "small":
            self.trunk = SmallTrunk(_SMALL_CHANNELS)
        else:
            self.trunk = ResidualTrunk(*_RESIDUAL[name])
        self.heads = Heads(*self.trunk.channels)
        self.lattices = LatticeHead()

    def forward(
        self, quadrants: torch.Tensor, geometry: torch.Tensor, apart: bool = False
    ) -> Outputs:
        """Look at quadrants.

        Parameters
        ----------
        quadrants : (n, SIDE, SIDE) tensor of uint8 or float
            Square roots of counts, as `numerics.quadrants` gives them.
        geometry : (n, 3) tensor of float32
            Of each shot: wavelength (Å), distance (m), and edge of a pixel of the quadrant (m).
        apart : bool, optional
            Leave out what `lattice_features` say, for trainings that fit its head apart.

        Returns
        -------
        Outputs
        """
        outputs, above = self.look(quadrants, geometry)
        lattices = self.lattices(lattice_features(above, geometry))
        return outputs._replace(several_lattices=outputs.several_lattices + lattices)

    def look(self, quadrants: torch.Tensor, geometry: torch.Tensor) -> tuple[Outputs, torch.Tensor]:
        """Look at quadrants without `lattice_features`, on which several lattices rest.

        Returns
        -------
        Outputs
            In `several_lattices` the trunk's part.
        above : (n, SIDE, SIDE) tensor of float32
            From `above_background`.
        """
        dtype = next(self.trunk.parameters()).dtype
        above = above_background(quadrants.float())
        # spots are brighter than what lies under them by orders of magnitude
        seen = torch.log1p((above + 1.0).clamp(min=0.0)).to(dtype)[:, None]
        fine, deep = self.trunk(seen.contiguous(memory_format=torch.channels_last))
        outputs: Outputs = self.heads(fine.float(), deep.float(), geometry)
        return outputs, above

    def silence_trunk_on_lattices(self) -> None:
        """Let what is said of several lattices rest on `lattice_features` alone."""
        with torch.no_grad():
            self.heads.answers.weight[1] = 0.0
            self.heads.answers.bias[1] = 0.0


def build_network(name: str, seed: int = 0) -> QuadrantNetwork:
    """Build a network of random weights.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    seed : int, optional
        Of the weights.

    Raises
    ------
    InputError
        There is no such network.
    """
    if name not in NETWORKS:
        raise InputError(f"no network {name!r}; there are {', '.join(NETWORKS)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = QuadrantNetwork(name)
        for module in network.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    # float32 on processors runs up to twice as fast with the channels last
    return network.to(memory_format=torch.channels_last)


def inverse_resolution(radius: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
    """Give 1/d of places on a detector: 2 sin(atan(radius / distance) / 2) / wavelength.

    Parameters
    ----------
    radius : (n, ...) tensor
        From the beam, pixels of the quadrant.
    geometry : (n, 3) tensor
        Wavelength (Å), distance (m), pixel size (m).

    Returns
    -------
    (n, ...) tensor
        1/Å.
    """
    wavelength, distance, pixel_size = (
        column.reshape(-1, *(1,) * (radius.ndim - 1)) for column in geometry.unbind(1)
    )
    angle = torch.atan(radius * pixel_size / distance)
    return 2.0 * torch.sin(0.5 * angle) / wavelength


def above_background(roots: torch.Tensor) -> torch.Tensor:
    """Give how far cells are above the background around them.

    The noise of a square root of counts is the same under any background, so that what is left
    when the background is taken off tells spots from noise alike on a bright image and on a dark
    one, and what an image's level is need not be learned.

    Parameters
    ----------
    roots : (n, SIDE, SIDE) tensor of float32
        Square roots of counts; 0 where nothing was counted.

    Returns
    -------
    (n, SIDE, SIDE) tensor
        What is 0, as gaps are, is as the background is.
    """
    side = SIDE // _CELL
    lit = roots.clamp(max=1.0)
    # every other row will do; the logarithm, since spots count for more than they should
    parts = torch.stack([torch.log1p(roots[:, ::2]), lit[:, ::2]], 1)
    means = functional.avg_pool2d(parts, (_CELL // 2, _CELL))
    means = functional.avg_pool2d(means, _AROUND, stride=1, padding=_AROUND // 2)
    level = torch.expm1(means[:, 0] / means[:, 1].clamp(min=1e-3))
    cells = roots.view(-1, side, _CELL, side, _CELL) - level[:, :, None, :, None]
    return cells.view_as(roots) * lit


class LatticeHead(nn.Module):
    """Makes a logit of several lattices of what `lattice_features` gives."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES, affine=False)
        self.layers = nn.Sequential(
            *(nn.Linear(FEATURES, _WHOLE), nn.ReLU(), nn.Dropout(_DROPOUT)),
            *(nn.Linear(_WHOLE, _WHOLE), nn.ReLU(), nn.Linear(_WHOLE, 1)),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Give the logits, (n,), of (n, FEATURES) features."""
        logits: torch.Tensor = self.layers(self.norm(features))[:, 0].float()
        return logits


class Heads(nn.Module):
    """Resolution, several lattices, hit.

    Parameters
    ----------
    fine_channels, deep_channels : int
        Of the features at 1/8 of the quadrant, and of the deepest.
    """

    rings: torch.Tensor
    radii: torch.Tensor

    def __init__(self, fine_channels: int, deep_channels: int) -> None:
        super().__init__()
        self.profile = nn.Conv2d(fine_channels, _RADIAL, 1)
        self.register_buffer("rings", _ring_averages(), persistent=False)
        self.register_buffer("radii", (torch.arange(_RINGS) + 0.5) * _CELL, persistent=False)
        self.whole = nn.Sequential(
            nn.Linear(2 * deep_channels + 4 * _RADIAL, _WHOLE), nn.ReLU(), nn.Dropout(_DROPOUT)
        )
        self.radial = nn.Sequential(
            nn.Conv1d(2 * _RADIAL + _WHOLE + 2, 64, 9, padding=4),
            nn.ReLU(),
            nn.Conv1d(64, 64, 9, padding=8, dilation=2),
            nn.ReLU(),
            nn.Conv1d(64, 1, 1),
        )
        self.answers = nn.Linear(_WHOLE, 3)

    def forward(self, fine: torch.Tensor, deep: torch.Tensor, geometry: torch.Tensor) -> Outputs:
        """Give the answers for features of n quadrants, and their geometry."""
        local = functional.relu(self.profile(fine)).flatten(2)
        # the mean over a ring, and the mean square, which a few strong spots lift
        profile = torch.cat([local @ self.rings, torch.sqrt(local**2 @ self.rings + 1e-6)], 1)
        flat = deep.flatten(2)
        whole = self.whole(
            torch.cat([flat.mean(2), flat.amax(2), profile.mean(2), profile.amax(2)], 1)
        )
        radii = self.radii.expand(len(geometry), -1)
        place = torch.stack([radii / SIDE, 2.0 * inverse_resolution(radii, geometry)], 1)
        everywhere = whole[:, :, None].expand(-1, -1, _RINGS)
        share = torch.softmax(self.radial(torch.cat([profile, everywhere, place], 1))[:, 0], 1)
        radius = (share * self.radii).sum(1)
        log_spread, several_lattices, hit = self.answers(whole).unbind(1)
        # about 0.05 1/Å before anything is learned
        return Outputs(
            inverse_resolution(radius, geometry), log_spread - 3.0, several_lattices, hit
        )


def _ring_averages() -> torch.Tensor:
    """Make the matrix that averages (64 x 64) cells over rings about the beam, (4096, _RINGS)."""
    places = torch.arange(SIDE // _CELL) + 0.5
    ring = torch.hypot(places[:, None], places[None, :]).long().flatten()
    averages = functional.one_hot(ring, _RINGS).float()
    return averages / averages.sum(0).clamp(min=1.0)
