"""The names under which the truth of simulated stills is kept, and their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: Of each shot: what is stored, and what it means.
TRUTHS: Mapping[str, tuple[str, str]] = {
    "true_resolution": ("f4", "to which spots can be seen, Å; NaN of a blank"),
    "true_hit": ("i1", "1 a crystal in the beam, 0 a blank"),
    "true_lattices": ("i1", "lattices in the beam"),
    "true_misorientation": ("f4", "largest angle of a lattice to the first, degrees"),
    "true_mosaicity": ("f4", "standard deviation of the orientation of domains, degrees"),
    "true_b_factor": ("f4", "Å²"),
    "true_photons": ("f4", "mean photons of all spots in the picture"),
    "true_spots": ("i4", "spots in the picture of four standard deviations or more"),
    "true_background": ("f4", "photons of a pixel where diffuse scattering is strongest"),
    "true_ice": ("i1", "1 with rings of ice"),
    "true_quadrant": ("i1", "which quadrant: 0 (+x, +y), 1 (-x, +y), 2 (-x, -y), 3 (+x, -y)"),
    "shot_detector": ("i1", "index along the attribute `detectors`"),
    "shot_wavelength": ("f8", "Å"),
    "shot_distance": ("f8", "from the sample to the detector, m"),
    "shot_pixel_size": ("f8", "edge of a cell of the quadrant, m"),
    "shot_center_x": ("f8", "of the beam, cells from the centre of cell 0, 0, along columns"),
    "shot_center_y": ("f8", "of the beam, cells from the centre of cell 0, 0, along rows"),
}

#: What is told of whole frames.
WHOLE_TRUTHS = tuple(
    name for name in TRUTHS if name.startswith("true_") and name != "true_quadrant"
)


def columns_of(truths: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Put the truths of shots into columns: (n,) arrays by name."""
    return {
        name: np.array([truth[name] for truth in truths], np.dtype(kind))
        for name, (kind, _) in TRUTHS.items()
        if name in truths[0]
    }


def empty_columns(number: int, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Give columns that are still to be filled: (number,) arrays by name."""
    return {name: np.zeros(number, np.dtype(TRUTHS[name][0])) for name in names}
