"""Networks that learn conformations: their sizes, the forward model, and a mixture of two."""

import dataclasses

import numpy as np
import pytest

from hpdp_dask.cryoem.heterogeneity.architecture import Architecture, read_shape
from hpdp_dask.cryoem.heterogeneity.directions import Directions
from hpdp_dask.cryoem.heterogeneity.learner import ConformationLearner, amplitudes, encoder_inputs
from hpdp_dask.cryoem.heterogeneity.observations import Optics
from hpdp_dask.cryoem.heterogeneity.stage import (
    HeterogeneitySettings,
    check_settings,
    learn_conformations,
)
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.dataflow.training import TrainingSettings
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.fourier import half_plane, transform_images
from hpdp_dask.numerics.rotations import euler_to_matrix
from hpdp_dask.numerics.shells import fourier_shell_correlation
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images

torch = pytest.importorskip("torch")

from hpdp_dask.cryoem.heterogeneity.networks import (  # noqa: E402  (needs torch)
    Features,
    HeterogeneityNetwork,
    decoder_parameters,
)

BOX, PIXEL = 20, 8.0

SMALL = HeterogeneitySettings(
    zdim=2,
    width=24,
    layers=2,
    samples=60,
    training=TrainingSettings(epochs=2, batch=20, rate=2e-3, decay=0.0, seed=1),
)


def blobs(*centres):
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    return sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4.0) for a, b, c in centres
    ).astype(np.float32)


FIXED = ((0, 0, 0), (3, 1, -2), (-2, 3, 1))
STATES = (blobs(*FIXED, (4, -3, 3)), blobs(*FIXED, (-3, -4, 0)))


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """A stack of two conformations by turns: image i shows that of i % 2."""
    path = tmp_path_factory.mktemp("mixture") / "particles.zarr"
    (first, images), (second, others) = (
        simulate_particles(volume, 150, BOX, pixel_size=PIXEL, snr=0.5, shift_sigma=8.0, seed=seed)
        for seed, volume in enumerate(STATES)
    )
    columns = {
        name: np.stack([values, second.particles[name]], 1).reshape(-1, *values.shape[1:])
        for name, values in first.particles.items()
    }
    number = 2 * len(first)
    table = dataclasses.replace(
        first,
        particles=columns,
        image_file=np.full(number, -1, np.int32),
        image_index=np.arange(number),
    )
    new_stack(path, to_dataset(table, 0), number, BOX)
    write_images(path, 0, np.stack([images, others], 1).reshape(number, BOX, BOX))
    return path


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ("128x3", 148_226),
        ("256x3", 394_754),
        ("512x3", 1_182_722),
        ("1024x3", 3_938_306),
        ("1024x10", 11_285_506),
    ],
)
def test_decoders_have_the_published_numbers_of_parameters(shape, parameters):
    """Zhong et al. 2021, at a box of 256; 256x3 is misprinted there as 394,757."""
    width, layers = read_shape(shape)
    assert decoder_parameters(Architecture(256, 0, width, layers)) == parameters
    assert decoder_parameters(Architecture(256, 8, width, layers)) == parameters + 8 * width


def test_features():
    at = torch.tensor([[0.25, -0.5, 0.125]])
    assert torch.equal(Features("none", 32, 0.1)(at), at)
    found = Features("geometric", 32, 0.1)(at)
    # k D pi (2 / D)^(i / (D / 2 - 1)), k in cycles a pixel: from D pi k to 2 pi k
    phases = 0.5 * float(at[0, 0]) * 32 * np.pi * (2 / 32) ** (np.arange(16) / 15)
    np.testing.assert_allclose(found[0, :16].numpy(), np.sin(phases), atol=1e-5)
    np.testing.assert_allclose(found[0, 48:64].numpy(), np.cos(phases), atol=1e-5)
    torch.manual_seed(0)
    waves = Features("gaussian", 64, 0.1).waves
    # positions in the box, radians a unit of Nyquist's frequency
    assert float(waves.std()) / np.pi == pytest.approx(0.1 * 64, rel=0.1)


