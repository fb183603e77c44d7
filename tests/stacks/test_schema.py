import numpy as np
import pytest
import xarray as xr

from hpdp_dask.errors import InputError
from hpdp_dask.stacks.schema import check_particles

OPTICS = ("voltage", "amplitude_contrast", "pixel_size")


def stack(groups=(0, 0), **optics):
    values = {"voltage": [300.0], "amplitude_contrast": [0.1], "pixel_size": [1.3], **optics}
    return xr.Dataset(
        {
            "optics_group": ("particle", np.array(groups)),
            **{name: ("optics", np.array(value)) for name, value in values.items()},
        },
        attrs={"path": "/p.zarr"},
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("voltage", 0.0, r"voltage is 0, expected 60 to 400 kV;"),
        ("voltage", -300.0, r"voltage is -300, expected 60 to 400 kV;"),
        ("voltage", 30.0, r"voltage is 30, expected 60 to 400 kV; mend"),
        ("voltage", 300000.0, r"voltage is 300000, expected 60 to 400 kV; is it in V\?"),
        ("amplitude_contrast", 10.0, r"amplitude_contrast is 10, expected a fraction"),
        ("amplitude_contrast", -1.1, r"amplitude_contrast is -1\.1, expected a fraction"),
        ("pixel_size", 0.0, r"pixel_size is 0, expected a positive number of Å"),
        ("pixel_size", -1.3, r"pixel_size is -1\.3, expected a positive number of Å"),
        ("pixel_size", np.nan, r"pixel_size is not known for 1 of 1 entries"),
    ],
)
def test_impossible_optics_are_refused(name, value, message):
    spoilt = stack(**{name: [value]})
    with pytest.raises(InputError, match=rf"^/p\.zarr: {message}"):
        check_particles(spoilt, OPTICS)
    check_particles(spoilt)  # of no concern to a stage that does not need it
    # nor in a group without particles
    good = float(stack()[name][0])
    others = {other: [float(stack()[other][0])] * 2 for other in OPTICS}
    check_particles(stack(**{**others, name: [good, value]}), OPTICS)
    with pytest.raises(InputError, match=name):
        check_particles(stack((0, 1), **{**others, name: [good, value]}), OPTICS)


def test_the_ends_of_what_is_possible_pass():
    for voltage in (60.0, 400.0):
        for contrast in (-1.0, 1.0):
            check_particles(stack(voltage=[voltage], amplitude_contrast=[contrast]), OPTICS)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("half_set", 1, 2, r"half_set of row 1 \(counted from 0\) is 2, expected 0 or 1; mend"),
        ("half_set", 2, -1, r"half_set of row 2 \(counted from 0\) is -1, expected 0 or 1; mend"),
        ("optics_group", 2, 1, r"optics_group of row 2 \(counted from 0\) is 1, expected 0 to 0;"),
        (
            "optics_group",
            1,
            -1,
            r"optics_group of row 1 \(counted from 0\) is -1, expected 0 to 0;",
        ),
        ("shift", 2, np.inf, r"shift of row 2 \(counted from 0\) is infinite, expected a finite"),
        ("euler_angles", 0, -np.inf, r"euler_angles of row 0 \(counted from 0\) is infinite,"),
        ("defocus_u", 1, np.inf, r"defocus_u of row 1 \(counted from 0\) is infinite,"),
        ("defocus_u", 1, np.nan, r"defocus_u is not known for 1 of 3 entries, the first in row 1"),
        ("spherical_aberration", 0, np.inf, r"spherical_aberration of optics group 0 .* infinite"),
    ],
)
def test_rows_that_are_impossible_are_refused(name, place, value, message):
    good = stack((0, 0, 0), spherical_aberration=[2.7]).assign(
        half_set=("particle", np.array([0, 1, 1])),
        shift=(("particle", "axis"), np.zeros((3, 2))),
        euler_angles=(("particle", "angle"), np.zeros((3, 3))),
        defocus_u=("particle", np.full(3, 1e4)),
    )
    needed = ("voltage", "shift", "euler_angles", "defocus_u", "spherical_aberration", "half_set")
    check_particles(good, (*needed, "optics_group"))
    values = good[name].values.copy()
    values[place] = value
    spoilt = good.assign({name: (good[name].dims, values)})
    with pytest.raises(InputError, match=rf"^/p\.zarr: {message}"):
        check_particles(spoilt, needed)
    check_particles(spoilt)  # of no concern to what does not need it
