from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_stack
from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.formats.star import read_particles, read_table, write_particles
from hpdp_dask.formats.star_text import read_blocks
from hpdp_dask.numerics.rotations import euler_to_matrix

ONE_TABLE = """
data_images

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnOriginX #5
_rlnOriginY #6
_rlnDefocusU #7
_rlnDefocusV #8
_rlnDefocusAngle #9
_rlnVoltage #10
_rlnSphericalAberration #11
_rlnMagnification #12
_rlnDetectorPixelSize #13
_rlnRandomSubset #14
_mine #15
000001@a.mrcs 10 20 30 1 -2 15000 14000 45 300 2.7 50000 5 1 x
000002@a.mrcs 40 50 60 3 4 15100 14100 46 200 2.7 50000 5 2 y
000001@b.mrcs 70 80 90 0.5 0 15200 14200 47 300 2.7 50000 5 2 z
"""

TWO_TABLES = """
# version 30001
data_particles
loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnOriginXAngst #3
_rlnOriginYAngst #4
_rlnOriginX #5
_rlnOriginY #6
_rlnDefocusU #7
_rlnClassNumber #8
_rlnRandomSubset #9
3@a.mrcs 7 1.5 2.5 9 9 15000 2 0
1@a.mrcs 3 -1.5 0 9 9 15000 1 0

# version 30001
data_optics
loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnMtfFileName #7
3 three 300 2.7 0.1 1.25 mtf.star
7 seven 200 1.4 0.07 1.5 mtf.star
9 nine 200 1.4 0.07 1.5 mtf.star

data_general
_rlnVersion 5
"""


