"""`analyze` and `select` on a latent space whose volumes and labels are known."""

import dataclasses
import json
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import typer
from scipy.stats import spearmanr
from typer.testing import CliRunner

from hpdp_dask.cli.heterogeneity_analysis import analyze_command, select_command
from hpdp_dask.cryoem.export_particles import export_particles
from hpdp_dask.cryoem.heterogeneity.analysis import AnalysisSettings, companions, way_through
from hpdp_dask.cryoem.heterogeneity.architecture import Architecture
from hpdp_dask.cryoem.heterogeneity.landscape import map_landscape
from hpdp_dask.cryoem.heterogeneity.selection import Lasso, write_lasso
from hpdp_dask.cryoem.heterogeneity.table import read_table, stack_of
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations, read_conformations
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.formats.particles import SourceTables
from hpdp_dask.formats.star import read_table as read_star
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images
from hpdp_dask.workflow import heterogeneity_analysis, surfaces
from hpdp_dask.workflow.fingerprint import fingerprint
from hpdp_dask.workflow.heterogeneity_analysis import run_analysis

pytest.importorskip("torch")

NUMBER, BOX, PIXEL, APART = 240, 16, 8.0, 3.0
WORDS = ["hpdp", "cryoem", "heterogeneity", "analyze"]
SETTINGS = AnalysisSettings(clusters=4, along=3, landscape=20)

app = typer.Typer()
app.command("analyze")(analyze_command)
app.command("select")(select_command)


def blob(x0=0.0, y0=0.0, width=6.0):
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    return np.exp(-((x - x0) ** 2 + (y - y0) ** 2 + z**2) / width).astype(np.float32)


#: Along the first axis a part moves, along the second another, little.
MEAN = blob() + blob(3.5, 0.0, 3.0)
MOVE = 0.15 * (blob(3.5, 1.5, 3.0) - blob(3.5, -1.5, 3.0))
LITTLE = 0.03 * (blob(-3.5, 0.0, 3.0) - blob(-3.5, 2.0, 3.0))


@pytest.fixture(scope="module")
def truth():
    """Which quarter of the images is in the other state."""
    return np.random.default_rng(5).random(NUMBER) < 0.25


