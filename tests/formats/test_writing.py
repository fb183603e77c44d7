import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole


def test_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "table.star"
    with write_whole(path, 3) as file:
        file.write(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.star"
    path.write_bytes(b"old")
    with suppress(KeyboardInterrupt), write_whole(path, 3) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_tells_what_was_needed(tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    monkeypatch.setattr(
        "hpdp_dask.formats.writing.open",
        lambda path, mode: os.fdopen(os.open("/dev/full", os.O_WRONLY), mode),
        raising=False,
    )
    with (
        pytest.raises(InputError, match="disk is full: the file needs about 123456 bytes") as error,
        write_whole(tmp_path / "images.mrcs", 123456) as file,
    ):
        file.write(bytes(123456))
    assert isinstance(error.value.__cause__, OSError)
    assert error.value.__cause__.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"), [("no/images.mrcs", "No such file"), ("folder", "Is a directory")]
)
def test_a_place_that_cannot_be_written(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(InputError, match=f"{name}: cannot be written: {message}"),
        write_whole(tmp_path / name, 1) as file,
    ):
        file.write(b"x")


def test_errors_of_others_pass_as_they_are(tmp_path):
    with pytest.raises(ConnectionResetError), write_whole(tmp_path / "a", 1):
        raise ConnectionResetError
    assert not list(tmp_path.iterdir())
