"""The manual: `make docs` builds it, warning-free, without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import GenericAlias
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.roles import XRefRole
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

import hpdp_dask

project = "HPDP"
author = "the HPDP developers"
copyright = "the HPDP developers, BSD-3-Clause"
version = release = hpdp_dask.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = "HPDP"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["manual.css"]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

# Docstrings write names in single backticks: see `Name`.
default_role = "py:name"
# Links in the pages must be found; what docstrings write as code need not be.
nitpicky = True
nitpick_ignore_regex = [("py:name", ".*")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
add_module_names = False
smartquotes = False
# CuPy is a dependency of machines with a GPU only.
autodoc_mock_imports = ["cupy"]
numpydoc_show_class_members = False

#: Modules that do their work by being imported, and hold nothing for anybody else.
autosummary_context = {"private_modules": ["hpdp_dask.cluster.preload"]}


class Name(XRefRole):
    """A name in docstrings: a link where it is found, else code as it is written.

    Unlike the role `py:obj` it keeps the dot of `.star`, and guesses at nothing.
    """

    def process_link(
        self,
        env: BuildEnvironment,
        refnode: nodes.Element,
        has_explicit_title: bool,
        title: str,
        target: str,
    ) -> tuple[str, str]:
        """Look the name up where the docstring stands."""
        refnode["py:module"] = env.ref_context.get("py:module")
        refnode["py:class"] = env.ref_context.get("py:class")
        return title, target


def write_commands(app: Sphinx) -> None:
    """Write the page of commands as the command line describes them, into an empty folder.

    Empty, since pages of modules that are gone would be errors.
    """
    page = Path(app.srcdir, "reference", "generated", "commands.md")
    shutil.rmtree(page.parent, ignore_errors=True)
    page.parent.mkdir()
    subprocess.run(
        [
            *(sys.executable, "-m", "typer", "hpdp_dask.cli.main", "utils", "docs"),
            *("--name", "hpdp", "--title", "Commands", "--output", str(page)),
        ],
        check=True,
        capture_output=True,
    )


def skip_foreign(
    app: Sphinx, kind: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out classes of other packages and names for types; autodoc stumbles over some."""
    is_class = isinstance(member, type | GenericAlias)
    return True if is_class and not member.__module__.startswith("hpdp_dask") else None


def share_navigation(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    """Make the tree beside the text once for the pages of all modules, which are in one folder.

    Made for each of some hundred pages from as many entries it would take most of the time.
    """
    if page.startswith("reference/generated/hpdp_dask"):
        make = context["toctree"]

        @cache
        def folded(**options: object) -> str:
            return re.sub(r"\bcurrent\b", "", make(**options))

        context["toctree"] = app.__dict__.setdefault("_shared_navigation", folded)


def visit_math(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers show without a script from elsewhere."""
    block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect what is above with Sphinx."""
    app.connect("builder-inited", write_commands, priority=100)
    app.connect("autodoc-skip-member", skip_foreign)
    # before the theme asks for it
    app.connect("html-page-context", share_navigation, priority=400)
    app.add_role_to_domain("py", "name", Name())
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    return {"parallel_read_safe": True}
