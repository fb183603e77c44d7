"""An initial model of simulated particles: found, the same everywhere, resumed, refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from hpdp_dask.cryoem.contrast import coefficients_of
from hpdp_dask.cryoem.initial_model import InitialModel, Settings, State, initial_model, stage
from hpdp_dask.cryoem.initial_model.stage import settings_for
from hpdp_dask.cryoem.simulate import phantom, simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.numerics import backprojection, fourier, slices
from hpdp_dask.numerics.rotations import euler_to_matrix
from hpdp_dask.numerics.shells import fourier_shell_correlation
from hpdp_dask.numerics.superposition import align_volumes
from hpdp_dask.numerics.symmetry import point_group
from hpdp_dask.numerics.symmetry_axes import symmetry_score
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images

NUMBER, BOX, PIXEL_SIZE = 400, 24, 8.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few passes: the images have little noise."""
    monkeypatch.setattr(stage, "_ITERATIONS", 8)
    monkeypatch.setattr(stage, "_MORE_ITERATIONS", 2)
    monkeypatch.setattr(stage, "_TRIALS", 1)


def write(path: Path, snr: float | None, number: int = NUMBER) -> Path:
    table, images = simulate_particles(
        phantom(), number, BOX, pixel_size=PIXEL_SIZE, snr=snr or 1.0
    )
    if snr is None:
        images = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    images = (images - images.mean()) / images.std()
    new_stack(path, to_dataset(table, 0), number, BOX)
    write_images(path, 0, images.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("stack") / "particles.zarr", 0.3)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """The phantom, reconstructed from many poses that are known."""
    table, images = simulate_particles(phantom(), 800, BOX, pixel_size=PIXEL_SIZE, snr=50.0)
    dataset = to_dataset(table, 0)
    plane = fourier.half_plane(BOX)
    sums = np.zeros(slices.accumulator_shape(plane.radius), np.float32)
    parts = backprojection.weigh_images(
        fourier.transform_images(images),
        plane,
        dataset["shift"].values / PIXEL_SIZE,
        coefficients_of(dataset, np.arange(800)),
    )
    poses = euler_to_matrix(dataset["euler_angles"].values)
    slices.insert_slices(sums, parts, poses, plane)
    backprojection.complete(sums)
    means = backprojection.mean_weights(sums, plane.radius)
    transform = backprojection.divide(sums, means, np.full(len(means), 0.01))
    return np.asarray(fourier.volume_of(transform, BOX))


def run(stack: Path, scratch: Path, **options: object) -> InitialModel:
    scratch.mkdir()
    return initial_model(stack, scratch=scratch, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> InitialModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "_ITERATIONS", 12)
        patch.setattr(stage, "_MORE_ITERATIONS", 2)
        return run(stack, tmp_path_factory.mktemp("found") / "scratch", symmetry="D3")


def test_the_model_is_the_particle(found: InitialModel, truth: np.ndarray) -> None:
    assert found.aligned
    assert list(found.states) == ["search", "symmetry"]
    assert found.axes[0] is not None
    assert found.axes[0].holds
    assert found.settings.symmetries == ("D3",)
    aligned = align_volumes(found.maps[0], truth, 6)
    fsc = fourier_shell_correlation(aligned.apply(found.maps[0]), truth)
    assert fsc[1:7].min() > 0.5


def test_the_axes_are_in_the_standard_setting(found: InitialModel) -> None:
    score = symmetry_score(found.maps[0], point_group("D3"), 7)
    assert score.score > 0.9


@pytest.fixture(scope="module")
def plain(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> InitialModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "_ITERATIONS", 5)
        return run(stack, tmp_path_factory.mktemp("plain") / "scratch")


def test_workers_do_not_change_the_result(
    stack: Path,
    plain: InitialModel,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "_ITERATIONS", 5)
    other = run(stack, tmp_path / "scratch", client=client)
    # the products of this process run on several threads, and round otherwise
    bound = 1e-4 * np.abs(plain.maps).max()
    np.testing.assert_allclose(other.maps, plain.maps, rtol=0, atol=bound)


def test_an_interrupted_search_goes_on(
    stack: Path, plain: InitialModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_ITERATIONS", 5)
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def interrupt(name: str, settings: Settings, state: State) -> None:
        if state.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        initial_model(stack, scratch=scratch, tell=interrupt)
    reached: list[int] = []
    other = initial_model(
        stack, scratch=scratch, tell=lambda name, how, state: reached.append(state.iteration)
    )
    assert reached[0] == 3
    np.testing.assert_array_equal(other.maps, plain.maps)


def test_noise_does_not_align(tmp_path: Path) -> None:
    stack = write(tmp_path / "noise.zarr", None, 150)
    result = run(stack, tmp_path / "scratch")
    assert not result.aligned
    assert result.evidence < 0.5
    assert np.isfinite(result.maps).all()


def test_a_symmetry_that_is_not_there_is_not_imposed(stack: Path, tmp_path: Path) -> None:
    result = run(stack, tmp_path / "scratch", symmetry="C5")
    assert result.axes[0] is not None
    assert not result.axes[0].holds
    assert result.settings.symmetries == ("C1",)
    assert "trial-1" in result.states


def test_several_classes_give_each_particle_one(
    stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_ITERATIONS", 4)
    result = run(stack, tmp_path / "scratch", classes=2)
    assert result.maps.shape == (2, BOX, BOX, BOX)
    assert result.share[0] >= result.share[1]
    assert len(result.class_number) == NUMBER
    assert set(np.unique(result.class_number)) <= {1, 2}
    # shares count probabilities, and each particle the class that is most probable
    share = np.bincount(result.class_number, minlength=3)[1:] / NUMBER
    assert share[0] >= share[1]
    assert result.share.sum() == pytest.approx(1.0)


def drop(name: str) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda dataset: dataset.drop_vars(name)


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"symmetry": "Q3"}, None, "no point group 'Q3'"),
        ({"classes": 0}, None, "number of classes is 0"),
        ({"classes": 50}, None, "400 particles for 50 classes"),
        ({"mask_diameter": 500.0}, None, "--mask-diameter is 500"),
        ({}, drop("defocus_u"), "no defocus_u"),
    ],
)
def test_mistakes_are_told_before_any_work(
    stack: Path,
    options: dict[str, object],
    change: Callable[[xr.Dataset], xr.Dataset] | None,
    message: str,
) -> None:
    dataset = open_stack(stack)
    asked = {"classes": 1, "symmetry": "C1", **options}
    with pytest.raises(InputError, match=message):
        settings_for(change(dataset) if change else dataset, **asked)  # type: ignore[arg-type]


def test_the_schedule_goes_from_coarse_to_fine(stack: Path) -> None:
    settings = settings_for(open_stack(stack), 1, "C1")
    passes = [settings.at(iteration) for iteration in range(settings.iterations + 1)]
    assert np.all(np.diff([each.radius for each in passes]) >= 0)
    assert passes[0].resolution == pytest.approx(settings.diameter / 5)
    assert passes[-1].radius == settings.last_radius
    assert passes[-1].inflation == 1.0
    assert settings.small_box <= settings.box
    first, again = settings.orientations(3)[0], settings.orientations(3)[0]
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, settings.orientations(4)[0])
