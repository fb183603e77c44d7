"""The Gaussian likelihood: against plain loops, analytic cases, simulated images."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from hpdp_dask.cryoem.simulate import CtfRange, phantom, potential_map, simulate_particles
from hpdp_dask.numerics import fourier, likelihood, slices
from hpdp_dask.numerics.ctf import ctf_coefficients, evaluate_ctf
from hpdp_dask.numerics.rotations import euler_to_matrix, rotation_vector_to_matrix

PLANE = fourier.half_plane(20, 6)
SHIFTS = np.array([[0.0, 0.0], [2.0, -1.0], [0.5, 3.0], [-4.0, 1.5]])


def complex_noise(random, *shape):
    values = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    return values.astype(np.complex64)


def make_images(seed=0, number=7, groups=2, shifts=SHIFTS, plane=PLANE):
    random = np.random.default_rng(seed)
    transforms = 20 * complex_noise(random, number, len(plane))
    transforms[:, 0] = transforms[:, 0].real
    return likelihood.GaussianImages(
        plane=plane,
        transforms=transforms,
        ctf=random.uniform(-1, 1, (number, len(plane))).astype(np.float32),
        noise_power=random.uniform(200, 600, (groups, plane.radius + 3)),
        group=random.integers(0, groups, number),
        shifts=shifts,
    )


def make_references(seed=1, number=5, plane=PLANE):
    references = 15 * complex_noise(np.random.default_rng(seed), number, len(plane))
    references[:, 0] = references[:, 0].real
    return references


def flat_priors(images, references):
    return np.zeros((1, len(references))), np.zeros((1, len(images.shifts)))


def posterior(images, references):
    ratios = images.match(references)
    return likelihood.posterior_of(ratios, *flat_priors(images, references))


def slow_log_likelihood(images, references):
    """Sum the log-densities over the whole plane, each real degree of freedom by its own."""
    plane = images.plane
    found = np.empty((len(images.group), len(images.shifts), len(references)))
    for n, group in enumerate(images.group):
        for t, (dx, dy) in enumerate(images.shifts):
            turns = (plane.x * dx + plane.y * dy) / plane.box
            moved = images.transforms[n].astype(complex) * np.exp(-2j * np.pi * turns)
            for r, reference in enumerate(references.astype(complex)):
                total = 0.0
                for h in range(len(plane)):
                    power = images.noise_power[group, plane.shell[h]]
                    difference = moved[h] - float(images.ctf[n, h]) * reference[h]
                    if plane.x[h] == plane.y[h] == 0:
                        total += norm.logpdf(difference.real, scale=np.sqrt(power))
                    else:
                        std = np.sqrt(power / 2)
                        total += norm.logpdf(difference.real, scale=std)
                        total += norm.logpdf(difference.imag, scale=std)
                found[n, t, r] = total
    return found


def test_match_and_baseline_give_the_log_likelihood_of_a_plain_loop() -> None:
    images, references = make_images(), make_references()
    expected = slow_log_likelihood(images, references)
    ratios = images.match(references)
    assert ratios.dtype == np.float32
    found = images.baseline_log_likelihood()[:, None, None] + ratios
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    differences, wanted = (a - a[:, :1, :1] for a in (ratios.astype(float), expected))
    np.testing.assert_allclose(differences, wanted, rtol=1e-4, atol=1e-4 * wanted.std())


def test_the_log_likelihood_of_all_samples_is_that_of_the_pixels() -> None:
    """White noise in pixels: only what aliases at Nyquist's frequency is not packed."""
    box, std = 8, 1.7
    plane = fourier.half_plane(box, 3)
    random = np.random.default_rng(0)
    image = random.normal(0, std, (1, box, box)).astype(np.float32)
    samples = fourier.pack(fourier.transform_images(image), plane)
    images = likelihood.GaussianImages(
        plane,
        samples,
        np.ones(samples.shape, np.float32),
        np.full((1, 4), std**2 * box**2),
        np.zeros(1, int),
        np.zeros((1, 2)),
    )
    # What the plane leaves out is taken out of the image: the rest lies in a subspace, where the
    # density is that of as many pixels as there are samples. The transform stretches every
    # direction by the box: sqrt(1/2) of it goes to each of real and imaginary part, and the
    # log-volume of the pair is that of the two samples together.
    kept = fourier.unpack(samples, plane)
    count = likelihood.multiplicity(plane).sum()
    in_pixels = -0.5 * (kept**2).sum() / std**2 - 0.5 * count * np.log(2 * np.pi * std**2)
    volume = np.log(box) + (len(plane) - 1) * np.log(box**2 / 2)
    assert images.baseline_log_likelihood()[0] == pytest.approx(in_pixels - volume, rel=1e-6)


