import errno
import fcntl
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hpdp_dask.errors import InputError
from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import (
    new_stack,
    open_stack,
    staging,
    to_dataset,
    to_table,
    write_images,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
COLUMN_NAMES = st.lists(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
    )
    # what Zarr keeps for itself
    | st.sampled_from(["zarr.json", ".", "..", "__a"]),
    unique=True,
    max_size=4,
)


def columns(names, rows):
    return st.fixed_dictionaries(
        {
            name: st.one_of(
                npst.arrays(np.float64, rows, elements=st.floats(allow_nan=True)),
                npst.arrays(np.float32, (rows, 3), elements=st.floats(width=32)),
                npst.arrays(np.uint64, rows),
                npst.arrays(np.bool_, rows),
                st.lists(TEXT, min_size=rows, max_size=rows).map(
                    lambda texts: np.array(texts, object)
                ),
            )
            for name in names
        }
    )


@st.composite
def tables(draw):
    number = draw(st.integers(1, 12))
    groups = draw(st.integers(1, 3))
    reals = st.floats(-1e6, 1e6)
    particles = {
        "optics_group": draw(npst.arrays(np.int64, number, elements=st.integers(0, groups - 1)))
    }
    optional = {
        "euler_angles": npst.arrays(np.float64, (number, 3), elements=reals),
        "shift": npst.arrays(np.float64, (number, 2), elements=reals),
        "defocus_u": npst.arrays(np.float64, number, elements=reals),
        "half_set": npst.arrays(np.int64, number, elements=st.integers(0, 1)),
        "class_number": npst.arrays(np.int64, number, elements=st.integers(1, 50)),
        "micrograph": st.lists(TEXT, min_size=number, max_size=number).map(
            lambda names: np.array(names, object)
        ),
    }
    for name in draw(st.sets(st.sampled_from(sorted(optional)))):
        particles[name] = draw(optional[name])
    files = draw(st.lists(st.sampled_from(["/a/b.mrcs", "/c d/é.mrc", "/e.mrcs"]), unique=True))
    return ParticleTable(
        particles=particles,
        optics={
            name: draw(
                npst.arrays(np.float64, groups, elements=st.floats(0, 1e3) | st.just(np.nan))
            )
            for name in ("voltage", "spherical_aberration", "amplitude_contrast", "pixel_size")
        },
        image_files=[Path(file) for file in files],
        image_file=draw(npst.arrays(np.int32, number, elements=st.integers(-1, len(files) - 1))),
        image_index=draw(npst.arrays(np.int64, number, elements=st.integers(0, 2**31 - 1))),
        source=SourceTables(
            draw(st.sampled_from(["relion-3.0", "relion-3.1", "cryosparc"])),
            draw(columns(draw(COLUMN_NAMES), number)),
            draw(columns(draw(COLUMN_NAMES), 2)),
            {name: draw(columns(["a"], 1)) for name in draw(COLUMN_NAMES)},
        ),
        path=Path("/data/particles.star"),
    )


def assert_same_columns(left, right):
    assert list(left) == list(right)
    for name, values in left.items():
        assert values.dtype.kind == right[name].dtype.kind
        np.testing.assert_array_equal(values, right[name])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=tables(), seed=st.integers(0, 2**32))
def test_a_table_comes_back_from_its_stack(tmp_path_factory, table, seed):
    path = tmp_path_factory.mktemp("store") / "p.zarr"
    new_stack(path, to_dataset(table, seed), len(table), None, source=table.source)
    back = to_table(open_stack(path))
    for name, values in table.particles.items():
        np.testing.assert_array_equal(back.particles[name], values)
    for name, values in table.optics.items():
        np.testing.assert_array_equal(back.optics[name], values)
    assert back.image_files == table.image_files
    if table.image_files:
        np.testing.assert_array_equal(back.image_file, table.image_file)
        np.testing.assert_array_equal(back.image_index, table.image_index)
    assert back.source.format == table.source.format
    assert_same_columns(back.source.particles, table.source.particles)
    for name, values in table.source.particles.items():
        assert back.source.particles[name].dtype == values.dtype
    assert_same_columns(back.source.optics, table.source.optics)
    assert list(back.source.blocks) == list(table.source.blocks)
    for name, block in table.source.blocks.items():
        assert_same_columns(back.source.blocks[name], block)


