"""What every file of particles says, in one form: the meeting point of star and cs.

A format's reader makes a `ParticleTable`; its writer takes one. The names and units of the
columns are those of the stack's schema (`hpdp_dask.stacks.schema`); everything else that the
file says is kept in `source` and written back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class SourceTables:
    """The tables of a file as they were read, so that it can be written again.

    Attributes
    ----------
    format : str
        `relion-3.0`, `relion-3.1` (also written by RELION 4 and 5) or `cryosparc`.
    particles : dict of str to ndarray
        One array a column under the file's own name, first axis the particle: numbers, or
        strings as object arrays of `str`.
    optics : dict of str to ndarray
        The table of optics groups likewise; empty where the format has none.
    blocks : dict of str to dict of str to ndarray
        Other blocks of the file (a star's `data_general`, say) by their name.
    """

    format: str
    particles: dict[str, np.ndarray] = field(default_factory=dict)
    optics: dict[str, np.ndarray] = field(default_factory=dict)
    blocks: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


@dataclass
class ParticleTable:
    """Poses, CTF and whereabouts of particles, in the schema's names and units.

    Attributes
    ----------
    particles : dict of str to ndarray
        Those of `euler_angles` (n, 3) degree, `shift` (n, 2) Å, `defocus_u`, `defocus_v` (n) Å,
        `defocus_angle`, `phase_shift` (n) degree, `optics_group` (n) index from 0, `half_set`
        (n) 0 or 1, `class_number` (n), `class_probability` (n), `micrograph` (n) object array of
        `str`, `coordinate` (n, 2) pixel, that the file has. `optics_group` is always there.
    optics : dict of str to ndarray
        `voltage` kV, `spherical_aberration` mm, `amplitude_contrast`, `pixel_size` Å, of shape
        (groups,) float64, NaN where the file does not say.
    image_files : list of Path
        The stacks that the images are in, absolute; empty if the file names no images.
    image_file : (n,) ndarray of int32
        Index in `image_files`; -1 where a row names no image.
    image_index : (n,) ndarray of int64
        Which image of its stack, from 0.
    source : SourceTables
        The file as it was read.
    path : Path
        The file, for messages.
    """

    particles: dict[str, np.ndarray]
    optics: dict[str, np.ndarray]
    image_files: list[Path]
    image_file: np.ndarray
    image_index: np.ndarray
    source: SourceTables
    path: Path

    def __len__(self) -> int:
        return len(self.image_index)
