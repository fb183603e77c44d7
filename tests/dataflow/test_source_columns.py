"""Measures on files as they are, against the same on a stack."""

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from frame_stacks import make_frames

from hpdp_dask.dataflow import source_columns
from hpdp_dask.dataflow.columns import Column, measure_images
from hpdp_dask.dataflow.source_columns import measure_source
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.formats.stored_frames import StoredFrames
from hpdp_dask.stacks.frames import open_frames


@dataclass(frozen=True)
class Weighted:
    """Sums frames, weighted by the place on the detector, and adds the number of the train."""

    name = "weighted"
    columns = {"weighted": Column(np.float64), "corner": Column(np.int64, (2,), ("corner",))}  # noqa: RUF012
    needs = ("train_id",)

    def prepare(self, stack):
        return stack["pixel_x"].values + float(stack["wavelength"])

    def measure(self, block, prepared):
        photons = block["photons"].values
        sums = np.einsum("nyx,yx->n", photons, prepared) + block["train_id"].values
        return {"weighted": sums, "corner": photons[:, 0, :2]}


@dataclass(frozen=True)
class Doubled:
    """Needs what another gives, and no frames."""

    name = "doubled"
    columns = {"doubled": Column(np.float64)}  # noqa: RUF012
    needs = ("weighted",)
    images = ()

    def prepare(self, stack):
        return None

    def measure(self, block, prepared):
        return {"doubled": 2 * block["weighted"].values}


@dataclass(frozen=True)
class Drawn:
    """Frames that are drawn from their number."""

    shape: tuple[int, int]
    damaged: int = -1

    def __call__(self, start, stop):
        if start <= self.damaged < stop:
            raise InputError(f"drawn: frame {self.damaged} is damaged.")
        return np.stack(
            [np.random.default_rng(k).poisson(2.0, self.shape) for k in range(start, stop)]
        ).astype(np.uint16)


def source_of(number, shape, **changes):
    return StoredFrames(
        **{
            "path": Path("drawn"),
            "number": number,
            "shape": shape,
            "dtype": np.dtype(np.uint16),
            "unit": "photons",
            "reader": Drawn(shape),
            "detector": flat_detector(shape, 1e-3, 0.5, 8.0),
            "columns": {
                "train_id": np.arange(number),
                "class_name": np.array(["a", "b", "c"], object),
            },
            **changes,
        }
    )


def test_the_same_as_on_a_stack(tmp_path, monkeypatch):
    monkeypatch.setattr("hpdp_dask.dataflow.source_columns._PIXELS_PER_LEAF", 12 * 13 * 5)
    source = source_of(57, (12, 13))
    path = make_frames(
        tmp_path / "frames.zarr", source.read(0, 57), columns={"train_id": np.arange(57)}
    )
    measure_images(path, [Weighted(), Doubled()])
    found = measure_source(source, [Weighted(), Doubled()])
    stack = open_frames(path)
    assert set(found) == {"weighted", "corner", "doubled"}
    for name, values in found.items():
        np.testing.assert_array_equal(values, stack[name].values)


def test_a_geometry_is_sent_packed_to_its_last_bit():
    rows, columns = np.meshgrid(np.arange(300.0), np.arange(400.0), indexing="ij")
    # modules that are turned a little, one below the other
    turned = 0.01 * np.floor(rows / 30)
    detector = replace(
        flat_detector((300, 400), 1e-3, 0.5, 8.0),
        pixel_x=1e-4 * (np.cos(turned) * columns - np.sin(turned) * rows),
        pixel_y=1e-4 * (np.sin(turned) * columns + np.cos(turned) * rows),
    )
    shared = source_columns._shared(source_of(3, (300, 400), detector=detector))
    packed = source_columns._Packed.of(shared)
    assert len(pickle.dumps(packed)) < 0.1 * 3 * 8 * 300 * 400
    xr.testing.assert_equal(packed.unpacked(), shared)
    assert packed.token == source_columns._Packed.of(shared).token


def test_on_workers(client, monkeypatch):
    monkeypatch.setattr("hpdp_dask.dataflow.source_columns._PIXELS_PER_LEAF", 12 * 13 * 5)
    source = source_of(57, (12, 13))
    here = measure_source(source, [Weighted()])
    there = measure_source(source, [Weighted()], client=client)
    for name, values in here.items():
        np.testing.assert_array_equal(values, there[name])


def test_a_damaged_frame_is_told(client):
    source = source_of(9, (12, 13), reader=Drawn((12, 13), damaged=6))
    for where in (None, client):
        with pytest.raises(InputError, match=r"drawn: frame 6 is damaged\."):
            measure_source(source, [Weighted()], client=where)


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match=r"no photons .* hpdp spi calibrate"):
        measure_source(source_of(3, (4, 5), unit="adu"), [Weighted()])
    with pytest.raises(InputError, match="no train_id"):
        measure_source(source_of(3, (4, 5), columns={}), [Weighted()])
