"""The two networks: they learn what turning does not change, and are the same for equal seeds."""

import builtins

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch, the extra learn")

from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify import networks, train
from hpdp_dask.spi.classify.networks import fit_network


def patterns(number: int, seed: int, side: int = 16):
    """Make pictures of streaks in any direction and of rings, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    indices = np.arange(number) % 2
    pictures = []
    for index in indices:
        angle = rng.uniform(0.0, np.pi)
        across = x * np.cos(angle) + y * np.sin(angle)
        shape = np.exp(-(across**2) / 4) if index else np.exp(-((np.hypot(x, y) - 4) ** 2) / 4)
        pictures.append(np.sqrt(rng.poisson(4.0 * shape)))
    return np.array(pictures, np.float32), indices


@pytest.mark.parametrize(("kind", "steps"), [("mlp", 400), ("cnn", 80)])
def test_patterns_are_told_apart_in_any_direction(kind: str, steps: int) -> None:
    pictures, indices = patterns(60, 0)
    network = fit_network(kind, pictures, indices, 0, steps)
    later, truth = patterns(200, 1)
    given = network.probabilities(later)
    np.testing.assert_allclose(given.sum(axis=1), 1.0, atol=1e-6)
    assert np.mean(np.argmax(given, axis=1) == truth) > 0.95


def test_equal_seeds_give_equal_networks_and_leave_the_seed_of_others_alone() -> None:
    import torch

    pictures, indices = patterns(20, 0)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again = (fit_network("cnn", pictures, indices, 3, 5) for _ in range(2))
    other = fit_network("cnn", pictures, indices, 4, 5)
    np.testing.assert_array_equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first.probabilities(pictures), again.probabilities(pictures))
    assert not np.array_equal(first.probabilities(pictures), other.probabilities(pictures))


def test_a_rare_class_is_learnt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.STEPS, "mlp", 300)
    pictures, indices = patterns(120, 0)
    some = np.flatnonzero((indices == 0) | (np.arange(120) < 12))
    labels = np.array(["ring", "streak"])[indices[some]]
    model = train(pictures[some], labels, method="mlp")
    later, truth = patterns(100, 1)
    label, _ = model.predict(later)
    assert np.mean(label[truth == 1] == "streak") > 0.9


def test_without_pytorch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest, **more):
        if name == "torch":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install hpdp-dask\[learn\]"):
        train(np.zeros((4, 8, 8)), np.array(["a", "a", "b", "b"]), method="cnn")
