import numpy as np
import pytest
from star_project import make_project, noise, spoil, write_mrcs, write_star

from hpdp_dask.cryoem.describe import describe
from hpdp_dask.cryoem.import_particles import import_particles
from hpdp_dask.cryoem.validate import validate
from hpdp_dask.cryoem.validate_table import check_table
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_map
from hpdp_dask.formats.star import read_particles

BOX = 64


def blobs(number=40, box=BOX, offset=0.0, height=0.3):
    """Noise with a faint white disc of a third of the box."""
    axis = np.arange(box) - box // 2
    disc = np.hypot(axis - offset, axis[:, None]) < box / 6
    return noise(number, box) + height * disc.astype(np.float32)


def project(folder, images, columns=None, **options):
    write_mrcs(folder / "stack.mrcs", images)
    names = [f"{i + 1}@stack.mrcs" for i in range(len(images))]
    half_sets = [1 + i % 2 for i in range(len(images))]
    angles = [float(i) for i in range(len(images))]
    options = {"optics": f"1 opticsGroup1 300 2.7 0.1 1.3 {images.shape[-1]}", **options}
    given = {"rlnRandomSubset": half_sets, "rlnAngleRot": angles, **(columns or {})}
    return write_star(folder / "p.star", names, given, **options)


def look(path, topic, **options):
    """Give level and message of what was found on a topic."""
    (found,) = [finding for finding in validate(path, **options) if finding.topic == topic]
    return found.level, found.message


def test_good_particles_pass(tmp_path):
    star = project(tmp_path, blobs(), {"rlnDefocusU": 5000.0, "rlnDefocusV": 4800.0})
    import_particles([star], tmp_path / "p.zarr")
    for path in (star, tmp_path / "p.zarr"):
        findings = validate(path)
        assert {finding.level for finding in findings} == {"ok"}, findings
        assert {finding.topic for finding in findings} == {
            "pixel size", "voltage", "spherical aberration", "amplitude contrast", "defocus",
            "poses", "half-sets", "box", "values", "normalisation", "contrast", "centring",
        }  # fmt: skip


def test_black_particles_are_seen(tmp_path):
    star = project(tmp_path, -blobs())
    level, message = look(star, "contrast")
    assert level == "warning"
    assert "black" in message
    import_particles([star], tmp_path / "p.zarr", invert_contrast=True)
    assert look(tmp_path / "p.zarr", "contrast")[0] == "ok"


def test_noise_gives_no_verdict_on_contrast(tmp_path):
    level, message = look(project(tmp_path, noise(40, BOX)), "contrast")
    assert level == "ok"
    assert "too little to tell" in message


@pytest.mark.parametrize("sign", [1, -1])
def test_particles_off_the_centre_are_seen(tmp_path, sign):
    level, message = look(project(tmp_path, sign * blobs(offset=6, height=0.6)), "centring")
    assert level == "warning"
    x, y = message.split()[1:3]
    assert float(x.rstrip(",")) == pytest.approx(6, abs=1.5)
    assert float(y) == pytest.approx(0, abs=1.5)


def test_images_that_are_not_normalised_are_seen(tmp_path):
    level, message = look(project(tmp_path, 40 + 7 * blobs()), "normalisation")
    assert level == "warning"
    assert "mean 40" in message


def test_values_that_are_not_finite_or_constant_are_seen(tmp_path):
    images = blobs()
    images[5] = 2.0
    star = project(tmp_path, images)
    spoil(tmp_path / "stack.mrcs", (3, np.nan))
    found = [finding for finding in validate(star) if finding.topic == "values"]
    assert [(f.level, f.message.split()[0]) for f in found] == [("error", "1"), ("error", "1")]


@pytest.mark.parametrize(
    ("topic", "columns", "optics", "level", "message"),
    [
        ("defocus", {"rlnDefocusU": 1.5, "rlnDefocusV": 1.4}, None, "warning", "1.45"),
        (
            "defocus",
            {"rlnDefocusU": -15000.0, "rlnDefocusV": -14000.0},
            None,
            "warning",
            "negative",
        ),
        ("defocus", {"rlnDefocusU": 90000.0, "rlnDefocusV": 90000.0}, None, "warning", "90000"),
        ("defocus", {"rlnDefocusU": None}, None, "warning", "not known"),
        ("astigmatism", {"rlnDefocusU": 30000.0}, None, "warning", "100%"),
        ("poses", {"rlnAngleRot": None}, None, "warning", "not known"),
        ("poses", {"rlnAngleRot": 1.0}, None, "warning", "the same for all"),
        ("poses", {"rlnOriginXAngst": 30.0}, None, "warning", "quarter of the box"),
        ("half-sets", {"rlnRandomSubset": 1}, None, "warning", "40 and 0"),
        ("half-sets", {"rlnRandomSubset": None}, None, "ok", "none"),
        ("pixel size", {}, "1 a 300 2.7 0.1 0.13 64", "warning", "0.13"),
        ("voltage", {}, "1 a 300000 2.7 0.1 1.3 64", "error", "300000, expected 60 to 400"),
        ("spherical aberration", {}, "1 a 300 27000000 0.1 1.3 64", "warning", "expected 0 to 6"),
        ("amplitude contrast", {}, "1 a 300 2.7 10 1.3 64", "error", "expected 0 to 0.4"),
        ("amplitude contrast", {}, "1 a 300 2.7 0.6 1.3 64", "warning", "expected 0 to 0.4"),
        ("voltage", {}, "1 a -300 2.7 0.1 1.3 64", "error", "-300, expected 60 to 400"),
        ("voltage", {}, "1 a 0 2.7 0.1 1.3 64", "error", "0, expected 60 to 400"),
        ("voltage", {}, "1 a 300 2.7 0.1 1.3 64\n2 b 0 2.7 0.1 1.3 64", "ok", "300"),
        ("box", {"rlnDefocusU": 30000.0, "rlnDefocusV": 30000.0}, None, "warning", "too small"),
    ],
)
def test_tables_are_checked(tmp_path, topic, columns, optics, level, message):
    options = {"optics": optics} if optics else {}
    star = project(tmp_path, blobs(), columns, **options)
    found = [finding for finding in validate(star) if finding.topic == topic]
    assert found[0].level == level
    assert message in found[0].message