def start_at(path, volume, noise=1.0, directions=None):
    """Write what a training starts from: a map, no directions, white noise."""
    box = len(volume)
    none = np.zeros((0, box, box, box), np.float32) if directions is None else directions
    level = np.full(box // 2 + 1, noise)
    Directions(volume, none, level, np.ones(len(none)), box // 2).save(path)
    return str(path)


def rows_of(stack, optics, images):
    return {name: stack[name].values[images] for name in optics.rows}


@pytest.mark.parametrize("samples", [0, 100])
def test_the_forward_model_is_that_of_the_simulation(tmp_path, samples):
    """A decoder that knows the volume leaves nothing of images without noise."""
    table, images = simulate_particles(
        STATES[0], 6, BOX, pixel_size=PIXEL, snr=None, shift_sigma=8.0, seed=4
    )
    path = tmp_path / "particles.zarr"
    new_stack(path, to_dataset(table, 0), 6, BOX)
    write_images(path, 0, images)
    stack = open_stack(path)
    optics = Optics.of(stack)
    network = HeterogeneityNetwork(Architecture(BOX, 0, linear=False))
    learner = ConformationLearner(
        network.architecture, optics, start_at(tmp_path / "map.npz", STATES[0]), 6, samples
    )
    generators = [np.random.default_rng(each) for each in range(6)]
    batch = learner.prepare(images, rows_of(stack, optics, slice(None)), generators)
    assert (batch["coordinates"][..., 0] >= 0).all()

    class Known(torch.nn.Module):
        """The transform of the blobs, by its formula."""

        def forward(self, coordinates, latent):
            turns = coordinates.double() / 2.0
            waves = 0.0
            for centre in (*FIXED, (4, -3, 3)):
                at = torch.tensor(centre, dtype=torch.float64)
                waves = waves + torch.exp(-2j * np.pi * (turns @ at))
            squared = turns.square().sum(-1)
            values = waves * (4 * np.pi) ** 1.5 * torch.exp(-4 * np.pi**2 * squared)
            values = values / torch.from_numpy(shell_amplitudes(turns)) * scale
            return torch.stack([values.real, values.imag], -1).float()

    def shell_amplitudes(turns):
        shells = np.rint(BOX * turns.square().sum(-1).sqrt().numpy()).astype(int)
        return amplitudes(learner)[np.minimum(shells, BOX // 2)].astype(np.float64)

    # the simulation scales the signal to a variance of 1
    scale = 1.0
    network.decoder = Known()
    tensors = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in batch.items()}
    explained = tensors["contrast"][..., None] * network.decoder(tensors["coordinates"], None)
    scale = float((explained * tensors["target"]).sum() / explained.square().sum())
    parts = learner.losses(network.eval(), tensors)
    power = (tensors["target"].square().sum(-1) * tensors["weight"]).sum(1)
    assert (parts["error"] < 2e-3 * power).all()
    # chosen samples tell the power of all, roughly each and well together
    plane = half_plane(BOX)
    whole = np.abs(transform_images(images)) ** 2
    means = np.array([each[plane.y, plane.x].mean() for each in whole])
    np.testing.assert_allclose(power.numpy(), means, rtol=0.25 if samples else 1e-4)


def test_a_volume_has_the_values_that_the_decoder_gives():
    torch.manual_seed(2)
    architecture = Architecture(BOX, 3, 16, 1, linear=False, encoder_inputs=4)
    network = HeterogeneityNetwork(architecture).eval()
    level = np.linspace(1, 2, BOX // 2 + 1).astype(np.float32)
    made = Conformations(architecture, network, level, None, None, PIXEL)
    z = np.array([0.3, -1.0, 0.5], np.float32)
    volume = made._decoded(z)
    where = np.array([[2, -3, 4], [0, 3, 1], [1, 0, 0]])
    centre = np.arange(BOX) - BOX // 2
    with torch.inference_mode():
        at = torch.from_numpy(where / (BOX / 2)).float()
        given = network.decoder(at[None], torch.from_numpy(z)[None])[0].numpy()
    for (x, y, zz), values in zip(where, given, strict=True):
        waves = [np.exp(-2j * np.pi * k * centre / BOX) for k in (zz, y, x)]
        found = np.einsum("zyx,z,y,x", volume, *waves)
        if x == 0:
            continue  # the transform of a real volume joins both halves of this plane
        expected = (values[0] + 1j * values[1]) * level[round(np.sqrt(x * x + y * y + zz * zz))]
        assert found == pytest.approx(expected, rel=1e-3)


def test_a_mixture_is_told_apart_and_its_volumes_are_right(mixture, tmp_path):
    told = []
    learnt = learn_conformations(mixture, SMALL, tmp_path, tell=told.append)
    assert [row["epoch"] for row in told] == [1, 2]
    state = np.arange(300) % 2
    first = learnt.z[:, 0]
    right = ((first > np.median(first)) == (state == 1)).mean()
    assert max(right, 1 - right) > 0.95
    assert learnt.width.shape == learnt.z.shape
    assert learnt.z[:, 0].std() > 2 * learnt.width[:, 0].mean()
    volumes = [learnt.conformations.volume(learnt.z[state == each].mean(0)) for each in (0, 1)]
    for mine, (truth, other) in zip(volumes, (STATES, STATES[::-1]), strict=True):
        fsc = fourier_shell_correlation(mine, truth)
        assert (fsc[1:6] > 0.9).all()
        assert fsc[1:6].mean() > fourier_shell_correlation(mine, other)[1:6].mean() + 0.05
    again = learn_conformations(mixture, SMALL, tmp_path)
    np.testing.assert_array_equal(again.z, learnt.z)


def test_images_alone_train_encoder_and_decoder(mixture, tmp_path):
    """Without a linear start: the loss falls, and the images' own encoder gives z."""
    settings = dataclasses.replace(
        SMALL,
        linear=False,
        divergence=0.1,
        training=dataclasses.replace(SMALL.training, epochs=12, rate=5e-3),
    )
    learnt = learn_conformations(mixture, settings, tmp_path)
    errors = [row["losses"]["error"] for row in learnt.history]
    assert errors[-1] < 0.97 * errors[0]
    divergences = [row["losses"]["divergence"] for row in learnt.history]
    assert divergences[0] < divergences[-1]
    assert learnt.z.shape == (300, 2)
    assert learnt.conformations.mean is None
    assert learnt.conformations.architecture.encoder_inputs == encoder_inputs(BOX, 8)


def test_one_volume_of_all_images(mixture, tmp_path):
    settings = dataclasses.replace(
        SMALL, zdim=0, training=dataclasses.replace(SMALL.training, epochs=12, rate=5e-3)
    )
    learnt = learn_conformations(mixture, settings, tmp_path)
    assert learnt.z.shape == (300, 0)
    mean = 0.5 * (STATES[0] + STATES[1])
    fsc = fourier_shell_correlation(learnt.conformations.volume(np.zeros(0)), mean)
    assert (fsc[1:6] > 0.8).all()


def test_poses_are_those_of_the_stack(mixture):
    stack = open_stack(mixture)
    optics = Optics.of(stack)
    assert euler_to_matrix(rows_of(stack, optics, slice(0, 3))["euler_angles"]).shape == (3, 3, 3)
    assert optics.phase_plate == ("phase_shift" in stack)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"zdim": 40}, "--zdim is 40"),
        ({"zdim": 20}, "300 particles"),
        ({"features": "fourier"}, "--features"),
        ({"width": 2}, "--architecture is 2x2"),
        ({"samples": -1}, "--samples"),
        ({"divergence": float("nan")}, "divergence"),
    ],
)
def test_settings_that_make_no_sense(mixture, change, words):
    with pytest.raises(InputError, match=words):
        check_settings(open_stack(mixture), dataclasses.replace(SMALL, **change))


@pytest.mark.parametrize("name", ["euler_angles", "defocus_u", "shift"])
def test_a_stack_without_poses_or_ctf(mixture, name):
    stack = open_stack(mixture)
    with pytest.raises(InputError, match=name):
        check_settings(stack.drop_vars(name), SMALL)
    values = stack[name].values.copy()
    values[7] = np.nan
    broken = stack.assign({name: (stack[name].dims, values)})
    with pytest.raises(InputError, match=f"{name} is not known"):
        check_settings(broken, SMALL)


def test_odd_boxes_and_phase_shifts(mixture):
    stack = open_stack(mixture)
    with pytest.raises(InputError, match="19 pixels"):
        check_settings(stack.isel(x=slice(19), y=slice(19)), SMALL)
    phases = np.zeros(300)
    phases[4] = np.nan
    with pytest.raises(InputError, match="phase_shift of row 4"):
        check_settings(stack.assign(phase_shift=("particle", phases)), SMALL)
    for text in ("256", "256x", "ax3", "0x0x0"):
        with pytest.raises(InputError, match="--architecture"):
            read_shape(text)
