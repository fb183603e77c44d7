"""Stacks of frames show themselves: frames, what is known, distributions."""

import numpy as np
import pytest
from frame_stacks import make_frames

import hpdp_dask
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import add_variables
from hpdp_dask.workflow.frame_display import open_frames


@pytest.fixture
def stack(tmp_path):
    photons = np.random.default_rng(0).poisson(0.3, (20, 12, 20)).astype(np.uint8)
    return make_frames(tmp_path / "<b>frames.zarr", photons)


def test_a_stack_shows_itself(stack):
    found = open_frames(stack)
    assert len(found) == 20
    assert "20" in repr(found)
    markup = found._repr_html_()
    assert markup.count("<img") == 12
    assert "<b>" not in markup
    assert found.frames([3, 1]).shape == (2, 12, 20)
    assert hpdp_dask.open_frames(stack).path == stack


def test_labels_and_sizes_are_told(stack):
    columns = {
        "particle_size": np.linspace(100, 700, 20),
        "label": np.arange(20) % 3 - 1,
        "class_name": np.array(["single", "other"], object),
    }
    dims = {"class_name": ("classes",)}
    add_variables(stack, {name: (dims.get(name, ("frame",)), v) for name, v in columns.items()})
    found = open_frames(stack)
    markup = found.show([1, 3])._repr_html_()
    assert "1: single, 132 Å" in markup
    assert "3: no label, 195 Å" in markup
    assert "particle_size" in found.histogram("particle_size")._repr_html_()
    with pytest.raises(InputError, match="no 'weight' of each frame; there are particle_size"):
        found.histogram("weight")
