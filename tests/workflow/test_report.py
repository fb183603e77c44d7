"""The report is one page that stands alone, holds the numbers and trusts no text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hpdp_dask.workflow.figures import central_slices, fsc_chart, image_gallery
from hpdp_dask.workflow.fingerprint import Input
from hpdp_dask.workflow.record import RunRecord, Stage, start_record
from hpdp_dask.workflow.report import Section, Table, format_bytes, format_cell, write_report
from hpdp_dask.workflow.sphere import orientation_map

VOID = {"meta", "link", "img", "br"}
HOSTILE = "<script>alert('1')</script> & \"quoted\" <img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """What a page holds, read by an independent parser that minds every end tag."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.pieces: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        """All text, blanks folded."""
        return " ".join(" ".join(self.pieces).split())

    def values(self, name: str) -> list[str]:
        """The values of an attribute throughout the page."""
        return [value for _, found, value in self.attributes if found == name]


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """A run with two stages, a warning and an input."""
    source = tmp_path / "particles.star"
    source.write_text("data_particles\n")
    record = start_record(
        ["hpdp", "cryoem", "reconstruct", "my particles.star", "-o", "out"],
        {"symmetry": "D3", "padding": 2, "mask": None, "drop_bad": False, "half_sets": [0, 1]},
        [source],
        7,
    )
    record.stages = [
        Stage(name="insert", times=1, wall_seconds=12.5, cpu_seconds=24.3, images=10000),
        Stage(name="merge", times=1, wall_seconds=0.25, cpu_seconds=0.2),
    ]
    record.cluster = {"workers": 2, "where": "local"}
    record.warnings = ["3 images lie far from focus."]
    return record


def written(tmp_path: Path, record: RunRecord, sections: list[Section], **changes: str) -> Page:
    """Write a report and read it."""
    names = {"title": "Reconstruction", "subtitle": "of a phantom"} | changes
    path = tmp_path / "report.html"
    headline = {"Resolution at FSC 0.143": "3.72 Å", "Particles": "10,000"}
    write_report(path, names["title"], names["subtitle"], headline, sections, record)
    assert [entry.name for entry in tmp_path.glob(".*")] == []
    return Page(path.read_text("utf-8"))


def all_figures() -> list[Section]:
    """Sections with every kind of picture."""
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(16, 16, 16))
    angles = rng.uniform(0, 180, (300, 3))
    curves = {"half-maps": np.linspace(1, 0, 9), "with truth": np.linspace(1, 0.2, 9)}
    return [
        Section(
            "Fourier shell correlation",
            "One paragraph.\n\nAnother.",
            [fsc_chart(curves, 16, 2.0, "By shell."), central_slices(volume, 2.0, "Slices.")],
            Table(("Shell", "FSC"), [("1", 0.98765), ("2", None)]),
        ),
        Section("Orientations", figures=[orientation_map(angles, "Views.")]),
        Section("Particles", figures=[image_gallery(volume[:3], 2.0, list("abc"), "Three.")]),
    ]


def test_the_page_stands_alone(tmp_path: Path, record: RunRecord) -> None:
    page = written(tmp_path, record, all_figures())
    for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
        for value in page.values(name):
            assert value.startswith(("data:", "#")), value
    source = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r"https?://|@import|url\((?!#)", source)
    assert "default-src 'none'" in source
    assert {"script", "iframe", "object", "base"}.isdisjoint(page.tags)
    assert page.tags.count("style") == 1


def test_the_page_is_well_formed_and_described(tmp_path: Path, record: RunRecord) -> None:
    page = written(tmp_path, record, all_figures())
    names = page.values("id")
    assert len(names) == len(set(names))
    assert page.tags.count("h1") == page.tags.count("main") == page.tags.count("title") == 1
    described = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(described) == page.tags.count("img") == 6
    assert all(described)
    # three charts: correlation, orientations, timing
    assert page.values("role").count("img") == page.tags.count("svg") == 3
    labels = " ".join(page.values("aria-label"))
    assert "half-maps: first below 0.143" in labels
    assert "viewing directions of 300 images" in labels


def test_the_page_holds_the_numbers(tmp_path: Path, record: RunRecord) -> None:
    text = written(tmp_path, record, all_figures()).text
    for expected in (
        "Resolution at FSC 0.143 3.72 Å",
        "3 images lie far from focus.",
        "One paragraph. Another. ",
        "Shell FSC 1 0.9877 2",
        "symmetry D3 padding 2 mask none drop_bad no half_sets 0, 1",
        "All stages together took 12.8 s.",
        "insert 12.5 24.3 10,000 800",
        "merge 0.25 0.2",
        "particles.star 15 B 1 " + record.inputs[0].sha256[:16],
        "Cluster workers: 2, where: local",
        "Seed 7",
        f"numpy {record.versions['numpy']}",
        "hpdp cryoem reconstruct 'my particles.star' -o out",
    ):
        assert expected in text


def test_hostile_text_stays_text(tmp_path: Path, record: RunRecord) -> None:
    record.warnings = [HOSTILE]
    record.command = ["hpdp", HOSTILE]
    record.parameters = {HOSTILE: HOSTILE}
    record.stages = [Stage(name=HOSTILE, wall_seconds=1.0)]
    record.cluster = {HOSTILE: HOSTILE}
    record.inputs = [Input(path=HOSTILE, bytes=1, files=1, sha256="0", sampled=False)]
    figures = [
        fsc_chart({HOSTILE: [1.0, 0.0], "b": [1.0, 0.5]}, 4, 1.0, HOSTILE),
        image_gallery(np.zeros((1, 4, 4)), 1.0, [HOSTILE], HOSTILE),
    ]
    section = Section(HOSTILE, HOSTILE, figures, Table((HOSTILE, ""), [(HOSTILE, HOSTILE)]))
    page = written(tmp_path, record, [section], title=HOSTILE, subtitle=HOSTILE)
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.tags.count("img") == 1
    # every place that shows it shows all of it
    assert page.text.count(HOSTILE) >= 18


def test_a_name_that_is_no_text_is_written(tmp_path: Path, record: RunRecord) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert "caf\\udce9" in written(tmp_path, record, [], title=name).text


def test_a_resumed_run_says_so(tmp_path: Path, record: RunRecord) -> None:
    assert "interrupted" not in written(tmp_path, record, []).text
    record.resumed = True
    assert "went on from an interrupted one" in written(tmp_path, record, []).text


def test_a_bare_run_has_a_report(tmp_path: Path) -> None:
    page = written(tmp_path, start_record(["hpdp", "fsc"], {}, [], None), [])
    assert "Seed none" in page.text
    assert "Timing" not in page.text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (np.int64(5), "5"),
        (0.123456, "0.1235"),
        (np.float32(2.5), "2.5"),
        (12345.6, "12,346"),
        (-0.5, "-0.5"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (True, "True"),
        (None, ""),
        ("D3", "D3"),
    ],
)
def test_cells_are_short(value: object, text: str) -> None:
    assert format_cell(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536 * 2**10, "1.5 MiB"),
        (1024**2 - 1, "1 MiB"),
        (120 * 2**30, "120 GiB"),
        (20 * 2**40, "20 TiB"),
        (5000 * 2**40, "5000 TiB"),
    ],
)
def test_sizes_are_in_binary_units(number: int, text: str) -> None:
    assert format_bytes(number) == text
