"""Refinement of simulated particles: poses and maps come out right, the same everywhere."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from hpdp_dask.cryoem import contrast
from hpdp_dask.cryoem.reconstruct import reconstruct
from hpdp_dask.cryoem.refine import expectation, maximization
from hpdp_dask.cryoem.refine.inputs import check_mask, prepare_reference
from hpdp_dask.cryoem.refine.loop import RefineLoop
from hpdp_dask.cryoem.refine.maximization import Maximization
from hpdp_dask.cryoem.refine.spectra import measure_spectra
from hpdp_dask.cryoem.refine.stage import refine
from hpdp_dask.cryoem.refine.state import Sampling, State, last_shell, next_radius
from hpdp_dask.cryoem.simulate import phantom, potential_map, simulate_particles
from hpdp_dask.dataflow.leaves import read_rows
from hpdp_dask.errors import InputError
from hpdp_dask.formats import mrc
from hpdp_dask.numerics.arrays import to_host
from hpdp_dask.numerics.rotations import (
    angular_distance,
    euler_to_matrix,
    random_rotations,
    rotation_vector_to_matrix,
)
from hpdp_dask.numerics.shells import fourier_shell_correlation, resolution_at
from hpdp_dask.numerics.symmetry import point_group, symmetry_distance
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images

NUMBER, BOX, PIXEL_SIZE, DIAMETER = 240, 32, 6.5, 175.0


@pytest.fixture(scope="module")
def particles():
    return simulate_particles(
        phantom(), NUMBER, BOX, pixel_size=PIXEL_SIZE, snr=0.2, shift_sigma=5.0, seed=2
    )


def write_stack(path: Path, table, images) -> Path:
    new_stack(path, to_dataset(table, 0), len(images), BOX)
    write_images(path, 0, images)
    return path


@pytest.fixture(scope="module")
def stack(particles, tmp_path_factory):
    return write_stack(tmp_path_factory.mktemp("refine") / "particles.zarr", *particles)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    path = tmp_path_factory.mktemp("truth") / "truth.mrc"
    mrc.write_map(path, potential_map(phantom().at(), BOX, PIXEL_SIZE), PIXEL_SIZE)
    return path


def run(stack, truth, folder, client=None, **settings):
    folder.mkdir(exist_ok=True)
    (folder / "scratch").mkdir(exist_ok=True)
    return refine(
        stack,
        folder,
        folder / "scratch",
        reference=truth,
        symmetry="D3",
        initial_resolution=40.0,
        mask_diameter=DIAMETER,
        client=client,
        **settings,
    )


@pytest.fixture(scope="module")
def inline(stack, truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inline")
    return folder, run(stack, truth, folder)


def test_poses_and_map_are_those_of_the_truth(inline, particles, stack, truth, tmp_path):
    folder, result = inline
    table, _ = particles
    true = euler_to_matrix(table.particles["euler_angles"])
    found = euler_to_matrix(result.euler_angles)
    errors = symmetry_distance(found, true, point_group("D3"))
    assert np.median(errors) < 4.0  # one pixel at the rim of the particle is 4.3°
    assert np.mean(errors > 20.0) < 0.02
    off = np.hypot(*(result.shifts - table.particles["shift"]).T)
    assert np.median(off) < 0.3 * PIXEL_SIZE

    known = reconstruct(stack, tmp_path, symmetry="D3")
    assert last_shell(result.fsc) >= last_shell(known.fsc) - 1
    volume, _ = mrc.read_map(folder / "map.mrc")
    curve = fourier_shell_correlation(volume, mrc.read_map(truth)[0])
    assert resolution_at(curve, 0.5, PIXEL_SIZE, BOX) < 1.1 * result.resolution


def test_half_maps_share_no_particle_beyond_the_joined_shells(inline):
    folder, result = inline
    half1, half2 = (mrc.read_map(folder / f"half{half}.mrc")[0] for half in (1, 2))
    assert not np.array_equal(half1, half2)
    assert result.history["iteration"].tolist() == list(range(1, len(result.history) + 1))
    assert result.history["angular_step"].is_monotonic_decreasing


def test_workers_change_nothing(client, inline, stack, truth, tmp_path):
    folder, here = inline
    there = run(stack, truth, tmp_path / "there", client)
    # this process runs its matrix products on several threads, so sums are rounded otherwise
    assert np.allclose(here.euler_angles, there.euler_angles, atol=1e-2)
    for name in ("half1", "half2", "map"):
        mine, theirs = (
            mrc.read_map(each / f"{name}.mrc")[0] for each in (folder, tmp_path / "there")
        )
        # rounding of matrix products on several threads, over all iterations
        assert np.allclose(mine, theirs, atol=1e-4 * np.abs(mine).max())


def test_interrupted_run_goes_on_to_the_same_result(inline, stack, truth, tmp_path, monkeypatch):
    folder, whole = inline

    class Stop(Exception):
        pass

    def stop(state):
        if state.iteration == 3:
            raise Stop

    with pytest.raises(Stop):
        run(stack, truth, tmp_path / "broken", tell=stop)
    seen = []
    broken = run(stack, truth, tmp_path / "broken", tell=lambda state: seen.append(state.iteration))
    assert seen[0] == 3
    assert np.array_equal(whole.euler_angles, broken.euler_angles)
    assert np.array_equal(
        mrc.read_map(folder / "map.mrc")[0], mrc.read_map(tmp_path / "broken" / "map.mrc")[0]
    )


def first_fold(stack, truth, folder):
    """Fold some images from the start of a refinement."""
    loop = RefineLoop(
        reference=truth,
        box=BOX,
        pixel_size=PIXEL_SIZE,
        symmetry="D3",
        mask_diameter=DIAMETER,
        mask=None,
        initial_resolution=40.0,
        spectra=measure_spectra(stack, 1, DIAMETER / PIXEL_SIZE, 0),
        micrographs=0,
        seed=0,
    )
    search = loop.expectation(loop.begin(folder), folder, folder)
    rows = np.arange(64)
    block = search.preparation(read_rows(stack, rows)).assign(image=("particle", rows))
    sums, results = search.fold(search.start(), block, None)
    return to_host(sums.volumes), sums.residual, results


@pytest.mark.gpu
def test_device_finds_what_the_host_finds(stack, truth, tmp_path):
    on_device = first_fold(stack, truth, tmp_path)
    with (
        mock.patch.object(expectation, "fast_namespace", return_value=np),
        mock.patch.object(contrast, "fast_namespace", return_value=np),
    ):
        on_host = first_fold(stack, truth, tmp_path)
    for mine, theirs in zip(on_device[:2], on_host[:2], strict=True):
        assert np.allclose(mine, theirs, atol=1e-3 * np.abs(theirs).max())
    # float32 sums on a device are added in another order, and trigonometry rounds otherwise
    assert np.allclose(on_device[2]["shift"], on_host[2]["shift"], atol=0.01)


def test_memory_that_runs_out_amid_a_batch_counts_no_image_twice(
    stack, truth, tmp_path, monkeypatch
):
    whole = first_fold(stack, truth, tmp_path)
    searched = expectation.search
    failures = iter([MemoryError])

    def search(*words):
        for found in searched(*words):
            half = len(found.rows) // 2
            yield take(found, slice(0, half))
            for failure in failures:
                raise failure
            yield take(found, slice(half, None))

    def take(found, part):
        posterior = replace(
            found.posterior,
            **{key: value[part] for key, value in vars(found.posterior).items()},
        )
        parts = {key: value[part] for key, value in vars(found).items() if key != "posterior"}
        return replace(found, posterior=posterior, **parts)

    monkeypatch.setattr(expectation, "search", search)
    broken = first_fold(stack, truth, tmp_path)
    assert next(failures, None) is None
    for mine, theirs in zip(broken[:2], whole[:2], strict=True):
        assert np.allclose(mine, theirs, atol=1e-4 * np.abs(theirs).max())
    assert np.allclose(broken[2]["euler_angles"], whole[2]["euler_angles"], atol=1e-2)


def test_a_run_that_takes_the_folder_of_another_reads_its_own_reference(stack, truth, tmp_path):
    first_fold(stack, truth, tmp_path)
    volume, _ = mrc.read_map(truth)
    other = tmp_path / "other.mrc"
    mrc.write_map(other, np.ascontiguousarray(volume[:, ::-1]), PIXEL_SIZE)
    found = first_fold(stack, other, tmp_path)[2]
    (tmp_path / "fresh").mkdir()
    fresh = first_fold(stack, other, tmp_path / "fresh")[2]
    assert np.array_equal(found["log_evidence"], fresh["log_evidence"])


def test_a_resolution_that_breaks_down_begins_again_from_low_shells(tmp_path):
    box, radius = 96, 44
    state = State(
        iteration=5,
        radius=radius,
        order=3,
        local=False,
        shift_step=0.5,
        noise_power=[[1.0] * (box // 2 + 1)],
        shift_sigma=1.0,
        shift_range=1.0,
        best_shell=35,
    )
    settings = Maximization(box, 2.0, point_group("C1"), 60.0, None, tmp_path)
    sums = expectation.RefineExpectation(state, settings, tmp_path, 0).start()
    sums.moments[0] = 1.0
    following = settings.update(state, sums)
    assert following.history[-1]["resolution"] == np.inf
    assert following.radius == next_radius(settings.joined, box // 2)
    assert np.isfinite(np.load(tmp_path / "references.npy")).all()


def test_noise_is_refused(truth, tmp_path, particles):
    table, images = particles
    noise = np.random.default_rng(0).standard_normal(images.shape, np.float32)
    path = write_stack(tmp_path / "noise.zarr", table, noise)
    with pytest.raises(InputError, match="nothing to align"):
        run(path, truth, tmp_path / "out")


def test_noise_that_gets_through_is_told_in_the_end(truth, tmp_path, particles, monkeypatch):
    table, images = particles
    noise = np.random.default_rng(0).standard_normal(images.shape, np.float32)
    path = write_stack(tmp_path / "noise.zarr", table, noise)
    monkeypatch.setattr("hpdp_dask.cryoem.refine.stage.has_signal", lambda *_: True)
    result = run(path, truth, tmp_path / "out")
    assert any("Nothing aligned" in note for note in result.notes)


def test_inverted_contrast_is_told(truth, tmp_path, particles):
    table, images = particles
    result = run(write_stack(tmp_path / "black.zarr", table, -images), truth, tmp_path / "out")
    assert any("contrast inverted" in note for note in result.notes)


def test_scales_have_a_prior_about_one():
    true, power = 2.0, np.array([30.0, 3000.0])
    scales = [1.0, 1.0]
    for _ in range(20):
        now = np.array(scales)
        product = true * power * now
        found = maximization._scales(scales, np.stack([product, power * now**2], axis=1))
        scales = found
    expected = (true * power + 100.0) / (power + 100.0)
    assert np.allclose(scales, expected / expected.mean(), rtol=1e-3)


def test_mates_across_the_border_of_the_unit_are_one_peak():
    operators = point_group("O")
    base = random_rotations(4, 3)
    turn = rotation_vector_to_matrix(np.radians([[0, 0, 0], [0, 1.0, 0]]))
    matrices = np.einsum("cij,njk->ncik", turn, base)
    matrices[:, 1] = matrices[:, 1] @ operators[7]
    probability = np.tile([0.6, 0.4], (4, 1))
    nearest = expectation._nearest_mates(matrices, probability, operators)
    mean, spread = expectation.mean_orientation(nearest, probability, 20.0)
    assert np.allclose(spread, np.sqrt(0.24), atol=1e-3)
    assert np.allclose(angular_distance(mean, base), 0.4, atol=1e-2)


def test_one_half_set_is_refused(truth, tmp_path, particles):
    table, images = particles
    stack = to_dataset(table, 0)
    stack["half_set"] = "particle", np.zeros(NUMBER, np.int32)
    path = tmp_path / "one.zarr"
    new_stack(path, stack, NUMBER, BOX)
    write_images(path, 0, images)
    with pytest.raises(InputError, match="240 and 0 particles in the half-sets"):
        run(path, truth, tmp_path / "out")


def test_no_ctf_is_refused(truth, tmp_path, particles):
    table, images = particles
    stack = to_dataset(table, 0).drop_vars("defocus_u")
    path = tmp_path / "plain.zarr"
    new_stack(path, stack, NUMBER, BOX)
    write_images(path, 0, images)
    with pytest.raises(InputError, match="no defocus_u"):
        run(path, truth, tmp_path / "out")


def prepare(path, output, **changes):
    settings = {
        "box": BOX,
        "pixel_size": PIXEL_SIZE,
        "resolution": 40.0,
        "mask_diameter": DIAMETER,
        "symmetry": "D3",
    }
    return prepare_reference(path, output, **(settings | changes))


def test_reference_of_another_grid_is_brought_to_that_of_the_particles(truth, tmp_path):
    fine = tmp_path / "fine.mrc"
    mrc.write_map(fine, potential_map(phantom().at(), 64, 4.0), 4.0)
    notes = prepare(fine, tmp_path / "a.mrc")
    assert len(notes) == 1
    assert "64 pixels of 4 Å were brought to the particles' 32 of 6.5 Å" in notes[0]
    assert prepare(truth, tmp_path / "b.mrc") == []
    a, b = (mrc.read_map(tmp_path / name)[0] for name in ("a.mrc", "b.mrc"))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99


def test_reference_that_contradicts_the_symmetry_is_told(truth, tmp_path):
    moved = tmp_path / "moved.mrc"
    mrc.write_map(moved, np.roll(mrc.read_map(truth)[0], 5, axis=2), PIXEL_SIZE)
    [note] = prepare(moved, tmp_path / "a.mrc")
    assert "with itself turned by the operators of D3, where chance gives" in note


@pytest.mark.parametrize(
    ("pixel_size", "resolution", "message"),
    [(0.65, 40.0, "is its pixel size, 0.65 Å, right"), (25.0, 40.0, "hold nothing finer than 50")],
)
def test_reference_that_cannot_be_right_is_refused(
    truth, tmp_path, pixel_size, resolution, message
):
    path = tmp_path / "wrong.mrc"
    mrc.write_map(path, mrc.read_map(truth)[0], pixel_size)
    with pytest.raises(InputError, match=message):
        prepare(path, tmp_path / "out.mrc", resolution=resolution)


def test_masks_that_do_not_fit(truth, tmp_path):
    prepare(truth, tmp_path / "reference.mrc")

    def check(mask):
        mrc.write_map(tmp_path / "mask.mrc", mask.astype(np.float32), PIXEL_SIZE)
        return check_mask(tmp_path / "mask.mrc", tmp_path / "reference.mrc", BOX, PIXEL_SIZE)

    assert check(np.ones((BOX,) * 3)) == []
    half = np.ones((BOX,) * 3)
    half[: BOX // 2 - 4] = 0
    [note] = check(half)
    assert "of the reference off" in note
    with pytest.raises(InputError, match="the mask is empty"):
        check(np.zeros((BOX,) * 3))
    half[: BOX // 2 + 4] = 0
    with pytest.raises(InputError, match="of the reference; do they have the same centre"):
        check(half)
    with pytest.raises(InputError, match="the values of the mask go from"):
        check(3 * np.ones((BOX,) * 3))


def test_sampling_grows():
    sampling = Sampling(3, False, 1.0)
    assert sampling.orders == [2, 3]
    finer = sampling.finer()
    assert (finer.order, finer.local, finer.shift_step, finer.orders) == (4, True, 0.5, [3, 4])
    assert next_radius(10, 32) == 15
    assert next_radius(30, 32) == 32


def test_mean_orientation_lies_between():
    base = random_rotations(5, 1)
    turn = rotation_vector_to_matrix(np.radians([[0, 0, 0], [0, 0, 2.0], [0, 90.0, 0]]))
    matrices = np.einsum("cij,njk->ncik", turn, base)
    probability = np.tile([0.5, 0.5, 0.0], (5, 1))
    mean, spread = expectation.mean_orientation(matrices, probability, 10.0)
    assert np.allclose(angular_distance(mean, matrices[:, 0]), 1.0, atol=1e-3)
    assert np.allclose(spread, 1.0, atol=1e-3)
