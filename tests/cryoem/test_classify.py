"""Classification of simulated images of two shapes: found, the same everywhere, resumed."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from hpdp_dask.cryoem.classify import Classification, State, classify2d
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import MrcStack
from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.formats.star import read_particles
from hpdp_dask.numerics.ctf import ctf_coefficients, evaluate_ctf
from hpdp_dask.numerics.rotations import euler_to_matrix
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images

BOX, PIXEL_SIZE, PER_SHARD = 32, 6.0, 50
#: Images of a bent shape, of a long one, and of nothing.
NUMBERS = (150, 150, 100)
SHAPES = (
    ((0.0, 0.0, 2.0), (5.0, 0.0, 2.0), (0.0, 6.0, 2.0)),
    ((-7.0, 0.0, 2.0), (-2.0, 0.0, 2.0), (3.0, 0.0, 2.0), (7.0, 1.0, 1.6)),
)
OPTICS = {"voltage": 300.0, "spherical_aberration": 2.7, "amplitude_contrast": 0.1}
KINDS = np.repeat([0, 1, 2], NUMBERS)
#: As few classes as the shapes and nothing have, and passes that all take few seconds.
OPTIONS = {"classes": 4, "iterations": 12, "seed": 1}


def shape(kind: int, psi: float, moved: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    turn = euler_to_matrix(np.array([[0.0, 0.0, psi]]))[0]
    places = np.stack([x - moved[0], y - moved[1], 0 * x], axis=-1) @ turn
    return np.sum(
        [
            np.exp(-((places[..., 0] - cx) ** 2 + (places[..., 1] - cy) ** 2) / 2 / width**2)
            for cx, cy, width in SHAPES[kind]
        ],
        axis=0,
    )


def write_stack(path: Path, table: ParticleTable, images: np.ndarray) -> Path:
    new_stack(path, to_dataset(table, 0), len(images), BOX, images_per_shard=PER_SHARD)
    for start in range(0, len(images), PER_SHARD):
        write_images(path, start, images[start : start + PER_SHARD])
    return path


def make_particles(kinds: np.ndarray, seed: int = 0) -> tuple[ParticleTable, np.ndarray]:
    """Draw images with CTF and noise, shuffled; `class_number` of the table is their kind."""
    random = np.random.default_rng(seed)
    number = len(kinds)
    defocus = random.uniform(1.5e4, 3e4, number)
    psi, moved = random.uniform(0, 360, number), random.normal(0.0, 1.0, (number, 2))
    u, v = np.fft.rfftfreq(BOX)[None], np.fft.fftfreq(BOX)[:, None]
    u, v = (axis.ravel() for axis in np.broadcast_arrays(u, v))
    coefficients = ctf_coefficients(
        defocus_u=defocus, defocus_v=defocus, defocus_angle=0.0, pixel_size=PIXEL_SIZE, **OPTICS
    )
    ctf = evaluate_ctf(coefficients, u, v).reshape(number, BOX, -1)
    clean = np.stack(
        [
            shape(kind, angle, move) if kind < 2 else np.zeros((BOX, BOX))
            for kind, angle, move in zip(kinds, psi, moved, strict=True)
        ]
    )
    images = 8.0 * np.fft.irfft2(np.fft.rfft2(clean) * ctf, s=(BOX, BOX))
    images += random.normal(size=images.shape)
    table = ParticleTable(
        particles={
            "defocus_u": defocus,
            "defocus_v": defocus,
            "defocus_angle": np.zeros(number),
            "optics_group": np.zeros(number, np.int32),
            "euler_angles": np.stack([0 * psi, 0 * psi, psi], axis=1),
            "shift": -moved * PIXEL_SIZE,
        },
        optics={name: np.array([value]) for name, value in OPTICS.items()}
        | {"pixel_size": np.array([PIXEL_SIZE])},
        image_files=[path_of_nothing()],
        image_file=np.zeros(number, np.int32),
        image_index=np.arange(number),
        source=SourceTables("relion-3.1"),
        path=Path("simulated.star"),
    )
    return table, images.astype(np.float32)


def path_of_nothing() -> Path:
    return Path("/nowhere/particles.mrcs")


@pytest.fixture(scope="module")
def kinds() -> np.ndarray:
    return np.random.default_rng(7).permutation(KINDS)


@pytest.fixture(scope="module")
def stack(kinds: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "particles.zarr"
    return write_stack(path, *make_particles(kinds))


def run(
    stack: Path,
    folder: Path,
    client: Client | None = None,
    tell: Callable[[State], None] | None = None,
    **options: int,
) -> Classification:
    folder.mkdir(exist_ok=True)
    return classify2d(
        stack, folder, scratch=folder / "scratch", client=client, tell=tell, **(OPTIONS | options)
    )


@pytest.fixture(scope="module")
def inline(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Classification, Path]:
    """What this process makes of the stack."""
    folder = tmp_path_factory.mktemp("inline")
    return run(stack, folder), folder


def classes_of(folder: Path) -> np.ndarray:
    return open_stack(folder / "particles.zarr")["class_number"].values


def test_classes_hold_images_of_one_kind(
    inline: tuple[Classification, Path], kinds: np.ndarray
) -> None:
    found = classes_of(inline[1])
    counts = np.array([np.bincount(kinds[found == number], minlength=3) for number in range(1, 5)])
    assert counts.max(axis=1).sum() > 0.95 * len(kinds)


def test_images_of_nothing_have_a_class_of_score_0(
    inline: tuple[Classification, Path], kinds: np.ndarray
) -> None:
    result, folder = inline
    score = result.classes.score[classes_of(folder) - 1]
    assert (score[kinds == 2] < 0.5).mean() > 0.95
    assert (score[kinds < 2] >= 0.5).mean() > 0.95
    assert result.aligned


def test_angles_and_shifts_are_those_of_the_simulation(
    inline: tuple[Classification, Path], stack: Path, kinds: np.ndarray
) -> None:
    found, truth = open_stack(inline[1] / "particles.zarr"), open_stack(stack)
    for kind in (0, 1):
        # an average may be turned and moved as a whole, and so are all images of its class
        number = np.bincount(found["class_number"].values[kinds == kind]).argmax()
        rows = (found["class_number"].values == number) & (kinds == kind)
        turned = np.radians(
            found["euler_angles"].values[rows, 2] - truth["euler_angles"].values[rows, 2]
        )
        middle = np.angle(np.exp(1j * turned).mean())
        off = np.degrees(np.abs(np.angle(np.exp(1j * (turned - middle)))))
        assert np.median(off) < 8.0
        moved = found["shift"].values[rows] - truth["shift"].values[rows]
        assert np.median(np.abs(moved - np.median(moved, axis=0))) < 2.0 * PIXEL_SIZE


def test_files_tell_what_was_found(inline: tuple[Classification, Path]) -> None:
    result, folder = inline
    found = classes_of(folder)
    with (folder / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["class_number"]) for row in rows] == [1, 2, 3, 4]
    assert [int(row["particles"]) for row in rows] == np.bincount(found, minlength=5)[1:].tolist()
    images = MrcStack(folder / "classes.mrcs")
    assert images.info.pixel_size == pytest.approx(PIXEL_SIZE)
    np.testing.assert_array_equal(images.read(0, 4), result.averages)
    star = read_particles(folder / "particles.star")
    np.testing.assert_array_equal(star.particles["class_number"], found)
    assert np.all(star.particles["euler_angles"][:, :2] == 0.0)
    probability = star.source.particles["rlnMaxValueProbDistribution"]
    assert ((probability > 0) & (probability <= 1)).all()


def test_workers_make_no_difference(
    inline: tuple[Classification, Path], stack: Path, client: Client, tmp_path: Path
) -> None:
    result = run(stack, tmp_path / "two", client)
    np.testing.assert_array_equal(classes_of(tmp_path / "two"), classes_of(inline[1]))
    # the products of this process run on several threads, and round otherwise
    np.testing.assert_allclose(result.averages, inline[0].averages, atol=1e-5)


def test_a_killed_run_goes_on_to_the_same_end(
    inline: tuple[Classification, Path], stack: Path, tmp_path: Path
) -> None:
    def stop(state: State) -> None:
        if state.iteration == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stack, tmp_path / "killed", tell=stop)
    told: list[int] = []
    result = run(stack, tmp_path / "killed", tell=lambda state: told.append(state.iteration))
    assert told[0] == 7
    np.testing.assert_array_equal(result.averages, inline[0].averages)


def test_classes_of_few_images_begin_anew_too(tmp_path: Path) -> None:
    # all images are taken in every pass, as they are fewer than 50 a class
    stack = write_stack(tmp_path / "few.zarr", *make_particles(np.repeat([0, 1], 50)))
    shares: list[list[float]] = []
    run(
        stack,
        tmp_path / "out",
        classes=6,
        tell=lambda state: shares.append(state.class_share),
    )
    # the last two of twelve passes settle what is there
    assert min(min(share) for share in shares[:-2]) > 0.01


def test_a_stack_of_noise_ends_and_says_that_nothing_aligned(tmp_path: Path) -> None:
    stack = write_stack(tmp_path / "noise.zarr", *make_particles(np.full(200, 2)))
    result = run(stack, tmp_path / "out", iterations=8)
    assert not result.aligned
    assert not result.classes.score.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 300}, r"400 particles for 300 classes.*2 or more.*fewer classes"),
        ({"classes": 0}, "number of classes is 0"),
        ({"iterations": 0}, "number of iterations is 0"),
        ({"mask_diameter": 900}, "--mask-diameter is 900 Å, expected 19 to 192 Å"),
    ],
)
def test_what_cannot_be_is_refused(
    options: dict[str, int], words: str, stack: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        run(stack, tmp_path / "out", **options)


def test_a_stack_without_ctf_is_refused(stack: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.zarr"
    table = open_stack(stack).drop_vars(["images", "defocus_u"])
    new_stack(bare, table, len(KINDS), BOX, images_per_shard=PER_SHARD)
    write_images(bare, 0, open_stack(stack)["images"].values)
    with pytest.raises(InputError, match="no defocus_u"):
        run(bare, tmp_path / "out")
