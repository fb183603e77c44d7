"""Form factors of atoms against what every table of them says."""

import gemmi
import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.formats.xray_factors import xray_form_factor


@pytest.mark.parametrize("element", ["H", "C", "N", "O", "P", "S", "Fe", "Au", "Cf"])
def test_forward_scattering_is_the_number_of_electrons(element: str) -> None:
    number = gemmi.Element(element).atomic_number
    assert xray_form_factor(element, np.zeros(1))[0] == pytest.approx(number, rel=2e-3)


@pytest.mark.parametrize("element", ["C", "N", "O", "S"])
def test_they_agree_with_the_international_tables(element: str) -> None:
    """The four Gaussians of IT C 6.1.1.4, which gemmi has, are good up to s = 2."""
    s = np.linspace(0.0, 1.5, 31)
    table = gemmi.Element(element).it92
    expected = [table.calculate_sf(float(value) ** 2) for value in s]
    np.testing.assert_allclose(xray_form_factor(element, s), expected, atol=0.03)


def test_the_shape_is_kept() -> None:
    assert xray_form_factor("C", np.zeros((2, 3), np.float32)).shape == (2, 3)


def test_an_element_that_is_not_in_the_table() -> None:
    with pytest.raises(InputError, match="'Fm'"):
        xray_form_factor("Fm", np.zeros(1))
