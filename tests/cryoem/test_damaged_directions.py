"""Directions of an interrupted run that cannot be read are named."""

import numpy as np
import pytest

from hpdp_dask.cryoem.heterogeneity.directions import Directions
from hpdp_dask.errors import BEGIN_ANEW, InputError


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = data.index(b"mean.npy") + 400
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda data: b"", lambda data: b"junk" * 99])
def test_damaged_directions(tmp_path, damage):
    file = tmp_path / "start.npz"
    volume = np.ones((8, 8, 8), np.float32)
    Directions(volume, volume[None], np.ones(5), np.ones(1), 4).save(file)
    assert Directions.read(file).radius == 4
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=r"start\.npz: is damaged") as caught:
        Directions.read(file)
    assert str(caught.value).endswith(BEGIN_ANEW)


def test_another_archive(tmp_path):
    np.savez(tmp_path / "start.npz", volume=np.ones(3))
    with pytest.raises(InputError, match=r"start\.npz: is damaged"):
        Directions.read(tmp_path / "start.npz")
