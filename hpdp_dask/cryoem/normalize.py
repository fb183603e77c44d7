"""Normalisation: a stack of particles becomes one with an even background and a known scale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.blocks import map_images, read_images, store_images
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.arrays import Array, fast_namespace, namespace, to_host
from hpdp_dask.numerics.images import fourier_crop, normalize_background, remove_dust
from hpdp_dask.stacks.layout import plan, read_layout
from hpdp_dask.stacks.schema import check_particles
from hpdp_dask.stacks.store import new_stack, open_stack, staging

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Diameter of the circle that holds the particle, as a share of the box: RELION's default.
BACKGROUND_SHARE = 0.75

#: Pixels of the images that are worked on together; their copies in float64 stay small.
BATCH_PIXELS = 2**21


def normalize(
    stack_path: str | Path,
    output: str | Path,
    *,
    client: Client | None,
    background_diameter: float | None = None,
    invert_contrast: bool = False,
    dust: float | None = 5.0,
    box: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Make a stack whose images have a background of mean 0 and standard deviation 1.

    Of each image, in this order: dust is removed; it is Fourier-cropped; the plane that fits the
    background outside a circle is subtracted; it is brought to the scale; its contrast is
    inverted. All variables go along; only `pixel_size` changes with the box. The attributes of
    the new stack say what was done.

    Parameters
    ----------
    stack_path : str or Path
        The stack.
    output : str or Path
        The new stack.
    client : Client or None
        Where the work runs; None for this process.
    background_diameter : float, optional
        Of the circle that holds the particle, Å; by default 0.75 of the box.
    invert_contrast : bool, optional
        For images with black particles.
    dust : float or None, optional
        Pixels that many standard deviations from the mean of their image are replaced by the
        mean; None leaves them.
    box : int, optional
        Edge of the new images, pixels: even, and not larger than the old.
    overwrite : bool, optional
        Replace a stack at `output`.
    progress : Progress, optional
        Where to tell how far it is.

    Raises
    ------
    InputError
        An option is impossible for this stack, an image is not finite or has a constant
        background, or `output` exists.
    """
    stack_path, output = Path(stack_path).absolute(), Path(output).absolute()
    stack = open_stack(stack_path)
    check_particles(stack, needed=("images", "pixel_size"))
    layout = read_layout(stack_path)
    old_box, new_box = layout.box, layout.box if box is None else box
    if box is not None and (box % 2 or not 0 < box <= old_box):
        raise InputError(
            f"{stack_path}: the new box is {new_box} pixels, expected an even number from 2 to "
            f"{old_box}, the box of its images."
        )
    if dust is not None and not dust > 0:
        raise InputError(
            f"The limit for dust is {dust:g} standard deviations, expected a positive number."
        )
    if output == stack_path:
        raise InputError(f"{output}: the output is the input; give the new stack another name.")
    pixel_size = stack["pixel_size"].values * (old_box / new_box)
    diameters = _diameters(stack, pixel_size * new_box, background_diameter)
    radii = (diameters / 2.0 / pixel_size)[stack["optics_group"].values]

    described = stack.drop_vars("images").assign_attrs(
        normalized=1,
        background_diameter=[float(diameter) for diameter in diameters],
        dust=dust,
        contrast_inverted=int(invert_contrast) ^ int(stack.attrs.get("contrast_inverted", 0)),
    )
    described["pixel_size"] = described["pixel_size"].copy(data=pixel_size)
    precision = layout.precision or "float32"
    planned = plan(layout.number, new_box, precision)["shards"][0]
    shards_joined = max(1, planned // layout.images_per_shard)
    images_per_shard = layout.images_per_shard * shards_joined

    images = map_images(
        read_images(stack_path),
        _normalize_images,
        np.arange(layout.number),
        radii,
        dtype=np.float32,
        image_shape=(new_box, new_box),
        name="normalize",
        stack_path=stack_path,
        dust=dust,
        box=new_box,
        invert_contrast=invert_contrast,
    ).rechunk((images_per_shard, new_box, new_box))
    with staging(output, overwrite) as unfinished:
        new_stack(unfinished, described, layout.number, new_box, precision, images_per_shard)
        store_images(images, unfinished, name="normalize", client=client, progress=progress)


def _diameters(
    stack: xr.Dataset, edges: np.ndarray, background_diameter: float | None
) -> np.ndarray:
    """Give the diameter of the circle for each optics group, Å, from the edges of their boxes."""
    if background_diameter is None:
        return BACKGROUND_SHARE * edges
    if not 0 < background_diameter <= edges.min():
        raise InputError(
            f"{stack.attrs['path']}: the background begins outside a circle of "
            f"{background_diameter:g} Å, expected more than 0 and at most {edges.min():g} Å, the "
            "edge of the images."
        )
    return np.full(len(edges), float(background_diameter))


def _normalize_images(
    images: np.ndarray,
    numbers: np.ndarray,
    radii: np.ndarray,
    *,
    stack_path: Path,
    dust: float | None,
    box: int,
    invert_contrast: bool,
) -> np.ndarray:
    """Normalise the images of one shard, on a GPU where there is one.

    Parameters
    ----------
    images : (n, old, old) ndarray
    numbers : (n,) ndarray of int
        Of the images in the stack, for messages.
    radii : (n,) ndarray
        Of the circle that holds the particle, pixels of the new box.
    stack_path : Path
        For messages.
    dust, box, invert_contrast
        As for `normalize`.

    Returns
    -------
    (n, box, box) ndarray of float32
    """
    xp = fast_namespace()
    done = np.empty((len(images), box, box), np.float32)
    step = max(1, BATCH_PIXELS // images[0].size)
    for start in range(0, len(images), step):
        batch = slice(start, start + step)
        part = _scale(xp.asarray(images[batch], dtype=xp.float32), radii[batch], dust, box)
        done[batch] = to_host(-part if invert_contrast else part)
    bad = numbers[~np.isfinite(done).all(axis=(1, 2))]
    if len(bad):
        raise InputError(
            f"{stack_path}: image {bad[0]} (counted from 0) and {len(bad) - 1} more of its shard "
            "are not finite or have a constant background, so they have no scale; import the "
            "stack again with --drop-bad."
        )
    return done


def _scale(images: Array, radii: np.ndarray, dust: float | None, box: int) -> Array:
    """Clean, crop and scale images; what is not finite comes out so."""
    with np.errstate(invalid="ignore"):
        if dust is not None:
            images = remove_dust(images, dust)
        if box != images.shape[-1]:
            images = fourier_crop(images, box)
        scaled = namespace(images).empty_like(images)
        for radius in np.unique(radii):
            chosen = np.flatnonzero(radii == radius).tolist()
            scaled[chosen] = normalize_background(images[chosen], float(radius))
    return scaled
