"""Calibration: photons that were put in come out; real frames come out without stripes."""

import gzip

import numpy as np
import pytest
import xarray as xr
from frame_stacks import make_frames
from scipy.ndimage import median_filter

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.common_mode import group_pixels, subtract_common_mode
from hpdp_dask.spi.adu_frames import read_block
from hpdp_dask.spi.calibrate import calibrate
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.stacks.shards import ImageReader

SHAPE = (64, 96)
GAIN, NOISE = 8.0, 0.9


@pytest.fixture(scope="module")
def truth():
    """Photons, and what a detector with stripes and some bad pixels makes of them."""
    random = np.random.default_rng(3)
    y, x = np.indices(SHAPE)
    radius = np.hypot(x - 50, y - 30)
    hit = random.random((120, 1, 1)) < 0.5
    photons = random.poisson(0.05 + hit * 20.0 * np.exp(-radius / 6.0)).astype(np.uint16)
    offsets = np.repeat(random.normal(0.0, 5.0, (120, SHAPE[0], 2)), SHAPE[1] // 2, axis=2)
    adu = GAIN * photons + offsets + random.normal(0.0, NOISE, photons.shape)
    adu[:, 10, 11] = np.nan
    adu[::4, 20, 21] = np.inf
    adu[:, 5, 80] = 7.0
    adu[:, 60, 3] += random.normal(0.0, 8.0 * NOISE, 120)
    return photons, adu.astype(np.float32)


@pytest.fixture
def stack(tmp_path, truth):
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, :5] = 1
    columns = {"train_id": np.arange(120)}
    return make_frames(
        tmp_path / "adu.zarr", truth[1], unit="adu", images_per_shard=40, columns=columns, mask=mask
    )


def test_photons_come_out(tmp_path, stack, truth):
    done = calibrate(stack, tmp_path / "frames.zarr", client=None, history={"command": "hpdp ..."})
    opened = open_frames(tmp_path / "frames.zarr")
    photons = ImageReader(tmp_path / "frames.zarr").read(0, 120)
    good = opened["mask"].values == 0
    assert done.gain == pytest.approx(GAIN, rel=0.005)
    assert abs(done.peak.gain - GAIN) < 4 * done.peak.error
    assert done.noise == pytest.approx(NOISE, rel=0.2)
    assert photons.dtype == np.uint8
    # the noise alone takes a few in a million over half a photon
    assert (photons != truth[0])[:, good].mean() < 1e-4
    assert not photons[:, ~good].any()
    np.testing.assert_array_equal(opened["train_id"].values, np.arange(120))
    assert done.bad == {
        "masked before": 5, "not finite": 2, "dead": 1, "noisy": 1, "hot": 0
    }  # fmt: skip
    assert (opened["mask"].values[0, :5] == 1).all()
    for place in ((10, 11), (20, 21), (5, 80), (60, 3)):
        assert opened["mask"].values[place] == 2
    assert opened.attrs["history"][-1]["gain"] == done.gain


def test_the_same_on_a_cluster(tmp_path, stack, client):
    found = []
    for name, where in (("here.zarr", None), ("there.zarr", client)):
        calibrate(stack, tmp_path / name, client=where)
        opened = open_frames(tmp_path / name)
        found.append(opened.drop_attrs().load())
    xr.testing.assert_identical(*found)


def test_options(tmp_path, stack, truth):
    mask = np.zeros(SHAPE)
    mask[30:40] = 1
    np.save(tmp_path / "mask.npy", mask)
    done = calibrate(
        stack,
        tmp_path / "frames.zarr",
        gain=2 * GAIN,
        common_mode="1x48",
        masks=[tmp_path / "mask.npy"],
        find_bad=False,
        from_share=0.7,
        client=None,
    )
    assert (done.gain, done.bad["noisy"], done.bad["dead"]) == (2 * GAIN, 0, 0)
    assert done.peak.gain == pytest.approx(GAIN, rel=0.02)
    photons = ImageReader(tmp_path / "frames.zarr").read(0, 120)
    assert not photons[:, 30:40].any()
    good = (mask == 0) & (open_frames(tmp_path / "frames.zarr")["mask"].values == 0)
    good[[5, 60], [80, 3]] = False
    expected = np.floor(truth[0] / 2 + 0.3)
    assert (photons != expected)[:, good].mean() < 1e-3


def test_frames_that_are_not_there(tmp_path, truth):
    adu = truth[1].copy()
    adu[7] = np.nan
    stack = make_frames(tmp_path / "adu.zarr", adu, unit="adu", images_per_shard=40)
    done = calibrate(stack, tmp_path / "frames.zarr", client=None)
    assert done.not_whole == 1
    assert done.bad["not finite"] == 2
    assert not ImageReader(tmp_path / "frames.zarr").read(7, 8).any()


