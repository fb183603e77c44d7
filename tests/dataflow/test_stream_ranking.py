"""Frames of a stream that stand out, and columns that are followed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpdp_dask.dataflow.stream.figures import Figures
from hpdp_dask.dataflow.stream.ranking import Outstanding, Ranking, Trace, rank
from hpdp_dask.dataflow.stream.report import Report

RANKINGS = (Ranking("least", "value"), Ranking("most", "value", greatest=True))

values_of = st.lists(
    st.one_of(st.integers(0, 20).map(float), st.just(float("nan"))), min_size=1, max_size=60
)


@given(values_of, st.integers(1, 9))
def test_those_that_stand_out_are_the_same_in_whatever_batches(values, length):
    numbers = np.arange(len(values))
    outstanding, pictures = Outstanding(RANKINGS), set()
    for first in range(0, len(values), length):
        part = slice(first, first + length)
        columns = {"frame_id": numbers[part], "value": np.array(values)[part]}
        found = rank(columns, RANKINGS, outstanding.bars)
        pictures |= {each.frame_id for frames in found.values() for each in frames}
        pictures -= outstanding.add(found)
    known = [number for number in numbers.tolist() if np.isfinite(values[number])]
    least = sorted(known, key=lambda number: (values[number], number))[:6]
    most = sorted(known, key=lambda number: (-values[number], number))[:6]
    assert [each.frame_id for each in outstanding.frames["least"]] == least
    assert [each.frame_id for each in outstanding.frames["most"]] == most
    assert pictures == {*least, *most}


def test_columns_that_are_followed_are_summed_up_over_the_last_seconds():
    traces = (Trace("value"), Trace("share", by="mean"))
    figures = Figures(traces, ())
    report = Report(frames=4, chosen=3)
    columns = {
        "frame_id": np.arange(3),
        "value": np.array([3.0, np.nan, 1.0, 2.0])[:3],
        "share": np.array([0.0, 1.0, 0.5]),
    }
    report.follow(columns, traces, ())
    figures.measured(report, (0.0, 0.0))
    figures.measured(Report(), (0.0, 0.0))
    figures.remember()
    seen = figures.snapshot()
    assert seen.moments[-1].traced == {"value": 2.0, "share": 0.5}
    np.testing.assert_array_equal(seen.points["frame_id"], [0, 1, 2])
    assert np.isnan(Trace("value").of(np.array([np.nan])))


def test_no_more_points_are_held_than_are_drawn():
    total = Report()
    for first in range(0, 6000, 100):
        report = Report()
        numbers = np.arange(first, first + 100)
        report.follow({"frame_id": numbers, "value": numbers}, (Trace("value"),), ())
        total.add(report)
    np.testing.assert_array_equal(total.points["value"], np.arange(4000, 6000))
