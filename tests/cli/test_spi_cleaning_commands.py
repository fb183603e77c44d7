"""`hpdp spi calibrate`, `hits`, `background` and `center`, one after the other."""

import numpy as np
import pytest
import typer
from frame_stacks import make_frames
from typer.testing import CliRunner

from hpdp_dask.cli.spi.background import background_command
from hpdp_dask.cli.spi.calibrate import calibrate_command
from hpdp_dask.cli.spi.center import center_command
from hpdp_dask.cli.spi.hits import hits_command
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames

SHAPE = (48, 64)

app = typer.Typer()
app.command("calibrate")(calibrate_command)
app.command("hits")(hits_command)
app.command("background")(background_command)
app.command("center")(center_command)


def run(*words):
    """Call a command: what it prints, in one piece of white space."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def adu(tmp_path_factory):
    random = np.random.default_rng(11)
    y, x = np.indices(SHAPE)
    radius = np.hypot(x - 33.4, y - 21.7)
    signal = 15.0 * np.exp(-radius / 7.0) * (1.1 + np.cos(radius / 1.5))
    hit = random.random((200, 1, 1)) < 0.3
    photons = random.poisson(0.1 + hit * random.uniform(0.7, 2.0, (200, 1, 1)) * signal)
    frames = 20.0 * photons + random.normal(0.0, 2.0, photons.shape)
    frames += np.repeat(random.normal(0.0, 4.0, (200, SHAPE[0], 2)), SHAPE[1] // 2, axis=2)
    path = tmp_path_factory.mktemp("adu") / "adu.zarr"
    return make_frames(
        path, frames.astype(np.float32), unit="adu", images_per_shard=50
    ), hit.ravel()


def test_the_four_commands(adu, tmp_path, client):
    at = ["--cluster", client.scheduler.address]
    frames = tmp_path / "frames.zarr"
    told = run("calibrate", adu[0], "-o", frames, *at)
    assert "Gain: 20.0" in told or "Gain: 19.9" in told
    assert "two photons make a peak too" in told
    assert "Bad pixels: 0 of 3,072" in told
    assert "(200 frames of photons, uint8)" in told

    told = run("hits", frames, "--choose-misses", *at)
    assert f"Hits: {adu[1].sum()} of 200 frames" in told
    assert "of the whole stack)" in told
    assert f"Misses chosen for the background: {adu[1].sum()}" in told

    told = run("background", frames, "--subtract", tmp_path / "clean.zarr", *at)
    assert f"photons a frame (of {adu[1].sum()} frames, chosen misses)" in told
    assert "Its scale:" in told
    assert "Without background:" in told

    told = run("hits", frames, "--by", "lambda", "--overwrite", *at)
    assert f"Hits: {adu[1].sum()} of 200 frames" in told
    assert "in lambda score" in told

    told = run("center", frames, *at)
    assert f"Told from {adu[1].sum()} hits" in told
    assert "On the detector: column 33.4" in told
    assert "row 21.7" in told

    history = open_frames(frames).attrs["history"]
    assert len(history) == 7  # two passes of hits, twice
    assert all(step["command"].startswith("hpdp") for step in history)
    assert open_frames(tmp_path / "clean.zarr").sizes["frame"] == 200


def test_gain_as_given(adu, tmp_path, client):
    told = run(
        *("calibrate", adu[0], "-o", tmp_path / "frames.zarr", "--gain", "10", "--keep-bad"),
        *("--common-mode", "rows", "--cluster", client.scheduler.address),
    )
    assert "Gain: 10.000 ADU a photon, as given" in told
    assert "Note: the peak of single photons is at" in told


def test_overflow_needs_a_stack_to_write(adu):
    with pytest.raises(InputError, match="give --subtract too"):
        run("background", adu[0], "--overflow", "10")
