"""The notebooks run, and show what they should."""

import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

#: What the outputs of each notebook hold, as HTML or text.
SHOWN = {
    "01_first_map": [
        "LocalClient",
        "simulate",
        "images/s",
        "normalized.zarr",
        "Viewing directions of 2,000 particles",
        "Central slices",
        "Fourier shell correlation",
    ],
    "02_cluster_session": ["normalize", "1 thread, 1.0 GiB", "images per second", "True"],
    "03_watch_the_dashboard": ["/stages", "iteration 1:", "Central slices", "performance.html"],
    "04_xfel_classification": [
        "hits.zarr",
        "particle_size",
        "of them right",
        "rejected",
        "nanoparticle",
        "several",
    ],
    "05_heterogeneity": [
        "differ: True, along 1 direction",
        "rank correlation with the angle: 0.9",
        "volume_003.mrc",
        "cluster.zarr",
    ],
    "06_crystallography": [
        "run.zarr",
        "several_lattices_probability",
        "correlation of 1/d",
        "several found",
    ],
}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    return request.param.stem, nbformat.read(request.param, as_version=4)


def test_notebook_is_kept_without_outputs(notebook):
    _, book = notebook
    for cell in book.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_notebook_runs(notebook, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    name, book = notebook
    nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    errors = [
        output.text for output in outputs if output.get("name") == "stderr" and output.text.strip()
    ]
    assert not errors
    shown = "\n".join(
        [output.text for output in outputs if "text" in output]
        + [str(text) for output in outputs for text in output.get("data", {}).values()]
    )
    shown = re.sub(r"<[^>]+>", " ", shown)
    for words in SHOWN[name]:
        assert words in shown
