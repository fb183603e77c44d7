"""The floors of the house: a module imports from its own floor and from those below."""

import ast
from pathlib import Path

import pytest

import hpdp_dask

PACKAGE = Path(hpdp_dask.__file__).parent

#: From the ground up; those in one row never import each other.
FLOORS = [
    {"errors"},
    {"numerics"},
    {"formats"},
    {"stacks"},
    {"dataflow"},
    {"cluster"},
    {"frames"},
    {"cryoem", "spi", "crystallography"},
    {"workflow"},
    {"web"},
    {"cli"},
]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}

#: What only these floors may import; `dask` is also `dask.array`.
ALLOWED = {
    "dask": {"dataflow", "cluster"},
    "distributed": {"dataflow", "cluster"},
    "dask_jobqueue": {"cluster"},
}

#: What the ground floor does without: files and how work is spread.
NOT_IN_NUMERICS = {
    *("dask", "distributed", "zarr", "xarray", "pandas", "mrcfile", "starfile", "h5py"),
    *("pathlib", "os", "io", "shutil", "tempfile", "json", "csv", "pickle"),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Give the full names of all modules that a file imports, in functions too.

    Not what is imported from other packages for type checking alone.
    """
    package = path.relative_to(PACKAGE.parent).parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set(_imports(ast.walk(tree), package))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            checked = set(_imports(node.body, package))
            found -= {name for name in checked if not name.startswith("hpdp_dask.")}
    return found


def _imports(nodes, package):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += [node.module] if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def floor_of(path):
    """Give the floor that a file stands on; None for the package itself."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return None if name == "__init__" else name


def check(floor, imported):
    """Say what is wrong with an import, if anything is."""
    top, _, rest = imported.partition(".")
    if top == "hpdp_dask":
        other = rest.partition(".")[0]
        if floor is None:
            return f"the package itself imports {imported}" if other in HEIGHT else None
        if other in HEIGHT and other != floor and HEIGHT[other] >= HEIGHT[floor]:
            return f"{floor} imports {imported}, which does not stand below it"
        return None
    if top in ALLOWED and floor not in ALLOWED[top]:
        return f"{floor} imports {imported}; only {' and '.join(sorted(ALLOWED[top]))} may"
    if floor == "numerics" and top in NOT_IN_NUMERICS:
        return f"numerics imports {imported}; it knows arrays only"
    return None


def test_every_module_has_a_floor():
    assert {floor_of(path) for path in MODULES} - {None} <= set(HEIGHT)


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_imports_go_downward(path):
    found = {check(floor_of(path), imported) for imported in imports(path)} - {None}
    assert not found, "; ".join(sorted(found))


@pytest.mark.parametrize(
    ("floor", "imported", "right"),
    [
        ("cryoem", "hpdp_dask.numerics.ctf", True),
        ("cryoem", "hpdp_dask.cryoem.simulate.phantom", True),
        ("cryoem", "hpdp_dask.spi.emc", False),
        ("crystallography", "hpdp_dask.cryoem", False),
        ("numerics", "hpdp_dask.errors.InputError", True),
        ("numerics", "hpdp_dask.stacks", False),
        ("numerics", "dask.array", False),
        ("numerics", "pathlib.Path", False),
        ("errors", "hpdp_dask.numerics", False),
        ("stacks", "dask.array", False),
        ("dataflow", "dask.array", True),
        ("dataflow", "hpdp_dask.cluster.connect", False),
        ("cluster", "distributed.Client", True),
        ("cli", "distributed.Client", False),
        ("cli", "hpdp_dask.web.monitor", True),
        ("stacks", "hpdp_dask.__version__", True),
        (None, "hpdp_dask.cli.main", False),
    ],
)
def test_rule(floor, imported, right):
    assert (check(floor, imported) is None) is right


def test_imports_are_found_wherever_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr("test_architecture.PACKAGE", tmp_path / "hpdp_dask")
    file = tmp_path / "hpdp_dask" / "stacks" / "store.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import dask.array as da\n"
        "from . import shards\n"
        "from ..cli.main import app\n"
        "def late():\n    from hpdp_dask import workflow\n"
        "if TYPE_CHECKING:\n    from distributed import Client\n"
        "    from hpdp_dask.cluster import connect\n"
    )
    assert imports(file) == {
        "dask.array",
        "hpdp_dask.stacks.shards",
        "hpdp_dask.cli.main.app",
        "hpdp_dask.workflow",
        "hpdp_dask.cluster.connect",
    }