def simple_table(number=20, **particles):
    return ParticleTable(
        particles={"optics_group": np.zeros(number, np.int64), **particles},
        optics={
            "voltage": np.array([300.0]),
            "spherical_aberration": np.array([2.7]),
            "amplitude_contrast": np.array([0.1]),
            "pixel_size": np.array([1.3]),
        },
        image_files=[],
        image_file=np.full(number, -1, np.int32),
        image_index=np.arange(number),
        source=SourceTables("relion-3.1", {"rlnTomoName": np.array(["t"] * number, object)}),
        path=Path("/data/particles.star"),
    )


def make(path, number=20, **options):
    table = simple_table(number)
    images = np.random.default_rng(0).standard_normal((number, 8, 8), np.float32)
    new_stack(path, to_dataset(table, 0), number, 8, source=table.source, **options)
    write_images(path, 0, images)
    return images


def test_half_sets_are_drawn_in_halves_from_the_seed():
    first, again, other = (to_dataset(simple_table(101), seed).half_set for seed in (1, 1, 2))
    assert sorted(np.bincount(first)) == [50, 51]
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.attrs["long_name"]


def test_half_sets_of_the_file_are_kept():
    given_sets = np.array([0, 0, 1, 0])
    dataset = to_dataset(simple_table(4, half_set=given_sets), 5)
    np.testing.assert_array_equal(dataset.half_set, given_sets)
    assert dataset.attrs["half_set_source"] == "file"


def test_xarray_opens_a_stack_without_a_word(tmp_path):
    path = tmp_path / "p.zarr"
    images = make(path)
    with xr.open_zarr(path) as stack:
        assert stack.images.dims == ("particle", "y", "x")
        np.testing.assert_array_equal(stack.images.values, images)
        assert stack.pixel_size.attrs["units"] == "Å"
    with xr.open_datatree(path, engine="zarr") as tree:
        assert "rlnTomoName" in tree["source/particles"]


def test_open_stack_is_lazy_and_knows_its_path(tmp_path):
    make(tmp_path / "p.zarr")
    stack = open_stack(tmp_path / "p.zarr")
    assert stack.attrs["path"] == str(tmp_path / "p.zarr")
    assert not isinstance(stack.images.variable._data, np.ndarray)
    assert stack.images[3:5].shape == (2, 8, 8)


def test_a_stack_made_from_a_stack_keeps_its_source(tmp_path):
    make(tmp_path / "p.zarr")
    table = open_stack(tmp_path / "p.zarr").drop_vars("images")
    new_stack(tmp_path / "q.zarr", table, 20, None)
    assert list(to_table(open_stack(tmp_path / "q.zarr")).source.particles) == ["rlnTomoName"]
    with pytest.raises(ValueError, match="20 particles, a table of 5"):
        new_stack(tmp_path / "r.zarr", table.isel(particle=slice(5)), 20, None)


def test_long_columns_are_cut_into_chunks(tmp_path):
    number = 70_000
    names = np.array([f"{i:06d}@stack.mrcs" for i in range(number)], object)
    table = simple_table(number, defocus_u=np.arange(number, dtype=float))
    table.source.particles = {"rlnImageName": names}
    new_stack(tmp_path / "p.zarr", to_dataset(table, 0), number, None, source=table.source)
    array = zarr.open_array(tmp_path / "p.zarr/defocus_u")
    assert array.chunks == (65_536,)
    assert array.shards == (131_072,)
    back = to_table(open_stack(tmp_path / "p.zarr"))
    np.testing.assert_array_equal(back.particles["defocus_u"], np.arange(number))
    np.testing.assert_array_equal(back.source.particles["rlnImageName"], names)


