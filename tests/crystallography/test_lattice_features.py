"""What tells one lattice from several, on lattices that are known."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.spatial.transform import Rotation  # noqa: E402

from hpdp_dask.crystallography.lattice_features import (  # noqa: E402
    FEATURES,
    find_spots,
    lattice_features,
    search_vectors,
)
from hpdp_dask.crystallography.lattice_head import features_of, fit_lattices  # noqa: E402
from hpdp_dask.crystallography.networks import above_background, build_network  # noqa: E402

#: Wavelength (Å), distance (m), pixel size (m); cells (Å).
GEOMETRY = (1.0, 0.25, 3.44e-4)
CELL = np.diag([48.0, 63.0, 81.0])


def spots_of(lattice):
    """Give places on the detector (column, row) of spots near the Ewald sphere, in cells."""
    wavelength, distance, size = GEOMETRY
    ranges = [np.arange(-25, 26)] * 3
    indices = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
    q = indices @ np.linalg.inv(lattice).T
    out = q + np.array([0.0, 0.0, 1.0 / wavelength])
    near = np.abs(np.linalg.norm(out, axis=1) - 1.0 / wavelength) < 7e-4
    near &= (out[:, 2] > 0) & (indices != 0).any(1)
    place = out[near, :2] / out[near, 2:] * distance / size - 0.5
    return place[((place > 2) & (place < 508)).all(1)]


def picture(seed, lattices, background=1.5):
    """Draw a quadrant, and the indices of its spots."""
    rng = np.random.default_rng(seed)
    mean = np.full((512, 512), background)
    row, column = np.indices((512, 512), sparse=True)
    for _ in range(lattices):
        turn = Rotation.random(random_state=rng).as_matrix()
        for x, y in spots_of(CELL @ turn.T):
            reach = np.s_[int(y) - 3 : int(y) + 5, int(x) - 3 : int(x) + 5]
            off = (row[reach[0]] - y) ** 2 + (column[:, reach[1]] - x) ** 2
            mean[reach] += rng.uniform(20, 80) * np.exp(-off / 1.2)
    return np.sqrt(rng.poisson(mean)).astype(np.uint8)


def test_spots_are_found_where_they_are():
    quadrant = picture(1, 1, background=8.0)
    turn = Rotation.random(random_state=np.random.default_rng(1)).as_matrix()
    truth = spots_of(CELL @ turn.T)
    geometry = torch.tensor([GEOMETRY])
    above = above_background(torch.from_numpy(quadrant[None]).float())
    places, good = find_spots(above, geometry)
    found = places[0][good[0] > 0].numpy()
    wavelength, distance, size = GEOMETRY
    x, y = (truth.T + 0.5) * size
    far = np.sqrt(x**2 + y**2 + distance**2)
    wanted = np.stack([x, y, distance - far], 1) / (far * wavelength)[:, None]
    wanted = wanted[np.linalg.norm(wanted, axis=1) < 0.45]
    off = np.linalg.norm(found[:, None] - wanted, axis=2)
    assert (off.min(0) < 8e-4).mean() > 0.9
    assert (off.min(1) < 2e-3).mean() > 0.8
    # on the Ewald sphere
    on = np.linalg.norm(found + np.array([0, 0, 1 / wavelength]), axis=1)
    np.testing.assert_allclose(on, 1 / wavelength, rtol=1e-5)


def test_vectors_of_the_lattice_are_found():
    rng = np.random.default_rng(3)
    lattice = CELL @ Rotation.random(random_state=rng).as_matrix().T
    indices = rng.integers(-8, 9, (64, 3))
    q = torch.from_numpy(indices @ np.linalg.inv(lattice).T).float()[None]
    q = q * (q.norm(dim=2, keepdim=True) < 0.2)
    coherence, vectors = search_vectors(q, torch.ones(1, 64))
    assert coherence > 0.8
    # whole numbers of each edge of the cell
    found = vectors[0, :4, :3].numpy() @ np.linalg.inv(lattice)
    np.testing.assert_allclose(found, np.round(found), atol=0.12)


def test_one_lattice_is_told_from_two():
    quadrants = np.stack([picture(seed, 1 + seed % 2) for seed in range(12)])
    geometry = np.tile(GEOMETRY, (12, 1))
    features = features_of((quadrants[a : a + 5], geometry[a : a + 5]) for a in (0, 5, 10))
    assert features.shape == (12, FEATURES)
    assert np.isfinite(features).all()
    # the share of spots that agree on the best three vectors
    together = features[:, 7]
    assert together[::2].min() > 0.8
    assert together[1::2].max() < 0.75
    network = build_network("small")
    fit_lattices(network, features, np.arange(12) % 2 == 1, seed=0)
    network.eval()
    with torch.inference_mode():
        found = network(torch.from_numpy(quadrants), torch.tensor(geometry).float())
    np.testing.assert_array_equal(found.several_lattices.numpy() > 0, np.arange(12) % 2 == 1)


def test_blanks_have_features_too():
    rng = np.random.default_rng(0)
    roots = np.sqrt(rng.poisson([[[0.0]], [[0.3]], [[400.0]]], (3, 512, 512))).astype(np.uint8)
    above = above_background(torch.from_numpy(roots).float())
    found = lattice_features(above, torch.tensor([GEOMETRY] * 3))
    assert torch.isfinite(found).all()


def test_the_background_is_taken_off_whatever_its_level():
    rng = np.random.default_rng(0)
    for level in (3.0, 30.0, 3000.0):
        roots = np.sqrt(rng.poisson(level, (1, 512, 512))).astype(np.float32)
        roots[0, 100:110] = 0.0
        above = above_background(torch.from_numpy(roots))[0]
        assert (above[100:110] == 0).all()
        rest = above[roots[0] > 0]
        assert abs(rest.mean()) < 0.1
        assert 0.35 < rest.std() < 0.65
