"""Reconstruction of simulated particles: right, the same everywhere, and clear about mistakes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.cluster import connect
from hpdp_dask.cryoem.reconstruct import BackProjection, reconstruct
from hpdp_dask.cryoem.simulate import phantom, potential_map, simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.numerics.shells import fourier_shell_correlation, resolution_at
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images

NUMBER, BOX, PIXEL_SIZE, PER_SHARD = 700, 48, 5.0, 100

Particles = tuple[ParticleTable, np.ndarray]


@pytest.fixture(scope="module")
def particles() -> Particles:
    """Noisy particles of the phantom, shifted."""
    return simulate_particles(
        phantom(), NUMBER, BOX, pixel_size=PIXEL_SIZE, snr=0.1, shift_sigma=6.0, seed=1
    )


def write_stack(path: Path, table: ParticleTable, images: np.ndarray) -> Path:
    number, box = len(images), images.shape[-1]
    new_stack(path, to_dataset(table, 0), number, box, images_per_shard=PER_SHARD)
    for start in range(0, number, PER_SHARD):
        write_images(path, start, images[start : start + PER_SHARD])
    return path


@pytest.fixture(scope="module")
def stack(particles: Particles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stack(tmp_path_factory.mktemp("stack") / "particles.zarr", *particles)


@pytest.fixture
def changed(particles: Particles, tmp_path: Path) -> Callable[..., Path]:
    """Make a stack of the first particles, its variables changed."""

    def make(**values: np.ndarray | None) -> Path:
        table, images = particles
        dataset = to_dataset(table, 0).isel(particle=slice(0, 20))
        for name, value in values.items():
            dataset = dataset.drop_vars(name)
            if value is not None:
                dataset[name] = to_dataset(table, 0)[name].dims, value
        path = tmp_path / "changed.zarr"
        new_stack(path, dataset, 20, BOX)
        write_images(path, 0, images[:20])
        return path

    return make


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return potential_map(phantom().at(), BOX, PIXEL_SIZE)


@pytest.fixture(scope="module")
def inline(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this process makes of the stack, with D3."""
    folder = tmp_path_factory.mktemp("inline")
    reconstruct(stack, folder, symmetry="D3")
    return folder


def correlation(folder: Path, truth: np.ndarray, name: str = "map") -> np.ndarray:
    return fourier_shell_correlation(read_map(folder / f"{name}.mrc")[0], truth)


def test_the_map_is_the_phantom(inline: Path, truth: np.ndarray) -> None:
    curve = correlation(inline, truth)
    assert resolution_at(curve, 0.5, PIXEL_SIZE, BOX) < 11.0
    assert curve[1:12].min() > 0.97


def test_the_half_maps_tell_the_resolution_of_the_map(inline: Path, truth: np.ndarray) -> None:
    halves = correlation(inline, read_map(inline / "half2.mrc")[0], "half1")
    against_truth = correlation(inline, truth)
    # Rosenthal & Henderson 2003: the correlation with the truth is sqrt(2 FSC / (1 + FSC)).
    expected = np.sqrt(2 * np.clip(halves, 0, 1) / (1 + np.clip(halves, 0, 1)))
    good = halves > 0.3
    assert np.abs(expected - against_truth)[good].max() < 0.06


def test_symmetry_sharpens_the_map(stack: Path, truth: np.ndarray, inline: Path) -> None:
    folder = inline.parent / "c1"
    folder.mkdir()
    reconstruct(stack, folder)
    assert correlation(folder, truth)[16] < correlation(inline, truth)[16] - 0.05


def test_the_table_of_the_fsc_is_that_of_the_half_maps(inline: Path) -> None:
    lines = (inline / "fsc.csv").read_text().splitlines()
    assert lines[0] == "shell,frequency,resolution,fsc"
    rows = np.array([[float(cell) for cell in line.split(",")] for line in lines[1:]])
    expected = correlation(inline, read_map(inline / "half2.mrc")[0], "half1")
    np.testing.assert_allclose(rows[:, 3], expected, atol=2e-6)
    assert rows[12, 2] == pytest.approx(BOX * PIXEL_SIZE / 12)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_map_does_not_depend_on_the_number_of_workers(
    workers: int, stack: Path, inline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Leaves of one shard, so that there is a tree to add them in.
    monkeypatch.setattr("hpdp_dask.cryoem.reconstruct._IMAGES_PER_LEAF_AND_PIXEL", 1)
    inline = tmp_path / "inline"
    inline.mkdir()
    reconstruct(stack, inline, symmetry="D3")
    folder = tmp_path / "cluster"
    folder.mkdir()
    with connect("local", workers=workers, memory_limit="1GiB") as client:
        reconstruct(stack, folder, symmetry="D3", client=client)
    for name in ("half1", "half2", "map"):
        expected, found = (read_map(path / f"{name}.mrc")[0] for path in (inline, folder))
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_what_is_finer_than_asked_for_is_left_out(stack: Path, tmp_path: Path) -> None:
    result = reconstruct(stack, tmp_path, symmetry="D3", max_resolution=20.0)
    power = np.abs(np.fft.rfftn(read_map(tmp_path / "map.mrc")[0]))
    assert power[0, 0, 14] < 1e-3 * power[0, 0, 6]
    assert result.resolution == pytest.approx(20.0, abs=2.0)


def test_an_accumulator_is_as_large_as_forecast() -> None:
    reduction = BackProjection(32, 10, np.eye(3)[None])
    assert reduction.start().nbytes == reduction.nbytes


@pytest.mark.parametrize("name", ["euler_angles", "defocus_u", "half_set"])
def test_a_stack_without_what_is_needed_is_refused(
    name: str, changed: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"changed.zarr: no {name}"):
        reconstruct(changed(**{name: None}), tmp_path)


def test_an_unknown_amplitude_contrast_is_refused(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="amplitude_contrast is not known for 1 of 1"):
        reconstruct(changed(amplitude_contrast=np.array([np.nan])), tmp_path)


def test_particles_of_one_half_set_go_into_the_halves_in_turn(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    expected, found = tmp_path / "expected", tmp_path / "found"
    for folder, half_set, alternated in (
        (expected, np.arange(20) % 2, False),
        (found, np.zeros(20, np.int32), True),
    ):
        folder.mkdir()
        stack = changed(half_set=half_set.astype(np.int32))
        assert reconstruct(stack, folder).alternated == alternated
        shutil.rmtree(stack)
    for name in ("half1", "half2", "map"):
        a, b = (read_map(folder / f"{name}.mrc")[0] for folder in (expected, found))
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("resolution", [1.0, 1000.0, -3.0])
def test_a_resolution_that_cannot_be_is_refused(
    resolution: float, stack: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="max_resolution is"):
        reconstruct(stack, tmp_path, max_resolution=resolution)


def test_an_impossible_symmetry_is_refused(stack: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="X7"):
        reconstruct(stack, tmp_path, symmetry="X7")


@pytest.mark.gpu
def test_the_gpu_makes_the_same_map(
    stack: Path, inline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpdp_dask.numerics.arrays.has_gpu", lambda: False)
    on_cpu = tmp_path / "cpu"
    on_cpu.mkdir()
    reconstruct(stack, on_cpu, symmetry="D3")
    expected, found = (read_map(path / "map.mrc")[0] for path in (on_cpu, inline))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
