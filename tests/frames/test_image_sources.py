"""Diffraction images as sources, in stacks, and on the command line."""

import pickle
import shutil

import fabio
import numpy as np
import pytest
from diffraction_images import images, write_cbf, write_eiger, write_marccd, write_smv
from typer.testing import CliRunner

from hpdp_dask.cli.main import app
from hpdp_dask.errors import InputError
from hpdp_dask.frames.describe_frames import describe_frames
from hpdp_dask.frames.import_frames import import_frames
from hpdp_dask.frames.sources import check_complete, data_set_name, open_source, open_sources
from hpdp_dask.frames.validate_frames import validate_frames
from hpdp_dask.stacks.frames import detector_of, open_frames
from hpdp_dask.stacks.shards import ImageReader

IMAGES = images(4)
CCD = np.random.default_rng(5).integers(0, 900, (30, 41)).astype(np.uint16)


def refused(match, *paths, **given):
    with pytest.raises(InputError, match=match) as caught:
        open_sources(paths, **given)
    assert "\n" not in str(caught.value)


@pytest.fixture
def series(tmp_path):
    """Four images, whose names a shell would put in another order."""
    folder = tmp_path / "scan"
    folder.mkdir()
    return [
        write_cbf(folder / f"a_{n}.cbf", image)
        for n, image in zip((2, 9, 10, 11), IMAGES, strict=True)
    ]


def test_images_of_a_series_in_the_order_of_their_numbers(series):
    (source,) = open_sources(sorted(series))
    assert (source.number, source.shape, source.unit) == (4, (30, 41), "photons")
    assert [name.rsplit("/", 1)[1] for name in source.columns["source_file"]] == [
        *("a_2.cbf", "a_9.cbf", "a_10.cbf", "a_11.cbf")
    ]
    expected = np.maximum(IMAGES, 0)
    assert (source.read(0, 4) == expected).all()
    assert (source.read(1, 3) == expected[1:3]).all()
    assert ((source.detector.mask == 2) == (IMAGES[0] < 0)).all()
    assert source.detector.distance == 0.2
    assert (source.detector.pixel_x[0, 20], source.detector.pixel_y[15, 0]) == (
        pytest.approx(0.0),
        pytest.approx(0.25 * 172e-6),
    )
    assert data_set_name(source) == "a"
    assert source.notes == []
    check_complete(source)


def test_sources_and_readers_travel(series):
    (source,) = open_sources(series)
    again = pickle.loads(pickle.dumps(source))
    assert (again.read(3, 4) == source.read(3, 4)).all()
    assert len(pickle.dumps(source.reader)) < 1000


def test_a_folder_is_its_series(series):
    folder = series[0].parent
    (folder / "notes.txt").write_text("none of images")
    (folder / ".a_12.cbf").write_bytes(b"still being written")
    assert open_source(folder).number == 4


def test_data_sets_by_folder_name_and_geometry(tmp_path, series):
    other = write_cbf(series[0].parent / "b_1.cbf", IMAGES[0])
    far = write_cbf(series[0].parent / "a_12.cbf", IMAGES[0], distance=0.3)
    small = write_cbf(series[0].parent / "a_13.cbf", IMAGES[0][:20])
    (tmp_path / "next").mkdir()
    apart = write_cbf(tmp_path / "next" / "a_1.cbf", IMAGES[0])
    found = open_sources([series[0].parent, apart])
    assert [source.number for source in found] == [4, 1, 1, 1, 1]
    assert [source.detector.distance for source in found] == [0.2, 0.3, 0.2, 0.2, 0.2]
    assert {source.path for source in found} == {series[0], far, small, other, apart}
    with pytest.raises(InputError, match=r"holds 4 sets of images \(a, a, a, b\); name the files"):
        open_source(series[0].parent)


def test_a_stack_has_one_geometry_and_one_size(tmp_path, series):
    output = tmp_path / "f.zarr"
    far = write_cbf(tmp_path / "c_1.cbf", IMAGES[0], distance=0.3)
    with pytest.raises(InputError, match=r"c_1.cbf: has another geometry or wavelength than"):
        import_frames([*series, far], output)
    small = write_cbf(tmp_path / "d_1.cbf", IMAGES[0][:20])
    with pytest.raises(InputError, match=r"the frames are 20 x 41 pixels, those of .* 30 x 41"):
        import_frames([*series, small], output)
    assert not output.exists()