@pytest.fixture(scope="module")
def trained(truth, tmp_path_factory):
    """A folder as a training leaves it; the decoder adds nothing to known directions."""
    from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

    place = tmp_path_factory.mktemp("analysis")
    stack, folder = place / "particles.zarr", place / "conformations"
    table, images = simulate_particles(MEAN, NUMBER, BOX, pixel_size=PIXEL, snr=1.0)
    new_stack(stack, to_dataset(table, 0), NUMBER, BOX)
    write_images(stack, 0, images)
    folder.mkdir()
    architecture = Architecture(box=BOX, zdim=3, width=16, layers=1)
    made = Conformations(
        architecture,
        HeterogeneityNetwork(architecture).eval(),
        np.ones(BOX // 2 + 1, np.float32),
        MEAN,
        np.stack([MOVE, LITTLE, 0.1 * LITTLE]),
        PIXEL,
    )
    random = np.random.default_rng(6)
    z = random.standard_normal((NUMBER, 3)) * [0.5, 1.0, 1.0]
    z[:, 0] += np.where(truth, APART, -APART / 3)
    np.save(folder / "z.npy", z.astype(np.float32))
    np.save(folder / "z_width.npy", np.full((NUMBER, 3), 0.3, np.float32))
    latent = {f"hpdpLatent{k + 1}": z[:, k] for k in range(3)}
    with_z = place / "with_z.zarr"
    source = SourceTables("relion-3.1", particles=latent)
    new_stack(with_z, to_dataset(table, 0), NUMBER, None, source=source)
    export_particles(with_z, folder / "particles.star", images=False)
    record = {
        "inputs": [{"path": str(stack), "sha256": fingerprint(stack).sha256}],
        "results": {"networks": made.save(folder)},
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def analysed(trained):
    """The folder after an analysis; pictures are small, and UMAP is not compiled for so few."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import umap_
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surfaces, "_SIZE", 36)
        for name in ("smooth_knn_dist", "compute_membership_strengths"):
            patch.setattr(umap_, name, getattr(umap_, name).py_func)
        run_analysis(trained, SETTINGS, client=None, command=WORDS)
    return trained


def test_before_an_analysis_the_table_has_what_is_known(trained, tmp_path):
    folder = shutil.copytree(
        trained, tmp_path / "new", ignore=shutil.ignore_patterns("analysis", ".analysis*")
    )
    table = read_table(folder)
    assert list(table.columns[:10]) == [
        "image", *(f"{name}{k}" for name in ("z", "width", "pc") for k in (1, 2, 3))
    ]  # fmt: skip
    np.testing.assert_array_equal(table[["z1", "z2", "z3"]], np.load(folder / "z.npy"))
    stack = open_stack(stack_of(folder))
    np.testing.assert_allclose(table["defocus_u"], stack["defocus_u"], rtol=1e-6)
    np.testing.assert_allclose(table["tilt"], stack["euler_angles"][:, 1], atol=1e-4)
    np.testing.assert_array_equal(table["half_set"], stack["half_set"])
    np.save(folder / "z.npy", np.zeros((7, 3)))
    np.save(folder / "z_width.npy", np.zeros((7, 3)))
    with pytest.raises(InputError, match=r"240 particles, but z\.npy 7 rows"):
        read_table(folder)
    np.save(folder / "z.npy", np.zeros((NUMBER, 3)))
    np.save(folder / "z_width.npy", np.ones((NUMBER, 2)))
    with pytest.raises(InputError, match=r"z_width.npy: its shape is \(240, 2\), that of z.npy"):
        read_table(folder)
    (folder / "z.npy").unlink()
    with pytest.raises(InputError, match=r"no z\.npy, expected a folder that"):
        read_table(folder)


def test_what_an_analysis_leaves(analysed):
    folder = analysed / "analysis"
    assert {each.name for each in folder.iterdir()} == {
        *("table.parquet", "clusters", "components", "path", "landscape", "movie.gif"),
        *("clusters.csv", "landscape.csv", "report.html", "run.json"),
    }
    table = read_table(analysed)
    for name in ("umap1", "umap2", "cluster", "landscape1", "landscape_cluster", "defocus_u"):
        assert np.isfinite(table[name]).all()
    assert set(table["cluster"]) == {0, 1, 2, 3}
    for name, number in (("clusters", 4), ("components/pc1", 3), ("components/pc2", 3)):
        assert len(list((folder / name).glob("*.mrc"))) == len(np.load(folder / name / "z.npy"))
        assert len(np.load(folder / name / "z.npy")) == number
    volume, pixel_size = read_map(folder / "clusters" / "volume_002.mrc")
    assert pixel_size == pytest.approx(PIXEL)
    expected = read_conformations(analysed).volume(np.load(folder / "clusters" / "z.npy")[2])
    np.testing.assert_allclose(volume, expected, atol=1e-5)
    rows = pd.read_csv(folder / "clusters.csv")
    assert rows["Images"].tolist() == np.bincount(table["cluster"]).tolist()
    page = (folder / "report.html").read_text()
    for words in ("Latent space", "Clusters of k-means", "States", "data:image/gif", "UMAP 1"):
        assert words in page


def test_the_command_finds_the_same_by_workers(analysed, tmp_path, monkeypatch):
    folder = shutil.copytree(
        analysed, tmp_path / "new", ignore=shutil.ignore_patterns("analysis", ".analysis*")
    )
    monkeypatch.setattr(surfaces, "_SIZE", 36)
    monkeypatch.setattr(heterogeneity_analysis, "embed", lambda z, _seed: z[:, :2])
    words = ["analyze", folder, "--clusters", 4, "--along", 3, "--landscape", 20, "--workers", 1]
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert "States of the landscape: 2 (" in done.output
    assert f"Report: {folder / 'analysis' / 'report.html'}" in done.output
    others = ["umap1", "umap2"]
    pd.testing.assert_frame_equal(
        read_table(folder).drop(columns=others), read_table(analysed).drop(columns=others)
    )
    here, there = (
        {each.relative_to(run): read_map(each)[0] for each in run.rglob("*.mrc")}
        for run in (analysed / "analysis", folder / "analysis")
    )
    assert set(here) == set(there)
    for name, volume in here.items():
        np.testing.assert_array_equal(volume, there[name])


def test_clusters_recover_two_states(analysed, truth):
    table = read_table(analysed)
    # found to be two, by the valley between them
    assert np.mean(table["landscape_cluster"] == truth) > 0.95
    results = json.loads((analysed / "analysis" / "run.json").read_text())["results"]
    np.testing.assert_allclose(results["occupancies"], [1 - truth.mean(), truth.mean()], atol=0.01)
    assert results["valleys"][0][1] < 0.5
    maps = [read_map(analysed / "analysis" / "landscape" / f"volume_00{k}.mrc")[0] for k in (0, 1)]
    found = maps[1] - maps[0]
    assert np.corrcoef(found.ravel(), MOVE.ravel())[0, 1] > 0.99


def test_the_landscape_is_that_of_the_volumes(trained, tmp_path):
    z = np.load(trained / "z.npy")
    found = map_landscape(trained, z, 24, scratch=tmp_path, seed=1)
    assert not list(tmp_path.iterdir())
    assert found.shares[0] > 0.9
    assert found.explained > 0.99
    assert np.corrcoef(found.components[0].ravel(), MOVE.ravel())[0, 1] ** 2 > 0.99
    assert abs(spearmanr(found.at_images[:, 0], z[:, 0]).statistic) > 0.99
    # volumes are linear here, so their components are known: in shares of the mean's length
    inside = found.mask > 0
    length = np.linalg.norm((MOVE * found.mask)[inside]) / np.linalg.norm(
        (found.mean * found.mask)[inside]
    )
    assert np.std(found.at_images[:, 0]) == pytest.approx(length * z[:, 0].std(), rel=0.05)


def test_the_way_may_go_through_chosen_images(trained):
    z = np.load(trained / "z.npy")
    images, chosen = way_through(z, [7, 30, 9], 4)
    assert images[0] == 7
    assert images[-1] == 9
    assert 30 in images
    assert set(chosen) <= set(images)


def test_companions_are_found():
    random = np.random.default_rng(0)
    angle = random.uniform(-180, 180, 500)
    table = pd.DataFrame({"pc1": np.cos(np.deg2rad(angle)), "pc2": random.random(500)})
    table = table.assign(z1=table.pc1, rot=angle, defocus_u=-table.pc2, tilt=7.0)
    found = dict(companions(table, 2))
    assert set(found) == {"rot", "defocus_u"}
    assert found["rot"][0] == pytest.approx(1.0)
    assert found["defocus_u"][1] == pytest.approx(-1.0)
    expected = spearmanr(table.pc1, table.defocus_u).statistic
    assert found["defocus_u"][0] == pytest.approx(expected)


def refused(words, *arguments, clean):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert isinstance(result.exception, InputError), result.output
    assert words in str(result.exception)
    assert not clean.exists()


def test_analyses_that_make_no_sense(trained, tmp_path):
    folder = shutil.copytree(
        trained, tmp_path / "new", ignore=shutil.ignore_patterns("analysis", ".analysis*")
    )

    def no(words, stack=None, folder=folder, **given):
        settings = dataclasses.replace(SETTINGS, **given)
        with pytest.raises(InputError, match=words):
            run_analysis(folder, settings, client=None, command=WORDS, stack=stack)
        assert not (folder / "analysis").exists()

    no("--clusters is 1, expected 2 to 240", clusters=1)
    no("--clusters is 500", clusters=500)
    no("--along is 1", along=1)
    no("--landscape is 3, expected 10", landscape=3)
    no("--landscape-clusters goes with a landscape", landscape=0, landscape_clusters=2)
    no("--anchor is 240, expected 0 to 239", anchors=(3, 240))
    no("--anchor was given once", anchors=(3,))
    no("nowhere.zarr: there is no such stack", stack=tmp_path / "nowhere.zarr")
    other = shutil.copytree(stack_of(folder), tmp_path / "other.zarr")
    write_images(other, 0, np.zeros((NUMBER, BOX, BOX), np.float32))
    no("is not the stack that", stack=other)
    record = json.loads((folder / "run.json").read_text())
    record["inputs"][0]["path"] = str(tmp_path / "gone.zarr")
    (folder / "run.json").write_text(json.dumps(record))
    no("gone.zarr, is not there any more; say with --stack where it is now")
    no("no folder that", folder=tmp_path)


def test_one_volume_has_nothing_to_analyse(trained, tmp_path):
    from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

    folder = shutil.copytree(
        trained, tmp_path / "one", ignore=shutil.ignore_patterns("analysis", "z*.npy")
    )
    made = read_conformations(trained)
    architecture = dataclasses.replace(made.architecture, zdim=0, linear=False)
    network = HeterogeneityNetwork(architecture)
    one = dataclasses.replace(
        made, architecture=architecture, network=network, mean=None, directions=None
    )
    record = json.loads((folder / "run.json").read_text())
    record["results"]["networks"] = one.save(folder)
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="--zdim 0"):
        run_analysis(folder, SETTINGS, client=None, command=WORDS)
    assert not (folder / "analysis").exists()


def test_clusters_become_stacks_and_star_files(analysed, truth, tmp_path):
    state = int(truth.mean() < 0.5)
    said = CliRunner().invoke(
        app,
        [
            "select",
            str(analysed),
            "--landscape-cluster",
            str(state),
            "-o",
            str(tmp_path / "a.zarr"),
        ],
        catch_exceptions=False,
    )
    rows = np.flatnonzero(read_table(analysed)["landscape_cluster"] == state)
    assert f"({len(rows)} of {NUMBER} particles)" in said.output
    before, kept = open_stack(stack_of(analysed)), open_stack(tmp_path / "a.zarr")
    np.testing.assert_array_equal(kept["images"].values, before["images"].values[rows])
    np.testing.assert_array_equal(kept["half_set"].values, before["half_set"].values[rows])
    assert kept.attrs["selected"] == f"state {state} of {analysed}"
    export_particles(tmp_path / "a.zarr", tmp_path / "b.star", images=False)
    columns = read_star(tmp_path / "b.star", "particles")
    z = np.load(analysed / "z.npy")[rows]
    np.testing.assert_allclose(columns["hpdpLatent2"], z[:, 1], atol=1e-5)

    lasso = Lasso("z1", "z2", np.array([[0.0, -9.0], [9.0, -9.0], [9.0, 9.0], [0.0, 9.0]]))
    write_lasso(tmp_path / "right.json", lasso)
    words = ["select", str(analysed), "--lasso", str(tmp_path / "right.json"), "--cluster", "3"]
    CliRunner().invoke(app, [*words, "-o", str(tmp_path / "c.star")], catch_exceptions=False)
    table = read_table(analysed)
    rows = np.flatnonzero((table["z1"] > 0) & (table["cluster"] == 3))
    found = read_star(tmp_path / "c.star", "particles")
    np.testing.assert_allclose(found["rlnDefocusU"], table["defocus_u"][rows], rtol=1e-6)
    assert len(found["hpdpLatent1"]) == len(rows)


def test_selections_that_make_no_sense(analysed, tmp_path):
    there = tmp_path / "there.star"
    there.write_text("mine")
    output = tmp_path / "none.zarr"

    def no(words, *options, to=output):
        refused(words, "select", analysed, *options, "-o", to, clean=output)

    no("give clusters or a lasso")
    no("there is no cluster 9; the clusters are 0 to 3", "--cluster", 9)
    no("either --cluster or --landscape-cluster", "--cluster", 1, "--landscape-cluster", 1)
    no("nowhere.json: cannot be read", "--lasso", tmp_path / "nowhere.json")
    no("must end in .zarr", "--cluster", 1, to=tmp_path / "none.mrcs")
    no("there.star exists", "--cluster", 1, to=there)
    assert there.read_text() == "mine"
