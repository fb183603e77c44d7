"""Selection of classes: the right particles with all that is known of them, and clear refusals."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from hpdp_dask.cryoem.classify.quality import ClassTable
from hpdp_dask.cryoem.classify.writing import write_classes, write_particles_of
from hpdp_dask.cryoem.select import read_numbers, select
from hpdp_dask.cryoem.simulate import phantom, simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.particles import SourceTables
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, to_table, write_images
from hpdp_dask.stacks.tables import read_source

NUMBER, BOX, CLASSES = 90, 16, 4
SCORES = np.array([0.9, 0.7, 0.2, 0.0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A classification as `classify2d` leaves it, made up."""
    random = np.random.default_rng(3)
    table, images = simulate_particles(phantom(), NUMBER, BOX, pixel_size=12.0, snr=1.0)
    stack = tmp_path / "particles.zarr"
    names = np.array([f"grid{row:03d}" for row in range(NUMBER)], dtype=object)
    source = SourceTables("relion-3.1", particles={"rlnNote": names})
    dataset = to_dataset(table, 0).assign_attrs(normalized=1)
    new_stack(stack, dataset, NUMBER, BOX, "float16", 20, source=source)
    for start in range(0, NUMBER, 20):
        write_images(stack, start, images[start : start + 20].astype(np.float16))
    made = tmp_path / "classes"
    made.mkdir()
    number = np.append(random.integers(0, CLASSES - 1, NUMBER - 1), 0)
    particles = np.bincount(number, minlength=CLASSES)
    write_classes(
        made,
        np.zeros((CLASSES, BOX, BOX), np.float32),
        ClassTable(particles, np.array([20.0, 25.0, 90.0, np.inf]), SCORES),
        12.0,
    )
    results = {
        "class_number": number.astype(np.int32),
        "class_probability": random.random(NUMBER).astype(np.float32),
        "pose_probability": random.random(NUMBER).astype(np.float32),
        "psi": random.uniform(0, 400, NUMBER).astype(np.float32),
        "shift": random.normal(size=(NUMBER, 2)).astype(np.float32),
    }
    write_particles_of(made, open_stack(stack), results, np.arange(CLASSES))
    return made


def test_the_particles_of_the_classes_are_kept_with_all_that_is_known(
    folder: Path, tmp_path: Path, client: Client
) -> None:
    result = select(folder, tmp_path / "good.zarr", classes=[3, 1], client=client)
    before, found = open_stack(tmp_path / "particles.zarr"), open_stack(folder / "particles.zarr")
    rows = np.flatnonzero(np.isin(found["class_number"].values, [1, 3]))
    kept = open_stack(result.path)
    assert (result.number, result.of, result.classes) == (len(rows), NUMBER, (1, 3))
    assert kept["images"].dtype == np.float16
    np.testing.assert_array_equal(kept["images"].values, before["images"].values[rows])
    for name in ("class_number", "class_probability", "euler_angles", "shift"):
        np.testing.assert_array_equal(kept[name].values, found[name].values[rows])
    for name in ("half_set", "defocus_u", "optics_group", "pixel_size"):
        expected = before[name]
        if "particle" in expected.dims:
            expected = expected.isel(particle=rows)
        np.testing.assert_array_equal(kept[name].values, expected.values)
    assert kept.attrs["normalized"] == 1
    assert kept.attrs["selected"] == f"classes 1, 3 of {folder}"
    source = read_source(result.path)
    assert source is not None
    assert source.particles["rlnNote"].tolist() == [f"grid{row:03d}" for row in rows]
    assert len(to_table(kept)) == len(rows)


def test_by_default_classes_of_a_good_score_are_kept(folder: Path, tmp_path: Path) -> None:
    assert select(folder, tmp_path / "good.zarr").classes == (1, 2)
    assert select(folder, tmp_path / "best.zarr", min_score=0.8).classes == (1,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": [1, 7]}, "no class 7; the classes are 1 to 4"),
        ({"classes": [0]}, "no class 0"),
        ({"classes": [4]}, "no particles in class 4"),
        ({"min_score": 0.95}, "no class has a score of 0.95 or more, the best has 0.90"),
        ({"classes": [1], "min_score": 0.5}, "not both"),
    ],
)
def test_what_is_not_there_is_refused(
    options: dict[str, object], words: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        select(folder, tmp_path / "good.zarr", **options)
    assert not (tmp_path / "good.zarr").exists()


@pytest.mark.parametrize("output", ["particles.zarr", "classes/particles.zarr", "classes"])
def test_its_own_input_is_never_replaced(folder: Path, tmp_path: Path, output: str) -> None:
    with pytest.raises(InputError, match="the output is the input"):
        select(folder, tmp_path / output, classes=[1], overwrite=True)
    assert open_stack(tmp_path / "particles.zarr").sizes["particle"] == NUMBER
    assert open_stack(folder / "particles.zarr").sizes["particle"] == NUMBER


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="classify2d made"):
        select(tmp_path, tmp_path / "good.zarr")


def test_a_stack_that_is_gone_is_asked_for(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "particles.zarr")
    with pytest.raises(InputError, match="not there any more"):
        select(folder, tmp_path / "good.zarr")


def test_nothing_is_selected_where_nothing_aligned(folder: Path, tmp_path: Path) -> None:
    table = ClassTable(np.array([NUMBER]), np.array([np.inf]), np.array([0.0]))
    write_classes(folder, np.zeros((1, BOX, BOX), np.float32), table, 12.0)
    with pytest.raises(InputError, match="nothing aligned"):
        select(folder, tmp_path / "good.zarr")


def test_numbers_of_classes_are_read() -> None:
    assert read_numbers("1,4, 7-9") == [1, 4, 7, 8, 9]
    for wrong in ("", "a", "1,,2", "3-", "-1", "0", "3-1", "1-99999999999"):
        with pytest.raises(InputError, match="expected numbers as"):
            read_numbers(wrong)
