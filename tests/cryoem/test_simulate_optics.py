"""CTFs of simulated images: from ranges and from measured rows."""

from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.cryoem.simulate import CtfRange, HingeRange, HingeStates
from hpdp_dask.cryoem.simulate.optics import draw_optics, read_ctf
from hpdp_dask.errors import InputError


def test_ranges_are_kept_and_filled() -> None:
    ctf = CtfRange(defocus=(10_000.0, 20_000.0), astigmatism=600.0, voltage=200.0)
    particles, optics = draw_optics(ctf, 4000, 1.5, np.random.default_rng(0))
    u, v = particles["defocus_u"], particles["defocus_v"]
    mean = (u + v) / 2.0
    assert 10_000.0 <= mean.min() < 10_100.0 < 19_900.0 < mean.max() <= 20_000.0
    assert 0.0 <= (u - v).min() < (u - v).max() <= 600.0
    angle = particles["defocus_angle"]
    assert 0.0 <= angle.min() < angle.max() < 180.0
    assert {name: values.tolist() for name, values in optics.items()} == {
        "voltage": [200.0],
        "spherical_aberration": [2.7],
        "amplitude_contrast": [0.1],
        "pixel_size": [1.5],
    }
    assert not particles["optics_group"].any()


def test_measured_rows_of_an_array(test_data: Path) -> None:
    path = test_data / "cryoem" / "ctf" / "empiar10028_ctf.npz"
    rows = read_ctf(path)
    ctf = np.load(path)["ctf"]
    np.testing.assert_array_equal(rows["defocus_v"], ctf[:, 3])
    np.testing.assert_array_equal(rows["spherical_aberration"], ctf[:, 6])
    np.testing.assert_array_equal(rows["phase_shift"], ctf[:, 8])
    particles, optics = draw_optics(path, 500, 2.0, np.random.default_rng(1))
    assert optics["pixel_size"].tolist() == [2.0]
    assert optics["voltage"].tolist() == [300.0]
    drawn = np.stack([particles[name] for name in ("defocus_u", "defocus_v", "defocus_angle")], 1)
    known = {tuple(row) for row in ctf[:, 2:5].astype(np.float64).tolist()}
    assert all(tuple(row) in known for row in drawn.tolist())


def test_measured_rows_of_a_star(test_data: Path) -> None:
    """Five rows make seven images, none left out."""
    path = test_data / "cryoem" / "real" / "relion31.star"
    rows = read_ctf(path)
    particles, optics = draw_optics(path, 5, 2.0, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(particles["defocus_u"]), np.sort(rows["defocus_u"]))
    group = particles["optics_group"]
    assert set(optics["voltage"][group]) == set(rows["voltage"])
    assert len(draw_optics(path, 7, 2.0, np.random.default_rng(1))[0]["defocus_u"]) == 7


def test_optics_groups_are_kept_apart(test_data: Path, tmp_path: Path) -> None:
    ctf = np.zeros((6, 9))
    ctf[:, 2:4], ctf[:, 5] = 1e4, [300.0, 200.0] * 3
    ctf[:, 6], ctf[:, 7] = 2.7, [0.1, 0.1, 0.1, 0.07, 0.1, 0.07]
    path = tmp_path / "ctf.npz"
    np.savez(path, ctf=ctf)
    particles, optics = draw_optics(path, 6, 1.0, np.random.default_rng(2))
    assert len(optics["voltage"]) == 3
    group = particles["optics_group"]
    found = sorted(zip(optics["voltage"][group], optics["amplitude_contrast"][group], strict=True))
    assert found == sorted(map(tuple, ctf[:, [5, 7]].tolist()))


def test_files_that_hold_no_ctf_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "ctf.txt"
    other.write_text("1 2 3")
    with pytest.raises(InputError, match=r"expected CTFs as a \.star"):
        read_ctf(other)
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"not an archive")
    with pytest.raises(InputError, match=r"cannot be read as an \.npz"):
        read_ctf(broken)
    with pytest.raises(InputError, match=r"cannot be read as an \.npz"):
        read_ctf(tmp_path / "absent.npz")
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, ctf=np.zeros((4, 3)))
    with pytest.raises(InputError, match=r"expected an array ctf of 9 columns .*found \(4, 3\)"):
        read_ctf(wrong)
    holes = tmp_path / "holes.npz"
    np.savez(holes, ctf=np.full((4, 9), np.nan))
    with pytest.raises(InputError, match="defocus_u is not known for all rows"):
        read_ctf(holes)
    poses = tmp_path / "poses.star"
    poses.write_text("data_\n\nloop_\n_rlnImageName #1\n_rlnAngleRot #2\n1@a.mrcs 3.0\n")
    with pytest.raises(InputError, match="defocus_u is not known"):
        read_ctf(poses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"defocus": (2e4, 1e4)}, "the least, then the greatest"),
        ({"astigmatism": -1.0}, "astigmatism is -1.0"),
        ({"amplitude_contrast": 1.5}, "amplitude_contrast is 1.5, expected 0 to 1"),
        ({"voltage": float("nan")}, "voltage is nan"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CtfRange(**options)


def test_conformations_have_the_shares_that_were_asked_for() -> None:
    rng = np.random.default_rng(4)
    angles, classes = HingeStates((0.0, 40.0), (3.0, 1.0)).draw(8000, rng)
    assert (classes == np.where(angles == 40.0, 2, 1)).all()
    assert (classes == 2).mean() == pytest.approx(0.25, abs=0.02)
    turned, one = HingeRange(-10.0, 30.0).draw(8000, rng)
    assert -10.0 <= turned.min() < -9.9 < 29.9 < turned.max() <= 30.0
    assert (one == 1).all()
    steps, weights = HingeRange(-10.0, 30.0).distribution()
    assert steps @ weights == pytest.approx(10.0)
    assert weights.sum() == pytest.approx(1.0)
    for wrong in (((), ()), ((0.0,), (-1.0,)), ((0.0, 1.0), (1.0,))):
        with pytest.raises(InputError, match="expected a positive weight"):
            HingeStates(*wrong)
    with pytest.raises(InputError, match="finite"):
        HingeRange(0.0, float("inf"))