def test_ccds(tmp_path):
    smv = write_smv(tmp_path / "c_001.img", CCD)
    mar = write_marccd(tmp_path / "c.0001", CCD)
    for path, distance in ((smv, 0.25), (mar, 0.18)):
        (source,) = open_sources([path])
        assert source.unit == "adu"
        assert (source.read(0, 1)[0] == CCD).all()
        assert source.detector.distance == pytest.approx(distance)
        assert (source.detector.mask == 0).all()
    summary = import_frames([smv], tmp_path / "f.zarr")
    assert (summary.unit, summary.dtype) == ("adu", np.float32)


def test_data_files_beside_their_master_are_not_read_twice(tmp_path):
    write_eiger(tmp_path, np.abs(IMAGES).astype(np.uint32))
    files = sorted(tmp_path.glob("*.h5"))
    assert len(files) == 3
    (source,) = open_sources(files)
    assert (source.number, source.path.name) == (4, "x_master.h5")
    assert data_set_name(source) == "x_master"
    assert open_source(tmp_path).number == 4


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"distance": 200},
            "the distance in its header is 200 m, expected 0.01 to 10 m .is it in "
            "mm\\?.; give --distance in m",
        ),
        (
            {"wavelength": 12.8},
            r"wavelength .* is 12.8 Å, expected 0.1 to 6.2 Å .is it in keV, an "
            r"energy\?.; give --wavelength in Å",
        ),
        ({"wavelength": 12800}, "is it in eV, an energy"),
        ({"wavelength": 0.0969}, "is it in nm"),
        ({"wavelength": 9.69e-11}, "is it in m"),
        ({"wavelength": 0}, "is 0 Å, expected"),
        ({"pixel": 172000}, "the pixel size .* is 0.172 m, .*is it in mm"),
    ],
)
def test_numbers_that_make_no_sense(tmp_path, changed, sentence):
    path = write_cbf(tmp_path / "a_1.cbf", IMAGES[0], **changed)
    refused(sentence, path)


def test_options_that_make_no_sense(series):
    refused("--wavelength is 12.4 Å, .*is it in keV", *series, wavelength=12.4)
    refused("--distance is 20 m, .*is it in cm", *series, distance=20.0)
    (source,) = open_sources(series, wavelength=5.5, distance=0.02)
    assert len(source.notes) == 3
    assert "--wavelength 5.5 is used and not the 0.9686 Å of the files" in source.notes[0]
    assert "--wavelength is 5.5 Å, which is unusual" in source.notes[1]


def test_an_option_mends_a_header(tmp_path):
    path = write_cbf(tmp_path / "a_1.cbf", IMAGES[0], distance=200)
    (source,) = open_sources([path], distance=0.2, center=(3.0, 4.0))
    assert source.detector.distance == 0.2
    assert source.detector.pixel_x[0, 3] == 0


def test_images_without_geometry_ask_for_it_by_name(tmp_path):
    path = write_cbf(tmp_path / "a_1.cbf", IMAGES[0], header=False)
    (source,) = open_sources([path])
    assert source.detector is None
    for given, options in (
        ({}, r"give --wavelength \(Å\), --pixel-size \(m\), --distance \(m\)\."),
        ({"wavelength": 1.0}, r"give --pixel-size \(m\), --distance \(m\)\."),
        ({"pixel_size": 1e-4, "distance": 0.1}, r"give --wavelength \(Å\)\."),
    ):
        (source,) = open_sources([path], **given)
        with pytest.raises(InputError, match=f"does not say all of the geometry; {options}"):
            check_complete(source)
    assert "--center tells" in source.notes[-1]
    refused(r"--pixel-size needs --distance in m too", path, pixel_size=1e-4)
    summary = import_frames([path], tmp_path / "f.zarr")
    assert (
        "import again with --pixel-size (m) and --distance (m), or with --geometry"
        in (summary.notes[-1])
    )


