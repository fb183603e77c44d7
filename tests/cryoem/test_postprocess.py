"""Post-processing of half-maps whose B-factor is known, and clear words about mistakes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from half_maps import (
    B_FACTOR,
    BOX,
    EXTENT,
    PIXEL_SIZE,
    filtered,
    frequencies,
    points,
    write_half_maps,
)

from hpdp_dask.cryoem.fsc import write_fsc
from hpdp_dask.cryoem.postprocess import Postprocessed, postprocess
from hpdp_dask.cryoem.postprocess_inputs import read_mtf
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map, write_map
from hpdp_dask.numerics.masks import low_pass_filter, soft_sphere
from hpdp_dask.numerics.shells import fourier_shell_correlation

MTF = """data_mtf
loop_
_rlnResolutionInversePixel
_rlnMtfValue
"""


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_half_maps(tmp_path_factory.mktemp("halves"))


@pytest.fixture(scope="module")
def done(halves: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Postprocessed]:
    """The folder and the result with all defaults."""
    folder = tmp_path_factory.mktemp("out")
    return folder, postprocess(halves, folder)


@pytest.fixture
def mask_file(tmp_path: Path) -> Callable[..., Path]:
    def write(mask: np.ndarray, pixel_size: float = PIXEL_SIZE) -> Path:
        write_map(tmp_path / "given.mrc", mask.astype(np.float32), pixel_size)
        return tmp_path / "given.mrc"

    return write


def shell_of(resolution: float) -> float:
    return EXTENT / resolution


def test_the_b_factor_is_found(done: tuple[Path, Postprocessed]) -> None:
    _, result = done
    assert result.b_factor == pytest.approx(B_FACTOR, abs=10.0)
    assert result.guinier.fit is not None
    assert result.low_pass == result.resolution
    assert result.warnings == ()


def test_the_resolution_is_where_truth_and_map_part(
    done: tuple[Path, Postprocessed], halves: Path
) -> None:
    """FSC 0.143 of halves means 0.5 of their average with the truth (Rosenthal & Henderson)."""
    folder, result = done
    mask, _ = read_map(folder / "mask.mrc")
    average = sum(read_map(halves / name)[0] for name in ("half1.mrc", "half2.mrc")) / 2
    truth = fourier_shell_correlation(average, points(), mask)
    first_below = np.flatnonzero(truth < 0.5)[0]
    assert shell_of(result.resolution) == pytest.approx(first_below, abs=2.0)
    assert result.resolution < result.resolution_unmasked


def test_the_map_is_like_the_specimen_that_was_not_blurred(
    done: tuple[Path, Postprocessed], halves: Path
) -> None:
    folder, result = done
    mask, _ = read_map(folder / "mask.mrc")
    truth = low_pass_filter(points(), PIXEL_SIZE, result.resolution) * mask
    before = low_pass_filter(read_map(halves / "half1.mrc")[0], PIXEL_SIZE, result.resolution)
    sharpened, pixel_size = read_map(folder / "map_masked.mrc")
    assert pixel_size == pytest.approx(PIXEL_SIZE)
    inside = mask > 0.5
    after_like = np.corrcoef(sharpened[inside], truth[inside])[0, 1]
    before_like = np.corrcoef(before[inside], truth[inside])[0, 1]
    assert after_like > 0.8
    assert after_like > before_like + 0.1


def test_files(done: tuple[Path, Postprocessed]) -> None:
    folder, result = done
    assert {path.name for path in folder.iterdir()} == {
        *("map.mrc", "map_masked.mrc", "mask.mrc", "fsc.csv", "guinier.csv")
    }
    mask = read_map(folder / "mask.mrc")[0]
    assert np.array_equal(
        read_map(folder / "map_masked.mrc")[0], read_map(folder / "map.mrc")[0] * mask
    )
    assert result.mask_share == pytest.approx(mask.mean())
    curves = pd.read_csv(folder / "fsc.csv")
    assert curves["fsc_corrected"].to_numpy() == pytest.approx(
        result.curves["fsc_corrected"], abs=1e-6
    )
    table = pd.read_csv(folder / "guinier.csv")
    assert list(table.columns) == [
        *("shell", "inverse_resolution_squared", "original", "weighted", "sharpened", "fit")
    ]
    slope, _ = np.polyfit(table["inverse_resolution_squared"], table["fit"], 1)
    assert 4 * slope == pytest.approx(result.b_factor, rel=1e-3)
    # sharpened amplitudes are level between 10 Å and the resolution
    fitted = table[(table["shell"] >= EXTENT / 10) & (table["shell"] <= EXTENT / result.resolution)]
    slope, _ = np.polyfit(fitted["inverse_resolution_squared"], fitted["sharpened"], 1)
    assert 4 * slope == pytest.approx(0.0, abs=0.1)


def test_the_seed_tells_the_result(halves: Path, tmp_path: Path) -> None:
    results = []
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        results.append(postprocess(halves, tmp_path / str(number), seed=seed))
    same, again, other = (result.curves["fsc_randomized"] for result in results)
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)


def test_the_mtf_is_divided_out(tmp_path: Path) -> None:
    """Its pixels are half as large as the map's, whose amplitudes it damps as a B-factor does."""
    damping = 60.0
    detector = PIXEL_SIZE / 2
    rows = np.linspace(0.0, 0.5, 201)
    values = np.exp(-damping / 4 * (rows / detector) ** 2)
    path = tmp_path / "mtf.star"
    path.write_text(MTF + "\n".join(f"{r} {v}" for r, v in zip(rows, values, strict=True)))
    halves = write_half_maps(
        tmp_path / "halves", extra=np.exp(-damping / 4 * frequencies() ** 2), noise=0.02
    )
    plain = postprocess(halves, tmp_path)
    result = postprocess(halves, tmp_path, mtf=path, mtf_pixel_size=detector)
    assert plain.b_factor == pytest.approx(B_FACTOR - damping, abs=10.0)
    assert result.b_factor - plain.b_factor == pytest.approx(damping, abs=1.0)
    assert result.resolution == plain.resolution
    assert "mtf_corrected" in pd.read_csv(tmp_path / "guinier.csv")


