"""The model that ships on real images: a grid scan of thaumatin, and a still of an X-ray laser."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from hpdp_dask.crystallography.model_file import shipped_models
from hpdp_dask.crystallography.predict import predict_measure
from hpdp_dask.dataflow.source_columns import measure_source
from hpdp_dask.formats.frames import BAD, GOOD
from hpdp_dask.frames.sources import open_sources

if "small" not in shipped_models():
    pytest.skip("no model ships", allow_module_level=True)

#: What DISTL says of 03, 08 and 12, Å (its first method).
DISTL = (1.80, 2.07, 2.11)

#: Column and row of the beam.
CENTER = (1261.61, 1306.96)


class Frames:
    """Frames in memory as a source."""

    def __init__(self, source, frames):
        self.path, self.unit, self.columns, self.notes = source.path, source.unit, {}, ()
        self.number, self.shape, self.dtype = len(frames), frames.shape[1:], frames.dtype
        mask = np.where((frames < 0).any(axis=0), BAD, GOOD).astype(np.uint8)
        self.detector = replace(source.detector, mask=np.maximum(mask, source.detector.mask))
        self.frames = frames

    def read(self, start, stop):
        return self.frames[start:stop]


@pytest.fixture(scope="module")
def scan(test_data):
    folder = test_data / "crystallography/thaumatin"
    numbers = ("0003", "0008", "0012", "0015", "0016", "0018")
    (source,) = open_sources([folder / f"thau_3_2_{number}.cbf.bz2" for number in numbers])
    return source


def turned(frame):
    """Turn a frame by half a turn about the beam; what comes from outside is bad."""
    found = np.full_like(frame, -1)
    places = []
    for length, center in zip(frame.shape, CENTER[::-1], strict=True):
        from_where = round(2.0 * center) - np.arange(length)
        places.append((from_where, (from_where >= 0) & (from_where < length)))
    (rows, rows_there), (columns, columns_there) = places
    inside = frame[np.ix_(rows[rows_there], columns[columns_there])]
    found[np.ix_(rows_there, columns_there)] = inside
    return found


def test_hits_and_blanks_and_how_fine(scan):
    found = measure_source(scan, [predict_measure("small")])
    assert (found["hit_probability"][:4] > 0.5).all()
    assert (found["hit_probability"][4:] < 0.5).all()
    resolution = found["resolution"]
    np.testing.assert_allclose(resolution[:3], DISTL, atol=0.5)
    assert resolution[3] > 2.8
    assert np.isnan(resolution[4:]).all()


def test_one_frame_is_one_lattice_and_two_are_several(scan):
    frames = scan.read(0, 3)
    frames = np.where(scan.detector.mask == GOOD, frames, -1).astype(np.int32)
    both = []
    for one, other in ((0, 1), (1, 2), (2, 0)):
        first, second = frames[one], turned(frames[other])
        both.append(np.where((first < 0) | (second < 0), -1, first + second))
    measure = predict_measure("small")
    single = measure_source(Frames(scan, frames), [measure])
    several = measure_source(Frames(scan, np.stack(both)), [measure])
    assert (single["several_lattices_probability"] < 0.5).all()
    assert (several["several_lattices_probability"] > 0.5).all()


def test_a_still_of_an_x_ray_laser(test_data):
    (path,) = (test_data / "crystallography/cspad").glob("*.npz")
    (source,) = open_sources([path])
    found = measure_source(source, [predict_measure("small")])
    assert found["hit_probability"][0] > 0.5
    assert 1.5 < found["resolution"][0] < 4.0
