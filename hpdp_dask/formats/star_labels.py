"""RELION's labels of what a particle table holds, in the schema's units unless told."""

#: Layouts of a STAR file of particles.
ONE_TABLE = "relion-3.0"
WITH_OPTICS = "relion-3.1"

IMAGE = "rlnImageName"
GROUP = "rlnOpticsGroup"
GROUP_NAME = "rlnOpticsGroupName"
HALF_SET = "rlnRandomSubset"
CLASS = "rlnClassNumber"
MICROGRAPH = "rlnMicrographName"

#: Columns of real numbers of a particle.
NUMBERS = {
    "defocus_u": ("rlnDefocusU",),
    "defocus_v": ("rlnDefocusV",),
    "defocus_angle": ("rlnDefocusAngle",),
    "phase_shift": ("rlnPhaseShift",),
    "euler_angles": ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"),
    "coordinate": ("rlnCoordinateX", "rlnCoordinateY"),
    "shift": ("rlnOriginXAngst", "rlnOriginYAngst"),
}
#: Shifts of RELION 3.0, in pixels.
SHIFT_PIXELS = ("rlnOriginX", "rlnOriginY")

#: Columns of real numbers of an optics group.
OPTICS = {
    "voltage": "rlnVoltage",
    "spherical_aberration": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
}
#: The pixel size in RELION 3.1, and as some programs write it into one table.
PIXEL_SIZES = ("rlnImagePixelSize", "rlnPixelSize")
#: Pixel size of the detector in micrometres and magnification, RELION 3.0.
DETECTOR = ("rlnDetectorPixelSize", "rlnMagnification")

#: Box and dimensions of the images of a group, which RELION 3.1 wants to be told.
IMAGE_SIZE = ("rlnImageSize", "rlnImageDimensionality")