@pytest.fixture
def star(tmp_path):
    def write(text, name="particles.star"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def real_files(test_data):
    return sorted((test_data / "cryoem/real").glob("*.star"))


def assert_same_table(found, expected):
    """Poses, CTF, whereabouts and all columns agree."""
    assert sorted(found.particles) == sorted(expected.particles)
    for name, values in expected.particles.items():
        if values.dtype == object:
            assert found.particles[name].tolist() == values.tolist()
        else:
            np.testing.assert_allclose(found.particles[name], values, rtol=1e-12, err_msg=name)
    for name, values in expected.optics.items():
        np.testing.assert_allclose(found.optics[name], values, rtol=1e-12, err_msg=name)
    np.testing.assert_array_equal(found.image_index, expected.image_index)
    assert found.source.format == expected.source.format
    for kind in ("particles", "optics"):
        before, after = getattr(expected.source, kind), getattr(found.source, kind)
        assert list(before) == list(after)
        for label, values in before.items():
            np.testing.assert_array_equal(after[label], values, err_msg=label)
            assert after[label].dtype == values.dtype
    assert list(found.source.blocks) == list(expected.source.blocks)


def test_every_real_file_round_trips(test_data, tmp_path):
    files = real_files(test_data)
    assert len(files) == 8
    for path in files:
        table = read_particles(path)
        assert len(table) > 0
        write_particles(tmp_path / path.name, table)
        assert_same_table(read_particles(tmp_path / path.name), table)


def test_poses_are_those_that_cryodrgn_parses(test_data):
    # the golden was made from this file: five particles of 300 pixels, origins in pixels
    table = read_particles(test_data / "cryoem/real/FinalRefinement-OriginalParticles-PfCRT.star")
    golden = np.load(test_data / "cryoem/goldens/cryodrgn_pose.star.npz")
    matrices = euler_to_matrix(table.particles["euler_angles"])
    np.testing.assert_allclose(matrices, golden["rotations"], atol=1e-5)
    pixel_size = table.optics["pixel_size"][table.particles["optics_group"]]
    fractions = table.particles["shift"] / pixel_size[:, None] / 300
    np.testing.assert_allclose(fractions, golden["translations"], atol=1e-5)


def ctf_rows(table, box):
    """Arrange the CTF as cryoDRGN does: D, Å/px, U, V, angle, kV, mm, contrast, phase."""
    group = table.particles["optics_group"]
    optics = {name: values[group] for name, values in table.optics.items()}
    return np.stack(
        [
            np.full(len(table), box),
            optics["pixel_size"],
            table.particles["defocus_u"],
            table.particles["defocus_v"],
            table.particles["defocus_angle"],
            optics["voltage"],
            optics["spherical_aberration"],
            optics["amplitude_contrast"],
            table.particles["phase_shift"],
        ],
        axis=1,
    )


def test_ctf_is_that_which_cryodrgn_parses(test_data):
    table = read_particles(test_data / "cryoem/real/FinalRefinement-OriginalParticles-PfCRT.star")
    golden = np.load(test_data / "cryoem/goldens/cryodrgn_ctf1.npz")["ctf"]
    rows = ctf_rows(table, 300)
    assert np.isnan(rows[:, 7]).all()  # the file has no amplitude contrast; cryoDRGN was told 0.1
    golden[:, 7] = np.nan
    np.testing.assert_allclose(rows, golden, rtol=1e-6)


def test_ctf_rows_of_cryodrgn_survive_a_file(test_data, tmp_path):
    golden = np.load(test_data / "cryoem/goldens/cryodrgn_test_ctf.100.npz")["ctf"].astype(float)
    table = ParticleTable(
        particles={
            "defocus_u": golden[:, 2],
            "defocus_v": golden[:, 3],
            "defocus_angle": golden[:, 4],
            "phase_shift": golden[:, 8],
            "optics_group": np.zeros(100, np.int64),
        },
        optics={
            "pixel_size": golden[:1, 1],
            "voltage": golden[:1, 5],
            "spherical_aberration": golden[:1, 6],
            "amplitude_contrast": golden[:1, 7],
        },
        image_files=[tmp_path / "toy.mrcs"],
        image_file=np.zeros(100, np.int32),
        image_index=np.arange(100),
        source=SourceTables(format=""),
        path=tmp_path / "toy",
    )
    write_particles(tmp_path / "toy.star", table)
    np.testing.assert_array_equal(ctf_rows(read_particles(tmp_path / "toy.star"), 30), golden)


def test_one_table(star, tmp_path):
    table = read_particles(star(ONE_TABLE))
    assert table.source.format == "relion-3.0"
    np.testing.assert_array_equal(table.optics["voltage"], [300, 200])
    np.testing.assert_allclose(table.optics["pixel_size"], [1, 1])
    assert np.isnan(table.optics["amplitude_contrast"]).all()
    np.testing.assert_array_equal(table.particles["optics_group"], [0, 1, 0])
    np.testing.assert_allclose(table.particles["shift"], [[1, -2], [3, 4], [0.5, 0]])
    np.testing.assert_array_equal(table.particles["phase_shift"], [0, 0, 0])
    np.testing.assert_array_equal(table.particles["half_set"], [0, 1, 1])
    assert table.image_files == [tmp_path / "a.mrcs", tmp_path / "b.mrcs"]
    np.testing.assert_array_equal(table.image_file, [0, 0, 1])
    np.testing.assert_array_equal(table.image_index, [0, 1, 0])
    assert "class_number" not in table.particles
    assert "micrograph" not in table.particles
    write_particles(tmp_path / "out.star", table)
    assert "version" not in (tmp_path / "out.star").read_text()  # else RELION takes it for 3.1
    assert list(read_blocks(tmp_path / "out.star")) == ["images"]
    assert_same_table(read_particles(tmp_path / "out.star"), table)


def test_optics_groups_in_any_order(star, tmp_path):
    table = read_particles(star(TWO_TABLES))
    assert table.source.format == "relion-3.1"
    np.testing.assert_array_equal(table.particles["optics_group"], [1, 0])
    np.testing.assert_array_equal(table.optics["voltage"], [300, 200, 200])
    np.testing.assert_array_equal(table.optics["pixel_size"], [1.25, 1.5, 1.5])
    np.testing.assert_array_equal(table.particles["shift"], [[1.5, 2.5], [-1.5, 0]])  # Å wins
    np.testing.assert_array_equal(table.particles["class_number"], [2, 1])
    assert "half_set" not in table.particles
    assert "euler_angles" not in table.particles
    write_particles(tmp_path / "out.star", table)
    again = read_particles(tmp_path / "out.star")
    np.testing.assert_array_equal(again.particles["shift"], table.particles["shift"])
    blocks = read_blocks(tmp_path / "out.star")
    assert list(blocks) == ["optics", "particles", "general"]
    assert blocks["particles"]["rlnImageName"].tolist() == ["3@a.mrcs", "1@a.mrcs"]
    # pixels that said something else now say what Å say
    np.testing.assert_allclose(blocks["particles"]["rlnOriginX"], [1.0, -1.2])


def test_origins_in_pixels_with_optics_groups(star):
    text = TWO_TABLES.replace("rlnOriginXAngst", "x").replace("rlnOriginYAngst", "y")
    shift = read_particles(star(text)).particles["shift"]
    np.testing.assert_array_equal(shift, [[13.5, 13.5], [11.25, 11.25]])


def test_a_given_pixel_size_wins(star):
    table = read_particles(star(ONE_TABLE), pixel_size=2.0)
    np.testing.assert_array_equal(table.optics["pixel_size"], [2, 2])
    np.testing.assert_allclose(table.particles["shift"][1], [6, 8])
    path = star(ONE_TABLE.replace("rlnDetectorPixelSize", "other"))
    with pytest.raises(InputError, match=r"no pixel size: .* --pixel-size"):
        read_particles(path)
    assert read_particles(path, pixel_size=2.0).optics["pixel_size"].tolist() == [2, 2]
    path = star(ONE_TABLE.replace("rlnDetectorPixelSize", "rlnPixelSize"))
    assert read_particles(path).optics["pixel_size"].tolist() == [5, 5]


def test_golden_without_optics_reads_with_a_pixel_size(test_data, tmp_path):
    path = test_data / "cryoem/goldens/rln_proj_64.star"
    with pytest.raises(InputError, match="--pixel-size"):
        read_particles(path)
    table = read_particles(path, pixel_size=5.0)
    write_particles(tmp_path / "out.star", table)
    again = read_particles(tmp_path / "out.star")
    np.testing.assert_allclose(again.optics["pixel_size"], 5.0)


def test_where_images_are_looked_for(star, tmp_path):
    path = star(ONE_TABLE, "project/Refine3D/job001/run_data.star")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.mrcs").touch()
    assert read_particles(path).image_files == [path.parent / "a.mrcs", path.parent / "b.mrcs"]
    (tmp_path / "project/a.mrcs").touch()
    assert read_particles(path, image_folder=elsewhere).image_files == [
        elsewhere / "b.mrcs",
        tmp_path / "project/a.mrcs",
    ]
    (path.parent / "a.mrcs").touch()
    assert read_particles(path).image_files[0] == path.parent / "a.mrcs"


def test_how_images_are_named(star, tmp_path):
    path = star(ONE_TABLE.replace("@a", "@Extract/a"), "project/Refine3D/run.star")
    (tmp_path / "project/Extract").mkdir()
    (tmp_path / "project/Extract/a.mrcs").touch()
    table = read_particles(path)

    def names(folder):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        write_particles(tmp_path / folder / "out.star", table)
        return read_table(tmp_path / folder / "out.star")["rlnImageName"].tolist()

    kept = ["000001@Extract/a.mrcs", "000002@Extract/a.mrcs", "000001@b.mrcs"]
    assert names("elsewhere") == kept
    assert names("project") == [*kept[:2], "000001@Refine3D/b.mrcs"]
    table.image_files[1] = tmp_path / "new.mrcs"
    table.image_index[2] = 6
    assert names("elsewhere")[2] == f"000007@{tmp_path}/new.mrcs"
    table.image_file[0] = -1
    with pytest.raises(InputError, match="row 1 names no image"):
        names("elsewhere")


def test_what_changes_is_written_and_the_rest_stays(star, tmp_path):
    table = read_particles(star(ONE_TABLE))
    table.particles["euler_angles"] = table.particles["euler_angles"].astype(np.float32)
    table.particles["euler_angles"][1, 1] = 55
    table.particles["shift"] = table.particles["shift"] * (1 + 1e-8)
    table.particles["shift"][2] = [7, 8]
    table.particles["class_number"] = np.array([1, 2, 1])
    table.particles["phase_shift"] = np.array([0, 0, 90.0])
    table.optics["pixel_size"] = np.array([1.0, 2.0])
    write_particles(tmp_path / "out.star", table)
    before, after = table.source.particles, read_table(tmp_path / "out.star")
    assert list(after) == [*before, "rlnPhaseShift", "rlnClassNumber"]
    np.testing.assert_array_equal(after["rlnAngleTilt"], [20, 55, 80])
    np.testing.assert_allclose(after["rlnOriginX"], [1, 1.5, 7], rtol=1e-7)
    np.testing.assert_array_equal(after["rlnDetectorPixelSize"], [5, 10, 5])
    np.testing.assert_array_equal(after["rlnPhaseShift"], [0, 0, 90])
    for label in ("rlnImageName", "rlnAngleRot", "rlnVoltage", "rlnMagnification", "mine"):
        np.testing.assert_array_equal(after[label], before[label])
    assert (tmp_path / "out.star").read_text().count("5.0") < 10


def test_a_file_that_is_new_tells_relion_the_box(tmp_path):
    write_stack(tmp_path / "a.mrcs", np.zeros((2, 6, 6), np.float32), 1.5)
    table = ParticleTable(
        particles={"optics_group": np.array([0, 1]), "shift": np.array([[1.0, 2], [3, 4]])},
        optics={
            "voltage": np.array([300.0, 200.0]),
            "spherical_aberration": np.array([2.7, np.nan]),
            "amplitude_contrast": np.array([np.nan, np.nan]),
            "pixel_size": np.array([1.5, 1.5]),
        },
        image_files=[tmp_path / "a.mrcs"],
        image_file=np.zeros(2, np.int32),
        image_index=np.arange(2),
        source=SourceTables(format="relion-3.1"),
        path=tmp_path / "a",
    )
    write_particles(tmp_path / "new.star", table)
    blocks = read_blocks(tmp_path / "new.star")
    assert {label: values.tolist() for label, values in blocks["optics"].items()} == {
        "rlnOpticsGroup": [1, 2],
        "rlnOpticsGroupName": ["opticsGroup1", "opticsGroup2"],
        "rlnImageSize": [6, 6],
        "rlnImageDimensionality": [2, 2],
        "rlnVoltage": [300, 200],
        "rlnSphericalAberration": [2.7, pytest.approx(np.nan, nan_ok=True)],
        "rlnImagePixelSize": [1.5, 1.5],
    }
    assert {label: values.tolist() for label, values in blocks["particles"].items()} == {
        "rlnImageName": ["000001@a.mrcs", "000002@a.mrcs"],
        "rlnOriginXAngst": [1, 3],
        "rlnOriginYAngst": [2, 4],
        "rlnOpticsGroup": [1, 2],
    }


ANGLES = st.floats(-180, 180)
LENGTHS = st.floats(-1e5, 1e5)


@given(
    st.lists(
        st.tuples(ANGLES, ANGLES, ANGLES, LENGTHS, LENGTHS, LENGTHS, LENGTHS, st.integers(0, 1)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["relion-3.0", "relion-3.1", ""]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_new_table_round_trips(tmp_path, rows, kind):
    rot, tilt, psi, x, y, u, v, choice = np.array(rows).T
    number = len(rows)
    table = ParticleTable(
        particles={
            "euler_angles": np.stack([rot, tilt, psi], axis=1),
            "shift": np.stack([x, y], axis=1),
            "defocus_u": u,
            "defocus_v": v,
            "defocus_angle": rot,
            "phase_shift": psi,
            "optics_group": np.sort(choice.astype(np.int64) - choice.astype(np.int64).min()),
            "half_set": choice.astype(np.int64),
            "class_number": choice.astype(np.int64) + 1,
            "micrograph": np.array([f"{c:.0f}" for c in choice], dtype=object),
            "coordinate": np.stack([y, x], axis=1),
        },
        optics={
            "voltage": np.array([300.0, 200.0]),
            "spherical_aberration": np.array([2.7, 0.01]),
            "amplitude_contrast": np.array([0.1, 0.07]),
            "pixel_size": np.array([1.3, 0.86]),
        },
        image_files=[tmp_path / "a.mrcs", Path("/data/b.mrcs")],
        image_file=choice.astype(np.int32),
        image_index=np.arange(number),
        source=SourceTables(format=kind),
        path=tmp_path / "table",
    )
    write_particles(tmp_path / "out.star", table)
    read = read_particles(tmp_path / "out.star")
    for name, values in table.particles.items():
        if values.dtype == object:
            assert read.particles[name].tolist() == values.tolist()
        elif name != "optics_group":
            np.testing.assert_allclose(read.particles[name], values, rtol=1e-12, err_msg=name)
    group, before = read.particles["optics_group"], table.particles["optics_group"]
    for name, values in table.optics.items():
        np.testing.assert_allclose(read.optics[name][group], values[before], rtol=1e-12)
    for row in range(number):
        found = read.image_files[read.image_file[row]]
        assert found == table.image_files[table.image_file[row]]
    np.testing.assert_array_equal(read.image_index, table.image_index)


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (ONE_TABLE, "rlnImageName", "rlnOther", "no table has the column rlnImageName"),
        (ONE_TABLE, "000002@a", "0@a", "rlnImageName of row 2 is 0@a.mrcs"),
        (ONE_TABLE, "40 50", "40 nan", "rlnAngleTilt of row 2 is nan, expected a finite number"),
        (ONE_TABLE, "40 50", "40 inf", "rlnAngleTilt of row 2 is inf"),
        (ONE_TABLE, "40 50", "40 abc", "rlnAngleTilt of row 2 is abc"),
        (ONE_TABLE, "50000 5 2 y", "0 5 2 y", "row 2 gives a pixel size of inf"),
        (ONE_TABLE, "50000 5 2 y", "50000 5 3 y", "rlnRandomSubset of row 2 is 3, expected 1 or 2"),
        (ONE_TABLE, "50000 5 2 y", "50000 5 1.5 y", "rlnRandomSubset of row 2 is 1.5"),
        (ONE_TABLE, "5 2 y", "5 2", "line 21 has 14 fields, expected 15"),
        (TWO_TABLES, "1@a.mrcs 3", "1@a.mrcs 4", "row 2 is in optics group 4, .* 3, 7, 9"),
        (TWO_TABLES, "9 nine", "3 nine", "optics group 3 occurs twice"),
        (TWO_TABLES, "rlnOpticsGroup #2", "rlnOther #2", "no column rlnOpticsGroup .* particles"),
        (TWO_TABLES, "rlnOpticsGroup #1", "rlnOther #1", "no column rlnOpticsGroup .* optics"),
        (TWO_TABLES, "rlnImagePixelSize", "rlnOther", "no pixel size"),
        (TWO_TABLES, "0.07 1.5 mtf.star\n9", "0.07 -1 mtf.star\n9", "rlnImagePixelSize of row 2"),
    ],
)
def test_bad_input(star, text, old, new, message):
    assert old in text
    with pytest.raises(InputError, match=rf"particles\.star: .*{message}"):
        read_particles(star(text.replace(old, new, 1)))


def test_a_row_twice(star):
    *_, last = ONE_TABLE.strip().splitlines()
    with pytest.raises(InputError, match=r"row 4 \(1@b\.mrcs\) repeats an earlier row"):
        read_particles(star(ONE_TABLE + last.replace("000001@", "1@")))
    # expansion by symmetry names an image again, with another pose
    assert len(read_particles(star(ONE_TABLE + last.replace("70 80 90", "70 80 91")))) == 4
