"""Make a virtual environment with pip, also where Debian's python3-venv is not installed.

Usage: python3 tools/make_venv.py FOLDER. Nothing but the standard library is needed.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

INDEX = "https://pypi.org/simple/pip/"
LINK = re.compile(r'href="([^"]+/(pip-(\d+)\.(\d+)(?:\.(\d+))?-py3-none-any\.whl))#sha256=(\w+)"')


def download_pip(folder: Path) -> Path:
    """Fetch the newest pip from the package index and check its digest."""
    with urllib.request.urlopen(INDEX, timeout=60) as page:
        links = LINK.findall(page.read().decode())
    link, name, *_, digest = max(links, key=lambda found: [int(part or 0) for part in found[2:5]])
    with urllib.request.urlopen(link, timeout=300) as wheel:
        content = wheel.read()
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit(f"make_venv: the download of {name} is damaged; try again")
    path = folder / name
    path.write_bytes(content)
    return path


def main(target: Path) -> None:
    """Make the environment, by way of ensurepip or, without it, of a downloaded pip."""
    if sys.version_info < (3, 11):  # noqa: UP036  (this file meets whatever Python there is)
        sys.exit(f"make_venv: Python 3.11 or later is needed, this is {sys.version.split()[0]}")
    try:
        import ensurepip  # noqa: F401  (Debian leaves it out of its python3)
    except ImportError:
        venv.create(target, with_pip=False, clear=True)
        with tempfile.TemporaryDirectory() as folder:
            wheel = download_pip(Path(folder))
            python = target / "bin" / "python"
            subprocess.run([python, f"{wheel}/pip", "install", "--quiet", wheel], check=True)
    else:
        venv.create(target, with_pip=True, clear=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
