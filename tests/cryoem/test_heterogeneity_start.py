"""The start of a training: images that are none, filtered ones, and what an interrupt leaves."""

import dataclasses

import numpy as np
import pytest

from hpdp_dask.cryoem.heterogeneity import stage, subspace
from hpdp_dask.cryoem.heterogeneity.assessment import AssessmentSettings, assess
from hpdp_dask.cryoem.heterogeneity.directions import Directions, Seen
from hpdp_dask.cryoem.heterogeneity.moments import noise_of
from hpdp_dask.cryoem.heterogeneity.observations import Optics, observe
from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings, learn_conformations
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.fourier import half_plane
from hpdp_dask.numerics.shells import shell_radii
from hpdp_dask.numerics.subspace import posterior
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images
from hpdp_dask.workflow.heterogeneity import run_heterogeneity_training

pytest.importorskip("torch")

BOX, PIXEL, NUMBER = 20, 8.0, 300
STATE = np.arange(NUMBER) % 2
SETTINGS = HeterogeneitySettings(zdim=2, width=16, layers=1)


def blobs(*centres):
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    return sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4.0) for a, b, c in centres
    ).astype(np.float32)


FIXED = ((0, 0, 0), (3, 1, -2), (-2, 3, 1))


@pytest.fixture(scope="module")
def particles():
    """A table and images of two conformations by turns."""
    states = (blobs(*FIXED, (4, -3, 3)), blobs(*FIXED, (-3, -4, 0)))
    (first, images), (second, others) = (
        simulate_particles(
            volume, NUMBER // 2, BOX, pixel_size=PIXEL, snr=0.5, shift_sigma=8.0, seed=seed
        )
        for seed, volume in enumerate(states)
    )
    columns = {
        name: np.stack([values, second.particles[name]], 1).reshape(-1, *values.shape[1:])
        for name, values in first.particles.items()
    }
    table = dataclasses.replace(
        first,
        particles=columns,
        image_file=np.full(NUMBER, -1, np.int32),
        image_index=np.arange(NUMBER),
    )
    return table, np.stack([images, others], 1).reshape(NUMBER, BOX, BOX)


def stored(path, table, images):
    new_stack(path, to_dataset(table, 0), len(images), BOX)
    write_images(path, 0, images)
    return path


class Enough(Exception):
    """The search for directions is done; there is no need to train."""


@pytest.fixture
def untrained(monkeypatch):
    def begin(*_arguments, **_options):
        raise Enough

    monkeypatch.setattr(stage, "train_network", begin)


