"""The README and the manual: examples run, and what they say of `hpdp` is so."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.main import get_command

from hpdp_dask.cli.main import app
from hpdp_dask.cryoem.import_particles import import_particles
from hpdp_dask.cryoem.simulate import Settings, phantom, simulate

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

RUNNABLE = re.compile(r"^<!-- runnable -->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(hpdp [^`]*|--[^`]*)`")
LINK = re.compile(r"\]\(([\w./-]+?)\)")


def names_of(pages):
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """A folder with `particles.star`, `particles.mrcs` and `particles.zarr`, small ones."""
    folder = tmp_path_factory.mktemp("particles")
    settings = Settings(number=300, box=32, pixel_size=6.0, snr=0.5, shift_sigma=6.0)
    files = simulate(folder, phantom(), settings)
    import_particles([files.particles], folder / "particles.zarr", images_per_shard=20)
    return folder


@pytest.mark.parametrize(
    "page", [name for name in names_of(PAGES) if RUNNABLE.search((ROOT / name).read_text())]
)
def test_examples_run(page, particles, tmp_path, monkeypatch):
    """The runnable blocks of a page run one after the other, as a reader would type them."""
    monkeypatch.chdir(shutil.copytree(particles, tmp_path / "work"))
    text = (ROOT / page).read_text()
    namespace = {"__name__": "__main__"}  # workers get what is defined in it by value
    for block in RUNNABLE.finditer(text):
        above = "\n" * text.count("\n", 0, block.start(1))  # so that errors name the line
        exec(compile(above + block[1], page, "exec"), namespace)


def options_of(command):
    """Name the options of a command and of those below it."""
    own = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return own.union({"--help"}, *map(options_of, getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", names_of(PAGES))
def test_commands_and_options_exist(page):
    text = (ROOT / page).read_text()
    lines = [line for block in SHELL.finditer(text) for line in block[1].splitlines()]
    for call in [line for line in lines if line.startswith("hpdp ")] + INLINE.findall(text):
        command = get_command(app)
        words = shlex.split(call.removeprefix("hpdp "), comments=True)
        while words and not words[0].startswith("-") and hasattr(command, "commands"):
            assert words[0] in command.commands, f"{page}: {call}"
            command = command.commands[words.pop(0)]
        words = words[: words.index("--")] if "--" in words else words  # behind it, a command
        named = {word for word in words if word.startswith("-")}
        assert named <= options_of(command), f"{page}: {call}"


@pytest.mark.parametrize("page", names_of(PAGES))
def test_linked_files_exist(page):
    folder = (ROOT / page).parent
    written = {"reference/generated/commands.md"}  # when the manual is built
    for link in LINK.findall((ROOT / page).read_text()):
        if "." in link and link not in written:
            assert os.path.exists(folder / link), link