def test_an_image_is_most_probable_under_itself_by_its_own_power() -> None:
    """For X = C P the ratio is sum w |C P|² / 2 s2 at P, and a (2 - a) of that at a P."""
    images, references = make_images(groups=1, shifts=np.zeros((1, 2))), make_references(number=1)
    exact = likelihood.GaussianImages(
        PLANE,
        images.ctf * references,
        images.ctf,
        images.noise_power,
        images.group,
        images.shifts,
    )
    power = likelihood.multiplicity(PLANE) * np.abs(exact.transforms) ** 2
    most = 0.5 * (power / images.noise_power[0, PLANE.shell]).sum(axis=1)
    scales = np.array([0.0, 0.5, 1.0, 1.5, 2.0], np.float32)
    ratios = exact.match(scales[:, None] * references)[:, 0]
    np.testing.assert_allclose(ratios, most[:, None] * scales * (2 - scales), atol=1e-3)


def test_groups_of_images_and_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, references = make_images(number=9), make_references()
    whole = images.match(references)
    sums = images.compress(posterior(images, references), references)
    monkeypatch.setattr("hpdp_dask.numerics.likelihood.sums._BYTES_ON_CPU", 1)
    np.testing.assert_allclose(images.match(references), whole, rtol=1e-4, atol=1e-4)
    again = images.compress(posterior(images, references), references)
    np.testing.assert_allclose(again.signal, sums.signal, atol=1e-4)
    np.testing.assert_allclose(again.residual, sums.residual, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    move=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    scale=st.floats(0.1, 10.0),
    seed=st.integers(0, 100),
)
def test_what_should_not_matter_does_not(move, scale, seed) -> None:
    """Image moved there and shifts back; or all units changed: the same likelihood ratios."""
    images, references = make_images(seed), make_references(seed + 1)
    expected = images.match(references)
    moved = images.transforms * fourier.shift_phases(PLANE, np.array([move]))
    same = likelihood.GaussianImages(
        PLANE, moved, images.ctf, images.noise_power, images.group, SHIFTS - np.array(move)
    )
    np.testing.assert_allclose(same.match(references), expected, rtol=1e-3, atol=2e-3)
    scaled = likelihood.GaussianImages(
        PLANE,
        images.transforms * np.float32(scale),
        images.ctf,
        images.noise_power * scale**2,
        images.group,
        SHIFTS,
    )
    ratios = scaled.match(references * np.float32(scale))
    np.testing.assert_allclose(ratios, expected, rtol=1e-3, atol=2e-3)