@pytest.mark.parametrize("size", [0.0, -1.3])
def test_impossible_pixel_sizes_are_errors(tmp_path, size):
    table = read_particles(project(tmp_path, blobs()))
    table.optics["pixel_size"] = np.array([size])
    finding = check_table(table, BOX)[0]
    assert (finding.level, finding.topic) == ("error", "pixel size")
    assert finding.message == f"{size:g} Å, expected a positive number"


def test_pixel_sizes_that_differ_are_seen(tmp_path):
    optics = "1 a 300 2.7 0.1 1.3 64\n2 b 300 2.7 0.1 2.6 64"
    star = project(tmp_path, blobs(), optics=optics, groups=[1 + i % 2 for i in range(40)])
    level, message = look(star, "pixel size")
    assert (level, message) == ("warning", "1.3 to 2.6 Å in different optics groups")


def test_box_that_cannot_hold_the_defocus(tmp_path):
    """At 300 kV, 1.3 Å and 30,000 Å: half of 83 Å is displaced at λ Δf k = 41.6 Å, 14 Å."""
    star = project(tmp_path, blobs(), {"rlnDefocusU": 30000.0, "rlnDefocusV": 30000.0})
    _, message = look(star, "box")
    limit = float(message.split("beyond ")[1].split()[0])
    assert limit == pytest.approx(0.019687 * 30000 / 41.6, rel=0.1)


def test_missing_images_and_shards_are_errors(tmp_path):
    star = project(tmp_path, blobs())
    import_particles([star], tmp_path / "p.zarr")
    (tmp_path / "stack.mrcs").unlink()
    assert look(star, "images")[0] == "error"
    (tmp_path / "p.zarr/images/c/0/0/0").unlink()
    level, message = look(tmp_path / "p.zarr", "images")
    assert level == "error"
    assert "images 0 to 39" in message


def test_a_stack_of_images_alone(tmp_path):
    write_mrcs(tmp_path / "a.mrcs", blobs())
    assert look(tmp_path / "a.mrcs", "pixel size")[0] == "error"
    assert look(tmp_path / "a.mrcs", "pixel size", pixel_size=1.3)[0] == "ok"
    assert look(tmp_path / "a.mrcs", "contrast")[0] == "ok"


def test_real_particles(test_data):
    """The star file does not say that these are black; the cs file of the same images does."""
    folder = test_data / "cryoem/real"
    assert look(folder / "empiar_10076_7.star", "contrast")[0] == "warning"
    assert look(folder / "empiar_10076_7.cs", "contrast")[0] == "ok"
    assert "white" in look(folder / "sample_particles_relion31.star", "contrast")[1]
    assert look(folder / "relion31.star", "half-sets")[0] == "warning"


def test_describe_tells_what_is_there(tmp_path):
    star, _ = make_project(tmp_path)
    of_star = describe(star)
    assert of_star["kind"] == "particles (relion-3.1)"
    import_particles([star], tmp_path / "p.zarr", precision="float16")
    of_stack = describe(tmp_path / "p.zarr")
    assert of_stack["kind"] == "stack"
    assert of_stack["precision"] == "float16"
    assert of_stack["half_sets"] == [5, 5]
    assert of_stack["bytes_on_disk"] > 10 * 16 * 16 * 2
    for found in (of_star, of_stack):
        assert (found["number"], found["box"], found["pixel_size"]) == (10, 16, [1.3])
        assert found["poses"]
        assert found["ctf"]
        assert found["defocus_range"] == [14500.0, 14500.0]
    of_images = describe(tmp_path / "stack.mrcs")
    assert (of_images["kind"], of_images["number"], of_images["box"]) == ("images", 10, 16)
    write_map(tmp_path / "map.mrc", np.zeros((4, 4, 4), np.float32), 2.0)
    assert describe(tmp_path / "map.mrc")["kind"] == "volume"
    with pytest.raises(InputError, match="no such file"):
        describe(tmp_path / "nothing.star")
