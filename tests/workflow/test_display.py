"""Stacks, maps and correlations show themselves: what is known, as HTML that trusts no text."""

import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import hpdp_dask
from hpdp_dask.cryoem.simulate import phantom, potential_map, simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats import mrc
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images
from hpdp_dask.workflow.display import open_stack, read_map

NUMBER, BOX, PIXEL_SIZE = 20, 32, 6.5


class Seen(HTMLParser):
    """The words and the tags of a piece of HTML."""

    def __init__(self, markup):
        super().__init__()
        self.words, self.tags = "", []
        self.feed(markup)

    def handle_data(self, data):
        self.words += data

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # a name that a person may give, and HTML must not take at its word
    folder = tmp_path_factory.mktemp("display") / "<b>mine & yours"
    folder.mkdir()
    table, images = simulate_particles(
        phantom(), NUMBER, BOX, pixel_size=PIXEL_SIZE, snr=0.2, seed=2
    )
    new_stack(folder / "<i>.zarr", to_dataset(table, 0), NUMBER, BOX)
    write_images(folder / "<i>.zarr", 0, images)
    volume = potential_map(phantom().at(), BOX, PIXEL_SIZE)
    random = np.random.default_rng(1)
    for half in (1, 2):
        noise = random.normal(0.0, 0.2 * volume.std(), volume.shape).astype(np.float32)
        mrc.write_map(folder / f"half{half}.mrc", volume + noise, PIXEL_SIZE)
    return folder


def test_stack_shows_images_and_what_is_known(folder):
    stack = open_stack(folder / "<i>.zarr")
    assert len(stack) == NUMBER
    seen = Seen(stack._repr_html_())
    assert seen.tags.count("img") == 6
    assert not {"i", "b", "script"} & set(seen.tags)
    for words in ("<i>.zarr", "pixel size, Å", "6.5", "number", "20", "half sets", "KiB"):
        assert words in seen.words
    assert "box: 32" in repr(stack)
    assert stack.data["images"].shape == (NUMBER, BOX, BOX)


def test_images_are_those_that_were_asked_for(folder):
    stack = open_stack(folder / "<i>.zarr")
    some = stack.images([3, 17])
    assert np.array_equal(some, stack.data["images"].values[[3, 17]])


def test_orientations(folder, tmp_path):
    drawing = open_stack(folder / "<i>.zarr").orientations()
    assert "svg" in Seen(drawing._repr_html_()).tags
    assert "20 images" in repr(drawing)
    unposed = open_stack(folder / "<i>.zarr").data.drop_vars(["images", "euler_angles", "shift"])
    new_stack(tmp_path / "unposed.zarr", unposed, NUMBER, None)
    bare = open_stack(tmp_path / "unposed.zarr")
    with pytest.raises(InputError, match="no orientations"):
        bare.orientations()
    assert "img" not in Seen(bare._repr_html_()).tags


def test_map_shows_slices(folder):
    shown = read_map(folder / "half1.mrc")
    seen = Seen(shown._repr_html_())
    assert seen.tags.count("img") == 3
    assert "32 × 32 × 32 voxels of 6.5 Å, 208 × 208 × 208 Å" in seen.words
    assert np.array_equal(np.asarray(shown), mrc.read_map(folder / "half1.mrc")[0])


def test_half_maps_are_correlated(folder):
    half1 = read_map(folder / "half1.mrc")
    found = half1.fsc(read_map(folder / "half2.mrc"))
    assert found.resolution == half1.fsc(folder / "half2.mrc").resolution < 30.0
    seen = Seen(found._repr_html_())
    assert "svg" in seen.tags
    assert "half1 and half2" in seen.words
    assert f"{found.resolution:.2f} Å at 0.143" in repr(found)


@pytest.mark.parametrize("read", [open_stack, read_map])
def test_what_is_not_there(read, tmp_path):
    with pytest.raises(InputError):
        read(tmp_path / "nothing")


def test_names_for_notebooks_are_found_and_cost_nothing_before():
    for name in ("connect", "open_stack", "read_map", "stages", "performance_report"):
        assert callable(getattr(hpdp_dask, name))
        assert name in dir(hpdp_dask)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        hpdp_dask.nonsense  # noqa: B018
    code = "import hpdp_dask, sys; print({'distributed', 'xarray', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
