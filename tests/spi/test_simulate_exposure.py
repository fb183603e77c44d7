"""Simulated frames against analytic truth: intensities, symmetry, fringes, noise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from hpdp_dask.formats.frames import Detector, flat_detector
from hpdp_dask.formats.model import read_model
from hpdp_dask.formats.xray_factors import xray_form_factor
from hpdp_dask.numerics.rotations import quaternion_to_matrix
from hpdp_dask.spi.simulate import Background, Beam, Readout, Settings, Species, simulate_frames
from hpdp_dask.spi.simulate.arrangement import Placed
from hpdp_dask.spi.simulate.counting import draw_counts, read_out
from hpdp_dask.spi.simulate.exposure import make_scene

#: One pulse like the other, and nothing but particles.
STEADY = {"shape": None, "energy_spread": 0.0}
NOTHING = Background(photons=0.0)


def small_detector(size: int = 48, wavelength: float = 7.75, distance: float = 0.586) -> Detector:
    return flat_detector((size, size), 1.2e-3, distance, wavelength)


def geometry(detector: Detector) -> tuple[np.ndarray, np.ndarray]:
    """Scattering vectors, and photons for an electron at a fluence of 1 per µm²."""
    place = np.stack([detector.pixel_x, detector.pixel_y, detector.pixel_z])
    radius = np.linalg.norm(place, axis=0)
    q = (place / radius - np.array([0.0, 0.0, 1.0])[:, None, None]) / detector.wavelength
    solid_angle = detector.pixel_size**2 * detector.pixel_z / radius**3
    polarization = 1.0 - (detector.pixel_x / radius) ** 2
    # r_e = 2.8179e-9 µm, the unit of the fluence
    return q, (2.8179403e-9) ** 2 * solid_angle * polarization


def sphere_amplitude(q: np.ndarray, diameter: float, density: float) -> np.ndarray:
    x = np.pi * diameter * np.linalg.norm(q, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        shape = 3.0 * (np.sin(x) - x * np.cos(x)) / x**3
    return density * np.pi / 6.0 * diameter**3 * np.where(x < 1e-6, 1.0, shape)


def test_a_sphere_is_the_analytic_curve_in_absolute_photons() -> None:
    detector = small_detector()
    fluence = 6e9
    settings = Settings(
        40, detector=detector, beam=Beam(fluence=fluence, **STEADY), background=NOTHING
    )
    stack = simulate_frames([Species("ball", "sphere", 500.0, density=0.35)], settings)
    q, strength = geometry(detector)
    expected = fluence * strength * sphere_amplitude(q, 500.0, 0.35) ** 2
    # all that is counted, and pixel by pixel: Pearson's statistic of the summed frames
    np.testing.assert_allclose(stack["true_photons"], expected.sum(), rtol=1e-4)
    np.testing.assert_allclose(stack["true_fluence"], fluence, rtol=1e-6)
    counted = stack["photons"].values.sum(axis=0)
    assert counted.sum() == pytest.approx(40 * expected.sum(), abs=4 * np.sqrt(counted.sum()))
    bright = 40 * expected > 10
    statistic = ((counted - 40 * expected) ** 2 / (40 * expected))[bright].sum()
    assert chi2.sf(statistic, bright.sum()) > 1e-3
    assert chi2.cdf(statistic, bright.sum()) > 1e-3
    # the first minimum is dark
    x = np.pi * 500.0 * np.linalg.norm(q, axis=0)
    assert counted[abs(x - 4.4934) < 0.1].mean() < 0.01 * counted.max()


def test_counts_are_poissons() -> None:
    """One mean in each pixel over many frames: mean, variance and distribution."""
    settings = Settings(
        2000,
        detector=small_detector(12),
        beam=Beam(photons=200.0, **STEADY),
        background=NOTHING,
    )
    stack = simulate_frames([Species("ball", "sphere", 300.0)], settings)
    photons = stack["photons"].values.astype(np.float64)
    mean, variance = photons.mean(axis=0), photons.var(axis=0, ddof=1)
    seen = mean > 0.5
    assert (variance / mean)[seen].mean() == pytest.approx(1.0, abs=0.02)
    total = photons.sum(axis=(1, 2))
    assert total.mean() == pytest.approx(200.0, abs=5 * np.sqrt(200.0 / 2000))
    assert total.var() / total.mean() == pytest.approx(1.0, abs=0.15)
    # no correlation of one frame with the next, nor of one pixel with another
    centred = total - total.mean()
    assert abs(np.mean(centred[1:] * centred[:-1])) / total.var() < 0.1


@pytest.mark.parametrize("level", [0.003, 0.2, 5.0])
def test_both_ways_to_draw_counts_are_poissons(level: float) -> None:
    mean = level * np.linspace(0.0, 2.0, 400)
    rng = np.random.default_rng(4)
    drawn = np.array([draw_counts(mean, rng) for _ in range(3000)])
    assert drawn[:, 0].max() == 0  # nothing comes where nothing can
    groups, expected = drawn.reshape(3000, 8, 50).sum(axis=2), mean.reshape(8, 50).sum(axis=1)
    np.testing.assert_allclose(groups.mean(axis=0), expected, atol=5 * np.sqrt(expected[-1] / 3000))
    covariance = np.cov(groups, rowvar=False) / expected[-1]
    np.testing.assert_allclose(covariance, np.diag(expected / expected[-1]), atol=0.15)


def expected_frames(species: Species, detector: Detector, number: int = 1, **more) -> np.ndarray:
    """Frames of so many photons that noise is below a thousandth of the brightest pixels."""
    settings = Settings(
        number, detector=detector, beam=Beam(photons=3e9, **STEADY), background=NOTHING, **more
    )
    return simulate_frames([species], settings)


@pytest.mark.parametrize("shape", ["spheroid", "icosahedron", "rod"])
def test_friedel_symmetry_where_the_ewald_sphere_is_flat(shape: str) -> None:
    flat = small_detector(distance=60.0, wavelength=0.0757)  # 0.05 rad become 0.0005 rad
    species = Species("particle", shape, 600.0)
    photons = expected_frames(species, flat)["photons"].values[0].astype(np.float64)
    mate = photons[::-1, ::-1]
    assert abs(photons - mate).max() < 6 * np.sqrt(photons.max())
    # and it is not for want of structure: a quarter turn looks different
    if shape != "icosahedron":
        assert abs(photons - np.rot90(photons)).max() > 0.05 * photons.max()


@pytest.mark.parametrize("apart", [(500.0, 0.0, 0.0), (0.0, -300.0, 0.0), (0.0, 0.0, 800.0)])
def test_two_particles_interfere(apart: tuple[float, float, float]) -> None:
    """Fringes are 1 / distance apart; one behind the other, only the curvature shows them."""
    detector = flat_detector((64, 64), 1.2e-3, 0.12, 7.75)
    nothing, works = np.zeros((64, 64)), np.zeros((64, 64), np.uint8)
    scene = make_scene(detector, [Species("ball", "sphere", 60.0, density=1.0)], nothing, works)
    balls = [Placed(60.0, np.eye(3), np.array(place)) for place in (np.zeros(3), apart)]
    found = scene.signal(scene.bodies[0], balls, 1e9).reshape(64, 64)
    q, strength = geometry(detector)
    # on the Ewald sphere, which a flat one would leave
    along = -(np.linalg.norm(q, axis=0) ** 2) * detector.wavelength / 2.0
    np.testing.assert_allclose(q[2], along, atol=1e-12)
    fringes = 2.0 + 2.0 * np.cos(2.0 * np.pi * np.tensordot(apart, q, axes=1))
    expected = 1e9 * strength * sphere_amplitude(q, 60.0, 1.0) ** 2 * fringes
    np.testing.assert_allclose(found, expected, atol=2e-4 * expected.max())
    assert fringes.min() < 0.1


def test_an_atomic_model_is_the_exact_sum(test_data: Path) -> None:
    """Orientation, Ewald sphere, form factors and photons, atom by atom in double precision."""
    file = test_data / "spi" / "models" / "2cex_a.pdb.gz"
    detector = flat_detector((24, 24), 4e-3, 0.1, 2.0)  # to 4 Å in the corners
    fluence = 1e18
    settings = Settings(
        2, detector=detector, beam=Beam(fluence=fluence, **STEADY), background=NOTHING
    )
    stack = simulate_frames([Species("2cex", "model", file=file)], settings)
    model = read_model(file)
    positions = model.positions - np.average(model.positions, axis=0, weights=model.occupancies)
    q, strength = geometry(detector)
    q = q.reshape(3, -1)
    for photons, quaternion in zip(
        stack["photons"].values, stack["true_quaternion"].values, strict=True
    ):
        turned = positions @ quaternion_to_matrix(quaternion[None])[0].T
        amplitude = np.zeros(q.shape[1], complex)
        for element in set(model.elements):
            chosen = np.array(model.elements) == element
            waves = np.exp(2j * np.pi * turned[chosen] @ q) * model.occupancies[chosen, None]
            length = np.linalg.norm(q, axis=0)
            amplitude += xray_form_factor(element, length / 2.0) * waves.sum(axis=0)
        expected = (fluence * strength.ravel() * abs(amplitude) ** 2).reshape(24, 24)
        bright = expected > 100.0
        off = (photons - expected)[bright] / np.sqrt(expected[bright])
        assert bright.sum() > 100
        # Poisson's noise and no more, but for the table's error of some 1e-4 in strong pixels
        assert np.sqrt(np.mean(off**2)) == pytest.approx(1.0, abs=0.2)
        # on a curved Ewald sphere the pattern has no centre of inversion
        outer = np.hypot(detector.pixel_x, detector.pixel_y) > 0.03
        counted = photons.astype(np.float64)
        assert abs(counted - counted[::-1, ::-1])[outer].sum() > 0.5 * counted[outer].sum()


def test_a_table_and_the_sums_give_the_same_frames(
    test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpdp_dask.spi.simulate import bodies

    species = Species("2cex", "model", file=test_data / "spi" / "models" / "2cex_a.pdb.gz")
    settings = Settings(2, detector=small_detector(64), beam=Beam(photons=1e8, **STEADY))
    frames: list[np.ndarray] = []
    for few, longest in ((0, 256), (0, 0), (2**40, 0)):  # a table, the NUFFT, one by one
        monkeypatch.setattr(bodies, "_FEW_WAVES", few)
        monkeypatch.setattr(bodies, "_LONGEST_TABLE", longest)
        photons = simulate_frames([species], settings)["photons"].values.astype(np.float64)
        frames.append(photons)
    for other in frames[1:]:
        off = (other - frames[0]) / np.sqrt(other + frames[0])
        assert abs(other.sum() / frames[0].sum() - 1.0) < 1e-3
        assert np.sqrt(np.mean(off**2)) < 1.1  # twice the noise of one, and no more


def test_doubles_have_fringes_of_the_right_spacing() -> None:
    """The autocorrelation, the Fourier transform of a frame, peaks at the particles' distance."""
    detector = small_detector(96)
    stack = expected_frames(
        Species("ball", "sphere", 300.0, spread=0.05),
        detector,
        number=12,
        kinds={"double": 1.0},
        separation=(2.0, 4.0),
    )
    step = detector.pixel_size / detector.distance / detector.wavelength  # 1/Å per pixel
    x, y = np.meshgrid(np.arange(-1200.0, 1201.0, 20.0), np.arange(0.0, 1201.0, 20.0))
    checked = 0
    for frame, true in zip(stack["photons"].values, stack["true_separation"].values, strict=True):
        assert 2.0 * 270.0 < true < 4.0 * 330.0
        across = (np.arange(96) - 47.5) * step
        window = np.hanning(96)[:, None] * np.hanning(96)
        picture = np.sqrt(frame) * window
        waves_x = np.exp(2j * np.pi * np.outer(across, x[0]))
        waves_y = np.exp(2j * np.pi * np.outer(y[:, 0], across))
        patterson = abs(waves_y @ picture @ waves_x)
        far = np.hypot(x, y) > 400.0
        peak = np.argmax(np.where(far, patterson, 0.0))
        seen = np.hypot(x, y).ravel()[peak]
        # what is seen is the part of the distance across the beam
        assert seen < true + 60.0
        checked += seen > 0.8 * true
    # of directions even over the sphere, 60 % have more than 0.8 of their length across
    assert checked >= 3


