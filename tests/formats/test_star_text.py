import gzip

import numpy as np
import pytest
import starfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpdp_dask.errors import InputError
from hpdp_dask.formats.star import read_table
from hpdp_dask.formats.star_text import read_blocks, split_image_names, write_blocks

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
#: What may be in a name: no blanks at its ends, nothing that begins a comment, a label, a block.
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"], exclude_characters='"'))
WORDS = NAMES.map(lambda text: "n" + text)


@st.composite
def blocks(draw):
    number = draw(st.integers(1, 6))
    column = st.one_of(
        st.lists(NUMBERS, min_size=number, max_size=number).map(
            lambda values: np.array([*values, 0.5])[:-1]
        ),
        st.lists(st.integers(-(2**60), 2**60), min_size=number, max_size=number).map(np.array),
    )
    names = st.lists(WORDS, min_size=number, max_size=number)
    table = {f"rlnNumber{index}": draw(column) for index in range(draw(st.integers(1, 4)))}
    table["rlnImageName"] = np.array(draw(names), dtype=object)
    return {"optics": {"rlnOpticsGroup": np.array([1])}, "particles": table}


@given(blocks())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_round_trip(tmp_path, written):
    path = tmp_path / "table.star"
    write_blocks(path, written)
    read = read_blocks(path)
    assert list(read) == list(written)
    for name, block in written.items():
        assert list(read[name]) == list(block)
        for label, values in block.items():
            np.testing.assert_array_equal(read[name][label], values)


def test_text_as_programs_write_it(tmp_path):
    path = tmp_path / "table.star"
    path.write_text(
        "\n# version 30001\n\ndata_optics\n\nloop_ \n_x #1 \n_rlnName #2 [a 'name']\n_note #3\n"
        ' 1 a#1.mrc  1 \n# between\n   # and so\n\t2.5 "O\'Brien d" nan \n\n   -3e2\tdata_x\t"" \n'
        '# version 30001\n\ndata_\n_k 5\n_l "two words"\n_m 7.5 \n\n'
    )
    found = read_blocks(path)
    assert list(found) == ["optics", ""]
    np.testing.assert_array_equal(found["optics"]["x"], [1, 2.5, -300])
    assert found["optics"]["rlnName"].tolist() == ["a#1.mrc", "O'Brien d", "data_x"]
    assert found["optics"]["note"].tolist() == ["1", "nan", ""]
    assert {label: values.tolist() for label, values in found[""].items()} == {
        "k": [5],
        "l": ["two words"],
        "m": [7.5],
    }
    write_blocks(path, found)
    again = read_blocks(path)
    for name, block in found.items():
        for label, values in block.items():
            np.testing.assert_array_equal(again[name][label], values)


def test_names_stay_text_and_the_rest_becomes_numbers(tmp_path):
    path = tmp_path / "table.star"
    path.write_text(
        "data_\nloop_\n_rlnMicrographName\n_rlnTomoName\n_rlnClassNumber\n_rlnVoltage\n_rlnCtfImage\n"
        "1 007 2 300 3\n2 008 3 300.0 4\n"
    )
    block = read_table(path)
    assert block["rlnMicrographName"].tolist() == ["1", "2"]
    assert block["rlnTomoName"].tolist() == ["007", "008"]
    assert block["rlnCtfImage"].tolist() == ["3", "4"]
    assert block["rlnClassNumber"].dtype == np.int64
    assert block["rlnVoltage"].dtype == np.float64


def test_starfile_reads_the_same(test_data, tmp_path):
    files = sorted((test_data / "cryoem").glob("*/*.star"))
    assert len(files) > 15
    for path in files:
        written = tmp_path / path.name
        write_blocks(written, read_blocks(path))
        for source in (path, written):
            expected = starfile.read(source, always_dict=True)
            found = read_blocks(path)
            assert list(found) == list(expected)
            for name, block in found.items():
                assert list(block) == list(expected[name].columns)
                for label, values in block.items():
                    other = expected[name][label].to_numpy()
                    if values.dtype == object:
                        other = other.astype(str)
                    np.testing.assert_array_equal(values, other, err_msg=f"{path} {label}")


HEAD = "data_particles\n\nloop_\n_a #1\n_b #2\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + "1 2\n3\n5 6\n", "line 7 has 1 fields, expected 2"),
        (HEAD + "1 2 3\n4 5\n", "line 6 has 3 fields, expected 2"),
        (HEAD + "1 2\n\n3 4 5\n", "line 8 has 3 fields"),
        (HEAD + '1 "2 3\n', "line 6 has 3 fields"),
        (HEAD, "table data_particles has no rows"),
        (HEAD + "1 2\n" + HEAD + "1 2\n", "line 7 begins the table data_particles a second time"),
        ("data_\nloop_\n_a\n_a\n1 2\n", "line 4 names the column a a second time"),
        ("data_\n_a 1 2\n", "line 2 has 3 fields"),
        ("data_\n_a 1\nloop_\n_b\n2\n", "line 3 is outside any table"),
        ("hello\n", "line 1 is outside any table"),
        ("", "holds no table"),
        (b"\xff\xfe\x00", "not a text file"),
        (gzip.compress(HEAD.encode(), mtime=0), "compressed with gzip.*gunzip"),
    ],
)
def test_malformed_files_name_the_line(tmp_path, content, message):
    path = tmp_path / "bad.star"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=rf"bad\.star: .*{message}"):
        read_blocks(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"no\.star: cannot be read: No such file"):
        read_blocks(tmp_path / "no.star")


def test_a_folder(tmp_path):
    with pytest.raises(InputError, match="is a folder, expected a STAR file"):
        read_blocks(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "bom.star"
    path.write_bytes(b"\xef\xbb\xbf" + b"data_particles\nloop_\n_a\n_b\n1 2\n3 4\n")
    (block,) = read_blocks(path).values()
    assert block["b"].tolist() == [2, 4]


def test_one_table_of_several(test_data, tmp_path):
    mtf = read_table(test_data / "cryoem/mtf/mtf_falcon4EC_300kV.star")
    assert list(mtf) == ["rlnResolutionInversePixel", "rlnMtfValue"]
    path = test_data / "cryoem/real/relion31.star"
    assert read_table(path, "optics")["rlnVoltage"].tolist() == [300.0]
    with pytest.raises(InputError, match=r"expected one table, found data_optics, data_particles"):
        read_table(path)
    with pytest.raises(InputError, match="expected the table data_mtf, found data_optics"):
        read_table(path, "mtf")


@pytest.mark.parametrize(
    "name", ["0@a.mrcs", "a.mrcs", "1@", "@a.mrcs", "1.5@a.mrcs", "inf@a", "x@a"]
)
def test_image_names_that_say_no_image(tmp_path, name):
    names = np.array(["000001@a.mrcs", name], dtype=object)
    with pytest.raises(InputError, match=r"t\.star: rlnImageName of row 2 is .* like 000001@"):
        split_image_names(names, tmp_path / "t.star")


def test_image_names():
    names = np.array(["000001@a b/c@d.mrcs", "20@x"], dtype=object)
    stacks, indices = split_image_names(names, "t.star")
    assert stacks.tolist() == ["a b/c@d.mrcs", "x"]
    assert indices.tolist() == [0, 19]
