"""The networks: from an image to a latent variable, and from that and a frequency to a volume.

The decoder is that of Zhong et al. 2021 (Nat. Methods 18, 176): the volume's transform as a
function of a frequency and the latent variable. It is asked for one half of the frequencies only,
x >= 0; the other half is the conjugate. Where there is a linear start (`subspace`), its encoder
and decoder learn what to add to the linear ones, beginning with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, distributed, nn

from hpdp_dask.cryoem.heterogeneity.architecture import Architecture
from hpdp_dask.cryoem.heterogeneity.encoders import make_encoder
from hpdp_dask.cryoem.heterogeneity.residual_layers import ResidualLayers

#: Numbers of a hidden layer, of the frequencies that a processor's decoder works on at once: so
#: many stay in its cache from layer to layer, and back.
_IN_CACHE = 500_000


class Features(nn.Module):
    """What the decoder sees of a frequency: waves at positions in the box, or the frequency itself.

    Parameters
    ----------
    kind : {"gaussian", "geometric", "none"}
        Waves at random positions (Tancik et al. 2020, NeurIPS 33, 7537); along each axis waves
        of geometrically spaced lengths, from the box to two pixels (Zhong et al. 2021); or none.
    box : int
    spread : float
        Standard deviation of random positions along each axis, as a share of the box.
    """

    def __init__(self, kind: str, box: int, spread: float) -> None:
        super().__init__()
        self.number = 3 if kind == "none" else 3 * box
        half = box // 2
        waves = torch.zeros(0, 3)
        if kind == "gaussian":
            # a coordinate runs to 1 at Nyquist's frequency, half a cycle a pixel
            waves = math.pi * spread * box * torch.randn(3 * half, 3)
        elif kind == "geometric":
            lengths = 0.5 * box * math.pi * (2.0 / box) ** (torch.arange(half) / (half - 1))
            waves = torch.kron(torch.eye(3), lengths[:, None])
        self.register_buffer("waves", waves)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Give the features, (..., number), of (..., 3) coordinates; 1 is Nyquist's frequency."""
        if not len(self.waves):
            return coordinates
        # phases are tens of radians, of which eight bits would not be enough
        with torch.autocast(coordinates.device.type, enabled=False):
            phases = coordinates.float() @ self.waves.T
            return torch.cat([torch.sin(phases), torch.cos(phases)], dim=-1)


class Decoder(nn.Module):
    """From a frequency and a latent variable to the transform of a volume.

    Parameters
    ----------
    architecture : Architecture
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, layers = architecture.width, architecture.layers
        self.width = width
        self.features = Features(
            architecture.features, architecture.box, architecture.feature_spread
        )
        self.layers = ResidualLayers(self.features.number, width, layers, 2)
        self.latent = nn.Linear(architecture.zdim, width, bias=False) if architecture.zdim else None

    def forward(self, coordinates: Tensor, latent: Tensor | None) -> Tensor:
        """Give real and imaginary parts.

        Parameters
        ----------
        coordinates : (n, m, 3) tensor
            x, y, z with x >= 0; 1 is Nyquist's frequency.
        latent : (n, zdim) tensor or None

        Returns
        -------
        (n, m, 2) tensor
        """
        more: Tensor | None = None
        if self.latent is not None and latent is not None:
            # the same for all frequencies, so it is computed once
            more = self.latent(latent)[:, None]
        images, samples = coordinates.shape[:2]
        on_processor = coordinates.device.type == "cpu"
        piece = max(1, _IN_CACHE // self.width) if on_processor else images * samples
        together = max(1, piece // samples)
        rows = []
        for low in range(0, images, together):
            part = slice(low, low + together)
            added = None if more is None else more[part]
            pieces = coordinates[part].split(piece, dim=1)
            rows.append(torch.cat([self.layers(self.features(each), added) for each in pieces], 1))
        return torch.cat(rows).float()


class HeterogeneityNetwork(nn.Module):
    """Encoder, latent variable and decoder, with the forward model and its loss.

    Parameters
    ----------
    architecture : Architecture
    scale : (zdim,) sequence of float
        What the decoder sees of a latent variable of the variance 1, along each axis: how far
        volumes differ along it.
    """

    def __init__(self, architecture: Architecture, scale: list[float] | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        zdim = architecture.zdim
        self.decoder = Decoder(architecture)
        self.register_buffer("scale", torch.tensor(scale or [1.0] * zdim))
        # how many images the weight of the divergence has had to rise; not steps, which may come
        # in pieces
        self.register_buffer("shown", torch.zeros((), dtype=torch.float64))
        self.encoder = make_encoder(architecture) if zdim else None
        if zdim and architecture.linear:
            self.decoder.layers.begin_with_nothing()

    def encode(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Give mean and logarithm of the variance of the latent variable of images.

        Parameters
        ----------
        batch : mapping
            `seen`: what the encoder is given, see `learner`; with a linear start `posterior`,
            (n, 2 zdim): mean and log-variance of the linear model.

        Returns
        -------
        mean, log_variance : (n, zdim) tensor
            Before `scale`: the prior has the variance 1.
        """
        assert self.encoder is not None
        found = self.encoder(batch["seen"]).float()
        if self.architecture.linear:
            found = found + batch["posterior"]
        mean, log_variance = found.chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 4.0)

    def forward(
        self, batch: Mapping[str, Tensor], divergence_weight: float, rise: float
    ) -> dict[str, Tensor]:
        """Give the parts of the loss of each image.

        Parameters
        ----------
        batch : mapping
            What `encode` needs; `draw` (n, zdim), normal random numbers of each image's own, so
            that which worker it is shown to, and with which others, changes nothing;
            `coordinates` (n, m, 3); `target` (n, m, 2): what is to be
            explained; `contrast` (n, m): what the decoder's output is multiplied by; `weight`
            (n, m): of each sample, so that the sum is the mean over all samples of an image;
            `linear` (n, zdim, m, 2), with a linear start.
        divergence_weight : float
            Of the divergence from the prior, over the number of an image's samples.
        rise : float
            Images, of all workers together, in which this weight rises to its value.

        Returns
        -------
        dict of str to (n,) tensor
            `error`, `divergence`.
        """
        latent, divergence = None, batch["weight"].new_zeros(len(batch["weight"]))
        explained: Tensor | float = 0.0
        if self.architecture.zdim:
            mean, log_variance = self.encode(batch)
            drawn = mean + torch.exp(0.5 * log_variance) * batch["draw"]
            latent = drawn * self.scale
            divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1.0).sum(1)
            if self.architecture.linear:
                linear = batch["linear"]
                explained = torch.bmm(drawn[:, None], linear.flatten(2)).view_as(batch["target"])
        explained = explained + batch["contrast"][..., None] * self.decoder(
            batch["coordinates"], latent
        )
        error = ((batch["target"] - explained).square().sum(-1) * batch["weight"]).sum(1)
        weight = divergence_weight * torch.clamp(self.shown / max(rise, 1.0), max=1.0).float()
        if self.training:
            together = distributed.is_available() and distributed.is_initialized()
            self.shown += float(len(error) * (distributed.get_world_size() if together else 1))
        return {"error": error, "divergence": weight * divergence}


def decoder_parameters(architecture: Architecture) -> int:
    """Count what the decoder learns."""
    return sum(each.numel() for each in Decoder(architecture).parameters())
