"""What a network is like, in numbers and words that a record can hold."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hpdp_dask.errors import InputError

FEATURES = ("gaussian", "geometric", "none")

#: What makes the latent variable of an image: a network that sees the posterior of the linear
#: model, the image's coarse transform, or the coarse image; or numbers of each image's own.
ENCODERS = ("posterior", "mlp", "convolutional", "none")

#: A latent variable of more dimensions than this is not sensible.
_MOST_DIMENSIONS = 32


@dataclass(frozen=True)
class Architecture:
    """Of a network that learns the conformations.

    Attributes
    ----------
    box : int
        Of the images, pixels.
    zdim : int
        Dimensions of the latent variable; 0 for one volume of all images.
    width, layers : int
        Of the decoder: numbers in a hidden layer, and hidden layers after the first.
    features : str
        Of `FEATURES`.
    feature_spread : float
        Of Gaussian features, as a share of the box.
    linear : bool
        Whether the networks add to a linear model of the volumes (`subspace`).
    encoder : str
        Of `ENCODERS`.
    encoded : int
        Last shell of what an encoder sees.
    images : int
        Of the stack, where each has numbers of its own.

    Raises
    ------
    InputError
        One makes no sense.
    """

    box: int
    zdim: int
    width: int = 256
    layers: int = 3
    features: str = "gaussian"
    feature_spread: float = 0.08
    linear: bool = True
    encoder: str = "posterior"
    encoded: int = 0
    images: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.zdim <= _MOST_DIMENSIONS:
            raise InputError(
                f"--zdim is {self.zdim}, expected 0 (one volume of all images) to "
                f"{_MOST_DIMENSIONS}; 1 to 10 is usual."
            )
        if self.features not in FEATURES:
            raise InputError(
                f"--features is {self.features!r}, expected one of {', '.join(FEATURES)}."
            )
        if self.encoder not in ENCODERS:
            raise InputError(
                f"--encoder is {self.encoder!r}, expected one of {', '.join(ENCODERS)}."
            )
        if self.encoder == "posterior" and self.zdim and not self.linear:
            raise InputError(
                "--encoder is 'posterior', which needs --start linear; take mlp, convolutional or "
                "none."
            )
        if not (4 <= self.width <= 8192 and 1 <= self.layers <= 64):
            raise InputError(
                f"--architecture is {self.width}x{self.layers}, expected 4 to 8192 numbers in 1 "
                "to 64 layers, as 256x3."
            )


def read_shape(text: str) -> tuple[int, int]:
    """Read the width and the layers of a decoder, `256x3`.

    Raises
    ------
    InputError
        The text is none.
    """
    found = re.fullmatch(r"(\d{1,5})x(\d{1,3})", text.strip())
    if found is None:
        raise InputError(f"--architecture is {text!r}, expected width x layers, as 256x3.")
    return int(found[1]), int(found[2])


def seen_pixels(encoded: int) -> int:
    """Give the side of the small images that convolutions see, which hold shells up to `encoded`.

    A multiple of 8, for three halvings.
    """
    return 8 * math.ceil((2 * encoded + 2) / 8)
