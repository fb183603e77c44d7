"""Networks that learn conformations: their sizes, the forward model, and a mixture of two."""

import dataclasses

import numpy as np
import pytest

from hpdp_dask.cryoem.heterogeneity import subspace
from hpdp_dask.cryoem.heterogeneity.architecture import Architecture, read_shape, seen_pixels
from hpdp_dask.cryoem.heterogeneity.directions import Directions, read_seen
from hpdp_dask.cryoem.heterogeneity.learner import (
    ConformationLearner,
    amplitudes,
    small_images,
)
from hpdp_dask.cryoem.heterogeneity.observations import Optics
from hpdp_dask.cryoem.heterogeneity.stage import (
    HeterogeneitySettings,
    check_settings,
    learn_conformations,
)
from hpdp_dask.cryoem.heterogeneity.subspace import find_directions
from hpdp_dask.cryoem.heterogeneity.volume_maker import VolumeMaker
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.dataflow.training import TrainingSettings
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.fourier import half_plane, pack, transform_images
from hpdp_dask.numerics.shells import fourier_shell_correlation
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images

torch = pytest.importorskip("torch")

from hpdp_dask.cryoem.heterogeneity import networks  # noqa: E402  (needs torch)
from hpdp_dask.cryoem.heterogeneity.networks import (  # noqa: E402
    Decoder,
    Features,
    HeterogeneityNetwork,
    decoder_parameters,
)
from hpdp_dask.cryoem.heterogeneity.residual_layers import ResidualLayers  # noqa: E402

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


def write_mixture(path, each, **options):
    """Write a stack of two conformations by turns: image i shows that of i % 2."""
    (first, images), (second, others) = (
        simulate_particles(volume, each, BOX, pixel_size=PIXEL, seed=seed, **options)
        for seed, volume in enumerate(STATES)
    )
    columns = {
        name: np.stack([values, second.particles[name]], 1).reshape(-1, *values.shape[1:])
        for name, values in first.particles.items()
    }
    number = 2 * each
    table = dataclasses.replace(
        first,
        particles=columns,
        image_file=np.full(number, -1, np.int32),
        image_index=np.arange(number),
    )
    new_stack(path, to_dataset(table, 0), number, BOX)
    write_images(path, 0, np.stack([images, others], 1).reshape(number, BOX, BOX))
    return path


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixture") / "particles.zarr"
    return write_mixture(path, 150, snr=0.5, shift_sigma=8.0)


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


