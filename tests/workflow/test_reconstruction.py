"""The recipe of a reconstruction: mistakes are told early, and in the user's words."""

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from hpdp_dask.cryoem.simulate import phantom, simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_map, write_stack
from hpdp_dask.formats.star import write_particles
from hpdp_dask.workflow.folder import RunFolder
from hpdp_dask.workflow.reconstruction import run_reconstruction
from hpdp_dask.workflow.simulation import choose_specimen

NUMBER, BOX, PIXEL_SIZE = 20, 16, 12.0


@pytest.fixture
def star(tmp_path: Path) -> Path:
    """Particles in files, in two optics groups of which one is not used."""
    table, images = simulate_particles(phantom(), NUMBER, BOX, pixel_size=PIXEL_SIZE, snr=1.0)
    write_stack(tmp_path / "particles.mrcs", images, PIXEL_SIZE)
    table.image_files = [tmp_path / "particles.mrcs"]
    table.image_file = np.zeros(NUMBER, np.int32)
    table.image_index = np.arange(NUMBER)
    table.optics = {name: np.repeat(values, 2) for name, values in table.optics.items()}
    table.optics["pixel_size"] = np.array([PIXEL_SIZE, 5.0])
    write_particles(tmp_path / "particles.star", table)
    return tmp_path / "particles.star"


def run(particles: Path, client: Client, **options: object) -> dict[str, object]:
    output = particles.parent / "map"
    words = ["hpdp", "cryoem", "reconstruct"]
    record = run_reconstruction(particles, output, client=client, command=words, **options)
    return record.results


def test_an_optics_group_without_particles_does_not_count(star: Path, client: Client) -> None:
    assert run(star, client)["particles"] == NUMBER
    assert (star.parent / "map" / "report.html").is_file()


def test_the_resolution_is_not_finer_than_what_was_asked_for(star: Path, client: Client) -> None:
    assert run(star, client, max_resolution=50.0)["resolution"] >= 50.0


@pytest.mark.parametrize(
    ("box", "pixel_size", "words"), [(20, PIXEL_SIZE, "20 x 20 x 20"), (BOX, 3.0, "3 Å")]
)
def test_a_truth_that_does_not_fit_is_refused_before_the_work(
    box: int,
    pixel_size: float,
    words: str,
    star: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = star.parent / "truth.mrc"
    write_map(truth, np.ones((box, box, box), np.float32), pixel_size)
    monkeypatch.setattr(
        "hpdp_dask.workflow.reconstruction.reconstruct", lambda *_, **__: pytest.fail("began")
    )
    with pytest.raises(InputError, match=words):
        run(star, client, truth=truth)


def test_an_impossible_symmetry_is_told_before_the_import(
    star: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFolder, "stage", lambda *_: pytest.fail("began"))
    with pytest.raises(InputError, match="Q"):
        run(star, client, symmetry="Q")


def test_messages_name_the_file_that_was_given(star: Path, client: Client) -> None:
    text = star.read_text().replace("_rlnSphericalAberration", "_rlnSomethingElse")
    star.write_text(text)
    with pytest.raises(InputError, match="spherical_aberration is not known") as told:
        run(star, client)
    assert str(told.value).startswith(str(star))
    assert ".partial" not in str(told.value)


@pytest.mark.parametrize("option", ["symmetry", "assembly", "domain"])
def test_options_of_a_model_are_refused_for_the_phantom(option: str) -> None:
    given = {"symmetry": None, "assembly": None, "domain": None} | {option: "C2"}
    with pytest.raises(InputError, match=f"--{option} is for an atomic model"):
        choose_specimen(None, **given)