def test_compression_is_that_of_a_plain_loop() -> None:
    images, references = make_images(number=6), make_references()
    after = posterior(images, references)
    sums = images.compress(after, references)
    counted = likelihood.multiplicity(PLANE)
    phases = fourier.shift_phases(PLANE, SHIFTS).astype(complex)
    signal = np.zeros(references.shape, complex)
    weight = np.zeros(references.shape)
    residual = np.zeros((2, PLANE.radius + 1))
    product, power = np.zeros(6), np.zeros(6)
    for n, group in enumerate(images.group):
        noise = images.noise_power[group, PLANE.shell]
        ctf = images.ctf[n].astype(float)
        for t in range(len(SHIFTS)):
            moved = images.transforms[n] * phases[t]
            for r in range(len(references)):
                p = float(after.responsibilities[n, t, r])
                expected = ctf * references[r]
                signal[r] += p * ctf * moved / noise
                weight[r] += p * ctf**2 / noise
                squared = counted * np.abs(moved - expected) ** 2
                residual[group] += p * np.bincount(PLANE.shell, squared)
                product[n] += p * (counted * (expected.conj() * moved).real / noise).sum()
                power[n] += p * (counted * np.abs(expected) ** 2 / noise).sum()
    np.testing.assert_allclose(sums.signal, signal, atol=1e-5 * np.abs(signal).max())
    np.testing.assert_allclose(sums.weight, weight, rtol=1e-4, atol=1e-5 * weight.max())
    np.testing.assert_allclose(sums.residual, residual, rtol=1e-4)
    np.testing.assert_allclose(sums.scale_product, product, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(sums.scale_power, power, rtol=1e-4)


def test_noise_and_scale_come_back_from_simulated_images() -> None:
    """Two optics groups with noise of their own, all images 1.5 times as strong as assumed."""
    random = np.random.default_rng(3)
    number, scale = 1500, 1.5
    plane = fourier.half_plane(32, 8)
    references = make_references(number=6, plane=plane)
    truth = np.stack([400.0 + 50.0 * np.arange(9), 900.0 - 60.0 * np.arange(9)])
    group = random.integers(0, 2, number)
    ctf = random.uniform(0.3, 1, (number, len(plane))).astype(np.float32)
    shown, moved = random.integers(0, 6, number), random.integers(0, 4, number)
    noise = complex_noise(random, number, len(plane))
    noise[:, 0] = np.sqrt(2) * noise[:, 0].real
    noise *= np.sqrt(truth[group][:, plane.shell] / 2)
    back = fourier.shift_phases(plane, -SHIFTS)[moved]
    transforms = (scale * ctf * references[shown] * back + noise).astype(np.complex64)

    def images_of(factor, power):
        return likelihood.GaussianImages(plane, transforms, factor * ctf, power, group, SHIFTS)

    first = images_of(np.float32(1.0), np.full((2, 9), 500.0))
    after = posterior(first, references)
    assert np.mean((after.best_reference == shown) & (after.best_shift == moved)) > 0.999
    sums = first.compress(after, references)
    factor = sums.scale_product.sum() / sums.scale_power.sum()
    assert factor == pytest.approx(scale, rel=0.003)
    second = images_of(np.float32(factor), np.full((2, 9), 500.0))
    sums = second.compress(posterior(second, references), references)
    samples = np.bincount(plane.shell, likelihood.multiplicity(plane))
    found = sums.residual / (np.bincount(group)[:, None] * samples)
    error = truth * np.sqrt(2 / (samples * number / 2))
    assert np.abs((found - truth) / error).max() < 4
    averages = sums.signal / sums.weight
    assert np.abs(averages - references).mean() / np.abs(references).mean() < 0.12


def test_the_true_pose_of_simulated_particles_is_the_most_probable() -> None:
    box, pixel, number = 48, 4.0, 12
    volume = potential_map(phantom().at(0.0), box, pixel)
    ctf = CtfRange(defocus=(9e3, 14e3), astigmatism=2e3, voltage=300.0, amplitude_contrast=0.1)
    table, particles = simulate_particles(
        volume, number, box, pixel_size=pixel, snr=0.3, shift_sigma=6.0, ctf=ctf, seed=4
    )
    _, signal = simulate_particles(
        volume, number, box, pixel_size=pixel, snr=None, shift_sigma=6.0, ctf=ctf, seed=4
    )
    columns = table.particles
    plane = fourier.half_plane(box, 16)
    coefficients = ctf_coefficients(
        **{
            name: np.asarray(columns[name])
            for name in ("defocus_u", "defocus_v", "defocus_angle", "phase_shift")
        },
        voltage=300.0,
        spherical_aberration=2.7,
        amplitude_contrast=0.1,
        pixel_size=pixel,
    )
    values = evaluate_ctf(coefficients, plane.x / box, plane.y / box)
    truth = euler_to_matrix(columns["euler_angles"])
    step = np.radians(12.0)
    axes = np.vstack([np.zeros(3), step * np.eye(3), -step * np.eye(3)])
    nearby = rotation_vector_to_matrix(axes)
    shifts = np.array([[0, 0], [1.5, 0], [-1.5, 0], [0, 1.5], [0, -1.5]])
    transform = fourier.transform_volume(volume)
    for n in range(number):
        references = slices.extract_slices(transform, nearby @ truth[n], plane)
        packed = fourier.pack(fourier.transform_images(particles[n : n + 1]), plane)
        clean = fourier.pack(fourier.transform_images(signal[n : n + 1]), plane)
        # The simulation has a grey scale of its own, the same for signal and noise.
        shift = columns["shift"][n] / pixel
        moved = clean * fourier.shift_phases(plane, shift[None])
        expected = values[n] * references[0]
        scale = np.vdot(expected, moved).real / np.vdot(expected, expected).real
        assert np.abs(moved - scale * expected).mean() < 0.1 * np.abs(moved).mean()
        images = likelihood.GaussianImages(
            plane,
            packed,
            (np.sqrt(0.3) * scale * values[n : n + 1]).astype(np.float32),
            np.full((1, 17), float(box**2)),
            np.zeros(1, int),
            shifts + shift,
        )
        best = posterior(images, references)
        assert (best.best_shift[0], best.best_reference[0]) == (0, 0)


def test_the_forecast_holds() -> None:
    images = make_images(number=160, shifts=np.random.default_rng(0).normal(0, 2, (25, 2)))
    references = make_references(number=400)
    forecast = likelihood.forecast_bytes(160, 25, 400, len(PLANE))
    tracemalloc.start()
    try:
        images.compress(posterior(images, references), references)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.4 * forecast < peak < forecast


def test_what_does_not_fit_is_refused() -> None:
    images = make_images()
    with pytest.raises(ValueError, match="finite power above 0"):
        likelihood.GaussianImages(
            PLANE, images.transforms, images.ctf, np.zeros((1, 9)), images.group, SHIFTS
        )
    with pytest.raises(ValueError, match="images x samples"):
        likelihood.GaussianImages(
            PLANE, images.transforms[:, :-1], images.ctf, np.ones((1, 9)), images.group, SHIFTS
        )


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu() -> None:
    import cupy

    images, references = make_images(number=20), make_references()
    on_gpu = likelihood.GaussianImages(
        PLANE,
        *(
            cupy.asarray(array)
            for array in (
                images.transforms,
                images.ctf,
                images.noise_power,
                images.group,
                images.shifts,
            )
        ),
    )
    there = cupy.asarray(references)
    np.testing.assert_allclose(
        on_gpu.match(there).get(), images.match(references), rtol=1e-4, atol=1e-3
    )
    after = posterior(images, references)
    priors = (cupy.asarray(prior) for prior in flat_priors(images, references))
    after_there = likelihood.posterior_of(on_gpu.match(there), *priors)
    sums, sums_there = images.compress(after, references), on_gpu.compress(after_there, there)
    np.testing.assert_allclose(sums_there.signal.get(), sums.signal, atol=1e-3)
    np.testing.assert_allclose(sums_there.residual.get(), sums.residual, rtol=1e-3)
    chosen = likelihood.significant_poses(after.responsibilities)
    chosen_there = likelihood.significant_poses(cupy.asarray(after.responsibilities))
    np.testing.assert_array_equal(chosen_there.reference.get(), chosen.reference)
