import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpdp_dask.errors import InputError
from hpdp_dask.formats import star
from hpdp_dask.formats.cryosparc import read_particles, write_particles
from hpdp_dask.formats.mrc import write_stack
from hpdp_dask.numerics.rotations import (
    angular_distance,
    euler_to_matrix,
    rotation_vector_to_matrix,
)

FILES = (
    "cryosparc/cryosparc_P9_J209_000_particles.cs.gz",
    "cryosparc/cryosparc_P12_J24_001_particles.cs",
    "real/empiar_10076_7.cs",
)


def load(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    return np.load(io.BytesIO(gzip.decompress(raw) if path.suffix == ".gz" else raw))


def particles(number=3, **changes):
    """Make fields as cryoSPARC has them; None takes one away."""
    fields = {
        "uid": np.arange(10, 10 + number, dtype=np.uint64),
        "blob/path": np.array([b">J1/a.mrc", b"J1/b.mrc", b">J1/a.mrc"] * number)[:number],
        "blob/idx": np.arange(number, dtype=np.uint32),
        "blob/shape": np.tile(np.array([8, 8], np.uint32), (number, 1)),
        "blob/psize_A": np.full(number, 1.5, np.float32),
        "blob/sign": np.full(number, -1, np.float32),
        "ctf/exp_group_id": np.arange(number, dtype=np.uint32) % 2,
        "ctf/accel_kv": np.full(number, 300, np.float32),
        "ctf/cs_mm": np.full(number, 2.7, np.float32),
        "ctf/amp_contrast": np.full(number, 0.1, np.float32),
        "ctf/df1_A": np.linspace(15000, 16000, number, dtype=np.float32),
        "ctf/df2_A": np.linspace(14000, 15000, number, dtype=np.float32),
        "ctf/df_angle_rad": np.full(number, np.pi / 4, np.float32),
        "ctf/phase_shift_rad": np.full(number, np.pi / 2, np.float32),
        "alignments3D/split": np.arange(number, dtype=np.uint32) % 2,
        "alignments3D/shift": np.arange(2 * number, dtype=np.float32).reshape(number, 2),
        "alignments3D/pose": np.linspace(-3, 3, 3 * number, dtype=np.float32).reshape(number, 3),
        "alignments3D/psize_A": np.full(number, 3, np.float32),
        "alignments3D/class": np.arange(number, dtype=np.uint32),
        "alignments3D/class_posterior": np.full(number, 0.5, np.float32),
        **changes,
    }
    return {name: values for name, values in fields.items() if values is not None}


def renamed(fields, prefix):
    return {name.replace("alignments3D", prefix): values for name, values in fields.items()}


def save(path: Path, fields) -> Path:
    array = np.zeros(
        len(fields["uid"]), [(name, v.dtype, v.shape[1:]) for name, v in fields.items()]
    )
    for name, values in fields.items():
        array[name] = values
    with open(path, "wb") as file:
        np.save(file, array)
    return path


@pytest.mark.parametrize("name", FILES)
def test_real_files_round_trip_to_the_bit(test_data, tmp_path, name):
    path = test_data / "cryoem" / name
    table = read_particles(path)
    write_particles(tmp_path / "out.cs", table)
    before, after = load(path), load(tmp_path / "out.cs")
    assert after.dtype == before.dtype
    np.testing.assert_array_equal(after, before)
    again = read_particles(tmp_path / "out.cs")
    assert sorted(again.particles) == sorted(table.particles)
    for field, values in table.particles.items():
        np.testing.assert_array_equal(again.particles[field], values)
    for field, values in table.optics.items():
        np.testing.assert_array_equal(again.optics[field], values)


@pytest.mark.parametrize("name", FILES[1:])
def test_through_star_and_back(test_data, tmp_path, name):
    table = read_particles(test_data / "cryoem" / name)
    star.write_particles(tmp_path / "out.star", table)
    as_star = star.read_particles(tmp_path / "out.star")
    write_particles(tmp_path / "back.cs", as_star)
    back = read_particles(tmp_path / "back.cs")
    for other in (as_star, back):
        for field in ("shift", "defocus_u", "defocus_v", "defocus_angle", "phase_shift"):
            if field in table.particles:
                np.testing.assert_allclose(
                    other.particles[field], table.particles[field], rtol=1e-6, atol=1e-6
                )
        if "euler_angles" in table.particles:
            matrices = (euler_to_matrix(t.particles["euler_angles"]) for t in (other, table))
            assert angular_distance(*matrices).max() < 1e-4
        for field, values in table.optics.items():
            np.testing.assert_allclose(other.optics[field], values, rtol=1e-6)
        np.testing.assert_array_equal(other.image_index, table.image_index)
    for field in ("half_set", "class_number"):
        if field in table.particles:
            np.testing.assert_array_equal(back.particles[field], table.particles[field])


def test_poses_are_those_that_cryodrgn_parses(test_data):
    table = read_particles(test_data / "cryoem" / FILES[1])
    golden = np.load(test_data / "cryoem/goldens/cryodrgn_pose.cs.npz")
    matrices = euler_to_matrix(table.particles["euler_angles"])
    np.testing.assert_allclose(matrices, golden["rotations"], atol=1e-5)
    fractions = table.particles["shift"] / table.optics["pixel_size"][0] / 180
    np.testing.assert_allclose(fractions, golden["translations"], atol=1e-5)


def test_ctf_is_that_of_the_star_file_of_the_same_particles(test_data):
    real = test_data / "cryoem/real"
    table = read_particles(real / "empiar_10076_7.cs")
    other = star.read_particles(real / "empiar_10076_7.star")
    for field in ("defocus_u", "defocus_v", "defocus_angle", "phase_shift"):
        np.testing.assert_allclose(table.particles[field], other.particles[field], rtol=1e-6)
    for field, values in table.optics.items():
        np.testing.assert_allclose(values, other.optics[field], rtol=1e-6)
    assert table.image_files == other.image_files
    np.testing.assert_array_equal(table.image_index, other.image_index)
    # dark particles: blob/sign makes them white
    np.testing.assert_array_equal(table.particles["contrast_sign"], -np.ones(7))
    assert table.particles["contrast_sign"].dtype == np.int8


def test_units_and_conventions(tmp_path):
    fields = particles()
    table = read_particles(save(tmp_path / "p.cs", fields))
    found = table.particles
    np.testing.assert_allclose(found["defocus_angle"], 45, rtol=1e-6)
    np.testing.assert_allclose(found["phase_shift"], 90, rtol=1e-6)
    np.testing.assert_allclose(found["shift"], 3 * fields["alignments3D/shift"])
    np.testing.assert_allclose(
        euler_to_matrix(found["euler_angles"]),
        rotation_vector_to_matrix(fields["alignments3D/pose"]).swapaxes(1, 2),
        atol=1e-12,
    )
    np.testing.assert_array_equal(found["half_set"], [0, 1, 0])
    np.testing.assert_array_equal(found["class_number"], [1, 2, 3])
    np.testing.assert_array_equal(found["class_probability"], 0.5)
    np.testing.assert_array_equal(found["optics_group"], [0, 1, 0])
    assert table.optics["spherical_aberration"].tolist() == [2.7, 2.7]  # not 2.700000047
    assert table.image_files == [tmp_path / "J1/a.mrc", tmp_path / "J1/b.mrc"]
    np.testing.assert_array_equal(table.image_file, [0, 1, 0])
    assert table.source.particles["blob/path"].tolist() == [">J1/a.mrc", "J1/b.mrc", ">J1/a.mrc"]


def test_no_sign_no_halves_no_phase_plate(tmp_path):
    fields = particles(
        **{
            "blob/sign": np.ones(3, np.float32),
            "alignments3D/split": np.zeros(3, np.uint32),
            "ctf/phase_shift_rad": None,
            "ctf/amp_contrast": None,
        }
    )
    table = read_particles(save(tmp_path / "p.cs", fields))
    assert "contrast_sign" not in table.particles
    assert "half_set" not in table.particles
    np.testing.assert_array_equal(table.particles["phase_shift"], 0)
    assert np.isnan(table.optics["amplitude_contrast"]).all()
    write_particles(tmp_path / "out.cs", table)
    assert "ctf/amp_contrast" not in load(tmp_path / "out.cs").dtype.names


def test_passthrough_files_join_by_uid(tmp_path):
    fields = particles()
    path = save(tmp_path / "p.cs", {name: fields[name] for name in fields if "blob" not in name})
    order = [2, 0, 1]
    other = {name: fields[name][order] for name in fields if "blob" in name or name == "uid"}
    extra = {
        "uid": np.append(fields["uid"], [99]).astype(np.uint64),
        "location/micrograph_path": np.array([b"m1.mrc", b"m2.mrc", b"m1.mrc", b""]),
        "location/micrograph_shape": np.tile(np.array([100, 200], np.uint32), (4, 1)),
        "location/center_x_frac": np.array([0.5, 0.25, 0, 0], np.float32),
        "location/center_y_frac": np.array([0.5, 0.1, 0, 0], np.float32),
    }
    with pytest.raises(InputError, match=r"p\.cs: no blob/path and blob/idx"):
        read_particles(path)
    table = read_particles(
        [path, save(tmp_path / "through.cs", other), save(tmp_path / "more.cs", extra)]
    )
    whole = read_particles(save(tmp_path / "whole.cs", fields))
    for name, values in whole.particles.items():
        np.testing.assert_array_equal(table.particles[name], values)
    assert table.particles["micrograph"].tolist() == ["m1.mrc", "m2.mrc", "m1.mrc"]
    np.testing.assert_allclose(table.particles["coordinate"], [[100, 50], [50, 10], [0, 0]])
    table.particles["coordinate"][2] = [20, 30]
    write_particles(tmp_path / "out.cs", table)
    written = load(tmp_path / "out.cs")
    np.testing.assert_allclose(written["location/center_x_frac"], [0.5, 0.25, 0.1])
    np.testing.assert_allclose(written["location/center_y_frac"], [0.5, 0.1, 0.3])
    extra = {name: values[1:] for name, values in extra.items()}
    with pytest.raises(InputError, match=r"less\.cs: lacks 1 of the 3 particles"):
        read_particles([path, save(tmp_path / "less.cs", extra)])
    extra = {name: values[[0, 0, 1]] for name, values in extra.items()}
    with pytest.raises(InputError, match=r"twice\.cs: a uid occurs twice"):
        read_particles([path, save(tmp_path / "twice.cs", extra)])


def test_other_alignments(tmp_path):
    whole = read_particles(save(tmp_path / "p.cs", particles()))
    ab_initio = read_particles(save(tmp_path / "a.cs", renamed(particles(), "alignments_class_0")))
    for name, values in whole.particles.items():
        np.testing.assert_array_equal(ab_initio.particles[name], values)
    flat = renamed(particles(**{"alignments3D/pose": np.ones(3, np.float32)}), "alignments2D")
    classes = read_particles(save(tmp_path / "f.cs", flat))
    assert "euler_angles" not in classes.particles
    np.testing.assert_array_equal(classes.particles["shift"], whole.particles["shift"])
    for table in (ab_initio, classes):
        write_particles(tmp_path / "out.cs", table)
        assert not [n for n in load(tmp_path / "out.cs").dtype.names if "alignments3D" in n]
    two = {
        **renamed(particles(), "alignments_class_0"),
        **renamed(particles(), "alignments_class_1"),
    }
    with pytest.raises(InputError, match="several classes"):
        read_particles(save(tmp_path / "two.cs", two))
    none = {name: v for name, v in particles().items() if "alignments" not in name}
    assert "shift" not in read_particles(save(tmp_path / "none.cs", none)).particles


def test_a_given_pixel_size_wins(tmp_path):
    path = save(tmp_path / "p.cs", particles())
    table = read_particles(path, pixel_size=3.0)
    np.testing.assert_array_equal(table.optics["pixel_size"], 3.0)
    # all lengths on the images are twice as long then, shifts too
    np.testing.assert_allclose(
        table.particles["shift"], 2 * read_particles(path).particles["shift"]
    )
    path = save(tmp_path / "none.cs", particles(**{"blob/psize_A": None}))
    with pytest.raises(InputError, match=r"no positive blob/psize_A .*--pixel-size"):
        read_particles(path)
    assert read_particles(path, pixel_size=3.0).optics["pixel_size"].tolist() == [3.0, 3.0]


def test_what_changes_is_written_and_the_rest_stays(tmp_path):
    fields = particles()
    table = read_particles(save(tmp_path / "p.cs", fields))
    angles = table.particles["euler_angles"]
    table.particles["euler_angles"] = angles.astype(np.float32)  # 1e-5 degrees: the same pose
    table.particles["euler_angles"][1] = [10, 20, 30]
    table.particles["shift"][2] = [30, -3]
    table.particles["defocus_angle"][0] = 90
    table.particles["half_set"] = np.array([1, 1, 0])
    table.particles["contrast_sign"] = np.ones(3, np.int8)
    table.image_files[1] = tmp_path / "new/stack.mrcs"
    table.image_index[1] = 7
    write_particles(tmp_path / "out.cs", table)
    after = load(tmp_path / "out.cs")
    assert after.dtype.names == tuple(fields)
    np.testing.assert_array_equal(
        after["alignments3D/pose"][[0, 2]], fields["alignments3D/pose"][[0, 2]]
    )
    np.testing.assert_allclose(
        rotation_vector_to_matrix(after["alignments3D/pose"][1:2]),
        euler_to_matrix([[10, 20, 30]]).swapaxes(1, 2),
        atol=1e-6,
    )
    np.testing.assert_array_equal(after["alignments3D/shift"], [[0, 1], [2, 3], [10, -1]])
    np.testing.assert_allclose(after["ctf/df_angle_rad"], [np.pi / 2, np.pi / 4, np.pi / 4])
    np.testing.assert_array_equal(after["alignments3D/split"], [1, 1, 0])
    np.testing.assert_array_equal(after["blob/sign"], 1)
    assert after["blob/path"].tolist() == [b">J1/a.mrc", b"new/stack.mrcs", b">J1/a.mrc"]
    np.testing.assert_array_equal(after["blob/idx"], [0, 7, 2])
    for name in ("ctf/df1_A", "ctf/accel_kv", "alignments3D/class", "blob/psize_A"):
        np.testing.assert_array_equal(after[name], fields[name])


def test_from_relion(test_data, tmp_path):
    table = star.read_particles(test_data / "cryoem/real/relion5.star")
    for name in ("one.cs", "two.cs"):
        write_particles(tmp_path / name, table)
    assert (tmp_path / "one.cs").read_bytes() == (tmp_path / "two.cs").read_bytes()
    written = load(tmp_path / "one.cs")
    assert len(np.unique(written["uid"])) == len(table)  # it names two images twice
    assert written["blob/path"][0] == b"toy_images_a.mrcs"
    np.testing.assert_array_equal(written["blob/sign"], 1)
    back = read_particles(tmp_path / "one.cs")
    matrices = (euler_to_matrix(t.particles["euler_angles"]) for t in (table, back))
    assert angular_distance(*matrices).max() < 1e-4
    np.testing.assert_allclose(back.particles["shift"], table.particles["shift"], rtol=1e-6)
    np.testing.assert_array_equal(back.particles["half_set"], table.particles["half_set"])
    assert "coordinate" not in back.particles  # needs the shape of the micrographs
    assert "contrast_sign" not in back.particles


def test_a_new_file_tells_the_box(tmp_path):
    write_stack(tmp_path / "a.mrcs", np.zeros((3, 6, 6), np.float32), 1.5)
    (tmp_path / "a.star").write_text(
        "data_\nloop_\n_rlnImageName\n_rlnPixelSize\n_rlnClassNumber\n1@a.mrcs 2 0\n3@a.mrcs 2 1\n"
    )
    write_particles(tmp_path / "a.cs", star.read_particles(tmp_path / "a.star"))
    written = load(tmp_path / "a.cs")
    assert written["blob/shape"].tolist() == [[6, 6], [6, 6]]
    assert written["blob/path"].tolist() == [b"a.mrcs", b"a.mrcs"]
    assert written["blob/idx"].tolist() == [0, 2]
    assert "alignments3D/class" not in written.dtype.names  # class 0 is none


VECTORS = st.tuples(*[st.floats(-6, 6, width=32)] * 3)


@given(
    st.lists(
        st.tuples(VECTORS, st.floats(-50, 50, width=32), st.integers(0, 1), st.sampled_from("abc")),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_round_trips(tmp_path, rows):
    number = len(rows)
    poses, shifts, halves, names = zip(*rows, strict=True)
    fields = particles(
        number,
        **{
            "alignments3D/pose": np.array(poses, np.float32),
            "alignments3D/shift": np.array([shifts, shifts], np.float32).T,
            "alignments3D/split": np.array(halves, np.uint32),
            "blob/path": np.array([f"{name}.mrc".encode() for name in names]),
            "mine/matrix": np.arange(4 * number, dtype=np.float64).reshape(number, 2, 2),
            "mine/note": np.array([name.encode() for name in names], "S7"),
        },
    )
    path = save(tmp_path / "p.cs", fields)
    table = read_particles(path)
    write_particles(tmp_path / "out.cs", table)
    before, after = load(path), load(tmp_path / "out.cs")
    assert after.dtype == before.dtype
    np.testing.assert_array_equal(after, before)
    star.write_particles(tmp_path / "out.star", table)
    other = star.read_particles(tmp_path / "out.star")
    matrices = (euler_to_matrix(t.particles["euler_angles"]) for t in (table, other))
    assert angular_distance(*matrices).max() < 1e-6
    np.testing.assert_allclose(other.particles["shift"], table.particles["shift"], rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alignments3D/pose": np.full((3, 3), np.nan, np.float32)}, r"alignments3D/pose of row 1"),
        ({"ctf/df1_A": np.array([1, np.inf, 1], np.float32)}, "ctf/df1_A of row 2 is inf"),
        ({"alignments3D/split": np.array([0, 1, 2], np.uint32)}, "split of row 3 is 2"),
        ({"blob/sign": np.array([1, 0, 1], np.float32)}, "blob/sign of row 2 is 0"),
        ({"alignments3D/psize_A": None}, "no field alignments3D/psize_A"),
        ({"uid": np.array([1, 2, 1], np.uint64)}, r"row 3 repeats the particle \(uid 1\)"),
        ({"blob/psize_A": np.array([1, 0, 1], np.float32)}, "no positive blob/psize_A in row 2"),
    ],
)
def test_bad_input(tmp_path, changes, message):
    path = save(tmp_path / "p.cs", particles(**changes))
    with pytest.raises(InputError, match=rf"p\.cs: .*{message}"):
        read_particles(path)


def test_what_is_no_cs_file(tmp_path):
    def refused(content, message):
        path = tmp_path / "p.cs"
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"p\.cs: {message}"):
            read_particles(path)

    def saved(array):
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    whole = save(tmp_path / "whole.cs", particles()).read_bytes()
    refused(b"data_\n", "not a .cs file")
    refused(whole[:-10], f"truncated or damaged, found {len(whole) - 10} bytes")
    refused(gzip.compress(whole)[:-20], "cannot be gunzipped")
    refused(saved(np.zeros(3)), "holds no table")
    refused(saved(np.zeros(3, [("a", "f4")])), "has no field uid")
    refused(saved(np.zeros(0, [("uid", "u8")])), "has no rows")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_particles(tmp_path / "no.cs")


def test_no_images_no_file(tmp_path):
    table = read_particles(save(tmp_path / "p.cs", particles()))
    table.image_file[1] = -1
    with pytest.raises(InputError, match="row 2 names no image"):
        write_particles(tmp_path / "out.cs", table)
    assert not (tmp_path / "out.cs").exists()
