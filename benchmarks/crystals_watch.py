"""Diffraction images while they arrive: files of a Pilatus 6M appear at a rate; what is the lag?

    python benchmarks/crystals_watch.py [--images FOLDER] [--rate 5] [--number 100] [--model small]

Real images, again and again under new names, appear in a folder as a detector writes them, and
`hpdp crystals watch` looks at them. Printed are the images a second, the lag of images from when
they are there to their result on disk (two seconds of it wait whether a file still grows), and the
CPU milliseconds an image, by part and in all. CPU time is that of the workers and of this process,
scheduler and client included.
"""

from __future__ import annotations

import argparse
import bz2
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from common import TEST_DATA, record

from hpdp_dask.cluster import connect
from hpdp_dask.crystallography.predict import predict_measure
from hpdp_dask.crystallography.watch.source import open_watched
from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.workflow.crystals_watch import run_watch
from hpdp_dask.workflow.record import cpu_seconds

#: Images of a batch at most, and seconds without a new one after which it is over.
BATCH, IDLE = 16, 5.0


def images_of(folder: Path) -> list[bytes]:
    """Read the images of a folder, unpacked."""
    packed = [bz2.decompress(file.read_bytes()) for file in sorted(folder.glob("*.cbf.bz2"))]
    return packed + [file.read_bytes() for file in sorted(folder.glob("*.cbf"))]


def write(images: list[bytes], folder: Path, number: int, rate: float) -> None:
    """Write images as a detector does, each at its time."""
    began = time.monotonic()
    for place in range(number):
        time.sleep(max(0.0, began + place / rate - time.monotonic()))
        hidden = folder / f".image_{place:06d}.cbf"
        # what follows the counts is not read, and makes each file another
        hidden.write_bytes(images[place % len(images)] + b"\r\n#%d" % place)
        os.replace(hidden, folder / hidden.name[1:])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=Path, default=TEST_DATA / "crystallography/thaumatin")
    options.add_argument("--rate", type=float, default=5.0)
    options.add_argument("--number", type=int, default=100)
    options.add_argument("--model", default="small")
    options.add_argument("--quadrants", type=int, default=4)
    options.add_argument("--workers", type=int, default=2)
    chosen = options.parse_args()
    images = images_of(chosen.images)
    predict = predict_measure(chosen.model, chosen.quadrants)
    with TemporaryDirectory(prefix="hpdp-watch-") as name:
        folder, output = Path(name, "visit"), Path(name, "watch")
        folder.mkdir()
        writing = threading.Thread(
            target=write, args=(images, folder, chosen.number, chosen.rate), daemon=True
        )

        @contextmanager
        def around(_stream: Stream) -> Iterator[None]:
            writing.start()
            yield

        with connect("local", workers=chosen.workers) as client:
            source, predict = open_watched(str(folder), BATCH, predict, idle=IDLE)
            before = cpu_seconds()
            found = run_watch(
                source,
                output,
                predict,
                client=client,
                command=["benchmark"],
                model=chosen.model,
                batch=BATCH,
                around=around,
            )
            cpu = cpu_seconds() - before
        assert found is not None
        results = found.results
        figures = {
            "workers": chosen.workers,
            "model": chosen.model,
            "quadrants of an image": chosen.quadrants,
            "asked for, images a second": chosen.rate,
            "images": results["frames"],
            "images a second": results["frames_a_second"],
            **{f"lag, s, {name}": value for name, value in results["lag_seconds"].items()},
            **{
                f"CPU, ms an image, {name}": value
                for name, value in results["milliseconds_a_frame"].items()
            },
            "CPU, ms an image, in all": 1000.0 * cpu / max(1, results["frames"]),
        }
        record("crystals_watch", figures)


if __name__ == "__main__":
    main()