def test_only_whole_shards_are_written(tmp_path):
    path = tmp_path / "p.zarr"
    images = make(path, images_per_shard=8)
    for start, stop in [(4, 12), (0, 12), (8, 19), (16, 21)]:
        with pytest.raises(ValueError, match=f"images {start}:{stop} are not whole shards of 8"):
            write_images(path, start, np.zeros((stop - start, 8, 8), np.float32))
    write_images(path, 8, 2 * images[8:])
    np.testing.assert_array_equal(ImageReader(path).read(0, 8), images[:8])
    np.testing.assert_array_equal(ImageReader(path).read(8, 20), 2 * images[8:])


def test_what_is_no_stack_of_particles_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.zarr: no such stack"):
        open_stack(tmp_path / "none.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="a folder, but not a Zarr stack of particles; make one"):
        open_stack(tmp_path / "folder")
    zarr.create_group(tmp_path / "frames.zarr")
    with pytest.raises(InputError, match="not a stack of particles"):
        open_stack(tmp_path / "frames.zarr")


def test_a_stack_without_images_says_so(tmp_path):
    table = simple_table()
    new_stack(tmp_path / "p.zarr", to_dataset(table, 0), 20, None, source=table.source)
    with pytest.raises(InputError, match=r"p\.zarr: the stack has no images"):
        ImageReader(tmp_path / "p.zarr")


def fail_while_staging(path, overwrite=False):
    with staging(path, overwrite) as partial:
        make(partial)
        raise RuntimeError("stop")


def test_staging_leaves_the_whole_or_nothing(tmp_path):
    path = tmp_path / "deep" / "p.zarr"
    with pytest.raises(RuntimeError):
        fail_while_staging(path)
    assert list(path.parent.iterdir()) == []
    with staging(path) as partial:
        assert partial.parent == path.parent
        make(partial)
        assert not path.exists()
    assert list(path.parent.iterdir()) == [path]


def test_staging_overwrites_only_when_told(tmp_path):
    path = tmp_path / "p.zarr"
    make(path)
    before = ImageReader(path).read(0, 20)
    with pytest.raises(InputError, match=r"p\.zarr exists; .*--overwrite"), staging(path):
        pass
    with pytest.raises(RuntimeError):
        fail_while_staging(path, overwrite=True)
    np.testing.assert_array_equal(ImageReader(path).read(0, 20), before)
    with staging(path, overwrite=True) as partial:
        make(partial, number=5)
    assert ImageReader(path).number == 5
    assert list(tmp_path.iterdir()) == [path]


def test_staging_does_not_overwrite_what_is_no_stack(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("x")
    with (
        pytest.raises(InputError, match="not a Zarr stack, so it is not overwritten"),
        staging(tmp_path / "home", overwrite=True),
    ):
        pass
    assert (tmp_path / "home/thesis.tex").exists()


def test_two_runs_do_not_write_one_stack(tmp_path):
    path = tmp_path / "p.zarr"
    with staging(path) as partial:
        make(partial)
        with pytest.raises(InputError, match=r"p\.zarr: another run is writing"), staging(path):
            pass
    assert ImageReader(path).number == 20
    assert list(tmp_path.iterdir()) == [path]


def test_a_stack_that_came_meanwhile_stays(tmp_path):
    path = tmp_path / "p.zarr"

    def write_late():
        with staging(path) as partial:
            make(partial, number=5)
            make(path)

    with pytest.raises(InputError, match=r"p\.zarr exists; .*--overwrite"):
        write_late()
    assert ImageReader(path).number == 20
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_run_left_is_cleared(tmp_path):
    left = tmp_path / ".p.zarr.partial"
    (left / "images/c").mkdir(parents=True)
    (left / "zarr.json").write_text("{")
    with staging(tmp_path / "p.zarr") as partial:
        assert partial == left
        assert list(partial.iterdir()) == []
        make(partial)
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.zarr"]


def test_file_systems_without_locks_will_do(tmp_path, monkeypatch):
    def no_locks(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with staging(tmp_path / "p.zarr") as partial:
        make(partial)
    assert ImageReader(tmp_path / "p.zarr").number == 20


def test_a_place_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def forbidden(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with (
        pytest.raises(InputError, match=r"p\.zarr: cannot be made in .*\(Permission denied\)"),
        staging(tmp_path / "p.zarr"),
    ):
        pass