def test_the_reference_sets_the_mean_photons() -> None:
    """Mean photons of single hits, whatever the species' size; and the gamma distribution."""
    species = [
        Species("small", "icosahedron", 300.0),
        Species("large", "sphere", 700.0),
        Species("faint", "rod", 300.0, photons=900.0),
    ]
    settings = Settings(1500, detector=small_detector(32), beam=Beam(photons=4000.0))
    stack = simulate_frames(species, settings)
    photons, kind = stack["true_photons"].values, stack["true_class"].values
    for number, mean in ((0, 4000.0), (1, 4000.0), (2, 900.0)):
        found = photons[kind == number]
        # a gamma distribution of shape 2 has a variance of half its squared mean
        assert found.mean() == pytest.approx(mean, rel=5 * 0.71 / np.sqrt(len(found)))
    relative = photons[kind == 1] / 4000.0
    from scipy.stats import gamma

    assert kstest(relative, gamma(2.0, scale=0.5).cdf).pvalue > 1e-3


def test_particles_off_the_beams_centre_are_fainter() -> None:
    beam = Beam(photons=1000.0, faintest=0.1, **STEADY)
    settings = Settings(1000, detector=small_detector(16), beam=beam)
    fluence = simulate_frames([Species("ball", "sphere", 300.0)], settings)["true_fluence"].values
    assert fluence.max() / fluence.min() == pytest.approx(10.0, rel=0.05)
    # even over the disc that the stream fills, so the logarithm of a Gaussian beam is even too
    logarithm = np.log(fluence / fluence.max()) / np.log(0.1)
    assert kstest(logarithm, "uniform").pvalue > 1e-3


