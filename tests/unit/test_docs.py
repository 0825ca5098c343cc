"""The site of the documentation builds without a warning, and its reference pages leave nothing out."""

import doctest
import html
import importlib
import inspect
import io
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mpimasha
import mpimasha.testing
from mpimasha.experiment import config
from tests.blocks import Checker

pytest.importorskip("sphinx")
pytest.importorskip("numpydoc")
DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS))
import reference  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the HTML pages."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", str(DOCS), str(out)],
                          capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return out


def text(page):
    """What a reader of an HTML page sees, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page.read_text())).split())


def test_the_site_has_all_pages_and_each_can_be_found_from_the_first(site):
    pages = {path.stem for path in DOCS.glob("*.rst")}
    linked = set(re.findall(r'class="toctree-l1"><a class="reference internal" href="(\w+)\.html"',
                            (site / "index.html").read_text()))
    assert len(pages) >= 18 and linked == pages - {"index"} and all((site / f"{page}.html").exists() for page in pages)


def test_every_public_name_is_in_the_api(site):
    page = (site / "api.html").read_text()
    names = [f"mpimasha.{name}" for name in mpimasha.__all__]
    names += [f"mpimasha.testing.{name}" for name in mpimasha.testing.__all__]
    assert len(names) > 60 and [name for name in names if f'id="{name}"' not in page] == []


def test_every_option_of_every_command_is_explained_and_listed(site):
    page, commands = text(site / "commands.html"), reference.commands()
    assert len(commands) >= 8
    for name, parser in commands.items():
        assert f".. options:: {name}\n" in (DOCS / "commands.rst").read_text(), f"{name} has no section"
        for action in parser._actions:
            assert action.help, f"{name}: {action.dest} has no help"
            assert action.dest == "help" or " ".join(action.help.split()) in page, f"{name}: {action.dest}"


@pytest.mark.parametrize("table", ["problem", "method", "compressor", "stop", "practice"])
def test_every_key_of_a_table_is_listed_and_explained(site, table):
    page = text(site / "experiment.html")
    for name, cls in reference.CLASSES[table].items():
        listed = "\n".join(reference.keys(table))
        for key in set(inspect.signature(cls).parameters) - config._NOT_IN_FILE:
            assert f"``{key}``" in listed and key in page, f"{name}: {key}"
            assert reference.described(cls, key), f"{name}: the docstring does not say what {key} is"


def test_every_other_key_is_listed():
    page = (DOCS / "experiment.rst").read_text()
    for key in [*config._PLAIN, *(f"compressor.{role}" for role in config._ROLES)]:
        assert f"* - ``{key}``" in page, key
    assert all(f"``[{table}]``" in page or f"* - ``{table}." in page for table in config._TABLES)


def test_every_key_of_the_record_of_a_run_is_listed():
    table = (DOCS / "commands.rst").read_text().partition("``summary.json``:\n")[2]
    listed = {key for row in re.findall(r"\* - (``.+)", table) for key in re.findall(r"``(\w+)``", row)}
    record = set(mpimasha.solve(mpimasha.Bilinear(dim=2), mpimasha.Optimistic(), stop=mpimasha.Stop(rounds=1)).summary)
    assert listed == record | {"accuracy", "robust_accuracy"}


# -- what pages and docstrings say of the code -------------------------------------------------------


def test_every_function_that_the_theory_names_exists():
    names = [info.name for info in pkgutil.walk_packages(mpimasha.__path__[:1], "mpimasha.") if "__" not in info.name]
    modules = [mpimasha, *(importlib.import_module(name) for name in names)]
    owners = {}
    for module in modules:
        owners.setdefault(module.__name__.rpartition(".")[2], []).append(module)
        for name, cls in inspect.getmembers(module, inspect.isclass):
            owners.setdefault(name, []).append(cls)
    named = set(re.findall(r"``(?:mpimasha\.)?(?:\w+\.)*?(\w+)\.(\w+)``", (DOCS / "theory.rst").read_text()))
    code = sorted((owner, name) for owner, name in named if owner not in config._TABLES and name != "toml")
    assert len(code) > 35
    assert [pair for pair in code if not any(hasattr(owner, pair[1]) for owner in owners.get(pair[0], []))] == []


def test_examples_in_docstrings_run():
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(Checker(), verbose=False)
    report, found = io.StringIO(), set()
    for name in mpimasha.__all__:
        value = getattr(mpimasha, name)
        for test in finder.find(value, name, globs={}):
            found |= {name} if test.examples else set()
            runner.run(test, out=report.write)
    assert found >= {"solve", "Stop", "RandK", "Bilinear"} and runner.tries >= 12
    assert not runner.failures, report.getvalue()
