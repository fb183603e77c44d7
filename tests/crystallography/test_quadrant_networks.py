"""Networks: their parts against other implementations, and that they see what they should."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hpdp_dask.crystallography.inference import Predictor, fold_norms  # noqa: E402
from hpdp_dask.crystallography.networks import (  # noqa: E402
    NETWORKS,
    build_network,
    inverse_resolution,
)
from hpdp_dask.errors import InputError  # noqa: E402

#: Parameters of torchvision's networks without the last layer, and with one channel, not three.
PARAMETERS = {
    "resnet18": 11_689_512 - 513_000 - 6_272,
    "resnet34": 21_797_672 - 513_000 - 6_272,
    "resnet50": 25_557_032 - 2_049_000 - 6_272,
}


def shots(number, seed=0):
    """Give quadrants of noise with a geometry each."""
    rng = np.random.default_rng(seed)
    quadrants = rng.poisson(3.0, (number, 512, 512)).astype(np.uint8)
    geometry = np.stack(
        [rng.uniform(low, high, number) for low, high in ((0.8, 1.4), (0.1, 0.4), (2e-4, 4e-4))],
        axis=1,
    ).astype(np.float32)
    return quadrants, geometry


def trained(name):
    """Give a network whose batch norms have seen something, ready to predict."""
    network = build_network(name, 1).train()
    quadrants, geometry = shots(2, 1)
    with torch.no_grad():
        network(torch.from_numpy(quadrants), torch.from_numpy(geometry))
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_all_give_the_same_answers_in_the_same_form(name):
    network = build_network(name, 3).eval()
    quadrants, geometry = map(torch.from_numpy, shots(1))
    with torch.inference_mode():
        found = network(quadrants, geometry)
    assert [values.shape for values in found] == [(1,)] * 4
    assert all(torch.isfinite(values).all() for values in found)
    assert 0 < found.inverse_resolution.item() < 2 / geometry[0, 0]


@pytest.mark.parametrize("name", PARAMETERS)
def test_trunks_are_those_of_torchvision(name):
    trunk = build_network(name).trunk
    assert sum(values.numel() for values in trunk.parameters()) == PARAMETERS[name]
    names = set(trunk.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer4.1.conv2.weight"} <= names
    assert "layer2.0.downsample.0.weight" in names


def test_the_small_one_is_small():
    assert sum(values.numel() for values in build_network("small").parameters()) < 500_000


def test_resolution_is_that_of_the_geometry():
    # 2 theta is 45 degrees where the radius is the distance
    geometry = torch.tensor([[1.0, 0.2, 1e-3], [2.0, 0.1, 1e-3]])
    found = inverse_resolution(torch.tensor([200.0, 100.0]), geometry)
    wanted = 2 * np.sin(np.pi / 8) / np.array([1.0, 2.0])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_seed_makes_the_same_weights():
    state = torch.random.get_rng_state()
    one, two, other = (build_network("small", seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["trunk.conv1.weight"], other["trunk.conv1.weight"])
    assert torch.equal(state, torch.random.get_rng_state())


def test_rings_lie_about_the_beam():
    heads = build_network("small").heads
    ones = torch.ones(64 * 64)
    seen = ones @ heads.rings
    np.testing.assert_allclose(seen[:90], 1.0, rtol=1e-5)
    assert (seen[91:] == 0).all()
    radius = torch.hypot(*torch.meshgrid(*[torch.arange(64) * 8.0 + 4.0] * 2, indexing="ij"))
    found = radius.flatten() @ heads.rings
    np.testing.assert_allclose(found[3:90], heads.radii[3:90], atol=2.0)


@pytest.mark.parametrize("name", ["small", "resnet50"])
def test_norms_fold_into_convolutions(name):
    network = trained(name)
    folded = fold_norms(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    quadrants, geometry = map(torch.from_numpy, shots(1))
    with torch.inference_mode():
        for one, two in zip(network(quadrants, geometry), folded(quadrants, geometry), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_answers_do_not_depend_on_the_batch():
    predictor = Predictor(trained("small"), device="cpu", dtype=torch.float32)
    quadrants, geometry = shots(11)
    together = predictor(quadrants, geometry)
    for first, last in ((0, 1), (1, 4), (4, 11)):
        apart = predictor(quadrants[first:last], geometry[first:last])
        for one, two in zip(together, apart, strict=True):
            np.testing.assert_allclose(one[first:last], two, rtol=1e-4, atol=1e-5)
    assert predictor(quadrants[:0], geometry[:0]).hit.shape == (0,)


def test_lattices_are_looked_for_where_it_is_asked():
    network, (quadrants, geometry) = trained("small"), shots(3)
    with torch.no_grad():
        network.heads.answers.bias[2] -= 100.0
    how = {"device": "cpu", "dtype": torch.float32}
    with torch.inference_mode():
        wanted = network(torch.from_numpy(quadrants), torch.from_numpy(geometry))
        trunk, _ = network.look(torch.from_numpy(quadrants), torch.from_numpy(geometry))
    for tasks, part in (
        (("lattices",), wanted),
        (("lattices", "hit"), trunk),
        (("resolution",), trunk),
    ):
        found = Predictor(network, tasks, **how)(quadrants, geometry)
        np.testing.assert_allclose(
            found.several_lattices, part.several_lattices, rtol=1e-3, atol=1e-3
        )


def test_half_the_bits_say_about_the_same():
    network, (quadrants, geometry) = trained("small"), shots(4)
    whole = Predictor(network, device="cpu", dtype=torch.float32)(quadrants, geometry)
    half = Predictor(network, device="cpu", dtype=torch.bfloat16)(quadrants, geometry)
    np.testing.assert_allclose(half.inverse_resolution, whole.inverse_resolution, rtol=0.01)
    np.testing.assert_allclose(half.hit, whole.hit, atol=0.05)


def test_a_network_that_there_is_not():
    with pytest.raises(InputError, match=r"no network 'lenet'; there are small, resnet18"):
        build_network("lenet")