def test_bad_paths(tmp_path, series):
    refused("there is no such file", tmp_path / "none_1.cbf")
    refused("leave --dataset out", *series, dataset="data")
    (tmp_path / "x.tif").write_bytes(b"II*\0")
    refused("no frames that are read; expected CBF, SMV, MarCCD", tmp_path / "x.tif")
    (tmp_path / "empty.cbf").touch()
    refused("empty.cbf: begins as no image that is read; is it cut short", tmp_path / "empty.cbf")
    whole = series[2].read_bytes()
    series[2].write_bytes(whole[: whole.index(b"\x0c\x1a\x04\xd5") + 500])
    (source,) = open_sources(series)
    with pytest.raises(InputError, match=r"a_10.cbf: truncated: expected \d+ bytes"):
        source.read(0, 4)


def test_an_image_that_changes_its_size(series):
    (source,) = open_sources(series)
    write_cbf(series[1], IMAGES[0][:20])
    with pytest.raises(InputError, match="has 20 x 41 pixels, expected 30 x 41; it changed since"):
        source.read(0, 4)


def test_stacks_are_sources_too(tmp_path, series):
    import_frames(series, tmp_path / "f.zarr")
    (source,) = open_sources([tmp_path / "f.zarr"])
    assert (source.read(1, 3) == np.maximum(IMAGES, 0)[1:3]).all()
    assert (source.saturation, source.detector.distance) == (1000, 0.2)
    assert data_set_name(source) == "f"
    again = open_frames(tmp_path / "f.zarr")
    assert list(again["source_file"].values) == [str(path) for path in series]


def test_thaumatin_goes_in(test_data, tmp_path):
    path = test_data / "crystallography" / "thaumatin" / "thau_3_2_0012.cbf.bz2"
    summary = import_frames([path], tmp_path / "f.zarr")
    assert (summary.number, summary.shape, summary.unit) == (1, (2527, 2463), "photons")
    assert summary.notes == []
    detector = detector_of(open_frames(tmp_path / "f.zarr"))
    assert (detector.wavelength, detector.distance) == (0.96859, 0.351)
    # 625 bad pixels, and the gaps between 5 x 12 modules
    assert (detector.mask == 2).sum() == 526_726
    stored = ImageReader(tmp_path / "f.zarr").read(0, 1)[0]
    assert (stored == np.maximum(fabio.open(str(path)).data, 0)).all()
    assert stored[detector.mask == 2].max() == 0


def test_a_cspad_goes_in(test_data, tmp_path):
    (path,) = (test_data / "crystallography" / "cspad").glob("*.npz")
    summary = import_frames([path], tmp_path / "f.zarr")
    assert (summary.unit, summary.has_geometry, summary.notes) == ("adu", True, [])
    assert describe_frames(tmp_path / "f.zarr")["modules"] == 64


def test_info_and_validate(tmp_path, series):
    described = describe_frames(series[0].parent)
    assert described["kind"] == "frames (images)"
    assert (described["number"], described["center"]) == (4, [20.0, 14.75])
    assert described["saturation"] == 1000
    levels = {finding.topic: finding.level for finding in validate_frames(series[0].parent)}
    assert levels["geometry"] == levels["saturation"] == "ok"
    bright = np.where(IMAGES[0] < 0, -1, 5000)
    found = validate_frames(write_cbf(tmp_path / "s_1.cbf", bright))
    (saturated,) = [finding for finding in found if finding.topic == "saturation"]
    assert saturated.level == "warning"
    assert "1 of 1 frames have more than 1 % of their pixels at 1000" in saturated.message
    dark = validate_frames(write_cbf(tmp_path / "z_1.cbf", 0 * IMAGES[0]))
    assert ("error", "photons") in {(finding.level, finding.topic) for finding in dark}


def test_the_command_line(tmp_path, series):
    run = CliRunner()
    stack = tmp_path / "f.zarr"
    # no cluster for four small images
    shutil.copy(series[0], tmp_path / "one_1.cbf")
    result = run.invoke(app, ["info", str(tmp_path / "one_1.cbf")])
    assert result.exit_code == 0
    assert "0.9686" in result.output
    import_frames([tmp_path / "one_1.cbf"], stack)
    result = run.invoke(app, ["validate", str(stack)])
    assert result.exit_code == 0
    assert "ok geometry: 0.2 m" in result.output
