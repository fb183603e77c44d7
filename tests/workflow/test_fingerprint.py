"""The digest of an input tells another input apart, and is quick for any size."""

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from hpdp_dask.errors import InputError
from hpdp_dask.workflow import fingerprint as module
from hpdp_dask.workflow.fingerprint import fingerprint


def test_of_a_file_only_its_contents_count(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    one.write_bytes(b"map")
    two.write_bytes(b"map")
    other.write_bytes(b"mop")
    found = fingerprint(one)
    assert (found.path, found.bytes, found.files, found.sampled) == (str(one), 3, 1, False)
    # the documented recipe: size and name of every file, then the contents
    assert found.sha256 == hashlib.sha256(b"3:\0map").hexdigest()
    assert fingerprint(two).sha256 == found.sha256
    assert fingerprint(other).sha256 != found.sha256


def test_a_stack_is_known_by_its_metadata_and_contents(tmp_path: Path) -> None:
    path = tmp_path / "particles.zarr"
    group = zarr.create_group(path)
    images = group.create_array("images", shape=(8, 4, 4), chunks=(4, 4, 4), dtype="f4")
    images[:] = 1.0
    first = fingerprint(path)
    assert first.files > 2
    assert fingerprint(path) == first
    images[5, 0, 0] = 2.0
    second = fingerprint(path)
    assert second.sha256 != first.sha256
    group.attrs["normalized"] = True
    assert fingerprint(path).sha256 != second.sha256


def test_a_renamed_file_inside_is_another_input(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    folder.mkdir()
    (folder / "0").write_bytes(b"a")
    first = fingerprint(folder)
    (folder / "0").rename(folder / "1")
    assert fingerprint(folder).sha256 != first.sha256


def test_large_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(module, "_SAMPLE_BYTES", 100)
    folder = tmp_path / "stack"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for shard in range(5):
        (folder / f"shard{shard}").write_bytes(rng.bytes(5000))
    (folder / "zarr.json").write_bytes(b"{}" * 10)
    first = fingerprint(folder)
    assert first.sampled
    assert first.bytes == 25020

    def changed(name: str, place: int) -> bool:
        path = folder / name
        kept = path.read_bytes()
        path.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
        found = fingerprint(folder).sha256 != first.sha256
        path.write_bytes(kept)
        return found

    assert changed("zarr.json", 7)
    assert changed("shard0", 0)
    assert changed("shard4", 4999)
    assert not changed("shard2", 1000)  # between the blocks, as documented
    (folder / "shard3").write_bytes(rng.bytes(5000))
    assert fingerprint(folder).sha256 != first.sha256


def test_of_many_files_few_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WHOLE_BYTES", 0)
    for shard in range(200):
        (tmp_path / f"{shard:03}").write_bytes(b"1")
    read: list[str] = []
    monkeypatch.setattr(
        module, "_add_contents", lambda digest, path, *rest, **named: read.append(path.name)
    )
    assert fingerprint(tmp_path).files == 200
    assert 32 <= len(read) <= 64


def test_a_huge_file_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "huge.mrcs"
    with path.open("wb") as file:
        file.truncate(2**36)  # without blocks on the disk
    begin = time.perf_counter()
    found = fingerprint(path)
    assert time.perf_counter() - begin < 1.0
    assert found.bytes == 2**36
    assert found.sampled


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"dangling: this input cannot be read"):
        fingerprint(tmp_path)


def test_a_name_that_is_no_text_is_spelled_out(tmp_path: Path) -> None:
    path = tmp_path / b"caf\xe9.star".decode("utf-8", "surrogateescape")
    path.touch()
    assert fingerprint(path).path.endswith("caf\\xe9.star")
