"""Images against turned averages: the likely poses alone give what all poses give, and truth."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hpdp_dask.cryoem.classify.compare import TurnedSums, compare_all, compare_likely
from hpdp_dask.cryoem.classify.schedule import STEPS, Settings
from hpdp_dask.cryoem.classify.turned import Turned
from hpdp_dask.cryoem.search import Batch, ShiftPrior
from hpdp_dask.numerics.arrays import to_host
from hpdp_dask.numerics.fourier import pack, transform_images
from hpdp_dask.numerics.planar import averages_of
from hpdp_dask.numerics.rotations import euler_to_matrix

BOX, PIXEL_SIZE, RADIUS, NUMBER, NOISE = 64, 3.0, 30, 60, 0.7
SETTINGS = Settings(
    classes=3,
    iterations=10,
    seed=4,
    number=NUMBER,
    box=BOX,
    pixel_size=PIXEL_SIZE,
    groups=2,
    mask_diameter=160.0,
)
PRIOR = ShiftPrior(reach=5.0, sigma=2.0)
BLOBS = (
    ((0.0, 0.0, 3.0), (10.0, 0.0, 2.0), (0.0, 12.0, 2.0)),
    ((-14.0, 0.0, 2.5), (-4.0, 0.0, 2.0), (6.0, 0.0, 2.0), (14.0, 2.0, 1.6)),
    ((9.0, -9.0, 2.0), (-9.0, 9.0, 3.0)),
)


def average(kind, psi=0.0, moved=(0.0, 0.0)):
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    turn = euler_to_matrix(np.array([[0.0, 0.0, psi]]))[0]
    places = np.stack([x - moved[0], y - moved[1], 0 * x], axis=-1) @ turn
    blobs = [
        np.exp(-((places[..., 0] - cx) ** 2 + (places[..., 1] - cy) ** 2) / 2 / width**2)
        for cx, cy, width in BLOBS[kind]
    ]
    return np.sum(blobs, axis=0).astype(np.float32)


class Simulated:
    def __init__(self, xp, levels):
        random = np.random.default_rng(1)
        self.kind = random.integers(3, size=NUMBER)
        self.psi = random.uniform(0, 360, NUMBER)
        self.moved = random.normal(0.0, 1.0, (NUMBER, 2))
        drawn = zip(self.kind, self.psi, self.moved, strict=True)
        clean = np.stack([average(*each) for each in drawn])
        images = clean + random.normal(0.0, NOISE, clean.shape).astype(np.float32)
        plane = levels[-1].plane
        self.batch = Batch(
            plane,
            pack(transform_images(xp.asarray(images)), plane),
            xp.ones((NUMBER, len(plane)), xp.float32),
            xp.full((2, RADIUS + 1), NOISE**2 * BOX**2),
            xp.asarray(random.integers(2, size=NUMBER)),
            np.zeros((NUMBER, 2)),
        )
        averages = xp.asarray(np.stack([average(kind) for kind in range(3)]))
        self.model = Turned(averages, levels, np.array([0.2, 0.3, 0.5]))
        rows = 3 * len(levels[-1].angles), len(plane)
        self.sums = TurnedSums(xp.zeros(rows, xp.complex64), xp.zeros(rows, xp.float32))
        self.residual = xp.zeros((2, RADIUS + 1))

    def best(self, compared):
        """Class, angle and shift of each image, in the order of the batch."""
        angles = self.model.levels[-1].angles
        found = np.zeros((NUMBER, 4))
        for piece in compared:
            each = np.arange(len(piece.rows))
            best = piece.candidates[each, to_host(piece.posterior.best_reference)]
            shift = piece.shifts[each, to_host(piece.posterior.best_shift)]
            of_class, of_angle = best // len(angles), angles[best % len(angles)]
            found[piece.rows] = np.column_stack([of_class, of_angle, shift])
        return found

    def averages(self):
        """What the sums make of the images."""
        signal, weight = self.model.rotations.insert(*self.sums)
        return averages_of(to_host(signal / (weight + 1e-4)), BOX, RADIUS)


def turns_between(psi, other):
    return (psi - other + 180.0) % 360.0 - 180.0


def levels_of(steps):
    """Levels from the coarsest step to one of so many."""
    found = SETTINGS.levels(RADIUS, 0)
    while len(found) < steps:
        last = found[-1]
        quarter = 90.0 / len(last.angles)
        finer = np.add.outer(last.angles, [-quarter, quarter]).ravel()
        found.append(replace(last, angles=finer, shift_step=last.shift_step / 2))
    return found


def check(xp, steps):
    levels = levels_of(steps)
    likely, everything = Simulated(xp, levels), Simulated(xp, levels[-1:])
    narrowed = list(compare_likely(likely.batch, likely.model, PRIOR, likely.sums, likely.residual))
    found = likely.best(narrowed)
    assert (found[:, 0] == likely.kind).all()
    assert np.abs(turns_between(found[:, 1], likely.psi)).mean() < 2.5
    assert np.abs(found[:, 2:] + likely.moved).mean() < 0.5

    whole = compare_all(
        everything.batch, everything.model, PRIOR, everything.sums, everything.residual
    )
    expected = everything.best([whole])
    step = 360.0 / len(levels[-1].angles)
    assert (found[:, 0] == expected[:, 0]).all()
    assert np.abs(turns_between(found[:, 1], expected[:, 1])).max() < 1.01 * step
    assert np.abs(found[:, 2:] - expected[:, 2:]).max() < 1.01 * levels[-1].shift_step
    evidence = np.zeros(NUMBER)
    for piece in narrowed:
        evidence[piece.rows] = to_host(piece.posterior.log_evidence)
    # the two grids of shifts are half a step apart
    assert np.abs(evidence - to_host(whole.posterior.log_evidence)).max() < 1.0
    for mine, theirs in zip(likely.averages(), everything.averages(), strict=True):
        assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.995
    residual, all_residual = to_host(likely.residual), to_host(everything.residual)
    assert np.allclose(residual, all_residual, rtol=2e-3)
    assert np.isclose(to_host(likely.sums.weight).sum(), to_host(everything.sums.weight).sum())


@pytest.mark.parametrize("steps", [2, 3])
def test_likely_poses_give_what_all_poses_give(steps):
    check(np, steps)


@pytest.mark.gpu
@pytest.mark.parametrize("steps", [2, 3])
def test_likely_poses_on_a_gpu(steps):
    check(pytest.importorskip("cupy"), steps)


@pytest.mark.parametrize("radius", [8, 16, 30, 31])
def test_levels_halve_from_the_coarsest_step(radius):
    levels = replace(SETTINGS, mask_diameter=600.0).levels(radius, 3)
    assert len(levels[0].angles) == 360 / STEPS[0]
    assert levels[-1].plane.radius == radius
    for coarse, fine in pairwise(levels):
        assert np.allclose(coarse.angles, fine.angles.reshape(-1, 2).mean(axis=1))
        assert coarse.shift_step == 2 * fine.shift_step
        assert coarse.plane.radius <= fine.plane.radius
    again = replace(SETTINGS, mask_diameter=600.0).levels(radius, 3)
    assert all(np.array_equal(a.angles, b.angles) for a, b in zip(levels, again, strict=True))
