"""Corrections in a file that reconstruction leaves out."""

from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.cryoem.unapplied import unapplied_corrections
from hpdp_dask.errors import InputError
from hpdp_dask.formats.particles import SourceTables
from hpdp_dask.formats.star import read_particles

PATH = Path("particles.star")


def source_of(**optics: object) -> SourceTables:
    columns = {name: np.array([value]) for name, value in optics.items()}
    for name, values in columns.items():
        if values.dtype.kind == "U":
            columns[name] = values.astype(object)
    return SourceTables("relion-3.1", optics=columns)


def test_corrections_that_change_nothing_are_not_named() -> None:
    source = source_of(
        rlnBeamTiltX=0.0,
        rlnOddZernike="[0,0,0.0]",
        rlnMagMat00=1.0,
        rlnMagMat01=0.0,
        rlnCtfDataAreCtfPremultiplied=0,
    )
    assert unapplied_corrections(source, PATH) == []
    assert unapplied_corrections(None, PATH) == []


def test_corrections_that_change_something_are_named_once() -> None:
    source = source_of(
        rlnBeamTiltX=0.2, rlnBeamTiltY=-0.1, rlnOddZernike="[0,0.5,0]", rlnMagMat11=1.02
    )
    assert unapplied_corrections(source, PATH) == [
        "beam tilt",
        "antisymmetric aberrations",
        "anisotropic magnification",
    ]


@pytest.mark.parametrize("name", ["rlnCtfDataAreCtfPremultiplied", "rlnCtfDataArePhaseFlipped"])
def test_images_that_were_changed_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"particles.star: {name}"):
        unapplied_corrections(source_of(**{name: 1}), PATH)


def test_the_zernike_columns_of_a_real_file_are_named(test_data: Path) -> None:
    table = read_particles(test_data / "cryoem" / "real" / "relion31.6opticsgroups.star")
    assert "antisymmetric aberrations" in unapplied_corrections(table.source, table.path)
