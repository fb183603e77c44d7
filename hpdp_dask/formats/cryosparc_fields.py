"""cryoSPARC's names of what a particle table holds, and what it holds in all of them."""

FORMAT = "cryosparc"

#: Block of the source tables that keeps how many bytes each text field has.
WIDTHS = "text_bytes"

IMAGE = ("blob/path", "blob/idx")
MICROGRAPH = "location/micrograph_path"
COORDINATE = (
    "location/center_x_frac",
    "location/center_y_frac",
    "location/micrograph_shape",
)

#: Fields of real numbers of a particle.
NUMBERS = {
    "defocus_u": "ctf/df1_A",
    "defocus_v": "ctf/df2_A",
    "defocus_angle": "ctf/df_angle_rad",
    "phase_shift": "ctf/phase_shift_rad",
}
#: Those that are radians there and degrees here.
ANGLES = ("defocus_angle", "phase_shift")

OPTICS_GROUP = "ctf/exp_group_id"
#: Fields of real numbers of an optics group.
OPTICS = {
    "voltage": "ctf/accel_kv",
    "spherical_aberration": "ctf/cs_mm",
    "amplitude_contrast": "ctf/amp_contrast",
    "pixel_size": "blob/psize_A",
}

#: Where poses may be, best first.
ALIGNMENTS = ("alignments3D", "alignments_class_0", "alignments2D")
