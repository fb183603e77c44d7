"""Particles on disk as RELION has them, written without the package under test."""

from pathlib import Path

import mrcfile
import numpy as np

PARTICLE_COLUMNS = {
    "rlnDefocusU": 15000.0,
    "rlnDefocusV": 14000.0,
    "rlnDefocusAngle": 30.0,
    "rlnAngleRot": 10.0,
    "rlnAngleTilt": 20.0,
    "rlnAnglePsi": 30.0,
    "rlnOriginXAngst": 1.5,
    "rlnOriginYAngst": -2.5,
    "rlnMicrographName": "Micrographs/a.mrc",
    "rlnGroupNumber": 7,
}


def noise(number: int, box: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((number, box, box), np.float32)


def write_mrcs(path: Path, images: np.ndarray, pixel_size: float = 1.3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, images, overwrite=True) as file:
        file.set_image_stack()
        file.voxel_size = pixel_size


def write_star(
    path: Path,
    names: list[str],
    columns: dict[str, object] | None = None,
    optics: str = "1 opticsGroup1 300 2.7 0.1 1.3 16",
    groups: list[int] | None = None,
) -> Path:
    """Write a star file of version 3.1; a column's value is one for all rows, or a list."""
    columns = {**PARTICLE_COLUMNS, **(columns or {})}
    values = {
        name: value if isinstance(value, list) else [value] * len(names)
        for name, value in columns.items()
        if value is not None
    }
    lines = ["data_optics", "", "loop_"]
    lines += [
        f"_{label}"
        for label in (
            "rlnOpticsGroup",
            "rlnOpticsGroupName",
            "rlnVoltage",
            "rlnSphericalAberration",
            "rlnAmplitudeContrast",
            "rlnImagePixelSize",
            "rlnImageSize",
        )
    ]
    lines += [optics, "", "data_particles", "", "loop_", "_rlnImageName", "_rlnOpticsGroup"]
    lines += [f"_{label}" for label in values]
    for row, name in enumerate(names):
        group = groups[row] if groups else 1
        lines.append(" ".join([name, str(group), *(str(value[row]) for value in values.values())]))
    path.write_text("\n".join(lines) + "\n")
    return path


def make_project(folder: Path, number: int = 10, box: int = 16) -> tuple[Path, np.ndarray]:
    """Write `particles.star` and `stack.mrcs`: the star file and the images."""
    images = noise(number, box)
    write_mrcs(folder / "stack.mrcs", images)
    names = [f"{i + 1:06d}@stack.mrcs" for i in range(number)]
    return write_star(folder / "particles.star", names), images


def spoil(path: Path, *images: tuple[int, float]) -> None:
    """Put a value into a pixel of each of some images."""
    with mrcfile.mmap(path, "r+") as file:
        for image, value in images:
            file.data[image, 3, 4] = value
