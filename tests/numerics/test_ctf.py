"""The CTF against a formula of its own in float64, and against what its signs mean."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdp_dask.numerics.ctf import ctf_coefficients, electron_wavelength, evaluate_ctf

TITAN = {
    "defocus_u": 15000.0,
    "defocus_v": 15000.0,
    "defocus_angle": 0.0,
    "voltage": 300.0,
    "spherical_aberration": 2.7,
    "amplitude_contrast": 0.1,
    "pixel_size": 1.0,
}


def relativistic_wavelength(kilovolts: float) -> float:
    """De Broglie's wavelength in Å from the constants of nature (CODATA 2018)."""
    planck, mass, charge, light = 6.62607015e-34, 9.1093837015e-31, 1.602176634e-19, 299792458.0
    energy = charge * 1e3 * kilovolts
    momentum = np.sqrt(2.0 * mass * energy * (1.0 + energy / (2.0 * mass * light**2)))
    return 1e10 * planck / momentum


def independent_ctf(u: np.ndarray, v: np.ndarray, **parameters: float) -> np.ndarray:
    """-sin γ with the defocus as a function of the direction, in polar form and float64."""
    p = parameters
    volts = 1e3 * p["voltage"]
    wavelength = 12.2643247 / np.sqrt(volts * (1.0 + 0.978466e-6 * volts))
    frequency = np.hypot(u, v) / p["pixel_size"]
    direction = np.arctan2(v, u)
    mean = (p["defocus_u"] + p["defocus_v"]) / 2.0
    astigmatism = (p["defocus_u"] - p["defocus_v"]) / 2.0
    defocus = mean + astigmatism * np.cos(2.0 * (direction - np.radians(p["defocus_angle"])))
    gamma = (
        -np.pi * wavelength * defocus * frequency**2
        + np.pi / 2.0 * 1e7 * p["spherical_aberration"] * wavelength**3 * frequency**4
        - np.radians(p.get("phase_shift", 0.0))
        - np.arcsin(p["amplitude_contrast"])
    )
    return -np.sin(gamma)


def lattice(box: int) -> tuple[np.ndarray, np.ndarray]:
    v, u = np.meshgrid(np.fft.fftfreq(box), np.fft.rfftfreq(box), indexing="ij")
    return u.ravel(), v.ravel()


@pytest.mark.parametrize("kilovolts", [80.0, 100.0, 120.0, 200.0, 300.0])
def test_wavelength_is_de_broglies(kilovolts: float) -> None:
    wavelength = float(electron_wavelength(kilovolts))
    assert wavelength == pytest.approx(relativistic_wavelength(kilovolts), rel=1e-5)


@given(
    defocus_u=st.floats(-5e3, 6e4),
    astigmatism=st.floats(-5e3, 5e3),
    defocus_angle=st.floats(-180.0, 180.0),
    voltage=st.sampled_from([100.0, 200.0, 300.0]),
    spherical_aberration=st.floats(0.0, 4.1),
    amplitude_contrast=st.floats(0.0, 0.5),
    pixel_size=st.floats(0.5, 5.0),
    phase_shift=st.floats(-180.0, 180.0),
)
@settings(deadline=None)
def test_ctf_is_the_independent_formula(astigmatism: float, **parameters: float) -> None:
    parameters["defocus_v"] = parameters["defocus_u"] + astigmatism
    u, v = lattice(24)
    ctf = evaluate_ctf(ctf_coefficients(**parameters), u, v)
    assert ctf.shape == (1, u.size)
    assert ctf.dtype == np.float32
    np.testing.assert_allclose(ctf[0], independent_ctf(u, v, **parameters), rtol=0, atol=1e-6)


def test_ctf_of_real_rows(test_data: Path) -> None:
    rows = np.load(test_data / "cryoem" / "ctf" / "empiar10028_ctf.npz")["ctf"]
    rows = rows[:: len(rows) // 20].astype(np.float64)
    names = (
        "pixel_size",
        "defocus_u",
        "defocus_v",
        "defocus_angle",
        "voltage",
        "spherical_aberration",
        "amplitude_contrast",
        "phase_shift",
    )
    columns = dict(zip(names, rows[:, 1:].T, strict=True))
    assert np.ptp(columns["defocus_u"]) > 5000.0  # rows of many micrographs
    u, v = lattice(int(rows[0, 0]))
    ctf = evaluate_ctf(ctf_coefficients(**columns), u, v)
    for i in range(len(rows)):
        expected = independent_ctf(u, v, **{name: columns[name][i] for name in names})
        np.testing.assert_allclose(ctf[i], expected, rtol=0, atol=1e-6)


def test_amplitude_contrast_is_the_value_at_zero_frequency() -> None:
    zero = np.zeros(1)
    for contrast in (0.0, 0.07, 0.1):
        parameters = TITAN | {"amplitude_contrast": contrast}
        value = evaluate_ctf(ctf_coefficients(**parameters), zero, zero)
        assert float(value[0, 0]) == pytest.approx(contrast, abs=1e-7)


def test_underfocus_makes_particles_white() -> None:
    """In underfocus the function rises from its value at 0; the first zero is where it should."""
    u = np.linspace(0.0, 0.12, 2000)
    ctf = evaluate_ctf(ctf_coefficients(**TITAN), u, np.zeros_like(u))[0]
    first_zero = u[np.flatnonzero(ctf < 0)[0]]
    assert ctf[: np.searchsorted(u, 0.02)].min() == pytest.approx(0.1, abs=1e-6)
    # π λ Δf k² + asin(Q0) = π, the spherical aberration being small at 1.5 µm
    expected = np.sqrt((np.pi - np.arcsin(0.1)) / (np.pi * electron_wavelength(300.0) * 15000.0))
    assert first_zero == pytest.approx(expected, rel=0.01)
    over = TITAN | {"defocus_u": -15000.0, "defocus_v": -15000.0}
    assert evaluate_ctf(ctf_coefficients(**over), np.array([0.02]), np.zeros(1))[0, 0] < 0.0


@pytest.mark.parametrize("axis", [0.0, 30.0, 90.0, 145.0])
def test_defocus_u_acts_along_the_angle(axis: float) -> None:
    """Along the axis the CTF is that of the defocus U alone, across it that of V."""
    parameters = TITAN | {"defocus_u": 18000.0, "defocus_v": 12000.0, "defocus_angle": axis}
    k = np.linspace(0.0, 0.5, 100)
    for direction, defocus in ((axis, 18000.0), (axis + 90.0, 12000.0)):
        x, y = np.cos(np.radians(direction)), np.sin(np.radians(direction))
        stigmatic = TITAN | {"defocus_u": defocus, "defocus_v": defocus}
        np.testing.assert_allclose(
            evaluate_ctf(ctf_coefficients(**parameters), k * x, k * y),
            evaluate_ctf(ctf_coefficients(**stigmatic), k, np.zeros_like(k)),
            atol=1e-6,
        )


def test_phase_plate_of_a_quarter_turn_gives_full_contrast() -> None:
    parameters = TITAN | {"amplitude_contrast": 0.0, "phase_shift": 90.0}
    value = evaluate_ctf(ctf_coefficients(**parameters), np.zeros(1), np.zeros(1))
    assert float(value[0, 0]) == pytest.approx(1.0, abs=1e-7)
