"""Small stacks of frames for tests."""

from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.store import staging, write_images


def make_frames(path, photons, *, unit="photons", images_per_shard=None, columns=None, **detector):
    """Make a stack of frames of a flat detector: 1 mm pixels, 0.5 m off, 8 Å."""
    flat = flat_detector(photons.shape[1:], 1e-3, 0.5, 8.0, **detector)
    with staging(path) as folder:
        table = frame_table(flat, columns or {})
        number, *shape = photons.shape
        new_frames(
            folder,
            table,
            number,
            tuple(shape),
            photons.dtype,
            unit=unit,
            images_per_shard=images_per_shard,
        )
        write_images(folder, 0, photons)
    return path
