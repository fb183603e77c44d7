"""What makes the latent variable of an image: a network that sees it, or numbers of its own."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from hpdp_dask.cryoem.heterogeneity.architecture import Architecture, seen_pixels
from hpdp_dask.cryoem.heterogeneity.residual_layers import ResidualLayers
from hpdp_dask.numerics.fourier import half_plane

#: Width and layers of the encoder that corrects the linear model's posterior.
_CORRECTION = (64, 2)

#: Channels of the convolutions, each after the first at half the size of the one before; width of
#: the layer behind them.
_CHANNELS, _BEHIND = (16, 32, 64, 128), 128

#: How far from 0 the latent variables of images begin when nothing is known of them, and the
#: logarithm of their variance.
_SPREAD, _LOG_VARIANCE = 0.1, -3.0

#: What a number of an image's own is multiplied by. It is changed in one step of an epoch only,
#: where weights are changed in each, so that it has to go further.
_STRIDE = 10.0


def make_encoder(architecture: Architecture) -> nn.Module:
    """Make the encoder of an architecture with a latent variable, with its first weights.

    Returns
    -------
    nn.Module
        From what is seen of n images to (n, 2 zdim): the mean and the logarithm of the variance
        of the latent variable. With a linear start it gives what to add to those of the linear
        model, at first nothing.
    """
    out = 2 * architecture.zdim
    if architecture.encoder == "none":
        return OwnNumbers(architecture.images, out, architecture.linear)
    if architecture.encoder == "posterior":
        encoder: ResidualLayers | ImageConvolutions = ResidualLayers(out, *_CORRECTION, out)
    elif architecture.encoder == "mlp":
        seen = 2 * len(half_plane(architecture.box, architecture.encoded))
        encoder = ResidualLayers(seen, architecture.width, architecture.layers, out)
    else:
        encoder = ImageConvolutions(seen_pixels(architecture.encoded), out)
    if architecture.linear:
        encoder.begin_with_nothing()
    return encoder


class ImageConvolutions(nn.Module):
    """Convolutions of small images, then two linear layers.

    Parameters
    ----------
    side : int
        Of the images, a multiple of 8.
    out : int
        Numbers out.
    """

    def __init__(self, side: int, out: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, _CHANNELS[0], 3, padding=1), nn.ReLU()]
        for given, made in pairwise(_CHANNELS):
            layers += [nn.Conv2d(given, made, 3, stride=2, padding=1), nn.ReLU()]
        flat = _CHANNELS[-1] * (side // 2 ** (len(_CHANNELS) - 1)) ** 2
        layers += [nn.Flatten(), nn.Linear(flat, _BEHIND), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(_BEHIND, out)

    def forward(self, seen: Tensor) -> Tensor:
        """Give numbers of images, (n, side, side)."""
        found: Tensor = self.last(self.layers(seen[:, None]))
        return found

    def begin_with_nothing(self) -> None:
        """Set the last layer to zero."""
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


class OwnNumbers(nn.Module):
    """Numbers of each image's own, which are learnt as weights are: there is no encoder.

    Parameters
    ----------
    images, out : int
        How many images; numbers of each.
    nothing : bool
        Begin with nothing, to be added to what is known; else with means near 0 that differ by
        chance, so that the decoder has something to tell images apart by.
    """

    def __init__(self, images: int, out: int, nothing: bool) -> None:
        super().__init__()
        begin = torch.zeros(images, out)
        if not nothing:
            begin[:, : out // 2].normal_(0.0, _SPREAD)
            begin[:, out // 2 :] = _LOG_VARIANCE
        self.numbers = nn.Parameter(begin / _STRIDE)

    def forward(self, seen: Tensor) -> Tensor:
        """Give the numbers of images by their places in the stack, (n,)."""
        return self.numbers[seen] * _STRIDE
