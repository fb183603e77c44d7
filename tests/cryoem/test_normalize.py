"""A normalised stack against a plain loop over its images."""

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from hpdp_dask.cryoem.normalize import normalize
from hpdp_dask.errors import InputError
from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.numerics.images import background_statistics
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, to_table, write_images

NUMBER, BOX, PER_SHARD = 26, 32, 8
PIXEL_SIZES = np.array([1.5, 2.0])


def make_stack(path: Path, images: np.ndarray, precision: str = "float32") -> Path:
    number, box, _ = images.shape
    rng = np.random.default_rng(5)
    table = ParticleTable(
        particles={
            "optics_group": np.arange(number) % 2,
            "shift": rng.normal(0.0, 5.0, (number, 2)),
            "coordinate": rng.uniform(0.0, 4000.0, (number, 2)),
        },
        optics={
            "pixel_size": PIXEL_SIZES,
            "voltage": np.full(2, 300.0),
            "spherical_aberration": np.full(2, 2.7),
            "amplitude_contrast": np.full(2, 0.1),
        },
        image_files=[],
        image_file=np.full(number, -1, np.int32),
        image_index=np.arange(number),
        source=SourceTables("relion-3.1", particles={"rlnFigure": np.arange(number) * 1.5}),
        path=Path("particles.star"),
    )
    new_stack(path, to_dataset(table, 0), number, box, precision, PER_SHARD, source=table.source)
    for start in range(0, number, PER_SHARD):
        write_images(path, start, images[start : start + PER_SHARD])
    return path


@pytest.fixture
def images() -> np.ndarray:
    """Black particles on a sloping background, with a few hot pixels."""
    rng = np.random.default_rng(3)
    y, x = np.indices((BOX, BOX)) - BOX // 2
    particle = -3.0 * np.exp(-(x**2 + y**2) / 40.0)
    slope = rng.normal(0.0, 0.05, (NUMBER, 1, 1)) * x
    images = 5.0 * (particle + slope + rng.normal(size=(NUMBER, BOX, BOX))) + 200.0
    images[4, 3, 5] = 3000.0
    images[17, 16, 16] = -500.0
    return images.astype(np.float32)


@pytest.fixture
def stack(tmp_path: Path, images: np.ndarray) -> Path:
    return make_stack(tmp_path / "in.zarr", images)


def read(path: Path) -> np.ndarray:
    return ImageReader(path).read(0, NUMBER)


