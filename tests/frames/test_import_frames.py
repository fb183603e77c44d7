import errno
import time
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr
from xfel_run import frames_of, make_run

from hpdp_dask.errors import InputError
from hpdp_dask.formats.cxi_writing import write_cxi
from hpdp_dask.formats.dragonfly_detector import write_detector
from hpdp_dask.formats.emc_writing import write_emc
from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.frames import import_shards
from hpdp_dask.frames.import_frames import import_frames, open_source
from hpdp_dask.stacks import shard_writer
from hpdp_dask.stacks.frames import detector_of, open_frames
from hpdp_dask.stacks.shards import ImageReader

PHOTONS = np.random.default_rng(11).poisson(0.5, (40, 9, 12)).astype(np.int32)
GEOMETRY = {"pixel_size": 2e-4, "distance": 0.3, "wavelength": 6.2}


@pytest.fixture
def output(tmp_path):
    """Where the stack goes, in a folder of its own, so that leavings are seen."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "f.zarr"


@pytest.fixture
def saved(tmp_path):
    """Save arrays as a file of frames."""

    def save(frames=PHOTONS, name="frames.npz", **beside):
        np.savez(tmp_path / name, frames=frames, **beside)
        return tmp_path / name

    return save


def read(path):
    reader = ImageReader(path)
    return reader.read(0, reader.number)


def refused(match, inputs, output, **options):
    """Import, which must be refused with a sentence, and leave nothing."""
    with pytest.raises(InputError, match=match) as caught:
        import_frames(inputs, output, **options)
    assert list(output.parent.iterdir()) == []
    assert "\n" not in str(caught.value)


def test_frames_of_dragonfly(test_data, output):
    folder = test_data / "spi" / "dragonfly"
    summary = import_frames(
        [folder / "photons.emc"],
        output,
        geometry=folder / "det_sim.h5",
        pixel_size=1e-3,
        wavelength=6.2,
    )
    assert (summary.number, summary.shape, summary.dtype) == (400, (65, 65), np.uint8)
    assert summary.has_geometry
    assert not summary.notes
    stack = open_frames(output)
    photons = read(output)
    assert round(photons.sum() / 400) == 2028
    assert photons[:, stack["mask"].values == 0].sum() / 400 == pytest.approx(2026.7075)
    detector = detector_of(stack)
    assert (detector.distance, detector.wavelength) == (pytest.approx(0.3), 6.2)
    # a frame in memory is ten times its size on disk
    assert photons.nbytes > 8 * summary.stored_bytes
    step = stack.attrs["history"][0]
    assert step["command"] == "import"
    assert step["parameters"]["wavelength"] == 6.2


def test_a_cluster_writes_what_one_process_writes(saved, output, client):
    path = saved()
    import_frames([path], output, images_per_shard=8, client=client, **GEOMETRY)
    here = output.with_name("here.zarr")
    import_frames([path], here, images_per_shard=8, **GEOMETRY)
    assert ImageReader(output).layout.shards == 5
    assert (read(output) == PHOTONS).all()
    for shard in range(5):
        files = [ImageReader(path).layout.shard_file(shard) for path in (output, here)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_what_is_stored_is_plain_zarr(saved, output):
    import_frames([saved(labels=np.arange(40) % 3)], output, **GEOMETRY)
    stack = xr.open_zarr(output)
    assert (stack["photons"].values == PHOTONS).all()
    assert stack["photons"].dtype == np.uint8
    assert stack["label"].values.tolist() == (np.arange(40) % 3).tolist()
    assert stack["class_name"].values.tolist() == ["0", "1", "2"]
    assert stack["photons"].attrs["long_name"] == "photons counted"
    codecs = zarr.open_array(output / "photons").metadata.codecs[0].codecs
    assert any("bitshuffle" in str(codec).lower() for codec in codecs)


@pytest.mark.parametrize(
    ("largest", "dtype"), [(255, np.uint8), (256, np.uint16), (70_000, np.uint32)]
)
def test_photons_get_the_smallest_dtype(saved, output, largest, dtype):
    # a frame that is not among those that are looked at first
    frames = np.concatenate([PHOTONS] * 3)
    frames[1, 3, 3] = largest
    frames[1, 2, 2] = 0
    assert 1 not in np.linspace(0, len(frames) - 1, 32).astype(int)
    summary = import_frames([saved(frames)], output, images_per_shard=16)
    assert summary.dtype == dtype
    assert (read(output) == frames).all()
    assert [path.name for path in output.parent.iterdir()] == [output.name]


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float32, np.float64, bool, ">i4"])
def test_photons_come_in_any_dtype(saved, output, dtype):
    frames = np.minimum(PHOTONS, 1) if dtype is bool else PHOTONS
    summary = import_frames([saved(frames.astype(dtype))], output, unit="photons")
    assert summary.dtype == np.uint8
    assert (read(output) == frames).all()


def test_adu_are_kept_as_they_are(saved, output):
    frames = np.random.default_rng(0).normal(size=(4, 5, 6))
    frames[1, 2, 3], frames[2, 0, 0], frames[3, 1, 1] = -np.inf, np.inf, np.nan
    summary = import_frames([saved(frames)], output)
    assert (summary.unit, summary.dtype) == ("adu", np.float32)
    np.testing.assert_array_equal(read(output), frames.astype(np.float32))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-3, "frame 17 holds -3 in row 4, column 5, expected counts of photons"),
        (np.inf, "frame 17 holds inf in row 4, column 5"),
        (0.5, "frame 17 holds 0.5 in row 4, column 5"),
        (1e11, r"frame 17 holds 1e\+11 .* from 0 to 4294967295"),
    ],
)
def test_numbers_that_are_no_counts(saved, output, value, said):
    frames = PHOTONS.astype(np.float64 if not isinstance(value, int) else np.int64)
    frames[17, 4, 5] = value
    path = saved(frames)
    refused(said, [path], output, unit="photons")
    mask = np.zeros((9, 12))
    mask[4, 5] = 1
    np.save(path.with_name("mask.npy"), mask)
    import_frames([path], output, unit="photons", mask=path.with_name("mask.npy"))
    expected = PHOTONS.copy()
    expected[17, 4, 5] = 0
    assert (read(output) == expected).all()


def test_pixels_without_a_number_have_no_photons(saved, output):
    frames = PHOTONS.astype(np.float32)
    frames[:, 2, 3] = np.nan
    frames[5, 6, 7] = np.nan
    summary = import_frames([saved(frames)], output, unit="photons")
    expected = PHOTONS.copy()
    expected[:, 2, 3] = expected[5, 6, 7] = 0
    assert (read(output) == expected).all()
    assert np.argwhere(open_frames(output)["mask"].values == 2).tolist() == [[2, 3]]
    assert "1 pixels that often have no number are masked" in summary.notes[-1]


def test_frames_without_geometry(saved, output):
    mask = np.zeros((9, 12), int)
    mask[0, 0] = 1
    summary = import_frames([saved(mask=mask)], output, wavelength=1.5)
    assert not summary.has_geometry
    assert "the geometry is not known" in summary.notes[-1]
    stack = open_frames(output)
    assert float(stack["wavelength"]) == 1.5
    assert stack["mask"].values[0, 0] == 2
    with pytest.raises(InputError, match=r"no pixel_x .* --geometry, or with --pixel-size"):
        detector_of(stack)


def test_several_files_one_after_another(saved, output):
    paths = [
        saved(PHOTONS[:15], "a.npz", labels=np.array(["x", "y", ""] * 5)),
        saved(PHOTONS[15:].astype(np.uint8), "b.npz", labels=np.array(["z"] * 25)),
    ]
    import_frames(paths, output, images_per_shard=7, **GEOMETRY)
    assert (read(output) == PHOTONS).all()
    stack = open_frames(output)
    names = np.array([*stack["class_name"].values, ""])[stack["label"].values]
    assert names.tolist() == ["x", "y", ""] * 5 + ["z"] * 25


def test_files_that_do_not_fit_together(saved, output, tmp_path):
    first = saved()
    refused(
        "frames are 9 x 11 pixels, those of .* 9 x 12 pixels",
        [first, saved(PHOTONS[..., 1:], "b.npz")],
        output,
    )
    refused(
        "the numbers are adu, those of .* photons",
        [first, saved(PHOTONS.astype(float), "c.npz")],
        output,
    )
    paths = []
    for name, beam in (("d", 6.0), ("e", 7.0)):
        paths.append(tmp_path / f"{name}.cxi")
        detector = flat_detector((9, 12), 2e-4, 0.3, beam)
        write_cxi(paths[-1], 40, (9, 12), PHOTONS.dtype, [PHOTONS], detector=detector)
    refused("e.cxi: has another geometry or wavelength than .*d.cxi", paths, output)
    import_frames(paths, output, wavelength=6.5)
    assert open_frames(output).sizes["frame"] == 80


def test_a_run_with_a_missing_module(tmp_path, output, test_data, client):
    run = make_run(tmp_path / "run", missing=[7])
    geometry = test_data / "spi" / "geometry" / "agipd_p008316_r0024_v04.geom"
    summary = import_frames([run], output, geometry=geometry, client=client, images_per_shard=4)
    assert (summary.number, summary.shape, summary.dtype) == (12, (8192, 128), np.uint8)
    assert "module 7 of SPB_DET_AGIPD1M-1 is missing" in summary.notes[0]
    assert (read(output) == frames_of(missing=[7])).all()
    stack = open_frames(output)
    assert stack.attrs["modules"] == 16
    assert stack["train_id"].values.tolist() == np.repeat([10000, 10001, 10002], 4).tolist()
    detector = detector_of(stack)
    assert (detector.mask[7 * 512 : 8 * 512] == 2).all()
    assert detector.wavelength == pytest.approx(1.05978, abs=1e-5)
    assert detector.distance == pytest.approx(0.12322, abs=1e-3)
    refused_here = output.with_name("other.zarr")
    with pytest.raises(
        InputError, match="has frames of 16 modules, of which --pixel-size does not"
    ):
        import_frames([run], refused_here, **GEOMETRY)


def test_geometry_of_the_wrong_size(saved, output, tmp_path, test_data):
    path = saved()
    write_detector(tmp_path / "det.h5", flat_detector((10, 12), 2e-4, 0.3, 6.0))
    refused(
        r"det.h5: is of 10 x 12 pixels \(120\), the frames of .* of 9 x 12 \(108\)",
        [path],
        output,
        geometry=tmp_path / "det.h5",
    )
    agipd = test_data / "spi" / "geometry" / "agipd_p008316_r0024_v04.geom"
    refused(r"is of 8192 x 128 pixels", [path], output, geometry=agipd)
    np.save(tmp_path / "mask.npy", np.zeros((12, 9)))
    refused(
        "the mask is of 12 x 9 pixels, the frames of 9 x 12",
        [path],
        output,
        mask=tmp_path / "mask.npy",
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wavelength": 9000.0}, "--wavelength is 9000, expected 0.05 to 500 Å"),
        ({"distance": 705.0, "pixel_size": 2e-4}, "--distance is 705, expected 0.001 to 100 m"),
        ({"distance": 0.7, "pixel_size": 200.0}, "--pixel-size is 200"),
        ({"distance": 0.7}, "--distance needs --pixel-size in m too"),
        ({"pixel_size": 2e-4}, "--pixel-size needs --distance in m too"),
        ({"center": (3.0, 4.0)}, "--center needs --pixel-size"),
        ({"geometry": "none.geom"}, "none.geom: there is no such file"),
        ({"mask": "none.npy"}, "none.npy: there is no such file"),
        ({"dataset": "other"}, "no array other"),
    ],
)
def test_options_that_do_not_suffice(saved, output, options, said):
    refused(said, [saved()], output, **options)


def test_the_user_is_right_about_the_beam(tmp_path):
    write_emc(tmp_path / "p.emc", 40, 108, [PHOTONS])
    write_detector(tmp_path / "det.h5", flat_detector((9, 12), 2e-4, 0.3, 6.0))
    source = open_source(tmp_path / "p.emc", geometry=tmp_path / "det.h5", wavelength=7.0)
    assert source.shape == (9, 12)
    assert source.detector.wavelength == 7.0
    assert "--wavelength 7 is used and not the 6 Å" in source.notes[0]
    guessed = open_source(tmp_path / "p.emc")
    assert guessed.shape == (1, 108)


def test_what_a_file_says_of_its_pixels_stays(tmp_path):
    path = tmp_path / "p.cxi"
    detector = flat_detector((9, 12), 2e-4, 0.3, 6.0)
    write_cxi(path, 40, (9, 12), PHOTONS.dtype, [PHOTONS], detector=detector)
    moved = open_source(path, distance=0.4).detector
    assert (moved.pixel_x == detector.pixel_x).all()
    assert np.allclose(moved.pixel_z, 0.4)
    for options, said in (
        ({"center": (1, 2)}, "--center: .* says where each pixel is"),
        ({"pixel_size": 1e-4}, "--pixel-size is 0.0001, but .* has pixels of 0.0002 m"),
    ):
        with pytest.raises(InputError, match=said):
            open_source(path, **options)


def test_the_beam_center_of_a_flat_detector(saved):
    source = open_source(saved(), center=(2.5, 3.0), **GEOMETRY)
    assert source.detector.pixel_x[3, 2] == pytest.approx(-0.5 * 2e-4)
    assert source.detector.pixel_y[3, 2] == 0
    middle = open_source(saved(), **GEOMETRY)
    assert middle.detector.pixel_x[:, 5].max() == pytest.approx(-0.5 * 2e-4)


def test_files_that_are_none(output, tmp_path):
    refused("there is no such file", [tmp_path / "none.cxi"], output)
    (tmp_path / "a.txt").write_text("hello")
    refused("no frames that are read; expected CBF", [tmp_path / "a.txt"], output)
    (tmp_path / "a.h5").write_text("hello")
    refused("not an HDF5 file", [tmp_path / "a.h5"], output)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["frames"] = PHOTONS
    whole = (tmp_path / "b.h5").read_bytes()
    (tmp_path / "b.h5").write_bytes(whole[:5000])
    refused(
        rf"b.h5: truncated: expected {len(whole)} bytes, found 5000", [tmp_path / "b.h5"], output
    )


def test_an_output_that_is_there(saved, output):
    path = saved()
    import_frames([path], output)
    with pytest.raises(InputError, match="--overwrite"):
        import_frames([path], output)
    import_frames([path], output, overwrite=True, wavelength=2.0)
    assert float(open_frames(output)["wavelength"]) == 2.0


def test_a_disk_that_fills_up(saved, output, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_writer.os, "replace", full)
    refused("the disk is full", [saved()], output)
    monkeypatch.undo()
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(import_shards.shutil, "disk_usage", lambda _: usage)
    refused("the stack needs about .* bytes, 1000 are free", [saved()], output)


def test_memory_does_not_grow_with_the_frames(tmp_path, output):
    """The blocks of a shard are read one after another."""
    largest = []

    class Reader:
        def __call__(self, start, stop):
            largest.append(stop - start)
            return np.zeros((stop - start, 256, 256), np.uint16)

    from hpdp_dask.formats.stored_frames import StoredFrames
    from hpdp_dask.frames import import_frames as module

    source = StoredFrames(
        tmp_path / "made", 2000, (256, 256), np.dtype(np.uint16), "photons", Reader()
    )
    began = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "open_sources", lambda *_, **__: [source])
        import_frames([tmp_path], output)
    assert max(largest) * 256 * 256 * 4 <= 16 * 2**20
    assert time.perf_counter() - began < 60
