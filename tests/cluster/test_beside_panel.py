"""Dask's pages in a process that has imported Panel, which changes every Bokeh page of it."""

import re
import subprocess
import sys

import pytest

#: Visits the page of stages and writes a performance report, all in one process with Panel.
SCRIPT = """
import sys, urllib.request
from pathlib import Path
import panel
from hpdp_dask.cluster import connect
from hpdp_dask.cluster.reports import performance_report
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with connect("local", workers=1) as client:
        with performance_report(client, folder / "report.html"):
            client.submit(sum, [1, 2]).result()
        address = client.dashboard_link.replace("status", "stages")
        with urllib.request.urlopen(address, timeout=60) as answer:
            (folder / "stages.html").write_bytes(answer.read())
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    (folder / "visit.py").write_text(SCRIPT)
    subprocess.run([sys.executable, folder / "visit.py", folder], check=True, timeout=120)
    return folder


def test_page_of_stages_has_a_place_for_what_it_shows(pages):
    page = (pages / "stages.html").read_text()
    (place,) = re.findall(r'"roots":\{"[^"]*":"([^"]*)"\}', page)
    assert re.search(rf'<div id="{place}"[^>]*data-root-id=', page)
    assert "navbar" in page


def test_report_needs_nothing_else(pages):
    page = (pages / "report.html").read_text()
    assert not re.search(r"<script[^>]* src=", page)
    assert "Task Stream" in page
