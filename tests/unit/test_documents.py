"""What README and jobs/ show works as shown."""

import contextlib
import io
import re
import subprocess
import textwrap
from pathlib import Path

import numba
import pytest

from mpimasha import cli
from mpimasha.testing import check_unbiased, check_wire

ROOT = Path(__file__).parents[2]


def python_example(document):
    text = (ROOT / document).read_text()
    return textwrap.dedent(re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)[1]).strip()


thousands_of_rounds = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of rounds, for compiled kernels")


@thousands_of_rounds
def test_the_readme_example_is_short_and_runs():
    source = python_example("README.rst")
    assert len(source.splitlines()) <= 12
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "README.rst", "exec"), {"__name__": "readme"})
    lines = printed.getvalue().splitlines()
    megabits = {line.split()[0]: float(line.split()[3]) for line in lines}
    assert list(megabits) == ["og", "masha1", "diana_og"]
    assert megabits["masha1"] < megabits["og"] / 2 and megabits["diana_og"] < megabits["og"] / 13  # as README says


@thousands_of_rounds
def test_the_compressor_of_ones_own_is_unbiased_and_converges():
    scope = {"__name__": "design"}
    exec(compile(python_example("docs/design.rst"), "design.rst", "exec"), scope)
    assert scope["result"].converged
    check_unbiased(scope["Half"](), attained=True)
    check_wire(scope["Half"]())


@thousands_of_rounds
def test_the_test_of_a_compressor_of_ones_own_passes_and_says_what_it_is_said_to():
    source = python_example("docs/testing.rst")
    assert len(source[source.index("class "):source.index("def test")].strip().splitlines()) <= 10
    scope = {"__name__": "testing"}
    exec(compile(source, "testing.rst", "exec"), scope)
    scope["test_blocks"]()
    exec(compile(source.replace("[2 * (", "[1 * ("), "testing.rst", "exec"), scope)
    said = re.search(r"would say::\n\n((?:    .*\n)+)", (ROOT / "docs" / "testing.rst").read_text())[1]
    with pytest.raises(AssertionError) as caught:
        scope["test_blocks"]()
    assert str(caught.value) == " ".join(said.split())


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "experiments").glob("*.toml")), ids=lambda p: p.stem)
def test_every_experiment_is_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cli.validate(cli.parse(["compare", "-n", "2", str(path)]), 2)
    assert len(cli._experiments(cli.parse(["compare", str(path)]))) >= 4


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "slurm").glob("*.sbatch")), ids=lambda p: p.stem)
def test_every_batch_script_is_valid_bash(path):
    assert subprocess.run(["bash", "-n", str(path)], capture_output=True).returncode == 0


def test_experiments_named_in_readme_exist():
    named = set(re.findall(r"jobs/\S+?\.(?:toml|sbatch)", (ROOT / "README.rst").read_text()))
    assert named and all((ROOT / name).exists() for name in named)


def test_no_public_name_is_also_a_module():
    # importing the module would put it in place of the name
    import mpimasha
    modules = {path.stem for path in (ROOT / "mpimasha").glob("*.py")} | {
        path.name for path in (ROOT / "mpimasha").iterdir() if path.is_dir()}
    assert not modules & set(mpimasha._PUBLIC)
