"""Images with candidates of their own: the same numbers as one grid for all, and as loops."""

import numpy as np
from test_likelihood import PLANE, SHIFTS, make_images, make_references

from hpdp_dask.numerics import fourier, likelihood


def candidates(images, references, shifts):
    power = images.noise_power[:, PLANE.shell][images.group].astype(np.float32)
    return likelihood.CandidateImages(
        PLANE,
        images.transforms * images.ctf / power,
        images.ctf**2 / power,
        references,
        shifts,
    )


def test_same_candidates_for_all_give_what_one_grid_gives():
    images, references = make_images(), make_references()
    number = len(images.group)
    own = candidates(
        images,
        np.broadcast_to(references, (number, *references.shape)),
        np.broadcast_to(SHIFTS, (number, *SHIFTS.shape)),
    )
    ratios, _ = own.match()
    expected = images.match(references)
    assert np.allclose(ratios, expected, atol=2e-5 * np.abs(expected).max())


def test_each_image_has_its_own():
    images = make_images()
    number = len(images.group)
    references = np.stack([make_references(seed, 3) for seed in range(number)])
    shifts = np.random.default_rng(5).uniform(-3, 3, (number, 2, 2))
    ratios, shifted = candidates(images, references, shifts).match()
    for n in range(number):
        alone = one_image(images, n, shifts[n])
        expected = alone.match(references[n])
        assert np.allclose(ratios[n], expected[0], atol=2e-5 * np.abs(expected).max())
        moved = candidates(images, references, shifts).signal[n] * fourier.shift_phases(
            PLANE, shifts[n]
        )
        assert np.allclose(shifted[n], moved, atol=1e-5 * np.abs(moved).max())


def one_image(images, n, shifts):
    return likelihood.GaussianImages(
        PLANE,
        images.transforms[n : n + 1],
        images.ctf[n : n + 1],
        images.noise_power,
        images.group[n : n + 1],
        shifts,
    )


def test_sums_are_those_of_images_compressed_one_by_one():
    # weak, and so alike that none falls below what is left out
    images, all_references = make_images(), 0.03 * make_references()
    number = len(images.group)
    random = np.random.default_rng(7)
    of = np.stack([random.permutation(len(all_references))[:3] for _ in range(number)])
    shifts = random.uniform(-3, 3, (number, 2, 2))
    own = candidates(images, all_references[of], shifts)
    ratios, shifted = own.match()
    assert np.ptp(ratios) < 5.0
    uniform = np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32)
    posterior = likelihood.posterior_of(ratios.copy(), *uniform)
    sums = likelihood.compress_candidates(posterior, shifted, own.references, own.weight)
    signal = np.zeros(all_references.shape, np.complex64)
    weight = np.zeros(all_references.shape, np.float32)
    sums.add_to(signal, weight, of, own.weight)
    power = images.noise_power[:, PLANE.shell][images.group].astype(np.float32)
    groups = len(images.noise_power)
    residual = sums.residual(images.transforms, power, images.group, groups, PLANE)

    expected_signal, expected_weight = np.zeros_like(signal), np.zeros_like(weight)
    expected_residual = np.zeros_like(residual)
    for n in range(number):
        alone = one_image(images, n, shifts[n])
        its_own = likelihood.posterior_of(ratios[n : n + 1].copy(), *uniform)
        compressed = alone.compress(its_own, all_references[of[n]])
        expected_signal[of[n]] += compressed.signal
        expected_weight[of[n]] += compressed.weight
        expected_residual += compressed.residual
        product, expected_power = compressed.scale_product[0], compressed.scale_power[0]
        counted = likelihood.multiplicity(PLANE)
        assert np.isclose(sums.product[n] @ counted, product, rtol=1e-4)
        assert np.isclose(sums.expected[n] @ counted, expected_power, rtol=1e-4)
    for found, expected in (
        (signal, expected_signal),
        (weight, expected_weight),
        (residual, expected_residual),
    ):
        assert np.allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_improbable_candidates_are_left_out():
    images, references = make_images(), make_references()
    number = len(images.group)
    own = candidates(
        images,
        np.broadcast_to(references[:4], (number, *references[:4].shape)),
        np.zeros((number, 1, 2)),
    )
    _, shifted = own.match()
    ratios = np.tile(np.log(np.array([0.3, 1e-5, 0.7, 1e-5], np.float32)), (number, 1, 1))
    posterior = likelihood.posterior_of(
        ratios, np.zeros((1, 4), np.float32), np.zeros((1, 1), np.float32)
    )
    sums = likelihood.compress_candidates(posterior, shifted, own.references, own.weight)
    assert (sums.columns == [2, 0]).all()
    assert np.allclose(sums.share, [0.7, 0.3], atol=1e-4)
