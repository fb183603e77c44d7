import errno
import shutil
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from star_project import make_project, noise, spoil, write_mrcs, write_star

from hpdp_dask.cryoem import import_shards
from hpdp_dask.cryoem.import_particles import import_particles
from hpdp_dask.errors import InputError
from hpdp_dask.stacks import shard_writer
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import open_stack, to_table


@pytest.fixture(scope="module")
def cluster():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(params=["here", "dask"])
def client(request):
    return request.getfixturevalue("cluster") if request.param == "dask" else None


@pytest.fixture
def output(tmp_path):
    """Where the stack goes, in a folder of its own, so that leavings are seen."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "p.zarr"


def read(path):
    reader = ImageReader(path)
    return reader.read(0, reader.number)


def refused(match, inputs, output, **options):
    """Import, which must be refused with a message, and leave nothing."""
    with pytest.raises(InputError, match=match) as caught:
        import_particles(inputs, output, **options)
    assert list(output.parent.iterdir()) == []
    assert "\n" not in str(caught.value)


def test_images_and_table_arrive(tmp_path, output, client):
    star, images = make_project(tmp_path)
    summary = import_particles([star], output, client=client)
    assert (summary.number, summary.box, summary.pixel_size) == (10, 16, [1.3])
    assert summary.half_sets_drawn
    assert summary.warnings == summary.dropped == []
    np.testing.assert_array_equal(read(output), images)
    stack = open_stack(output)
    assert stack.attrs["half_set_source"] == "drawn, seed 0"
    assert stack.defocus_u.values.tolist() == [15000.0] * 10
    assert stack["shift"].values[3].tolist() == [1.5, -2.5]
    assert stack.image_file_name.values.tolist() == [str(tmp_path / "stack.mrcs")]
    with xr.open_zarr(output) as opened:
        assert opened.images.shape == (10, 16, 16)


@pytest.mark.parametrize("precision", ["float32", "float16", "rounded"])
def test_images_come_from_all_over_the_place(tmp_path, output, client, precision):
    stacks = {
        name: noise(20, seed=seed) for seed, name in enumerate(["a/x.mrcs", "b.mrcs", "c.mrc"])
    }
    for name, images in stacks.items():
        write_mrcs(tmp_path / name, images)
    random = np.random.default_rng(5)
    rows = [(list(stacks)[random.integers(3)], random.integers(20)) for _ in range(40)]
    rows += [("b.mrcs", i) for i in range(20)]  # a run
    rows = list(dict.fromkeys(rows))
    star = write_star(tmp_path / "p.star", [f"{index + 1}@{name}" for name, index in rows])
    import_particles([star], output, client=client, precision=precision, images_per_shard=8)
    expected = np.stack([stacks[name][index] for name, index in rows])
    reader = ImageReader(output)
    assert reader.layout.shards == -(-len(rows) // 8) > 4
    tolerance = 0 if precision == "float32" else 2.0**-11
    np.testing.assert_allclose(
        read(output), expected, rtol=tolerance, atol=1e-7 if tolerance else 0
    )


def test_small_blocks_make_the_same_stack(tmp_path, output, monkeypatch):
    star, images = make_project(tmp_path, number=30, box=32)
    monkeypatch.setattr(import_shards, "BLOCK_BYTES", 5 * 4096)
    import_particles([star], output, images_per_shard=10)
    np.testing.assert_array_equal(read(output), images)


def test_integers_become_real_numbers(tmp_path, output):
    images = (100 * noise(4)).astype(np.int16)
    write_mrcs(tmp_path / "stack.mrcs", images)
    star = write_star(tmp_path / "p.star", [f"{i}@stack.mrcs" for i in (4, 3, 2, 1)])
    import_particles([star], output)
    np.testing.assert_array_equal(read(output), images[::-1])


def test_contrast(tmp_path, output):
    star, images = make_project(tmp_path)
    import_particles([star], output, invert_contrast=True)
    np.testing.assert_array_equal(read(output), -images)
    assert open_stack(output).attrs["contrast_inverted"] == 1


def test_sign_of_cryosparc_is_applied(test_data, output):
    file = test_data / "cryoem/real/empiar_10076_7.cs"
    with mrcfile.open(file.with_suffix(".mrc"), permissive=True) as mrc:
        images = mrc.data.copy()
    import_particles([file], output)
    np.testing.assert_array_equal(read(output), -images)
    import_particles([file], output, invert_contrast=True, overwrite=True)
    np.testing.assert_array_equal(read(output), images)
    assert "contrast_sign" not in open_stack(output)


def test_bare_stacks_have_no_poses(tmp_path, output):
    first, second = noise(3), noise(2, seed=1)
    write_mrcs(tmp_path / "a.mrcs", first)
    write_mrcs(tmp_path / "b.mrcs", second)
    files = [tmp_path / "a.mrcs", tmp_path / "b.mrcs"]
    refused(r"a\.mrcs: gives no pixel size; .*--pixel-size .* says 1\.3;", files, output)
    import_particles(files, output, pixel_size=2.0)
    np.testing.assert_array_equal(read(output), np.concatenate([first, second]))
    assert "euler_angles" not in open_stack(output)


def test_metadata_only_needs_no_images(tmp_path, output):
    star = write_star(tmp_path / "p.star", ["1@far/away.mrcs", "2@far/away.mrcs"])
    summary = import_particles([star], output, metadata_only=True)
    assert (summary.number, summary.box) == (2, None)
    stack = open_stack(output)
    assert "images" not in stack
    assert stack.image_index.values.tolist() == [0, 1]


def test_images_are_found_in_a_given_folder(tmp_path, output):
    star, images = make_project(tmp_path / "images")
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.move(star, tmp_path / "elsewhere"))
    refused(r"stack\.mrcs does not exist; .*--image-folder.*--metadata-only", [moved], output)
    import_particles([moved], output, image_folder=tmp_path / "images")
    np.testing.assert_array_equal(read(output), images)


def test_options_fill_what_the_file_lacks(tmp_path, output):
    write_mrcs(tmp_path / "stack.mrcs", noise(2), pixel_size=0)
    (tmp_path / "p.star").write_text("data_\nloop_\n_rlnImageName\n1@stack.mrcs\n2@stack.mrcs\n")
    refused(r"p\.star: .*no pixel size.*--pixel-size", [tmp_path / "p.star"], output)
    import_particles(
        [tmp_path / "p.star"],
        output,
        pixel_size=1.1,
        voltage=200,
        spherical_aberration=2.7,
        amplitude_contrast=0.08,
    )
    stack = open_stack(output)
    assert [float(stack[name][0]) for name in ("pixel_size", "voltage", "amplitude_contrast")] == [
        1.1,
        200,
        0.08,
    ]


def test_what_the_file_says_counts_more_than_an_option(tmp_path, output):
    star, _ = make_project(tmp_path)
    summary = import_particles([star], output, pixel_size=2.0, voltage=300)
    assert summary.pixel_size == [1.3]
    (warning,) = summary.warnings
    assert "--pixel-size 2 is not used" in warning


def test_a_header_that_disagrees_is_told(tmp_path, output):
    star, images = make_project(tmp_path)
    write_mrcs(tmp_path / "stack.mrcs", images, pixel_size=2.6)
    summary = import_particles([star], output)
    (warning,) = summary.warnings
    assert "stack.mrcs (2.6 Å)" in warning
    assert "1.3 Å" in warning
    assert summary.pixel_size == [1.3]


def test_half_sets_come_from_the_seed_or_the_file(tmp_path, output):
    star, _ = make_project(tmp_path)
    drawn = []
    for seed in (1, 1, 2):
        import_particles([star], output, seed=seed, overwrite=True)
        drawn.append(open_stack(output).half_set.values.tolist())
    assert drawn[0] == drawn[1] != drawn[2]
    assert sum(drawn[0]) == 5
    names = [f"{i + 1}@stack.mrcs" for i in range(4)]
    write_star(star, names, {"rlnRandomSubset": [1, 2, 2, 2]})
    summary = import_particles([star], output, overwrite=True)
    assert not summary.half_sets_drawn
    assert open_stack(output).half_set.values.tolist() == [0, 1, 1, 1]


def test_star_files_are_joined(tmp_path, output):
    write_mrcs(tmp_path / "a.mrcs", noise(3))
    write_mrcs(tmp_path / "b.mrcs", noise(2, seed=1))
    names = [["1@a.mrcs", "2@a.mrcs"], ["2@b.mrcs", "3@a.mrcs"]]
    same, other = "1 og1 300 2.7 0.1 1.3 16", "1 og1 200 2.7 0.1 1.3 16\n2 og1 300 2.7 0.1 1.3 16"
    first = write_star(tmp_path / "1.star", names[0], {"rlnExtra": 5}, optics=same)
    second = write_star(tmp_path / "2.star", names[1], optics=other, groups=[1, 2])
    import_particles([first, second], output)
    stack = open_stack(output)
    assert stack.voltage.values.tolist() == [300, 200]
    assert stack.optics_group.values.tolist() == [0, 0, 1, 0]
    expected = [noise(3)[0], noise(3)[1], noise(2, seed=1)[1], noise(3)[2]]
    np.testing.assert_array_equal(read(output), np.stack(expected))
    source = to_table(stack).source
    assert source.particles["rlnOpticsGroup"].tolist() == [1, 1, 2, 1]
    assert source.optics["rlnOpticsGroup"].tolist() == [1, 2]
    assert source.optics["rlnOpticsGroupName"].tolist() == ["og1", "og1_2"]
    assert "rlnExtra" not in source.particles


def test_files_that_do_not_go_together(tmp_path, output, test_data):
    star, _ = make_project(tmp_path)
    posed = write_star(tmp_path / "q.star", ["1@stack.mrcs"], {"rlnAngleRot": None})
    refused(
        r"particles\.star gives euler_angles but .*q\.star does not; import them one by one",
        [star, posed],
        output,
    )
    old = test_data / "cryoem/real/sample_particles_relion30.star"
    refused("relion-3.0 but .* relion-3.1", [star, old], output)
    refused(r"\.mrcs, \.star cannot be read together", [star, tmp_path / "stack.mrcs"], output)
    refused("no such file", [tmp_path / "nothing.star"], output)
    refused("no particles were given", [], output)


def test_headers_are_checked_before_the_work(tmp_path, output):
    """Each wrong stack is named, and nothing is left."""
    star = write_star(tmp_path / "p.star", ["1@a.mrcs", "1@b.mrcs", "9@b.mrcs"])
    write_mrcs(tmp_path / "a.mrcs", noise(2))
    refused(r"b\.mrcs does not exist", [star], output)
    write_mrcs(tmp_path / "b.mrcs", noise(8))
    refused(r"p\.star: row 3 names image 9 of .*b\.mrcs, which holds 8", [star], output)
    write_mrcs(tmp_path / "b.mrcs", noise(9, box=18))
    refused(r"b\.mrcs: images of 18 pixels, but those of .*a\.mrcs have 16", [star], output)
    write_mrcs(tmp_path / "b.mrcs", noise(9)[:, :, :14].copy())
    refused(r"b\.mrcs: images of 14 x 16 pixels; particles must be square", [star], output)
    write_mrcs(tmp_path / "b.mrcs", noise(9))
    content = (tmp_path / "b.mrcs").read_bytes()
    (tmp_path / "b.mrcs").write_bytes(content[:-100])
    refused(
        rf"b\.mrcs: truncated: expected {len(content)} bytes .* found {len(content) - 100}",
        [star],
        output,
    )


def test_odd_boxes_are_refused(test_data, output):
    file = test_data / "cryoem/goldens/rln_proj_65_centered.star"
    refused("images of 65 pixels, an odd number", [file], output)


def test_images_that_are_not_finite_are_refused(tmp_path, output, client):
    star, _ = make_project(tmp_path)
    spoil(tmp_path / "stack.mrcs", (1, np.nan), (7, np.inf), (8, -np.inf), (9, np.nan))
    refused(
        r"particles\.star: 4 of 10 images hold NaN, infinity or one value only: "
        r"000002@.*stack\.mrcs, 000008@.*, 000009@.*, \.\.\.; leave them out with --drop-bad",
        [star],
        output,
        client=client,
        images_per_shard=4,
    )


def test_images_that_are_not_finite_are_left_out(tmp_path, output, client):
    star, images = make_project(tmp_path)
    names = [f"{i + 1}@stack.mrcs" for i in range(10)]
    write_star(star, names, {"rlnExtra": list(range(10))})
    spoil(tmp_path / "stack.mrcs", (1, np.nan), (7, np.inf))
    summary = import_particles([star], output, client=client, drop_bad=True, images_per_shard=4)
    file = tmp_path / "stack.mrcs"
    assert summary.dropped == [f"000002@{file}", f"000008@{file}"]
    assert summary.number == 8
    kept = [0, 2, 3, 4, 5, 6, 8, 9]
    np.testing.assert_array_equal(read(output), images[kept])
    stack = open_stack(output)
    assert stack.attrs["dropped"] == summary.dropped
    table = to_table(stack)
    assert table.source.particles["rlnExtra"].tolist() == kept
    assert table.image_index.tolist() == kept
    assert np.bincount(table.particles["half_set"]).tolist() == [4, 4]
    spoil(file, *((i, np.nan) for i in range(10)))
    shutil.rmtree(output)
    refused("all of its images hold NaN", [star], output, drop_bad=True)


def test_images_of_one_value_are_bad(tmp_path, output, client):
    star, images = make_project(tmp_path)
    images[4] = 2.5
    write_mrcs(tmp_path / "stack.mrcs", images)
    refused(
        r"1 of 10 images hold NaN, infinity or one value only: 000005@",
        [star],
        output,
        client=client,
    )
    summary = import_particles([star], output, client=client, drop_bad=True)
    assert summary.dropped == [f"000005@{tmp_path / 'stack.mrcs'}"]
    np.testing.assert_array_equal(read(output), np.delete(images, 4, axis=0))


def test_a_table_of_another_box_is_told(tmp_path, output):
    star, _ = make_project(tmp_path)
    names = [f"{i + 1}@stack.mrcs" for i in range(4)]
    write_star(star, names, optics="1 og1 300 2.7 0.1 1.3 64\n2 og2 300 2.7 0.1 1.3 16")
    (warning,) = import_particles([star], output).warnings
    assert warning.endswith(
        "particles.star: the table says 64 pixels, the stack has 16: is the pixel size that of "
        "these images?"
    )
    # a group without particles tells nothing
    write_star(
        star, names, optics="1 og1 300 2.7 0.1 1.3 64\n2 og2 300 2.7 0.1 1.3 16", groups=[2] * 4
    )
    assert import_particles([star], output, overwrite=True).warnings == []


def test_a_shape_of_cryosparc_that_is_another_is_told(test_data, tmp_path, output):
    file = test_data / "cryoem/real/empiar_10076_7.cs"
    rows = np.load(file)
    box = int(rows["blob/shape"][0, 0])
    rows["blob/shape"] = 2 * box
    shutil.copytree(file.parent, tmp_path / "real")
    with open(tmp_path / "real" / file.name, "wb") as changed:
        np.save(changed, rows)
    assert import_particles([file], output).warnings == []
    summary = import_particles([tmp_path / "real" / file.name], output, overwrite=True)
    assert any(f"says {2 * box} pixels, the stack has {box}" in text for text in summary.warnings)


def test_values_too_large_for_float16(tmp_path, output, client):
    star, _ = make_project(tmp_path)
    spoil(tmp_path / "stack.mrcs", (3, 1e5))
    refused("100000, more than float16", [star], output, client=client, precision="float16")


def test_wrong_options(tmp_path, output):
    star, _ = make_project(tmp_path)
    refused("precision 'float8' is not known", [star], output, precision="float8")
    refused("--pixel-size is -1, expected a positive number", [star], output, pixel_size=-1)
    refused("--pixel-size is 0, expected a positive number", [star], output, pixel_size=0)
    refused("--voltage is nan", [star], output, voltage=np.nan)
    refused("--voltage is 0, expected a positive number", [star], output, voltage=0)


def test_an_output_that_exists_stays(tmp_path, output):
    star, images = make_project(tmp_path)
    import_particles([star], output)
    with pytest.raises(InputError, match=r"p\.zarr exists; .*--overwrite"):
        import_particles([star], output, invert_contrast=True)
    np.testing.assert_array_equal(read(output), images)
    import_particles([star], output, invert_contrast=True, overwrite=True)
    np.testing.assert_array_equal(read(output), -images)
    assert list(output.parent.iterdir()) == [output]


def test_a_disk_too_small_is_seen_before(tmp_path, output, monkeypatch):
    star, _ = make_project(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5000))
    refused(r"out: the disk is full: .* about 20480 bytes, 5000 are free", [star], output)


@pytest.mark.parametrize("module", ["layout", "tables"])
def test_a_disk_that_fills_up_is_told(tmp_path, output, client, monkeypatch, module):
    star, _ = make_project(tmp_path)

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = {
        "layout": "hpdp_dask.stacks.shard_writer.checksum",
        "tables": "hpdp_dask.stacks.store.write_column",
    }[module]
    monkeypatch.setattr(target, full)
    refused(r"the disk is full: the stack needs about 20480 bytes", [star], output, client=client)


def test_tasks_that_end_late_leave_nothing(tmp_path, output, cluster, monkeypatch):
    star, _ = make_project(tmp_path)
    spoil(tmp_path / "stack.mrcs", (2, 1e5))
    checksum = shard_writer.checksum

    def slow(data):
        time.sleep(0.1)
        return checksum(data)

    monkeypatch.setattr(shard_writer, "checksum", slow)
    refused("float16", [star], output, client=cluster, precision="float16", images_per_shard=1)
    time.sleep(0.5)
    assert list(output.parent.iterdir()) == []
