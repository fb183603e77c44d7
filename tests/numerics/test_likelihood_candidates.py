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
    responsibilities = np.random.default_rng(6).random((number, 2, 3), np.float32)
    sums = likelihood.compress_each(shifted, responsibilities)
    for n in range(number):
        alone = likelihood.GaussianImages(
            PLANE,
            images.transforms[n : n + 1],
            images.ctf[n : n + 1],
            images.noise_power,
            images.group[n : n + 1],
            shifts[n],
        )
        expected = alone.match(references[n])
        assert np.allclose(ratios[n], expected[0], atol=2e-5 * np.abs(expected).max())
        own = candidates(images, references, shifts)
        moved = own.signal[n] * fourier.shift_phases(PLANE, shifts[n])
        expected_sums = responsibilities[n].T @ moved
        assert np.allclose(sums[n], expected_sums, atol=1e-5 * np.abs(expected_sums).max())
