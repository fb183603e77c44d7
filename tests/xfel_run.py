"""Small runs of European XFEL for tests, made by extra_data's own helpers."""

from pathlib import Path

import h5py
import numpy as np

TRAINS, PULSES = 3, 4
SOURCE = "SPB_DET_AGIPD1M-1/CORR/{}CH0:output"


def make_run(folder: Path, missing=(), photons=True, raw=False, first_train=10000) -> Path:
    """Make a run of 3 trains of 4 pulses on an AGIPD of 16 modules.

    The pixel in row 5, column `pulse` of each module has 100 train + 10 pulse + module photons
    modulo 251; in row 7, column 3 of each module one pixel of each frame is masked.
    """
    from extra_data.tests.mockdata import write_file
    from extra_data.tests.mockdata.detectors import AGIPDModule

    folder.mkdir(parents=True, exist_ok=True)
    for module in range(16):
        if module in missing:
            continue
        path = folder / f"{'RAW' if raw else 'CORR'}-R0142-AGIPD{module:02}-S00000.h5"
        if raw:
            device = AGIPDModule(f"SPB_DET_AGIPD1M-1/DET/{module}CH0", frames_per_train=PULSES)
        else:
            device = AGIPDModule(
                f"SPB_DET_AGIPD1M-1/CORR/{module}CH0",
                channel_name="output",
                raw=False,
                frames_per_train=PULSES,
            )
        write_file(
            str(path),
            [device],
            ntrains=TRAINS,
            firsttrain=first_train,
            chunksize=4,
            format_version="1.2",
        )
        with h5py.File(path, "r+") as file:
            fill(file, module, first_train, photons and not raw)
    return folder


def fill(file: h5py.File, module: int, first_train: int, photons: bool) -> None:
    image = next(group for group in image_groups(file))
    if photons:
        del image["data"]
        image.create_dataset("data", (TRAINS * PULSES, 512, 128), "u1", chunks=(1, 512, 128))
    for frame in range(TRAINS * PULSES):
        place = (frame, 0) if image["data"].ndim == 4 else (frame,)
        image["data"][(*place, 5, frame % PULSES)] = expected(first_train, frame, module)
        if "mask" in image:
            image["data"][(*place, 7, 3)] = 77
            image["mask"][frame, 7, 3] = 8


def image_groups(file: h5py.File):
    """Give the groups of images of a file."""
    found = []
    file["INSTRUMENT"].visititems(
        lambda name, item: found.append(item) if name.endswith("/image") else None
    )
    return found


def expected(first_train: int, frame: int, module: int) -> int:
    train, pulse = first_train + frame // PULSES, frame % PULSES
    return (100 * train + 10 * pulse + module) % 251


def frames_of(missing=(), first_train=10000, masked=True) -> np.ndarray:
    """Give the frames that a run of `make_run` should be read as."""
    frames = np.zeros((TRAINS * PULSES, 16, 512, 128), np.float32)
    for frame in range(len(frames)):
        for module in set(range(16)) - set(missing):
            frames[frame, module, 5, frame % PULSES] = expected(first_train, frame, module)
    return frames.reshape(-1, 16 * 512, 128)
