import errno
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from star_project import make_project, write_star

from hpdp_dask.cryoem.export_particles import export_particles
from hpdp_dask.cryoem.import_particles import import_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats import cryosparc, star
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import new_stack, open_stack, staging, write_images

READ = {".star": star.read_particles, ".cs": cryosparc.read_particles}


def images_of(path):
    with warnings.catch_warnings():  # real files, of programs that leave fields empty
        warnings.simplefilter("ignore", RuntimeWarning)
        with mrcfile.open(path, permissive=True) as file:
            return file.data.copy()


def assert_same_particles(back, table, but=()):
    """Everything that the file says is there again: schema, optics, unknown columns."""
    for name, values in table.particles.items():
        if name in but:
            continue
        if values.dtype == object:
            np.testing.assert_array_equal(back.particles[name], values)
        else:
            np.testing.assert_allclose(back.particles[name], values, rtol=1e-6, atol=1e-5)
    for name, values in table.optics.items():
        np.testing.assert_allclose(back.optics[name], values, rtol=1e-6)
    for left, right in [
        (back.source.particles, table.source.particles),
        (back.source.optics, table.source.optics),
    ]:
        assert [name for name in left if name in right] == list(right)
        for name, values in right.items():
            if name not in but:
                np.testing.assert_array_equal(left[name], values)


@pytest.mark.parametrize(
    ("name", "image_name"),
    [
        ("relion31.star", "relion31.mrcs"),
        ("empiar_10076_7.star", "empiar_10076_7.mrc"),
        ("empiar_10076_7.cs", "empiar_10076_7.mrc"),
        ("sample_particles_relion30.star", "sample.mrcs"),
        ("sample_particles_relion31.star", "sample.mrcs"),
    ],
)
def test_real_particles_go_to_zarr_and_back(test_data, tmp_path, name, image_name):
    file = test_data / "cryoem/real" / name
    import_particles([file], tmp_path / "p.zarr")
    output = tmp_path / ("again" + file.suffix)
    summary = export_particles(tmp_path / "p.zarr", output)
    assert summary.image_path == tmp_path / "again.mrcs"
    assert {path.name for path in tmp_path.iterdir()} == {"again.mrcs", output.name, "p.zarr"}
    before, after = READ[file.suffix](file), READ[file.suffix](output)
    sign = -1 if "contrast_sign" in before.particles else 1
    np.testing.assert_array_equal(
        images_of(tmp_path / "again.mrcs"), sign * images_of(file.with_name(image_name))
    )
    images = {"contrast_sign", "rlnImageName", "blob/path", "blob/sign"}
    assert_same_particles(after, before, but=images)
    assert after.image_files == [tmp_path / "again.mrcs"]
    np.testing.assert_array_equal(after.image_index, np.arange(summary.number))
    with mrcfile.open(tmp_path / "again.mrcs") as mrc:
        assert float(mrc.voxel_size.x) == pytest.approx(before.optics["pixel_size"][0], rel=1e-6)
    # white now, and said to be white: the same stack comes in again
    import_particles([output], tmp_path / "q.zarr")
    number = summary.number
    np.testing.assert_array_equal(
        ImageReader(tmp_path / "q.zarr").read(0, number),
        ImageReader(tmp_path / "p.zarr").read(0, number),
    )
    np.testing.assert_array_equal(
        open_stack(tmp_path / "q.zarr").half_set, open_stack(tmp_path / "p.zarr").half_set
    )


def test_metadata_of_real_files_come_back(test_data, tmp_path):
    """Every star and cs file of the test data, without its images."""
    folder = test_data / "cryoem"
    files = [
        *folder.glob("real/*.star"),
        *folder.glob("real/*.cs"),
        *folder.glob("cryosparc/*"),
        *folder.glob("goldens/*_centered.star"),
    ]
    assert len(files) >= 12
    for number, file in enumerate(files):
        suffix = ".cs" if ".cs" in file.name else ".star"
        stack, output = tmp_path / f"{number}.zarr", tmp_path / f"{number}{suffix}"
        import_particles([file], stack, metadata_only=True)
        summary = export_particles(stack, output, images=False)
        assert summary.image_path is None
        before, after = READ[suffix](file), READ[suffix](output)
        assert_same_particles(after, before)
        np.testing.assert_array_equal(after.image_index, before.image_index)


def test_star_becomes_cs_and_cs_becomes_star(test_data, tmp_path):
    file = test_data / "cryoem/real/relion31.star"
    import_particles([file], tmp_path / "p.zarr")
    export_particles(tmp_path / "p.zarr", tmp_path / "a.cs")
    import_particles([tmp_path / "a.cs"], tmp_path / "q.zarr")
    export_particles(tmp_path / "q.zarr", tmp_path / "b.star")
    before, after = star.read_particles(file), star.read_particles(tmp_path / "b.star")
    for name in ("shift", "defocus_u", "defocus_v", "defocus_angle"):
        np.testing.assert_allclose(
            after.particles[name], before.particles[name], rtol=1e-5, atol=1e-4
        )
    np.testing.assert_allclose(after.optics["pixel_size"], before.optics["pixel_size"], rtol=1e-6)
    np.testing.assert_array_equal(
        images_of(tmp_path / "b.mrcs"), images_of(file.with_suffix(".mrcs"))
    )


