"""Angular Fourier series: those of known waves, without bias by noise, gaps or background."""

import numpy as np
import pytest
from diffraction_patterns import shares, small_detector

from hpdp_dask.numerics.angular_correlation import anisotropy, pooled_anisotropy, sum_rings
from hpdp_dask.numerics.diffraction import scattering_vectors
from hpdp_dask.numerics.polar import gather, polar_cells

ORDERS = (2, 4, 6, 8)


class Field:
    """A detector, and images on it by radius and angle."""

    def __init__(self, **options):
        self.detector = small_detector(96, **options)
        self.share = shares(self.detector)
        q = scattering_vectors(
            self.detector.pixel_x, self.detector.pixel_y, self.detector.pixel_z, 7.75
        )
        self.cells = polar_cells(q, self.share)
        self.radius = np.hypot(q[0], q[1]) / self.cells.width
        self.angle = np.arctan2(q[1], q[0])

    def sums(self, frames, edges, background=None, behind=0.0):
        frames = np.asarray(frames)
        even = self.cells.spread(np.ones_like(self.share) if background is None else background)
        bounds = np.tile(np.array(edges) * self.cells.width, (len(frames), 1))
        return sum_rings(
            gather(frames, self.cells), self.cells, bounds, even, np.full(len(frames), behind)
        )

    def wave(self, order, amplitude, turn=0.0, level=1.0):
        return (
            self.share
            / self.share.max()
            * level
            * (1.0 + amplitude * np.cos(order * (self.angle - turn)))
        )


@pytest.fixture(scope="module")
def field():
    return Field()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gap", [0, 2, 10])
def test_a_wave_has_a_quarter_of_its_squared_amplitude(order, gap):
    """On average over its turns, whatever a gap hides on both sides of the beam."""
    field = Field(gap=gap)
    turns = np.pi * np.arange(16) / 16
    frames = np.stack([field.wave(order, 0.8, turn, 1e6) for turn in turns])
    found = anisotropy(field.sums(frames, (20, 30, 45)), ORDERS)
    expected = np.where(np.array(ORDERS) == order, 0.16, 0.0)
    np.testing.assert_allclose(found.mean(axis=0), [expected] * 2, atol=0.012)
    if gap == 0:
        assert np.ptp(found, axis=0).max() < 0.015  # whichever way it lies


def test_even_noise_has_no_anisotropy(field):
    random = np.random.default_rng(0)
    for level in (0.02, 0.5):
        mean = field.wave(2, 0.0, level=level)
        sums = field.sums(random.poisson(mean, (400, *mean.shape)).astype(np.uint8), (8, 16, 30))
        for found in (anisotropy(sums, ORDERS), pooled_anisotropy(sums, ORDERS)[:, None]):
            error = found.std(axis=0) / np.sqrt(len(found))
            assert np.all(np.abs(found.mean(axis=0)) < 4.0 * error + 1e-4)


def test_noise_adds_nothing_on_average_to_a_wave(field):
    random = np.random.default_rng(1)
    mean = field.wave(4, 0.8, 0.2, level=0.3)
    sums = field.sums(random.poisson(mean, (300, *mean.shape)).astype(np.uint8), (16, 30))
    noiseless = anisotropy(field.sums(1e4 * mean[None], (16, 30)), ORDERS)[0, 0, 1]
    assert anisotropy(sums, ORDERS)[:, 0, 1].mean() == pytest.approx(noiseless, rel=0.02)


def test_a_known_background_is_told_from_the_signal(field):
    """A bright bar of background in one direction does not look like anisotropy."""
    bar = np.where(np.abs(np.sin(field.angle)) < 0.3, 1.0, 0.05) * (field.share > 0)
    frame = 1e5 * (field.wave(2, 0.0) + bar)
    behind = 1e5 * bar.sum()
    known = anisotropy(field.sums(frame[None], (16, 30), bar, behind), ORDERS)
    unknown = anisotropy(field.sums(frame[None], (16, 30)), ORDERS)
    assert np.abs(known).max() < 1e-3 < 5e-3 < np.abs(unknown).max()


def test_the_profile_of_a_ring_is_no_anisotropy(field):
    steep = field.wave(2, 0.0, level=1e7) * np.exp(-field.radius / 8.0)
    gap = Field(gap=24)
    for each in (field, gap):
        found = anisotropy(each.sums((steep * (each.share > 0))[None], (16, 30)), ORDERS)
        assert np.abs(found).max() < 2e-3


def test_rings_of_each_frame_are_its_own(field):
    random = np.random.default_rng(2)
    frames = random.poisson(1.0, (3, 96, 96)).astype(np.uint8)
    bounds = np.array([[4, 10, 12], [3, 6, 30], [40, 400, 500]]) * field.cells.width
    even = field.cells.spread(np.ones((96, 96)))
    sums = sum_rings(gather(frames, field.cells), field.cells, bounds, even, np.zeros(3))
    middle = np.floor(field.radius) + 0.5
    for frame in range(3):
        for ring in range(2):
            low, high = bounds[frame, ring : ring + 2] / field.cells.width
            inside = (middle >= low) & (middle < high) & (field.share > 0)
            assert sums.observed[frame, ring].sum() == frames[frame][inside].sum()
            assert sums.expected[frame, ring].sum() == pytest.approx(
                frames[frame][inside].sum(), rel=1e-4
            )
    assert sums.weight[2, 1] == 0.0
    np.testing.assert_allclose(anisotropy(sums, ORDERS)[2, 1], 0.0, atol=1e-6)


def test_pooled_rings_are_like_one(field):
    frame = field.wave(4, 0.8, 0.3, 1e4) * np.exp(-field.radius / 8.0)
    found = pooled_anisotropy(field.sums(frame[None], (10, 15, 20, 25, 30)), ORDERS)
    np.testing.assert_allclose(found, [[0.0, 0.16, 0.0, 0.0]], atol=0.02)
