"""Every import goes down: the levels are those that docs/design.rst prints."""

import ast
import functools
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs" / "design.rst").read_text()
LEVEL = re.compile(r"^    +(\d+) +([\w.]+) +\S", re.MULTILINE)
COMPILER = {"numpy", "numba", "llvmlite"}  # the last is Numba's own


@functools.cache
def levels():
    """{wing, or file of the ground: its level}, from the map in docs/design.rst."""
    named = LEVEL.findall(DESIGN.partition("The map\n")[2].partition("\nThe way of one number\n")[0])
    return {name: int(level) for level, name in named}


def sources():
    """{module: its file} of the package and its kernels."""
    found = {}
    for folder, prefix in (("mpimasha", ()), ("kernels", ("kernels",))):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [*prefix, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = sources()


@functools.cache
def tree(module):
    return ast.parse(SOURCES[module].read_text())


def imported(module):
    """[(what is imported, by its module's name, mpimasha left out; the line)] of a file, wherever it stands in it."""
    path, found = SOURCES[module], []
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found += [(_own(name.name), node.lineno) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _own(node.module or "") if not node.level else \
                ".".join([*package.split(".")[:len(package.split(".")) + 1 - node.level], *filter(None, [node.module])])
            found += [(full if (full := f"{base}.{name.name}".lstrip(".")) in SOURCES else base, node.lineno)
                      for name in node.names]
    return found


def _own(name):
    """`name` without mpimasha; what is not ours gets a colon in front."""
    head, _, rest = name.partition(".")
    return rest if head == "mpimasha" else f":{name}"


def unit(module):
    """The line of the map that a module belongs to: its wing, or itself."""
    parts = module.split(".")
    names = [".".join(parts[:i]) for i in range(len(parts), 0, -1)]
    return next((name for name in names if name in levels()), None)


def test_the_map_names_every_wing_and_every_file_of_the_ground():
    top = {module for module in SOURCES if "." not in module and module}
    top |= {module for module in SOURCES if SOURCES[module].parent.parent == ROOT / "kernels"
            and SOURCES[module].name == "__init__.py"}
    assert set(levels()) == top and set(levels().values()) == {*range(1, max(levels().values()) + 1)}


def test_unit_tests_lie_in_the_same_folders():
    unit_tests = ROOT / "tests" / "unit"
    folders = {path.parent.relative_to(unit_tests).parts for path in unit_tests.glob("*/**/test_*.py")}
    named = {tuple(unit.split(".")) for unit in levels()}
    # pytest-mpi skips what lies below a folder named mpi: findings/pytest_mpi_folder.sh
    assert {tuple(part.rstrip("_") for part in folder) for folder in folders} <= named and len(folders) >= 18
    assert all("mpi" not in folder for folder in folders)


@pytest.mark.parametrize("module", [module for module in SOURCES if module], ids=str)
def test_imports_go_down(module):
    own, rank = unit(module), levels()
    up = [f"line {line}: {name}" for name, line in imported(module)
          if not name.startswith(":") and name and unit(name) != own and rank[unit(name)] >= rank[own]]
    assert up == [], f"{SOURCES[module]} may use what is below level {rank[own]}, and its own wing"


def test_no_import_goes_round_in_a_circle():
    graph = {module: {name for name, _ in imported(module) if name in SOURCES and name != module} for module in SOURCES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))
    assert len(order) == len(SOURCES) > 150


def test_mpi_is_imported_in_its_wing_alone():
    users = {module for module in SOURCES for name, _ in imported(module) if name.startswith(":mpi4py")}
    assert users and [module for module in users if not module.startswith("mpi.")] == []


def test_kernels_import_nothing_but_numpy_and_numba():
    kernels = [module for module in SOURCES if module.partition(".")[0] == "kernels"]
    others = {(module, name) for module in kernels for name, _ in imported(module)
              if name.startswith(":") and name[1:].partition(".")[0] not in COMPILER | sys.stdlib_module_names
              or not name.startswith(":") and name.partition(".")[0] != "kernels"}
    assert len(kernels) > 30 and others == set()


def test_every_name_on_the_way_of_one_number_exists():
    """``module.name`` stands for an attribute of a module, or of a class in some module of that name."""
    way = DESIGN.partition("\nThe way of one number\n")[2].partition("\nFormulas without temporaries\n")[0]
    named = set(re.findall(r"``([\w.]+)\.(\w+)``", way))
    assert len(named) >= 20
    assert [f"{owner}.{name}" for owner, name in sorted(named) if not _defines(owner, name)] == []


def _defines(owner, name):
    return any(("." + module).endswith("." + owner) and name in _names(tree(module).body)
               or any(isinstance(node, ast.ClassDef) and node.name == owner and name in _names(node.body)
                      for node in tree(module).body) for module in SOURCES)


def _names(body):
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)} | {
        leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
