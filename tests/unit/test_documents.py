"""What README and jobs/ show works as shown."""

import contextlib
import io
import re
import subprocess
import textwrap
from pathlib import Path

import numba
import numpy as np
import pytest

from mpimasha import cli
from mpimasha.compressors.base import message
from mpimasha.linear import Linear
from mpimasha.randomness import Stream

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
    assert list(megabits) == ["og", "masha1", "masha2"]
    assert megabits["masha1"] < megabits["og"] / 2  # what README says of the uplink


@thousands_of_rounds
def test_the_compressor_of_ones_own_is_unbiased_and_converges():
    scope = {"__name__": "design"}
    exec(compile(python_example("docs/design.rst"), "design.rst", "exec"), scope)
    assert scope["result"].converged
    n, x = 7, np.arange(1.0, 8.0)
    half, total = scope["Half"]().bind(n, 3, "float64", Stream(0, "test")), np.zeros(7)
    for k in range(2000):
        sent = message(half.fields())
        half.encode(Linear.of(x), sent, 1, k)
        half.decode(sent, 1, k, 1 / 2000, total)
    assert np.all(np.abs(total - x) < 5 * x / np.sqrt(2000))  # each coordinate is 0 or 2 x_i: deviation x_i


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