def test_a_b_factor_and_a_low_pass_may_be_given(halves: Path, tmp_path: Path) -> None:
    result = postprocess(halves, tmp_path, b_factor=-50.0, low_pass=8.0)
    assert (result.b_factor, result.low_pass) == (-50.0, 8.0)
    power = np.abs(np.fft.rfftn(read_map(tmp_path / "map.mrc")[0]))
    shells = np.rint(frequencies() * EXTENT)
    assert power[shells > EXTENT / 8.0 + 2].max() < 1e-4 * power.max()
    blurring = postprocess(halves, tmp_path, b_factor=50.0)
    assert any("50 Å²" in warning and "blurs" in warning for warning in blurring.warnings)


def test_half_maps_that_end_early_do_not_agree_beyond(halves: Path, tmp_path: Path) -> None:
    """What the sphere lets through beyond their last shell is alike in both, and no signal."""
    last = 12
    inside = soft_sphere(BOX, BOX / 2 - 3, 3)
    maps = {}
    for name in ("half1", "half2"):
        cut = filtered(read_map(halves / f"{name}.mrc")[0], frequencies() * EXTENT < last + 0.5)
        maps[name] = cut * inside
        write_map(tmp_path / f"{name}.mrc", maps[name], PIXEL_SIZE)
    curve = fourier_shell_correlation(maps["half1"], maps["half2"])
    curve[last + 1 :] = 0.0
    write_fsc(tmp_path / "fsc.csv", {"fsc": curve}, PIXEL_SIZE)
    (tmp_path / "out").mkdir()
    result = postprocess(tmp_path, tmp_path / "out")
    assert result.resolution == pytest.approx(EXTENT / last)
    assert any("where the half-maps end" in warning for warning in result.warnings)


def test_half_maps_that_agree_to_their_end(tmp_path: Path) -> None:
    result = postprocess(write_half_maps(tmp_path / "halves", noise=1e-4), tmp_path)
    assert result.resolution == pytest.approx(2 * PIXEL_SIZE)
    assert result.randomized_from is None
    assert [warning for warning in result.warnings if "FSC is still" in warning]
    assert result.b_factor == pytest.approx(B_FACTOR, abs=6.0)


def test_at_low_resolution_the_map_is_not_sharpened(tmp_path: Path) -> None:
    halves = write_half_maps(tmp_path / "halves", noise=0.6)
    result = postprocess(halves, tmp_path)
    assert result.b_factor == 0.0
    assert result.guinier.fit is None
    assert any("Guinier" in warning for warning in result.warnings)
    assert "fit" not in pd.read_csv(tmp_path / "guinier.csv")


def test_halves_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    for name in ("half1", "half2"):
        noise = generator.normal(size=(BOX,) * 3).astype(np.float32)
        write_map(tmp_path / f"{name}.mrc", noise, PIXEL_SIZE)
    with pytest.raises(InputError, match="nothing to sharpen"):
        postprocess(tmp_path, tmp_path)


def test_a_given_mask_is_used(halves: Path, tmp_path: Path, mask_file) -> None:
    mask = soft_sphere(BOX, 21, 6)
    result = postprocess(halves, tmp_path, mask=mask_file(mask))
    assert np.array_equal(read_map(tmp_path / "mask.mrc")[0], mask)
    assert result.warnings == ()
    assert result.b_factor == pytest.approx(B_FACTOR, abs=10.0)


def test_a_mask_that_cuts_the_particle_is_told(halves: Path, tmp_path: Path, mask_file) -> None:
    result = postprocess(halves, tmp_path, mask=mask_file(soft_sphere(BOX, 10, 6)))
    assert any("leaves out" in warning and "%" in warning for warning in result.warnings)