def test_metadata_alone_name_the_imported_files(tmp_path):
    source, _ = make_project(tmp_path / "project")
    import_particles([source], tmp_path / "p.zarr", invert_contrast=True)
    summary = export_particles(tmp_path / "p.zarr", tmp_path / "meta.star", images=False)
    table = star.read_particles(tmp_path / "meta.star")
    assert table.image_files == [tmp_path / "project" / "stack.mrcs"]
    assert not (tmp_path / "meta.mrcs").exists()
    (warning,) = summary.warnings
    assert "inverted" in warning


def test_half_precision_stays(tmp_path):
    source, images = make_project(tmp_path)
    import_particles([source], tmp_path / "p.zarr", precision="float16")
    export_particles(tmp_path / "p.zarr", tmp_path / "half.star")
    found = images_of(tmp_path / "half.mrcs")
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, images.astype(np.float16))


def test_rescaled_images_are_described_as_they_are(tmp_path):
    """A stack in a smaller box has a larger pixel; the files that it came from do not."""
    source, _ = make_project(tmp_path)
    import_particles([source], tmp_path / "p.zarr")
    stack = open_stack(tmp_path / "p.zarr").drop_vars("images")
    stack["pixel_size"] = stack["pixel_size"].copy(data=[2.6])
    with staging(tmp_path / "q.zarr") as partial:
        new_stack(partial, stack, 10, 8)
        write_images(partial, 0, np.zeros((10, 8, 8), np.float32))
    export_particles(tmp_path / "q.zarr", tmp_path / "small.star")
    table = star.read_particles(tmp_path / "small.star")
    assert table.optics["pixel_size"].tolist() == [2.6]
    assert table.source.optics["rlnImageSize"].tolist() == [8]
    np.testing.assert_allclose(table.particles["shift"], [[1.5, -2.5]] * 10)
    export_particles(tmp_path / "q.zarr", tmp_path / "meta.star", images=False)
    table = star.read_particles(tmp_path / "meta.star")
    assert table.optics["pixel_size"].tolist() == [1.3]
    assert table.source.optics["rlnImageSize"].tolist() == [16]


def test_many_blocks_make_the_same_file(tmp_path, monkeypatch):
    source, images = make_project(tmp_path)
    import_particles([source], tmp_path / "p.zarr", images_per_shard=4)
    monkeypatch.setattr("hpdp_dask.cryoem.export_particles.BLOCK_BYTES", 3 * 1024)
    export_particles(tmp_path / "p.zarr", tmp_path / "a.star")
    np.testing.assert_array_equal(images_of(tmp_path / "a.mrcs"), images)


def test_bad_exports_leave_nothing(tmp_path):
    source, _ = make_project(tmp_path / "project")
    stack = tmp_path / "p.zarr"
    import_particles([source], stack)
    out = tmp_path / "out"
    out.mkdir()

    def refused(match, path, **options):
        before = sorted(out.rglob("*"))
        with pytest.raises(InputError, match=match):
            export_particles(stack, path, **options)
        assert sorted(out.rglob("*")) == before

    refused(r"must end in \.star or \.cs", out / "p.txt")
    refused("no such folder; make it first", out / "none" / "p.star")
    (out / "p.mrcs").write_bytes(b"mine")
    refused(r"p\.mrcs exists; .*--overwrite", out / "p.star")
    shard = stack / "images/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    refused("checksum", out / "p.star", overwrite=True)
    assert (out / "p.mrcs").read_bytes() == b"mine"
    with pytest.raises(InputError, match="no such stack"):
        export_particles(tmp_path / "none.zarr", out / "q.star")


def test_an_export_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    source, _ = make_project(tmp_path)
    import_particles([source], tmp_path / "p.zarr")

    def forbidden(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(InputError, match=r"a\.star: cannot be made in .*\(Permission denied\)"):
        export_particles(tmp_path / "p.zarr", tmp_path / "a.star")


def test_a_stack_without_images_is_exported_without(tmp_path):
    source = write_star(tmp_path / "p.star", ["1@far/away.mrcs"])
    import_particles([source], tmp_path / "p.zarr", metadata_only=True)
    with pytest.raises(InputError, match=r"no images; export it with --no-images"):
        export_particles(tmp_path / "p.zarr", tmp_path / "q.star")
    export_particles(tmp_path / "p.zarr", tmp_path / "q.star", images=False)
    export_particles(tmp_path / "p.zarr", tmp_path / "q.star", images=False, overwrite=True)
    assert star.read_particles(tmp_path / "q.star").image_index.tolist() == [0]