def start_of(path, folder):
    """Give what a training on a stack would begin with."""
    folder.mkdir(exist_ok=True)
    with pytest.raises(Enough):
        learn_conformations(path, SETTINGS, folder)
    return Directions.read(folder / "start.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_named_before_any_work(
    particles, tmp_path, untrained, value
):
    table, images = particles
    images = images.copy()
    images[57, 3, 4] = value
    path = stored(tmp_path / "particles.zarr", table, images)
    words = rf"{path}: image 57 \(counted from 0\) holds values that are no finite numbers; .*drop"
    for settings in (SETTINGS, dataclasses.replace(SETTINGS, zdim=0)):
        with pytest.raises(InputError, match=words):
            learn_conformations(path, settings, tmp_path)
    with pytest.raises(InputError, match=words):
        assess(path, AssessmentSettings(2), tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize(("cut", "edge"), [(4, 0.0), (6, 0.0), (5, 2.0)])
def test_shells_that_a_filter_left_empty_count_for_nothing(
    particles, tmp_path, untrained, cut, edge
):
    """In units of the next to nothing that they hold, they would outweigh all others."""
    table, images = particles
    radii = shell_radii(BOX, 2)
    kept = np.clip((cut + edge - radii) / edge, 0, 1) if edge else radii <= cut
    cut_images = np.fft.irfftn(np.fft.rfftn(images, axes=(1, 2)) * kept, images.shape[1:], (1, 2))
    path = stored(tmp_path / "particles.zarr", table, cut_images.astype(np.float32))
    model = start_of(path, tmp_path / "filtered")
    level = np.median(model.noise[1:4])
    assert (model.noise[round(cut + edge) + 1 :] > 1e5 * level).all()
    assert (model.noise[: cut + 1] < 3 * level).all()
    assert told_apart(path, model) > 0.98


def told_apart(path, model):
    """Share of the images whose state the first weight tells."""
    stack, seen = open_stack(path), Seen(model, BOX)
    optics = Optics.of(stack)
    rows = {name: stack[name].values for name in optics.rows}
    observed = observe(stack["images"].values, rows, optics, seen.plane, model.noise)
    rest = observed.transforms - observed.ctf * seen.mean(observed.rotations, seen.plane)
    basis = seen.directions(observed.rotations, seen.plane) * observed.ctf[:, None]
    first = posterior(rest, basis)[0][:, 0]
    found = ((first > np.median(first)) == STATE).mean()
    return max(found, 1.0 - found)


def test_noise_of_images_that_were_not_filtered_is_what_was_measured():
    """However much more of it there is in coarse shells, within reason."""
    shells = BOX // 2 + 1
    samples = np.bincount(half_plane(BOX).shell, minlength=shells) * NUMBER
    noise = np.geomspace(30.0, 1.0, shells)
    measured = noise_of(np.stack([noise, 2.0 * noise]) * samples, BOX, NUMBER)
    np.testing.assert_allclose(measured, noise)


def test_an_interrupted_start_is_gone_on_from(particles, tmp_path, untrained, monkeypatch):
    """From the last round and from the last pass for volumes, with the same result."""
    path = stored(tmp_path / "particles.zarr", *particles)
    monkeypatch.setattr(subspace, "_ROUNDS", ((0.5, 2), (1.0, 2)))
    # one direction to a pass
    monkeypatch.setattr(subspace, "_BYTES", 1)
    whole = start_of(path, tmp_path / "whole")
    passes, reduce = [], subspace.reduce_images

    def broken_off(stack_path, reduction, **options):
        if len(passes) in (3, 7):
            passes.append("broken off")
            raise KeyboardInterrupt
        passes.append(reduction.name)
        return reduce(stack_path, reduction, **options)

    monkeypatch.setattr(subspace, "reduce_images", broken_off)
    broken = tmp_path / "broken"
    broken.mkdir()
    for left in ("directions-02.npz", "halves-000-000.npy"):
        with pytest.raises(KeyboardInterrupt):
            learn_conformations(path, SETTINGS, broken)
        assert (broken / "rounds" / left).exists()
    assert len(list((broken / "rounds").glob("directions-??.npz"))) == 1
    again = start_of(path, broken)
    rounds, volumes = ["subspace"] * 2, ["directions"]
    lost = ["broken off"]
    assert passes == ["noise", *rounds, *lost, *rounds, *volumes, *lost, *volumes]
    for field in dataclasses.fields(whole):
        one, other = getattr(whole, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(one, other)
    assert [file.name for file in broken.iterdir()] == ["start.npz"]


def test_nothing_of_another_start_is_taken(particles, tmp_path, untrained, monkeypatch):
    path, output = stored(tmp_path / "particles.zarr", *particles), tmp_path / "made"
    monkeypatch.setattr(subspace, "_ROUNDS", ((1.0, 3),))
    given = {"client": None, "command": ["hpdp", "cryoem", "heterogeneity", "train"]}
    reduce = subspace.reduce_images

    def broken_off(stack_path, reduction, **options):
        if (rounds / "directions-02.npz").exists():
            raise KeyboardInterrupt
        return reduce(stack_path, reduction, **options)

    scratch = tmp_path / ".made.partial" / "scratch" / "heterogeneity"
    rounds = scratch / "rounds"
    with monkeypatch.context() as patch:
        patch.setattr(subspace, "reduce_images", broken_off)
        with pytest.raises(KeyboardInterrupt):
            run_heterogeneity_training(path, output, SETTINGS, **given)
    other = dataclasses.replace(SETTINGS, zdim=1)
    with pytest.raises(InputError, match="holds what a run with other parameters left"):
        run_heterogeneity_training(path, output, other, resume=True, **given)
    assert (rounds / "directions-02.npz").exists()
    with pytest.raises(Enough):
        run_heterogeneity_training(path, output, other, **given)
    assert len(Directions.read(scratch / "start.npz").directions) == 1
