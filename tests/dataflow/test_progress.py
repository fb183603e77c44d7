import io

import pytest
from rich.console import Console

from hpdp_dask.dataflow.progress import Progress


def show(*, terminal, closing_lines=False):
    """Give what is written of a stage of 3000 images, told in three parts."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=120, color_system=None)
    with Progress(closing_lines=closing_lines, console=console) as progress:
        stage = progress.track("reconstruct", 3000)
        for images in (1000, 500, -500, 2000, -100, 100):
            stage.advance(images)
    return written.getvalue()


def test_bar_with_rate_in_a_terminal():
    written = show(terminal=True)
    assert "reconstruct" in written
    assert "3000/3000" in written
    assert "images/s" in written


@pytest.mark.parametrize("closing_lines", [True, False])
def test_no_bar_elsewhere(closing_lines):
    written = show(terminal=False, closing_lines=closing_lines)
    if closing_lines:
        assert written.startswith("reconstruct: 3,000 images in 0.0 s (")
        assert written.count("\n") == 1
    else:
        assert written == ""


def test_closing_line_comes_once_and_only_at_the_end():
    written = io.StringIO()
    console = Console(file=written, width=120)
    with Progress(closing_lines=True, console=console) as progress:
        progress.track("normalize", 10).advance(9)
        assert written.getvalue() == ""


def test_bar_goes_to_the_standard_error(capsys):
    with Progress(closing_lines=True) as progress:
        progress.track("normalize", 1).advance(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("normalize: 1 images")