def test_a_mask_that_makes_halves_alike_is_told(halves: Path, tmp_path: Path, mask_file) -> None:
    """A hard mask of single voxels here and there couples all shells."""
    speckled = (np.random.default_rng(6).uniform(size=(BOX,) * 3) < 0.03) * soft_sphere(BOX, 20, 0)
    result = postprocess(halves, tmp_path, mask=mask_file(speckled))
    assert any("random phases" in warning and "0.1" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("mask", "pixel_size", "words"),
    [
        (np.zeros((BOX,) * 3), PIXEL_SIZE, ("empty", "0")),
        (np.ones((BOX // 2,) * 3), PIXEL_SIZE, ("32 x 32 x 32", "64 x 64 x 64")),
        (np.ones((BOX,) * 3), 2.0, ("2 Å", "1.5 Å")),
        (np.full((BOX,) * 3, 7.5), PIXEL_SIZE, ("7.5", "0 (solvent) to 1")),
        (np.full((BOX,) * 3, np.nan), PIXEL_SIZE, ("nan", "0 (solvent) to 1")),
    ],
)
def test_masks_that_cannot_be_are_refused(
    halves: Path, tmp_path: Path, mask_file, mask: np.ndarray, pixel_size: float, words
) -> None:
    with pytest.raises(InputError) as refused:
        postprocess(halves, tmp_path, mask=mask_file(mask, pixel_size))
    for word in ("given.mrc", *words):
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("half2", "pixel_size", "word"),
    [
        (None, PIXEL_SIZE, "half2.mrc"),
        ("same", PIXEL_SIZE, "same map"),
        (np.zeros((BOX,) * 3), PIXEL_SIZE, "zero everywhere"),
        (np.full((BOX,) * 3, np.inf), PIXEL_SIZE, "no finite numbers"),
        (np.ones((BOX,) * 3), 0.0, "nan Å"),
        (np.ones((48,) * 3), PIXEL_SIZE, "48 x 48 x 48"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")  # statistics of a map with infinities
def test_half_maps_that_cannot_be_are_refused(
    halves: Path, tmp_path: Path, half2, pixel_size: float, word: str
) -> None:
    first = read_map(halves / "half1.mrc")[0]
    write_map(tmp_path / "half1.mrc", first, PIXEL_SIZE)
    if half2 is not None:
        volume = first if isinstance(half2, str) else half2.astype(np.float32)
        write_map(tmp_path / "half2.mrc", volume, pixel_size)
    with pytest.raises(InputError, match=word):
        postprocess(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"low_pass": 1.0}, ("low_pass", "3 Å")),
        ({"low_pass": 50.0}, ("low_pass", "32 Å")),
        ({"b_factor": -1e5}, ("B-factor", "-100000")),
        ({"b_factor": np.nan}, ("B-factor", "nan")),
        ({"mtf_pixel_size": 1.0}, ("--mtf",)),
    ],
)
def test_choices_that_cannot_be_are_refused(halves: Path, tmp_path: Path, choices, words) -> None:
    with pytest.raises(InputError) as refused:
        postprocess(halves, tmp_path, **choices)
    for word in words:
        assert word in str(refused.value)


def test_mtfs_of_detectors_are_read(test_data: Path) -> None:
    for path in sorted((test_data / "cryoem" / "mtf").glob("*.star")):
        values = read_mtf(path, np.array([0.0, 0.1, 0.2, 0.25]), 2.0)
        assert values[0] == pytest.approx(1.0, abs=0.05)
        assert (np.diff(values) < 0).all()
        assert (values > 0).all()
    falcon = test_data / "cryoem" / "mtf" / "mtf_falcon2_300kV.star"
    assert read_mtf(falcon, np.array([0.005, 0.0105]), 1.0) == pytest.approx([0.994062, 0.976213])
    # between rows
    assert read_mtf(falcon, np.array([0.00525]), 1.0) == pytest.approx([(0.994062 + 0.992861) / 2])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0 1\n0.2 0.5", ("ends at 0.2", "0.5", "--mtf-pixel-size")),
        ("0 1\n0.3 0.5\n0.2 0.4\n0.5 0.1", ("row 3", "rlnResolutionInversePixel")),
        ("0 1\n0.5 0", ("rlnMtfValue", "0.5 cycles")),
        ("0 1\n0.5 much", ("rlnMtfValue", "much")),
    ],
)
def test_mtfs_that_cannot_be_are_refused(
    halves: Path, tmp_path: Path, rows: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "mtf.star"
    path.write_text(f"{MTF}{rows}\n")
    with pytest.raises(InputError) as refused:
        postprocess(halves, tmp_path, mtf=path)
    for word in ("mtf.star", *words):
        assert word in str(refused.value)


def test_a_star_file_of_something_else_is_no_mtf(halves: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.star"
    path.write_text("data_other\nloop_\n_rlnMicrographName\na.mrc\n")
    with pytest.raises(InputError, match="rlnResolutionInversePixel"):
        postprocess(halves, tmp_path, mtf=path)
