"""`hpdp cryoem heterogeneity assess`: homogeneous particles and others, and what it refuses."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from hpdp_dask.cli.main import app
from hpdp_dask.cryoem.heterogeneity.assessment import (
    AssessmentSettings,
    assess,
    check_assessment,
)
from hpdp_dask.cryoem.heterogeneity.variability import map_noise, shared_variability
from hpdp_dask.cryoem.reconstruct import HalfMaps
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.numerics.rotations import (
    euler_to_matrix,
    matrix_to_euler,
    rotation_vector_to_matrix,
)
from hpdp_dask.numerics.shells import power_spectrum
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images
from hpdp_dask.workflow.heterogeneity_assessment import cautions, run_assessment

BOX, PIXEL, NUMBER = 20, 8.0, 480
SETTINGS = AssessmentSettings(directions=2)
STATE = np.arange(NUMBER) // 2 % 2
WORDS = ["hpdp", "cryoem", "heterogeneity", "assess"]


def blobs(*centres):
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    return sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4.0) for a, b, c in centres
    ).astype(np.float32)


FIXED = ((0, 0, 0), (3, 1, -2), (-2, 3, 1))
STATES = (blobs(*FIXED, (4, -3, 3)), blobs(*FIXED, (-3, -4, 0)))


def simulated(volume, number, seed, snr=0.3):
    return simulate_particles(
        volume, number, BOX, pixel_size=PIXEL, snr=snr, shift_sigma=8.0, seed=seed
    )


def stored(path, table, images):
    new_stack(path, to_dataset(table, 0), len(images), BOX)
    write_images(path, 0, images)
    return path


def homogeneous(path, seed=1, turn=0.0, brightness=0.0):
    """A stack of one volume; poses may be wrong, and images of different brightness."""
    table, images = simulated(STATES[0], NUMBER, seed)
    random = np.random.default_rng(seed)
    if turn:
        errors = rotation_vector_to_matrix(np.radians(turn) * random.standard_normal((NUMBER, 3)))
        poses = matrix_to_euler(errors @ euler_to_matrix(table.particles["euler_angles"]))
        table = dataclasses.replace(table, particles=table.particles | {"euler_angles": poses})
    if brightness:
        _, clean = simulated(STATES[0], NUMBER, seed, snr=None)
        share = (images * clean).sum() / (clean * clean).sum()
        more = brightness * share * random.standard_normal(NUMBER)
        images = images + (more[:, None, None] * clean).astype(np.float32)
    return stored(path, table, images)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """A stack of two conformations, two images of each by turns."""
    (first, images), (second, others) = (
        simulated(volume, NUMBER // 2, seed) for seed, volume in enumerate(STATES)
    )
    order = np.argsort(np.r_[np.flatnonzero(STATE == 0), np.flatnonzero(STATE == 1)])
    columns = {
        name: np.concatenate([values, second.particles[name]])[order]
        for name, values in first.particles.items()
    }
    table = dataclasses.replace(
        first,
        particles=columns,
        image_file=np.full(NUMBER, -1, np.int32),
        image_index=np.arange(NUMBER),
    )
    both = np.concatenate([images, others])[order]
    return stored(tmp_path_factory.mktemp("mixture") / "particles.zarr", table, both)


@pytest.fixture(scope="module")
def assessed(mixture, tmp_path_factory):
    return assess(mixture, SETTINGS, tmp_path_factory.mktemp("assessed"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_homogeneous_particles_show_no_heterogeneity(tmp_path, seed):
    found = assess(homogeneous(tmp_path / "particles.zarr", seed), SETTINGS, tmp_path)
    assert not found.verdict.heterogeneous
    assert found.verdict.directions == found.agreement.shared == 0
    assert found.verdict.p_value > 0.1
    for half in found.verdict.halves:
        assert (half.gains < 3 * half.errors).all()
    assert not shared_variability(found.agreement, found.maps, found.radius).any()
    # what is left of the images is noise as the model has it
    assert found.found.distance.mean() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(("turn", "brightness"), [(4.0, 0.0), (0.0, 0.4)])
def test_errors_of_the_imaging_are_no_heterogeneity(tmp_path, turn, brightness):
    path = homogeneous(tmp_path / "particles.zarr", 5, turn, brightness)
    assert not assess(path, SETTINGS, tmp_path).verdict.heterogeneous


def test_a_mixture_is_heterogeneous_along_one_direction(assessed):
    verdict, agreement = assessed.verdict, assessed.agreement
    assert verdict.heterogeneous
    assert verdict.p_value < 1e-6
    assert verdict.directions == 1
    assert verdict.gain > 0.5
    assert agreement.shared == 1
    assert agreement.correlations[0] > 0.7 > 3 * agreement.chance
    for places in agreement.places:
        apart = np.abs(places[STATE == 0, 0].mean() - places[STATE == 1, 0].mean())
        assert apart > 1.2
    assert cautions(assessed) == []


def test_variability_is_where_volumes_differ(assessed):
    found = shared_variability(assessed.agreement, assessed.maps, assessed.radius)
    true = np.abs(STATES[0] - STATES[1])
    moving, still = true > 0.4 * true.max(), (sum(STATES) > 0.5) & (true < 0.05 * true.max())
    assert np.median(found[moving]) > 5 * np.median(found[still])
    assert np.median(found[moving]) > 2.0
    # as large as it is: two states differ by two standard deviations
    axes = [axes[0] for axes in assessed.agreement.axes]
    shell = slice(1, 5)
    scale = [np.sqrt(power_spectrum(each, 3)[shell].sum()) for each in axes]
    assert scale[0] == pytest.approx(scale[1], rel=0.3)


def test_noise_of_a_map_is_that_of_its_half_maps():
    random = np.random.default_rng(1)
    half1, half2 = random.standard_normal((2, 48, 48, 48)).astype(np.float32)
    noise = map_noise(HalfMaps(half1, half2, half1, np.ones(25)), 24)
    z, y, x = np.mgrid[:48, :48, :48] - 24
    radius = np.sqrt(x * x + y * y + z * z)
    # half the difference of unit noise, without what is beyond the last shell
    kept = 4 / 3 * np.pi * 24.5**3 / 48**3
    expected = np.sqrt(kept / 2)
    np.testing.assert_allclose(noise[radius < 12], expected, rtol=0.12)
    assert not noise[radius > 23.5].any()


def test_one_half_set_is_divided_and_workers_find_the_same(mixture, tmp_path, client):
    path = tmp_path / "particles.zarr"
    stack = open_stack(mixture)
    table = stack.drop_vars("images").assign(half_set=("particle", np.zeros(NUMBER, np.int8)))
    new_stack(path, table, NUMBER, BOX)
    write_images(path, 0, stack["images"].values)
    found = []
    for name, where in (("here", None), ("workers", client)):
        folder = tmp_path / name
        folder.mkdir()
        found.append(assess(path, SETTINGS, folder, client=where))
    for name in ("gains", "controls", "distance"):
        here, there = (getattr(each.found, name) for each in found)
        np.testing.assert_array_equal(here, there)
    assert found[0].verdict.heterogeneous
    np.testing.assert_array_equal(found[0].found.half_set, np.arange(NUMBER) % 2)


def test_what_the_command_leaves(mixture, tmp_path):
    output = tmp_path / "assessment"
    words = [str(mixture), "-o", str(output), "--directions", "1", "--workers", "1"]
    done = CliRunner().invoke(app, [*WORDS[1:], *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "Particles differ: along 1 directions" in done.output
    names = {each.name for each in output.iterdir()} - {"logs"}
    assert names == {
        *("variability.mrc", "axes", "gains.npy", "shared.npy", "report.html", "run.json"),
    }
    assert np.load(output / "gains.npy").shape == (NUMBER, 1)
    assert np.load(output / "shared.npy").shape == (NUMBER, 1)
    volume, pixel_size = read_map(output / "axes" / "axis_001.mrc")
    assert volume.shape == (BOX,) * 3
    assert pixel_size == pytest.approx(PIXEL)
    # along the axis the states differ, in the sign that they are told apart by
    sign = np.sign(np.load(output / "shared.npy")[STATE == 0].mean())
    assert np.corrcoef(volume.ravel(), sign * (STATES[0] - STATES[1]).ravel())[0, 1] > 0.8
    results = json.loads((output / "run.json").read_text())["results"]
    assert results["heterogeneous"] is True
    page = (output / "report.html").read_text()
    for title in ("Is there heterogeneity?", "What both half-sets find", "Where volumes vary"):
        assert title in page


def test_resume_goes_on_from_the_last_round(mixture, assessed, tmp_path, monkeypatch):
    from hpdp_dask.cryoem.heterogeneity import halves

    rounds = []
    following = halves.following

    def killed(*arguments):
        rounds.append(1)
        if len(rounds) == 8:
            raise KeyboardInterrupt
        return following(*arguments)

    output = tmp_path / "assessment"
    given = {"client": None, "command": WORDS, "resume": True}
    with monkeypatch.context() as patch:
        patch.setattr(halves, "following", killed)
        with pytest.raises(KeyboardInterrupt):
            run_assessment(mixture, output, SETTINGS, **given)
        rounds.extend([1, 1])
        run_assessment(mixture, output, SETTINGS, **given)
    # two halves of 18 rounds; the one that was broken off is done again
    assert len(rounds) == 2 + 36 + 2
    np.testing.assert_allclose(
        np.load(output / "gains.npy"), assessed.found.gains, rtol=1e-5, atol=1e-6
    )


def test_a_training_is_assessed_too(mixture, tmp_path):
    pytest.importorskip("torch")
    from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings
    from hpdp_dask.dataflow.training import TrainingSettings
    from hpdp_dask.workflow.heterogeneity import run_heterogeneity_training

    folder, output = tmp_path / "conformations", tmp_path / "assessment"
    training = TrainingSettings(epochs=1, batch=25, rate=2e-3, decay=0.0, seed=1)
    run_heterogeneity_training(
        mixture,
        folder,
        HeterogeneitySettings(zdim=2, width=16, layers=1, samples=40, training=training),
        client=None,
        command=WORDS,
    )
    given = {"client": None, "command": WORDS, "volumes": 6}
    record = run_assessment(folder, output, SETTINGS, **given)
    reliability = record.results["latent_reliability"]
    assert 1 > reliability[0] > 0.6 > reliability[1] > 0
    varied, _ = read_map(output / "variability_networks.mrc")
    true = np.abs(STATES[0] - STATES[1])
    moving, still = true > 0.4 * true.max(), (sum(STATES) > 0.5) & (true < 0.05 * true.max())
    assert np.median(varied[moving]) > 2 * np.median(varied[still])
    assert "Widths of posteriors" in (output / "report.html").read_text()

    # of another data set, or moved
    other = homogeneous(tmp_path / "other.zarr")
    for stack, words in (
        (other, "is not the stack that"),
        (tmp_path / "nowhere.zarr", "nowhere.zarr: there is no such stack"),
    ):
        with pytest.raises(InputError, match=words):
            run_assessment(folder, tmp_path / "none", SETTINGS, stack=stack, **given)
    (folder / "z_width.npy").unlink()
    with pytest.raises(InputError, match=r"z_width.npy: cannot be read"):
        run_assessment(folder, tmp_path / "none", SETTINGS, **given)
    assert not (tmp_path / "none").exists()


def test_what_is_refused(mixture, tmp_path):
    stack = open_stack(mixture)
    for directions, words in ((0, "--directions is 0"), (17, "--directions is 17")):
        with pytest.raises(InputError, match=words):
            check_assessment(stack, AssessmentSettings(directions))
    with pytest.raises(InputError, match="480 particles for 16 directions"):
        check_assessment(stack, AssessmentSettings(16))
    lonely = stack.assign(half_set=("particle", np.r_[np.zeros(470), np.ones(10)].astype(np.int8)))
    with pytest.raises(InputError, match="470 and 10 particles"):
        check_assessment(lonely, SETTINGS)
    for name in ("euler_angles", "defocus_u", "shift"):
        with pytest.raises(InputError, match=name):
            check_assessment(stack.drop_vars(name), SETTINGS)
    strange = stack["half_set"].values.copy()
    strange[3] = 2
    with pytest.raises(
        InputError, match=r"half_set of row 3 \(counted from 0\) is 2, expected 0 or 1"
    ):
        check_assessment(stack.assign(half_set=("particle", strange)), SETTINGS)
    with pytest.raises(InputError, match="--volumes is 1"):
        run_assessment(mixture, tmp_path / "none", SETTINGS, client=None, command=WORDS, volumes=1)
    with pytest.raises(InputError, match="--stack is for a folder"):
        run_assessment(
            mixture, tmp_path / "none", SETTINGS, client=None, command=WORDS, stack=mixture
        )
    assert not (tmp_path / "none").exists()


def test_cautions(assessed):
    """A person is told what to beware of."""
    found, verdict = assessed.found, assessed.verdict
    wide = dataclasses.replace(found, distance=2.0 * found.distance)
    halves = [
        dataclasses.replace(half, controls=half.gains + 10.0, p_values=np.zeros(2))
        for half in verdict.halves
    ]
    strange = dataclasses.replace(
        assessed,
        found=wide,
        verdict=dataclasses.replace(verdict, halves=tuple(halves)),
        agreement=dataclasses.replace(assessed.agreement, carried=0),
    )
    told = " ".join(cautions(strange))
    for words in ("ask for more --directions", "wrong side", "widths are too small", "share no"):
        assert words in told


def test_the_report_of_homogeneous_particles(tmp_path):
    output = tmp_path / "assessment"
    source = homogeneous(tmp_path / "particles.zarr", 1)
    run_assessment(source, output, AssessmentSettings(1), client=None, command=WORDS)
    page = (output / "report.html").read_text()
    assert "not seen" in page
    assert "no axis is shared" in page
    assert not (output / "axes").exists()
    assert np.load(output / "shared.npy").shape == (NUMBER, 0)
    assert not read_map(output / "variability.mrc")[0].any()