def by_hand(image: np.ndarray, radius: float, box: int, dust: float | None) -> np.ndarray:
    """What a stage does to an image, in float64 and with sums of waves."""
    image = image.astype(np.float64)
    if dust is not None:
        spots = np.abs(image - image.mean()) > dust * image.std()
        image = np.where(spots, image[~spots].mean(), image)
    old, k = len(image), np.arange(-(box // 2), box // 2 + 1)
    weights = np.where(np.abs(k) == box // 2, 0.5, 1.0)  # outermost frequencies count half
    forward = np.exp(-2j * np.pi * np.outer(k, np.arange(old) - old // 2) / old) / old
    backward = np.exp(2j * np.pi * np.outer(np.arange(box) - box // 2, k) / box) * weights
    image = ((backward @ forward) @ image @ (backward @ forward).T).real
    y, x = np.indices((box, box)) - box // 2
    outside = x**2 + y**2 > radius**2
    design = np.column_stack([np.ones(outside.sum()), x[outside], y[outside]])
    (a, b, c), *_ = np.linalg.lstsq(design, image[outside], rcond=None)
    image = image - (a + b * x + c * y)
    return (image - image[outside].mean()) / image[outside].std()


def test_default_is_relions(stack: Path, images: np.ndarray, tmp_path: Path) -> None:
    normalize(stack, tmp_path / "out.zarr", client=None)
    done = read(tmp_path / "out.zarr")
    assert done.dtype == np.float32
    for image, result in zip(images, done, strict=True):
        np.testing.assert_allclose(result, by_hand(image, 0.375 * BOX, BOX, 5.0), atol=1e-4)
    assert np.abs(done).max() < 6.0  # no hot pixels are left


def test_crop_inversion_and_circle_in_ångström(
    stack: Path, images: np.ndarray, tmp_path: Path
) -> None:
    normalize(
        stack,
        tmp_path / "out.zarr",
        client=None,
        background_diameter=40.0,
        invert_contrast=True,
        dust=None,
        box=20,
    )
    done = read(tmp_path / "out.zarr")
    assert done.shape == (NUMBER, 20, 20)
    for i, (image, result) in enumerate(zip(images, done, strict=True)):
        pixel_size = PIXEL_SIZES[i % 2] * BOX / 20
        expected = -by_hand(image, 20.0 / pixel_size, 20, None)
        np.testing.assert_allclose(result, expected, atol=1e-4)
        mean, std = background_statistics(result[None], 20.0 / pixel_size)
        assert abs(float(mean[0])) < 1e-5
        assert float(std[0]) == pytest.approx(1.0, abs=1e-5)
    assert done[:, 10, 10].mean() > 1.0  # particles are white now

    before, after = open_stack(stack), open_stack(tmp_path / "out.zarr")
    np.testing.assert_allclose(after["pixel_size"], PIXEL_SIZES * 1.6)
    assert after.attrs["normalized"] == 1
    assert after.attrs["background_diameter"] == [40.0, 40.0]
    assert after.attrs["dust"] is None
    assert after.attrs["contrast_inverted"] == 1
    for name in before.data_vars:
        if name not in ("images", "pixel_size"):
            np.testing.assert_array_equal(after[name].values, before[name].values)
    source = to_table(after).source
    np.testing.assert_array_equal(source.particles["rlnFigure"], np.arange(NUMBER) * 1.5)


def test_cluster_and_process_give_the_same(stack: Path, tmp_path: Path, client: Client) -> None:
    normalize(stack, tmp_path / "a.zarr", client=None, box=16)
    normalize(stack, tmp_path / "b.zarr", client=client, box=16)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), read(tmp_path / "b.zarr"))


def test_a_bad_image_is_named_from_a_worker(
    images: np.ndarray, tmp_path: Path, client: Client
) -> None:
    images[11] = 7.0
    stack = make_stack(tmp_path / "in.zarr", images)
    with pytest.raises(InputError, match=r"in\.zarr: image 11 "):
        normalize(stack, tmp_path / "out.zarr", client=client)
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


@pytest.mark.parametrize("precision", ["float16", "rounded"])
def test_precision_is_kept(precision: str, images: np.ndarray, tmp_path: Path) -> None:
    stack = make_stack(tmp_path / "in.zarr", images, precision)
    normalize(stack, tmp_path / "out.zarr", client=None)
    reader = ImageReader(tmp_path / "out.zarr")
    assert reader.layout.precision == precision
    mean, std = background_statistics(reader.read(0, NUMBER).astype(np.float32), 12.0)
    np.testing.assert_allclose(mean, 0.0, atol=1e-3)
    np.testing.assert_allclose(std, 1.0, atol=1e-3)


def test_twice_inverted_is_said(stack: Path, tmp_path: Path) -> None:
    normalize(stack, tmp_path / "a.zarr", client=None, invert_contrast=True)
    normalize(tmp_path / "a.zarr", tmp_path / "b.zarr", client=None, invert_contrast=True)
    assert open_stack(tmp_path / "b.zarr").attrs["contrast_inverted"] == 0
    np.testing.assert_allclose(read(tmp_path / "b.zarr"), -read(tmp_path / "a.zarr"), atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_without_a_scale_are_named(value: float, images: np.ndarray, tmp_path: Path) -> None:
    images[11, 4, 4] = value
    images[13] = 7.0
    stack = make_stack(tmp_path / "in.zarr", images)
    with pytest.raises(InputError, match=r"in\.zarr: image 11 .* and 1 more"):
        normalize(stack, tmp_path / "out.zarr", client=None)
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]  # nothing half-written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box": 15}, r"15 pixels, expected an even number from 2 to 32"),
        ({"box": 34}, r"34 pixels, expected an even number from 2 to 32"),
        ({"box": 0}, r"0 pixels, expected an even number"),
        ({"background_diameter": 0.0}, r"circle of 0 Å, expected more than 0 and at most 48 Å"),
        ({"background_diameter": 50.0}, r"circle of 50 Å, expected .* at most 48 Å"),
        ({"dust": -1.0}, r"-1 standard deviations, expected a positive"),
    ],
)
def test_impossible_options_are_refused(
    stack: Path, tmp_path: Path, options: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        normalize(stack, tmp_path / "out.zarr", client=None, **options)
    assert not (tmp_path / "out.zarr").exists()


def test_output_is_not_overwritten_unasked(stack: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.zarr"
    normalize(stack, output, client=None)
    first = read(output)
    with pytest.raises(InputError, match=r"exists"):
        normalize(stack, output, client=None, invert_contrast=True)
    np.testing.assert_array_equal(read(output), first)
    normalize(stack, output, client=None, invert_contrast=True, overwrite=True)
    np.testing.assert_array_equal(read(output), -first)
    with pytest.raises(InputError, match=r"the output is the input"):
        normalize(stack, stack, client=None, overwrite=True)


def test_small_shards_are_joined(tmp_path: Path) -> None:
    """Cropped images take fewer shards, so that files stay large."""
    images = np.random.default_rng(0).normal(size=(NUMBER, BOX, BOX)).astype(np.float32)
    stack = make_stack(tmp_path / "in.zarr", images)
    normalize(stack, tmp_path / "out.zarr", client=None, box=8)
    assert ImageReader(tmp_path / "out.zarr").images_per_shard % PER_SHARD == 0
    assert ImageReader(tmp_path / "out.zarr").layout.shards == 2
