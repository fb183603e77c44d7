"""How elements scatter X-rays: tables of xraydb."""

from __future__ import annotations

import numpy as np

from hpdp_dask.errors import InputError


def xray_form_factor(element: str, s: np.ndarray) -> np.ndarray:
    """Give the form factor of a neutral atom at rest, without anomalous scattering.

    Parameters
    ----------
    element : str
        Symbol.
    s : (...) ndarray
        `sin(theta) / wavelength`, half the length of the scattering vector, 1/Å; up to 6.

    Returns
    -------
    (...) ndarray of float64
        Electrons: five Gaussians and a constant (Waasmaier & Kirfel 1995, Acta Cryst. A51, 416),
        as xraydb has them.

    Raises
    ------
    InputError
        The table does not have the element.
    """
    import xraydb

    flat = np.asarray(s, dtype=np.float64).ravel()
    try:
        found = xraydb.f0(element, flat)
    except ValueError as error:
        raise InputError(
            f"no X-ray form factor is known for the element {element!r}; take it out of the model "
            "or name another element for it."
        ) from error
    return np.asarray(found, dtype=np.float64).reshape(np.shape(s))