def test_readout_is_gain_stripes_and_noise() -> None:
    photons = np.zeros((40, 60), np.uint16)
    photons[5, 7] = 3
    defects = np.zeros((40, 60), np.uint8)
    defects[9, 9], defects[10, 10] = 1, 2
    readout = Readout(gain=100.0, noise=2.0, stripes=20.0)
    adu = read_out(photons, defects, readout, np.random.default_rng(0))
    assert adu.dtype == np.float32
    assert adu[9, 9] == 0.0
    assert adu[10, 10] == np.inf
    rows = np.ma.masked_invalid(adu)
    halves = np.ma.stack([np.ma.median(rows[:, :30], axis=1), np.ma.median(rows[:, 30:], axis=1)])
    assert 12.0 < halves.std() < 28.0
    flat = rows - np.repeat(halves.T, 30, axis=1)
    assert flat[5, 7] == pytest.approx(300.0, abs=10.0)
    flat[5, 7] = np.ma.masked
    assert 1.7 < flat.std() < 2.3


def test_adu_have_the_photons_of_the_same_seed() -> None:
    settings = Settings(3, detector=small_detector(), dead_pixels=0.01, kinds={"single": 1.0})
    species = [Species("ball", "sphere", 400.0)]
    photons = simulate_frames(species, settings)
    quiet = replace(settings, readout=Readout(gain=50.0, noise=0.0, stripes=0.0))
    adu = simulate_frames(species, quiet)
    works = photons["true_defects"].values == 0
    np.testing.assert_array_equal(
        adu["adu"].values[:, works], 50.0 * photons["photons"].values[:, works]
    )
    # the mask tells of defects where photons were counted, and hides them where calibration seeks
    np.testing.assert_array_equal(photons["mask"].values == 2, ~works)
    assert not adu["mask"].values.any()
    assert np.isinf(adu["adu"].values[:, adu["true_defects"].values == 2]).all()
