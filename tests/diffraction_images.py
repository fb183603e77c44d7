"""Files of diffraction images, written without the package."""

import struct

import h5py
import numpy as np

MINI_HEADER = """# Detector: PILATUS3 300K, S/N 1-001
# Pixel_size {pixel}e-6 m x {pixel}e-6 m
# Count_cutoff 1000 counts
# Wavelength {wavelength} A
# Detector_distance {distance} m
# Beam_xy ({x}, {y}) pixels
# Detector_2theta {two_theta} deg."""


def images(number, shape=(30, 41), seed=3):
    """Counts with a gap of rows of -1 and a bad pixel of -2."""
    made = np.random.default_rng(seed).poisson(3.0, (number, *shape)).astype(np.int32)
    made[:, 10:12] = -1
    made[:, 3, 4] = -2
    made[:, 20, 20] = 70_000
    return made


def write_cbf(path, image, header=True, **changed):
    """Write a mini-CBF with fabio."""
    from fabio.cbfimage import CbfImage

    values = {
        "pixel": 172,
        "wavelength": 0.9686,
        "distance": 0.2,
        "x": 20.5,
        "y": 15.25,
        "two_theta": 0.0,
    } | changed
    text = {
        "_array_data.header_convention": "PILATUS_1.2",
        "_array_data.header_contents": MINI_HEADER.format(**values),
    }
    CbfImage(data=image, header=text if header else {}).write(str(path))
    return path


def write_smv(path, image, big=False, **entries):
    """Write an SMV file by hand."""
    known = {
        "HEADER_BYTES": "512",
        "DIM": "2",
        "BYTE_ORDER": "big_endian" if big else "little_endian",
        "TYPE": "unsigned_short",
        "SIZE1": str(image.shape[1]),
        "SIZE2": str(image.shape[0]),
        "PIXEL_SIZE": "0.1024",
        "DISTANCE": "250.0",
        "WAVELENGTH": "1.1",
        "BEAM_CENTER_X": "1.536",
        "BEAM_CENTER_Y": "2.048",
        "CCD_IMAGE_SATURATION": "65535",
    } | entries
    text = "{\n" + "".join(f"{name}={value};\n" for name, value in known.items() if value) + "}\n"
    numbers = image.astype(">u2" if big else "<u2").tobytes()
    path.write_bytes(text.encode().ljust(512) + numbers)
    return path


def write_marccd(path, image, order="<", **entries):
    """Write a MarCCD file by hand: the TIFF around it, its header and the numbers."""
    rows, columns = image.shape
    header = bytearray(3072)
    header[4:7] = b"MMX"
    known = {
        80: columns,
        84: rows,
        88: 2,
        104: 65535,
        640: 180_000,
        644: 20_500,
        648: 15_250,
        668: 0,
        772: 79_000,
        908: 97_950,
    } | {int(offset.removeprefix("at_")): value for offset, value in entries.items()}
    for offset, value in known.items():
        struct.pack_into(f"{order}i", header, offset, value)
    tags = [
        (256, 4, columns),
        (257, 4, rows),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 4096),
        (277, 3, 1),
        (278, 4, rows),
        (279, 4, 2 * image.size),
    ]
    start = b"II*\0" if order == "<" else b"MM\0*"
    tiff = bytearray(start + struct.pack(f"{order}IH", 8, len(tags)))
    for tag, kind, value in tags:
        packed = struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *([value, 0][: 5 - kind]))
        tiff += struct.pack(f"{order}HHI", tag, kind, 1) + packed
    tiff += bytes(4)
    path.write_bytes(bytes(tiff.ljust(1024, b"\0") + header) + image.astype(f"{order}u2").tobytes())
    return path


def write_eiger(folder, frames, mask=None, name="x", files=2, packed=None, **changed):
    """Write a master file of an Eiger and its data files."""
    parts = np.array_split(np.arange(len(frames)), files)
    for index, part in enumerate(parts, 1):
        with h5py.File(folder / f"{name}_data_{index:06d}.h5", "w") as file:
            file.create_dataset(
                "entry/data/data",
                data=frames[part],
                chunks=(1, *frames.shape[1:]),
                **(packed or {}),
            )
    numbers = {
        "instrument/detector/x_pixel_size": (7.5e-5, "m"),
        "instrument/detector/y_pixel_size": (7.5e-5, "m"),
        "instrument/detector/detector_distance": (0.15, "m"),
        "instrument/detector/beam_center_x": (20.5, "pixel"),
        "instrument/detector/beam_center_y": (15.25, "pixel"),
        "instrument/detector/detectorSpecific/countrate_correction_count_cutoff": (9999, ""),
        "instrument/beam/incident_wavelength": (1.0332, "angstrom"),
    } | {name.replace("__", "/"): value for name, value in changed.items()}
    master = folder / f"{name}_master.h5"
    with h5py.File(master, "w") as file:
        entry = file.create_group("entry")
        for index in range(1, files + 1):
            link = h5py.ExternalLink(f"{name}_data_{index:06d}.h5", "/entry/data/data")
            entry[f"data/data_{index:06d}"] = link
        for key, value in numbers.items():
            if value is not None:
                entry[key] = value[0]
                if value[1]:
                    entry[key].attrs["units"] = value[1]
        if mask is not None:
            entry["instrument/detector/detectorSpecific/pixel_mask"] = mask
    return master