def test_refused(tmp_path, stack, truth):
    output = tmp_path / "frames.zarr"
    photons = make_frames(tmp_path / "photons.zarr", truth[0])
    with pytest.raises(InputError, match="photons already, expected ADU"):
        calibrate(photons, output, client=None)
    with pytest.raises(InputError, match="'thirds' is not known, expected rows, half-rows"):
        calibrate(stack, output, common_mode="thirds", client=None)
    with pytest.raises(InputError, match="within the 64x96"):
        calibrate(stack, output, common_mode="65x10", client=None)
    with pytest.raises(InputError, match="the gain is -1 ADU a photon"):
        calibrate(stack, output, gain=-1.0, client=None)
    with pytest.raises(InputError, match="from 1 of one on, expected more than 0"):
        calibrate(stack, output, from_share=1.0, client=None)
    with pytest.raises(InputError, match="the output is the input"):
        calibrate(stack, stack, client=None, overwrite=True)
    np.save(tmp_path / "mask.npy", np.zeros((3, 4)))
    with pytest.raises(InputError, match=r"mask\.npy: the mask is of 3 x 4 pixels"):
        calibrate(stack, output, masks=[tmp_path / "mask.npy"], client=None)
    noise = np.random.default_rng(0).normal(0, 1, (20, *SHAPE)).astype(np.float32)
    dark = make_frames(tmp_path / "dark.zarr", noise, unit="adu")
    with pytest.raises(InputError, match=r"no peak of single photons .* give --gain"):
        calibrate(dark, output, client=None)
    still = make_frames(tmp_path / "still.zarr", np.ones_like(noise), unit="adu")
    with pytest.raises(InputError, match="neighbouring pixels do not differ"):
        calibrate(still, output, client=None)
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("rows", (1, 257)),
        ("half-rows", (1, 128)),
        ("columns", (260, 1)),
        ("half-columns", (130, 1)),
        ("quadrants", (130, 128)),
        ("64x64", (64, 64)),
        ("none", None),
    ],
)
def test_what_shares_an_offset(name, block):
    assert read_block(name, (260, 257)) == block


@pytest.fixture(scope="module")
def real(test_data):
    folder = test_data / "spi" / "pr772"
    with gzip.open(folder / "pr772_10_frames_adu_260x257.npy.gz") as file:
        adu = np.load(file)
    return adu, [folder / "mask_260x257.npy", folder / "artifacts_260x257.npy"]


def row_means(values, counted, parts=(slice(0, 257),)):
    """Average each row, or parts of it, over the pixels that count; NaN where these are few."""
    found = []
    for half in parts:
        number = counted[..., half].sum(axis=-1)
        total = np.where(counted, values, 0.0)[..., half].sum(axis=-1)
        found.append(np.where(number >= 40, total / np.maximum(number, 1), np.nan))
    return np.stack(found, axis=-1)


def half_row_means(values, counted):
    return row_means(values, counted, (slice(0, 128), slice(128, 257)))


def test_real_frames_come_out_without_stripes(tmp_path, real):
    adu, masks = real
    stack = make_frames(tmp_path / "adu.zarr", adu, unit="adu")
    done = calibrate(stack, tmp_path / "frames.zarr", masks=masks, client=None)
    assert 7.5 < done.gain < 8.3
    assert done.peak.doubled
    assert done.peak.significance > 50
    assert done.bad["not finite"] == 1
    good = open_frames(tmp_path / "frames.zarr")["mask"].values == 0
    assert not good[121, 123]
    assert good.mean() > 0.95

    before = np.where(np.isfinite(adu), adu, 0.0) / done.gain
    after = adu.copy()
    subtract_common_mode(after, group_pixels(adu.shape[1:], (1, 128), good), done.noise)
    after = np.where(np.isfinite(after), after, 0.0) / done.gain
    dark = good & (np.abs(after) < 0.5)
    ordinary = [0, 1, 2, 5, 6, 7, 8, 9]  # the others overflow, their lines have few dark pixels
    stripes = half_row_means(after, dark)
    assert np.nanmax(np.abs(half_row_means(before, dark)[ordinary])) > 0.4
    assert np.nanmax(np.abs(stripes[ordinary])) < 0.1
    assert np.nanmax(np.abs(stripes)) < 0.15
    assert np.nanmax(np.abs(row_means(after, dark))) < 0.1  # in all frames

    # and in the photons: no row stands out from its neighbours where there is little signal
    photons = ImageReader(tmp_path / "frames.zarr").read(0, 10).astype(float)
    faint = good & (np.median(photons, axis=0) == 0) & (photons.mean(axis=0) < 1.0)
    rows = half_row_means(photons[ordinary], np.broadcast_to(faint, photons[ordinary].shape))
    rows = rows.mean(axis=0)
    around = median_filter(np.nan_to_num(rows, nan=np.nanmedian(rows)), (9, 1))
    off = np.abs(rows - around)
    assert np.nanmax(off) < 0.13
    assert (off > 0.1).sum() <= 1  # one half of a row has noise that is all but normal
