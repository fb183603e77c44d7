"""Coarser volumes are those that networks make, and pictures of them are those of particles."""

import numpy as np
import pytest

from hpdp_dask.cryoem.heterogeneity.architecture import Architecture
from hpdp_dask.cryoem.heterogeneity.particle_views import ParticleViews, smoothed
from hpdp_dask.cryoem.heterogeneity.volume_maker import VolumeMaker, volumes_per_task
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.numerics.fourier import crop_volume
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images

torch = pytest.importorskip("torch")

BOX, PIXEL = 32, 5.0
Z = np.array([0.7, -0.4], np.float32)


def blob(x, y, z, size):
    grid = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    return np.exp(-((grid[0] - z) ** 2 + (grid[1] - y) ** 2 + (grid[2] - x) ** 2) / size)


@pytest.fixture(scope="module", params=[True, False], ids=["linear", "alone"])
def conformations(request):
    from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

    torch.manual_seed(0)
    linear = request.param
    architecture = Architecture(
        BOX,
        2,
        width=16,
        layers=1,
        linear=linear,
        encoder="posterior" if linear else "none",
        images=3,
    )
    network = HeterogeneityNetwork(architecture, [1.0, 0.5]).eval()
    for layer in network.decoder.layers.modules():
        # a linear start begins with nothing
        if isinstance(layer, torch.nn.Linear) and not layer.weight.any():
            torch.nn.init.normal_(layer.weight, std=0.2)
    shells = np.arange(BOX // 2 + 1)
    mean = (blob(0, 0, 0, 20) + blob(4, 2, 0, 6)).astype(np.float32)
    directions = np.stack([blob(3, 0, 3, 8), blob(0, -4, 2, 8)]).astype(np.float32)
    return Conformations(
        architecture,
        network,
        (300.0 * np.exp(-((shells / 4.0) ** 2))).astype(np.float32),
        mean if linear else None,
        directions if linear else None,
        PIXEL,
    )


def test_a_volume_has_the_frequencies_of_the_decoder(conformations):
    places = np.random.default_rng(0).integers(-9, 10, (200, 3))
    # x, y, z: the decoder knows half of them; where x is 0 both halves meet
    places[:, 0] = 1 + np.abs(places[:, 0])
    latent = torch.from_numpy(Z.copy())[None]
    with torch.inference_mode():
        coordinates = torch.from_numpy(places.astype(np.float32) * 2 / BOX)[None]
        given = conformations.network.decoder(coordinates, latent)[0].numpy()
    shell = np.rint(np.linalg.norm(places, axis=1)).astype(int)
    expected = (given[:, 0] + 1j * given[:, 1]) * conformations.amplitudes[shell]
    volume = np.zeros((BOX, BOX, BOX))
    if conformations.mean is not None:
        volume = conformations.mean + np.tensordot(Z / [1.0, 0.5], conformations.directions, 1)
    position = (np.indices(volume.shape).reshape(3, -1) - BOX // 2)[::-1]
    waves = np.exp(-2j * np.pi / BOX * (places @ position))
    expected += waves @ volume.ravel()
    found = waves @ conformations.volume(Z).ravel()
    # the sphere cuts off a part of what a decoder of random weights gives
    assert np.linalg.norm(found - expected) < 0.25 * np.linalg.norm(expected)


def test_fewer_voxels_give_the_same_frequencies(conformations):
    preview = VolumeMaker(conformations, 16)
    assert preview.voxel_size == 2 * PIXEL
    found = preview.volume(Z)
    expected = crop_volume(conformations.volume(Z), 16) / 8.0
    # but for the last shell, and the soft edge, which falls together with fewer voxels
    inside = np.linalg.norm(np.mgrid[:16, :16, :16] - 8, axis=0) < 6
    assert np.abs(found - expected)[inside].max() < 0.04 * expected.max()


def test_volumes_together_are_those_that_are_made_one_by_one(conformations):
    points = np.stack([Z, -Z, 0 * Z])
    for point, volume in zip(points, conformations.volumes(points), strict=True):
        np.testing.assert_array_equal(volume, conformations.volume(point))


def test_tasks_hold_several_volumes():
    small, large = Architecture(64, 4, width=256, layers=3), Architecture(256, 4)
    assert volumes_per_task(small, 32) > volumes_per_task(small, 64) > 2
    assert volumes_per_task(large, 256) == 2


def test_a_volume_that_is_not_wanted_any_more(conformations):
    asked = []

    def is_wanted():
        asked.append(True)
        return len(asked) < 2

    assert VolumeMaker(conformations, BOX).volume(Z, is_wanted) is None
    assert len(asked) == 2


def test_boxes_that_cannot_be(conformations):
    for box in (15, BOX + 2, 2):
        with pytest.raises(ValueError, match="expected an even number from 4 to 32"):
            VolumeMaker(conformations, box)


def test_the_image_that_is_expected_is_that_which_was_simulated(tmp_path):
    volume = (blob(0, 0, 0, 20) + 2 * blob(5, 3, 1, 5) - blob(-4, 2, -3, 6)).astype(np.float32)
    table, images = simulate_particles(volume, 5, BOX, pixel_size=PIXEL, snr=1e6, shift_sigma=8.0)
    new_stack(tmp_path / "particles.zarr", to_dataset(table, 0), 5, BOX)
    write_images(tmp_path / "particles.zarr", 0, images)
    views = ParticleViews(tmp_path / "particles.zarr")
    np.testing.assert_array_equal(views.recorded([3, 1]), images[[3, 1]])
    for place in (0, 4):
        seen = views.expected(place, volume)
        assert np.corrcoef(seen.ravel(), images[place].ravel())[0, 1] > 0.998
        coarse = views.expected(place, crop_volume(volume, 16) / 8.0)
        # as many grey levels for each Å across: the same image, without its fine detail
        again = crop_volume(np.broadcast_to(images[place], (BOX, BOX, BOX)), 16)[0]
        assert np.corrcoef(coarse.ravel(), again.ravel())[0, 1] > 0.98


def test_smoothing_keeps_the_mean():
    image = np.zeros((1, 64, 64), np.float32)
    image[0, 32, 32] = 1.0
    found = smoothed(image)[0]
    assert found.sum() == pytest.approx(1.0, abs=1e-4)
    # the second moment of a Gaussian of two pixels
    assert (found.sum(0) * (np.arange(64) - 32) ** 2).sum() == pytest.approx(4.0, rel=0.05)
