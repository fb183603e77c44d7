"""Simulated sets: their files, their signal and noise, and that seeds alone decide."""

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from hpdp_dask.cryoem.simulate import (
    CtfRange,
    HingeRange,
    HingeStates,
    Settings,
    Specimen,
    phantom,
    potential_map,
    project_map,
    projection,
    simulate,
    simulate_particles,
    slabs,
    specimen_from_model,
)
from hpdp_dask.errors import InputError
from hpdp_dask.formats.model import AtomicModel
from hpdp_dask.formats.mrc import MrcStack, read_map
from hpdp_dask.formats.star import read_particles, read_table

NUMBER, BOX, PIXEL = 40, 48, 4.0
SETTINGS = Settings(NUMBER, BOX, PIXEL, snr=0.1, shift_sigma=4.0, seed=7)


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return phantom()


def test_files_hold_the_set_and_the_truth(specimen: Specimen, tmp_path: Path) -> None:
    files = simulate(tmp_path, specimen, SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "map_true.mrc",
        "particles.mrcs",
        "particles.star",
        "truth.star",
    ]
    table = read_particles(files.particles)
    stack = MrcStack(files.images)
    assert stack.info.shape == (NUMBER, BOX, BOX)
    assert stack.info.pixel_size == pytest.approx(PIXEL)
    assert table.image_files == [files.images]
    np.testing.assert_array_equal(table.image_index, np.arange(NUMBER))
    assert table.source.format == "relion-3.1"
    assert table.source.optics["rlnImageSize"].tolist() == [BOX]
    assert np.bincount(table.particles["half_set"]).tolist() == [NUMBER // 2, NUMBER // 2]
    same, images = simulate_particles(
        specimen, NUMBER, BOX, pixel_size=PIXEL, snr=0.1, shift_sigma=4.0, seed=7
    )
    np.testing.assert_array_equal(stack.read(0, NUMBER), images)
    for name, values in same.particles.items():
        np.testing.assert_allclose(table.particles[name], values, rtol=1e-12)
    volume, pixel_size = read_map(files.map)
    assert volume.shape == (BOX, BOX, BOX)
    assert pixel_size == pytest.approx(PIXEL)
    truth = read_particles(files.truth)
    np.testing.assert_array_equal(truth.particles["defocus_u"], table.particles["defocus_u"])


def test_images_are_projections_through_a_ctf(specimen: Specimen, tmp_path: Path) -> None:
    """Against projections of `map_true.mrc` and a formula of the CTF written out here."""
    ctf = CtfRange(defocus=(9e3, 12e3), astigmatism=3e3, voltage=200.0, amplitude_contrast=0.07)
    plain = Settings(4, BOX, PIXEL, ctf=ctf, shift_sigma=5.0, envelope=60.0, seed=2)
    files = simulate(tmp_path, specimen, plain)
    images = MrcStack(files.images).read(0, 4)
    particles = read_particles(files.particles).particles
    volume, _ = read_map(files.map)
    projections = project_map(volume, particles["euler_angles"], particles["shift"] / PIXEL)
    y, x = np.meshgrid(np.fft.fftfreq(BOX, PIXEL), np.fft.fftfreq(BOX, PIXEL), indexing="ij")
    squared, direction = x**2 + y**2, np.arctan2(y, x)
    volts = 200e3
    wavelength = 12.2643247 / np.sqrt(volts + 0.978466e-6 * volts**2)
    for index, (image, projected) in enumerate(zip(images, projections, strict=True)):
        u, v = particles["defocus_u"][index], particles["defocus_v"][index]
        axis = np.radians(particles["defocus_angle"][index])
        defocus = (u + v) / 2.0 + (u - v) / 2.0 * np.cos(2.0 * (direction - axis))
        phase = -np.pi * wavelength * defocus * squared
        phase += np.pi / 2.0 * 2.7e7 * wavelength**3 * squared**2 - np.arcsin(0.07)
        contrast = -np.sin(phase) * np.exp(-60.0 * squared / 4.0)
        expected = np.fft.ifft2(np.fft.fft2(projected) * contrast).real
        np.testing.assert_allclose(image, expected, atol=1e-4 * np.abs(expected).max())


def test_noise_is_white_and_as_strong_as_was_asked_for(specimen: Specimen) -> None:
    options = {"pixel_size": PIXEL, "shift_sigma": 4.0, "seed": 3}
    _, signal = simulate_particles(specimen, NUMBER, BOX, snr=None, **options)
    _, images = simulate_particles(specimen, NUMBER, BOX, snr=0.25, **options)
    variance = signal.var(axis=(1, 2)).mean()
    assert variance == pytest.approx(1.0, rel=1e-4)
    noise = images - 0.5 * signal
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    assert noise.mean() == pytest.approx(0.0, abs=0.01)
    power = np.square(np.abs(np.fft.fft2(noise))).mean(axis=0) / BOX**2
    assert np.abs(power.mean(axis=0) - 1.0).max() < 0.15
    together = np.corrcoef(noise.reshape(NUMBER, -1)) - np.eye(NUMBER)
    assert np.abs(together).max() < 0.12


def test_neither_workers_nor_batches_change_the_images(
    specimen: Specimen, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here = simulate(tmp_path / "here", specimen, SETTINGS)
    few = 7 * len(projection.image_plane(BOX))
    monkeypatch.setattr(projection, "FREQUENCIES_PER_CALL", few)
    there = simulate(tmp_path / "there", specimen, SETTINGS, client=client)
    images, others = (MrcStack(files.images).read(0, NUMBER) for files in (here, there))
    np.testing.assert_allclose(images, others, atol=2e-6)
    assert here.particles.read_text() == there.particles.read_text()


def test_seeds_decide_and_choices_are_independent(specimen: Specimen) -> None:
    table, images = simulate_particles(specimen, 6, BOX, pixel_size=PIXEL, snr=0.1, seed=1)
    other, _ = simulate_particles(specimen, 6, BOX, pixel_size=PIXEL, snr=0.1, seed=2)
    assert not np.allclose(table.particles["euler_angles"], other.particles["euler_angles"])
    wider, _ = simulate_particles(
        specimen, 6, BOX, pixel_size=PIXEL, snr=0.1, seed=1, ctf=CtfRange(defocus=(1e4, 1e4))
    )
    assert not np.allclose(table.particles["defocus_u"], wider.particles["defocus_u"])
    for name in ("euler_angles", "shift", "half_set"):
        np.testing.assert_array_equal(table.particles[name], wider.particles[name])
    assert len({image.tobytes() for image in images}) == 6


def test_orientations_are_uniform() -> None:
    blob = np.zeros((16, 16, 16), np.float32)
    blob[8, 8, 8] = 1.0
    table, _ = simulate_particles(blob, 3000, 16, pixel_size=5.0, seed=5)
    rot, tilt, psi = np.radians(table.particles["euler_angles"]).T
    assert np.abs(np.mean(np.exp(1j * rot))) < 0.05
    assert np.abs(np.mean(np.exp(1j * psi))) < 0.05
    assert np.histogram(np.cos(tilt), 5, (-1.0, 1.0))[0] == pytest.approx([600.0] * 5, abs=90.0)


def test_conformations_are_told_and_mapped(specimen: Specimen, tmp_path: Path) -> None:
    settings = Settings(
        30, BOX, PIXEL, conformations=HingeStates((-20.0, 20.0), (2.0, 1.0)), seed=4
    )
    files = simulate(tmp_path, specimen, settings)
    truth = read_particles(files.truth)
    angles = truth.source.particles["hpdpHingeAngle"]
    classes = truth.particles["class_number"]
    assert set(zip(angles, classes, strict=True)) == {(-20.0, 1), (20.0, 2)}
    known = read_table(files.truth, "conformations")
    assert known["hpdpHingeAngle"].tolist() == [-20.0, 20.0]
    assert known["rlnReferenceImage"].tolist() == [path.name for path in files.conformations]
    mean, first, second = (read_map(path)[0] for path in (files.map, *files.conformations))
    np.testing.assert_allclose(mean, (2.0 * first + second) / 3.0, atol=1e-5 * mean.max())
    # each image is of the map of its conformation
    images = MrcStack(files.images).read(0, 30)
    for index in range(4):
        own, other = (first, second) if angles[index] < 0 else (second, first)
        fits = []
        for volume in (own, other):
            row = truth.particles["euler_angles"][index : index + 1]
            projected = project_map(volume, row)[0]
            fits.append(_whitened_fit(images[index], projected))
        assert fits[0] > fits[1]


def test_the_defocus_can_be_off(specimen: Specimen, tmp_path: Path) -> None:
    files = simulate(tmp_path, specimen, Settings(200, 32, 6.0, defocus_error=150.0, seed=1))
    told, true = (read_particles(path).particles for path in (files.particles, files.truth))
    error = true["defocus_u"] - told["defocus_u"]
    assert error.std() == pytest.approx(150.0, rel=0.15)
    np.testing.assert_allclose(true["defocus_v"] - told["defocus_v"], error, atol=1e-6)
    np.testing.assert_array_equal(true["euler_angles"], told["euler_angles"])


def test_a_range_of_angles_is_drawn(specimen: Specimen, tmp_path: Path) -> None:
    settings = Settings(20, 32, 6.0, conformations=HingeRange(0.0, 30.0))
    files = simulate(tmp_path, specimen, settings)
    angles = read_particles(files.truth).source.particles["hpdpHingeAngle"]
    assert len(set(angles)) == 20
    assert 0.0 <= angles.min() < angles.max() <= 30.0
    assert len(files.conformations) == 3


def test_the_acceptance_set_has_its_symmetry(test_data: Path) -> None:
    """8bk7 with measured CTFs: poses that D2 makes equivalent give the same projection."""
    specimen = specimen_from_model(test_data / "cryoem" / "models" / "8bk7.cif.gz", symmetry="D2")
    volume = potential_map(specimen.at(), 64, 4.0)
    # A diag(-1, -1, 1) is A turned by 180 degrees in rot; A diag(1, -1, -1) looks from behind
    images = project_map(volume, [[40.0, 65.0, 20.0], [220.0, 65.0, 20.0], [-40.0, 115.0, 200.0]])
    np.testing.assert_allclose(images[1:], images[[0, 0]], atol=1e-4 * images.max())
    table, particles = simulate_particles(
        specimen,
        8,
        64,
        pixel_size=4.0,
        snr=0.03,
        ctf=test_data / "cryoem" / "ctf" / "empiar10028_ctf.npz",
    )
    assert particles.std() == pytest.approx(1.015, abs=0.02)
    assert table.optics["spherical_aberration"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number": 0}, "number is 0"),
        ({"box": 33}, "box is 33, expected an even number"),
        ({"box": 8}, "box is 8"),
        ({"pixel_size": -1.0}, "pixel_size is -1.0"),
        ({"snr": 0.0}, "snr is 0.0"),
        ({"shift_sigma": float("nan")}, "shift_sigma is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"resolution": 5.0}, "beyond that of Nyquist, 8.0 Å"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**{"number": 10, "box": 32, "pixel_size": 4.0, **options})


def test_what_does_not_fit_is_refused_and_nothing_is_written(
    specimen: Specimen, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"phantom reaches \d+ Å .* choose a box of 1\d\d or more"):
        simulate(tmp_path, specimen, Settings(5, 64, 1.5))
    alone = Specimen("one", "C1", AtomicModel(np.zeros((1, 3)), ["C"], np.ones(1), np.ones(1)))
    with pytest.raises(InputError, match="no domain that could turn"):
        simulate(tmp_path, alone, Settings(5, 32, 1.5, conformations=HingeRange(0.0, 1.0)))
    with pytest.raises(InputError, match="expected a cube of the box 32"):
        simulate_particles(np.zeros((16, 16, 16)), 5, 32, pixel_size=2.0)
    assert not list(tmp_path.iterdir())


def test_an_error_midway_leaves_no_images(
    specimen: Specimen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(slabs, "_write_slab", fail)
    with pytest.raises(InputError, match="the disk is full"):
        simulate(tmp_path, specimen, SETTINGS)
    assert not list(tmp_path.iterdir())


def _whitened_fit(image: np.ndarray, projected: np.ndarray) -> float:
    """Correlate what lies between 40 and 12 Å, the sign of the CTF ignored, shell by shell."""
    a, b = np.fft.fft2(image), np.fft.fft2(projected)
    y, x = np.meshgrid(np.fft.fftfreq(BOX, PIXEL), np.fft.fftfreq(BOX, PIXEL), indexing="ij")
    shell = np.rint(np.hypot(x, y) * BOX * PIXEL).astype(int)
    total = 0.0
    for s in range(5, 17):
        ring = shell == s
        cross = abs((a[ring] * b[ring].conj()).sum().real)
        total += cross / np.linalg.norm(a[ring]) / np.linalg.norm(b[ring])
    return total
