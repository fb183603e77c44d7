"""Resolution by how spots thin out, and ice rings."""

import numpy as np
import pytest

from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.numerics.diffraction import scattering_vectors, solid_angles
from hpdp_dask.numerics.ice_rings import find_ice, ice_lines
from hpdp_dask.numerics.spot_resolution import ResolutionTable, resolution_table, spot_resolution


@pytest.fixture(scope="module")
def table() -> ResolutionTable:
    detector = flat_detector((500, 480), 860e-6, 0.25, 1.0)
    places = detector.pixel_x, detector.pixel_y, detector.pixel_z
    return resolution_table(
        scattering_vectors(*places, 1.0), solid_angles(*places, detector.pixel_size)
    )


def drawn(limit: float, number: int, table: ResolutionTable, seed: int) -> np.ndarray:
    """Draw `|q|` of spots of a crystal, evenly on Ewald's sphere, of Wilson's intensities.

    So many reflections are recorded; of them those are seen that are above a limit that 15 % are
    above at the resolution `limit`, Å, of the ones at the centre.
    """
    random = np.random.default_rng(seed)
    share = table.cover / table.cover.sum()
    place = random.choice(len(share), number, p=share)
    squared = table.edges[place] + random.random(number) * np.diff(table.edges)[0]
    fall = 2.0 * limit**2
    threshold = -np.log(0.15) / np.expm1(fall / limit**2)
    seen = random.exponential(size=number) * np.exp(-fall * squared) > threshold
    return np.sqrt(squared[seen])


def test_solid_angles_are_areas_of_ewalds_sphere(table: ResolutionTable) -> None:
    # far from the corners the whole ring is covered, and equal steps are equal areas
    inner = table.cover[2:20]
    np.testing.assert_allclose(inner, inner.mean(), rtol=0.06)


@pytest.mark.parametrize("limit", [2.0, 2.8, 4.0])
def test_the_limit_is_found(table: ResolutionTable, limit: float) -> None:
    found = spot_resolution(drawn(limit, 3000, table, 1), table)
    assert found.best == pytest.approx(limit, rel=0.07)
    assert found.low >= found.best >= found.high


def test_the_interval_holds_as_often_as_it_says(table: ResolutionTable) -> None:
    within, widths = [], []
    for seed in range(60):
        found = spot_resolution(drawn(2.8, 120, table, seed), table)
        within.append(found.low >= 2.8 >= found.high)
        widths.append(found.low - found.high)
    assert np.mean(within) > 0.8
    many = spot_resolution(drawn(2.8, 3000, table, 0), table)
    assert np.mean(widths) > 2.0 * (many.low - many.high)


def test_false_spots_at_large_angles_do_not_matter_much(table: ResolutionTable) -> None:
    q = drawn(2.8, 2000, table, 1)
    false = np.random.default_rng(2).uniform(0.4, 0.75, len(q) // 50)
    found = spot_resolution(np.concatenate([q, false]), table)
    assert found.best == pytest.approx(2.8, rel=0.08)


def test_ice_is_left_out(table: ResolutionTable) -> None:
    q = drawn(2.8, 1500, table, 1)
    bands = np.stack([ice_lines()[-3:] - 0.005, ice_lines()[-3:] + 0.005], axis=1)
    random = np.random.default_rng(3)
    icy = np.concatenate([q, *(random.uniform(*band, 60) for band in bands)])
    assert spot_resolution(icy, table).best < 2.5
    assert spot_resolution(icy, table, bands).best == pytest.approx(2.8, rel=0.05)


def test_no_spots_no_resolution(table: ResolutionTable) -> None:
    assert np.isnan(spot_resolution(np.empty(0), table)).all()


def test_lines_of_ice_are_those_of_the_literature() -> None:
    # Å, hexagonal ice; as crystallographers know them
    known = [3.90, 3.67, 3.44, 2.67, 2.25, 2.07, 1.92, 1.88, 1.72, 1.52]
    np.testing.assert_allclose(1.0 / ice_lines(), known, atol=0.008)


RING = np.linspace(0.001, 0.75, 800)


def background(seed: int) -> np.ndarray:
    """Give a smooth profile with the hump of water and a little noise."""
    smooth = 5.0 * np.exp(-3.0 * RING) + 3.0 * np.exp(-(((RING - 0.3) / 0.06) ** 2))
    return smooth + np.random.default_rng(seed).normal(0.0, 0.03, len(RING))


def test_no_ice_in_water() -> None:
    spots = np.random.default_rng(1).uniform(0.05, 0.6, 800)
    assert [find_ice(RING, background(seed), spots).number for seed in range(20)] == [0] * 20


@pytest.mark.parametrize("lines", [[0], [1, 2], [0, 1, 2, 3, 4]])
def test_rings_of_powder_are_found(lines: list[int]) -> None:
    profile = background(1)
    for line in ice_lines()[lines]:
        profile += 2.0 * np.exp(-(((RING - line) / 0.003) ** 2))
    found = find_ice(RING, profile, np.empty(0))
    assert found.number == len(lines)
    np.testing.assert_allclose(found.bands.mean(axis=1), ice_lines()[lines], atol=1e-6)
    assert 0.1 < found.score < 1.0


def test_spots_that_gather_on_a_line_are_ice() -> None:
    random = np.random.default_rng(2)
    spots = np.concatenate(
        [random.uniform(0.05, 0.6, 300), random.normal(ice_lines()[3], 0.001, 60)]
    )
    found = find_ice(RING, background(1), spots)
    assert found.number == 1
    assert found.score == 0.0


def test_a_blank_beam_stop_has_no_ice() -> None:
    profile = np.where(RING < 0.3, np.nan, background(1))
    assert find_ice(RING, profile, np.empty(0)).number == 0
    assert find_ice(RING, np.zeros_like(RING), np.empty(0)).number == 0
