"""Pictures of surfaces: a ball of known size, lit and seen from the right side."""

import numpy as np
import pytest

from hpdp_dask.numerics.surface import draw_surface, surface_level

BOX = 32


def ball(radius=8.0, centre=(0.0, 0.0, 0.0)):
    grid = np.indices((BOX,) * 3) - BOX // 2
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
    return np.clip(radius + 0.5 - distance, 0.0, 1.0)


def test_the_outline_of_a_ball():
    picture = draw_surface(ball(), 0.5, 0, 64)
    assert picture.shape == (64, 64)
    seen = np.isfinite(picture)
    assert seen.sum() == pytest.approx(np.pi * 8.0**2 * 4.0, rel=0.06)
    assert np.nanmin(picture) >= 0.0
    assert np.nanmax(picture) <= 1.0
    # light comes from the left and above
    rows, columns = np.nonzero(seen)
    left = columns < columns.mean()
    values = picture[seen]
    assert values[left].mean() > values[~left].mean()
    assert values[rows > rows.mean()].mean() > values[rows < rows.mean()].mean()


@pytest.mark.parametrize(("axis", "near"), [(0, (9, 0, 0)), (1, (0, -9, 0)), (2, (0, 0, 9))])
def test_what_is_nearer_hides_what_is_farther(axis, near):
    far = tuple(-each for each in near)
    both = ball(4.0, near) + ball(7.0, far)
    picture = draw_surface(both, 0.5, axis, BOX)
    small = np.isfinite(draw_surface(ball(4.0, near), 0.5, axis, BOX))
    behind = np.isfinite(picture) & ~small
    # what is farther is darker
    assert np.nanmean(picture[small]) > np.nanmean(picture[behind])


def test_views_are_not_mirrored():
    """Right, up and towards the viewer are a right-handed system in each view."""
    for axis, right, up, towards in ((0, 2, 1, 0), (1, 2, 0, -1), (2, 1, 0, 2)):
        place = [0.0, 0.0, 0.0]
        place[right] = 9.0
        picture = np.isfinite(draw_surface(ball(3.0, place), 0.5, axis, BOX))
        rows, columns = np.nonzero(picture)
        assert columns.mean() > BOX / 2 + 5
        assert rows.mean() == pytest.approx(BOX / 2, abs=1.0)
        # axes of the array are z, y, x; of space x, y, z
        vectors = np.eye(3)[[2 - right, 2 - up]]
        viewer = np.cross(*vectors)
        assert viewer[2 - axis] == (-1.0 if towards < 0 else 1.0)


def test_the_level_parts_particle_from_solvent():
    volume = ball() + 0.05 * np.random.default_rng(0).standard_normal((BOX,) * 3)
    assert 0.2 < surface_level(volume) < 0.8
    assert np.isnan(draw_surface(volume, 5.0, 0, 16)).all()