@pytest.mark.parametrize("kind", ["gaussian", "geometric"])
def test_features_are_exact_in_half_precision(kind):
    """Their phases are tens of radians, of which bfloat16 knows tenths."""
    features, at = Features(kind, 256, 0.1), torch.rand(50, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = features(at)
    assert torch.equal(found, features(at))


def test_residual_layers_are_those_of_the_source():
    torch.manual_seed(0)
    layers = ResidualLayers(5, 8, 2, 3)
    given, more = torch.randn(4, 6, 5), torch.randn(4, 1, 8)
    x = torch.relu(layers.first(given) + more)
    for layer in layers.hidden:
        x = torch.relu(layer(x) + x)
    assert torch.allclose(layers(given, more), layers.last(x), atol=1e-6)


def test_a_decoder_gives_the_same_in_pieces(monkeypatch):
    """Images one by one, and their frequencies a few at a time, as the cache takes them."""
    torch.manual_seed(1)
    decoder = Decoder(Architecture(16, 2, 12, 2, linear=False, encoder="mlp"))
    coordinates, latent = torch.rand(5, 30, 3), torch.randn(5, 2)

    def answer_and_gradients():
        decoder.zero_grad()
        answer = decoder(coordinates, latent)
        answer.square().sum().backward()
        return [answer.detach(), *(each.grad.clone() for each in decoder.parameters())]

    whole = answer_and_gradients()
    for numbers in (12 * 7, 12 * 60):
        monkeypatch.setattr(networks, "_IN_CACHE", numbers)
        for one, other in zip(whole, answer_and_gradients(), strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_small_images_show_what_the_images_show():
    """A blob is in its place, at the scale of the smaller image, and noise has the variance 1."""
    box, encoded, at = 32, 9, (5, -3)
    y, x = np.mgrid[:box, :box] - box // 2
    blob = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 8.0).astype(np.float32)
    noise = np.random.default_rng(3).standard_normal((40, box, box)).astype(np.float32)
    coarse = half_plane(box, encoded)
    transforms = pack(transform_images(np.concatenate([blob[None], noise])), coarse)
    # of noise of the variance 1 a sample has the variance box²
    small = small_images((transforms / box).astype(np.complex64), coarse)
    side = seen_pixels(encoded)
    assert small.shape == (41, side, side)
    row, column = np.unravel_index(small[0].argmax(), small[0].shape)
    assert abs(column - side / 2 - at[0] * side / box) <= 0.5
    assert abs(row - side / 2 - at[1] * side / box) <= 0.5
    assert small[1:].var() == pytest.approx(1.0, rel=0.05)


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
    network = HeterogeneityNetwork(Architecture(BOX, 0, linear=False, encoded=6))
    learner = ConformationLearner(
        network.architecture, optics, start_at(tmp_path / "map.npz", STATES[0]), samples
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
    architecture = Architecture(BOX, 3, 16, 1, linear=False, encoder="mlp", encoded=4)
    network = HeterogeneityNetwork(architecture).eval()
    level = np.linspace(1, 2, BOX // 2 + 1).astype(np.float32)
    made = Conformations(architecture, network, level, None, None, PIXEL)
    z = np.array([0.3, -1.0, 0.5], np.float32)
    maker = VolumeMaker(made, BOX)
    # the cut in real space would mix neighbours
    maker._mask = torch.ones((BOX,) * 3)
    volume = maker.volume(z)
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


@pytest.fixture(scope="module")
def learnt(mixture, tmp_path_factory):
    """What the defaults learn of the mixture, the folder, and what was told of epochs."""
    folder, told = tmp_path_factory.mktemp("learnt"), []
    return learn_conformations(mixture, SMALL, folder, tell=told.append), folder, told


def test_a_mixture_is_told_apart_and_its_volumes_are_right(mixture, learnt, tmp_path):
    found, folder, told = learnt
    assert [row["epoch"] for row in told] == [1, 2]
    assert told_apart(found.z[:, :1]) > 0.95
    assert found.width.shape == found.z.shape
    assert found.z[:, 0].std() > 2 * found.width[:, 0].mean()
    state = np.arange(300) % 2
    made = found.conformations
    volumes = [made.volume(found.z[state == each].mean(0)) for each in (0, 1)]
    # where one of the states has a blob that the other has not
    where = (np.abs(STATES[0] - STATES[1]) > 0.1).astype(np.float32)
    for mine, (truth, other) in zip(volumes, (STATES, STATES[::-1]), strict=True):
        fsc = fourier_shell_correlation(mine, truth)
        assert (fsc[1:6] > 0.9).all()
        assert fsc[1:6].mean() > fourier_shell_correlation(mine, other)[1:6].mean() + 0.05
        local = fourier_shell_correlation(mine, truth, where)[1:6].mean()
        assert local > 0.9
        assert local > fourier_shell_correlation(made.mean, truth, where)[1:6].mean() + 0.1
    (tmp_path / "start.npz").write_bytes((folder / "start.npz").read_bytes())
    again = learn_conformations(mixture, SMALL, tmp_path)
    np.testing.assert_array_equal(again.z, found.z)


def test_directions_for_volumes_may_take_several_passes(mixture, learnt, tmp_path, monkeypatch):
    """As many as the memory asks for, with the same result; weights are found by coarse ones."""
    began = Directions.read(learnt[1] / "start.npz")
    assert began.halves.shape == (2, *began.joined.shape) == (2, 2, BOX, BOX, BOX)
    assert began.radius == 8
    monkeypatch.setattr(subspace, "_ROUNDS", ((0.5, 2), (1.0, 1)))
    optics = Optics.of(open_stack(mixture))
    found = []
    for name, memory in (("one by one", 1), ("together", 2**30)):
        monkeypatch.setattr(subspace, "_BYTES", memory)
        folder = tmp_path / name
        folder.mkdir()
        found.append(find_directions(mixture, began.mean, 2, optics, folder, radius=8))
    np.testing.assert_array_equal(found[0].halves, found[1].halves)


@pytest.mark.parametrize("encoder", ["mlp", "convolutional", "none"])
def test_any_encoder_adds_to_the_linear_start(mixture, learnt, tmp_path, encoder):
    """They begin with nothing, so that z is about that of the linear model, and then learn."""
    found, folder, _ = learnt
    (tmp_path / "start.npz").write_bytes((folder / "start.npz").read_bytes())
    settings = dataclasses.replace(SMALL, encoder=encoder)
    other = learn_conformations(mixture, settings, tmp_path)
    assert told_apart(other.z[:, :1]) > 0.95
    assert np.corrcoef(other.z[:, 0], found.z[:, 0])[0, 1] > 0.95
    assert np.abs(other.z - found.z).max() > 1e-3
    assert other.conformations.architecture.encoder == encoder


@pytest.mark.parametrize("encoder", ["mlp", "convolutional", "none"])
def test_without_a_linear_start(mixture, tmp_path, encoder):
    """The loss falls, and what makes z tells the two states apart."""
    stack = mixture
    if encoder != "none":
        # of few images networks that see them learn little but the volume, unless they are clear
        stack = write_mixture(tmp_path / "clear.zarr", 200, snr=5.0, shift_sigma=8.0)
    settings = dataclasses.replace(
        SMALL,
        linear=False,
        encoder=encoder,
        divergence=0.02,
        training=dataclasses.replace(SMALL.training, epochs=16, rate=5e-3),
    )
    learnt = learn_conformations(stack, settings, tmp_path)
    errors = [row["losses"]["error"] for row in learnt.history]
    assert errors[-1] < 0.97 * errors[0]
    divergences = [row["losses"]["divergence"] for row in learnt.history]
    assert divergences[0] < divergences[-1]
    assert learnt.z.shape[1] == 2
    assert learnt.conformations.mean is None
    assert told_apart(learnt.z) > 0.7


def told_apart(z):
    """Share of the images of the mixture whose state the line between the states' means tells."""
    state = np.arange(len(z)) % 2
    along = z @ (z[state == 1].mean(0) - z[state == 0].mean(0))
    return ((along > np.median(along)) == state).mean()


def test_another_run_in_the_same_folder(mixture, learnt, tmp_path):
    """What is remembered of a file is not taken for another of its name."""
    folder = learnt[1]
    began = Directions.read(folder / "start.npz")
    start_at(tmp_path / "start.npz", STATES[0], 5.0, began.directions)
    learner = ConformationLearner(
        Architecture(BOX, 2, encoded=8), Optics.of(open_stack(mixture)), str(tmp_path / "start.npz")
    )
    before = amplitudes(learner)
    began.save(tmp_path / "start.npz")
    assert not np.allclose(amplitudes(learner), before)
    seen = read_seen(tmp_path / "start.npz", BOX)
    np.testing.assert_array_equal(seen.model.noise, began.noise)
    assert amplitudes(learner) == pytest.approx(np.sqrt(0.1 * seen.power))


def test_one_volume_of_all_images(mixture, tmp_path):
    settings = dataclasses.replace(
        SMALL, zdim=0, training=dataclasses.replace(SMALL.training, epochs=12, rate=5e-3)
    )
    learnt = learn_conformations(mixture, settings, tmp_path)
    assert learnt.z.shape == (300, 0)
    mean = 0.5 * (STATES[0] + STATES[1])
    fsc = fourier_shell_correlation(learnt.conformations.volume(np.zeros(0)), mean)
    assert (fsc[1:6] > 0.8).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"zdim": 40}, "--zdim is 40"),
        ({"zdim": 20}, "300 particles"),
        ({"features": "fourier"}, "--features"),
        ({"encoder": "linear"}, "--encoder is 'linear'"),
        ({"encoder": "posterior", "linear": False}, "needs --start linear"),
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
    with pytest.raises(InputError, match=r"phase_shift is not known for 1 of 300 .* in row 4"):
        check_settings(stack.assign(phase_shift=("particle", phases)), SMALL)
    for text in ("256", "256x", "ax3", "0x0x0"):
        with pytest.raises(InputError, match="--architecture"):
            read_shape(text)
