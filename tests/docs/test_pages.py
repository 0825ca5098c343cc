"""Every code block of README.rst and docs/*.rst runs as shown, or stands in a list with the reason why it does not.

A page is played from top to bottom in one process and one temporary folder with ``jobs`` in it: Python in one scope,
command lines by ``mpimasha.__main__.main``.  What a page shows as printed is compared (`tests.blocks.same`).
"""

import contextlib
import doctest
import functools
import io
import logging
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest
from lanes import fast

from mpimasha.__main__ import main
from mpimasha.commands import cli
from mpimasha.experiment import config, matrix, plugins
from mpimasha.mpi import launch
from mpimasha.testing import check_unbiased, check_wire
from tests.blocks import ROOT, Block, Checker, blocks, pages, same

pytestmark = [pytest.mark.launches,
              pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of rounds, for compiled kernels"),
              pytest.mark.timeout(300)]  # with an empty cache of kernels a page compiles nearly all

NOT_RUN = {  # how a command begins -> why no test here runs it
    "python3 -m venv": "installs, as .ci/run does",
    ". .venv/bin/activate": "likewise",
    "pip install": "likewise",
    "apt-get install": "installs as root",
    "pytest": "runs all tests",
    "python jobs/experiments/family.py": "needs an hour",
    "mpimasha bench kernels": "needs minutes, and PyTorch; its rows are those of tests/unit/bench/test_bench.py",
    "sbatch": "needs SLURM: tests/cluster",
    "mpimasha resume runs/slurm-1234": "the folder of such a job",
    "mpimasha bench networks": "needs PyTorch; likewise",
}
SHORTENED = {  # how a command begins, if its output is not shown -> what it begins with here, and what is appended
    "mpimasha run": ("mpimasha run", "--set stop.rounds=20"),
    "mpimasha compare": ("mpimasha compare", "--set stop.rounds=20 --set seeds=1"),
    "mpimasha compare jobs/experiments/adversarial_mlp.toml": ("mpimasha run adversarial_mlp", "--set stop.rounds=2"),
    "mpimasha tune": ("mpimasha tune", "--rounds 20 --seeds 1"),
    "mpimasha submit": ("mpimasha submit", "--dry-run"),  # sends no job
    "python jobs/benchmarks/compressors.py": ("python jobs/benchmarks/compressors.py", "--dim 4096 dither:8 topk:0.1"),
}
RUN = {"mpimasha": [sys.executable, "-m", "mpimasha"], "python": [sys.executable], "cat": ["cat"], "ls": ["ls"]}
FILES = {  # what pages have the reader bring
    "experiment.toml": "workers = 10\n[problem]\nname = \"bilinear\"\n",
    "study.toml": "seeds = 2\nworkers = 3\nproblems = [{label = \"20 workers\", workers = 20}, {label = \"b\"}]\n"
                  "compare = [{label = \"og\", method = {name = \"og\", gamma = \"0.5/L\"}}, {label = \"default\"}]\n",
}
BLOCKS = {  # page -> python, session, toml, commands: how many there are at least, so that none is overlooked
    "README.rst": (1, 0, 0, 4), "design.rst": (1, 0, 0, 0), "testing.rst": (2, 0, 0, 0), "tutorial.rst": (0, 5, 1, 7),
    "experiment.rst": (0, 0, 1, 0), "restart.rst": (0, 0, 0, 1), "slurm.rst": (0, 0, 0, 2),
    "networks.rst": (0, 0, 0, 1), "kernels.rst": (0, 0, 0, 1), "studies.rst": (0, 0, 1, 3),
    "figures.rst": (1, 0, 0, 1), "family.rst": (0, 0, 0, 1),
}


@pytest.fixture(autouse=True)
def as_before():
    """The command line sets up logging for a process of its own."""
    log = logging.getLogger("mpimasha")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)
    for plugin in list(plugins._loaded.values()):  # else manifests of later tests name it
        plugins._forget(plugin.path)


@functools.cache
def played(page):
    """Run all blocks of `page`; the scope and the printed text of its Python."""
    told = SimpleNamespace(scope={"__name__": page}, printed=io.StringIO(), code=0)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("jobs").symlink_to(ROOT / "jobs")
        for name, text in FILES.items():
            Path(name).write_text(text)
        for block in blocks(pages()[page]):
            if block.name:
                Path(block.name).write_text(block.text)
            if block.kind != "text":
                globals()[f"play_{block.kind}"](block, told)
    return told


def play_python(block, told):
    with contextlib.redirect_stdout(told.printed):
        exec(compile(block.text, str(block), "exec"), told.scope)


def play_session(block, told):
    test = doctest.DocTestParser().get_doctest(block.text, told.scope, str(block), block.page, block.line)
    report = io.StringIO()
    runner = doctest.DocTestRunner(Checker(), verbose=False)
    runner.run(test, out=report.write, clear_globs=False)
    told.scope |= test.globs
    assert runner.tries and not runner.failures, report.getvalue()


def play_toml(block, told):
    if block.name:  # a command reads it, perhaps with a plugin
        return
    document = config.tomllib.loads(block.text)
    assert matrix.experiments(document) if "compare" in document else [config.experiment(document)]


def play_commands(block, told):
    assert block.commands
    for words, said in block.commands:
        line = " ".join(words)
        if words == ["echo", "$?"]:
            assert said.strip() == str(told.code), f"{block}: exit code {told.code}"
            told.code = 0
        elif not any(line.startswith(start) for start in NOT_RUN):
            assert told.code == 0, f"{block}: exit code {told.code} before {line}"
            assert words[0] in RUN, f"{block}: no test runs {line!r}: add it to NOT_RUN, with a reason"
            told.code, printed = shown(words) if said is not None else unseen(words)
            assert said is None or same(said, printed), f"{block}: {line}\n-- the page\n{said}\n-- printed\n{printed}"
    assert told.code in (0, None), f"{block}: exit code {told.code} at its end"


def shown(words):
    """A command as it stands, ranks included: (exit code, what it printed but for the progress of a slow run)."""
    printed = io.StringIO()
    if words[0] == "mpimasha" and "-n" not in words:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = main(words[1:])
    else:
        done = subprocess.run([*RUN[words[0]], *words[1:]], stdin=subprocess.DEVNULL, timeout=60, text=True,
                              env=launch.job_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        code = done.returncode
        printed.write(done.stdout)
    return code, re.sub(r"(?m)^.+: round \d+, .+ s\n", "", printed.getvalue())


def unseen(words):
    """A command whose output is not shown: if it is ours checked as it stands; then run shortened and as one rank."""
    if words[0] == "mpimasha":
        options = cli.parse(words[1:])
        cli.validate(options, getattr(options, "ranks", None) or 1)
    at = words.index("-n") if words[0] == "mpimasha" and "-n" in words else len(words)
    line = shlex.join(words[:at] + words[at + 2:])
    start = max((start for start in SHORTENED if line.startswith(start)), key=len, default=None)
    if start:
        line = f"{SHORTENED[start][0]}{line.removeprefix(start)} {SHORTENED[start][1]}"
    return shown(shlex.split(line))


# a page of figures begins with the command that the README has too
@pytest.mark.parametrize("page", fast(pages(), *({*pages()} - {"bilinear.rst"})))
def test_a_page_runs_as_it_reads(page):
    played(page)
    kinds = [block.kind for block in blocks(pages()[page])]
    found = tuple(kinds.count(kind) for kind in ("python", "session", "toml", "commands"))
    least = BLOCKS.get(page, (0, 0, 0, 0))
    assert all(n >= m for n, m in zip(found, least)), f"{page} has {found} blocks of Python, ..., not {least}"


def test_what_is_shown_is_compared():
    assert same("a 100 b ...\n  c", "a 104  b x\ny c") and same("1.2e-08", "9.9e-09") and same("float64", "float64")
    for said, printed in [("a 100", "a 120"), ("1e-08", "3e-08"), ("float64", "float63"), ("a", "a b"), ("1.50x", "x")]:
        assert not same(said, printed)
    page = blocks(pages()["tutorial.rst"])
    assert sum(said is not None for block in page if block.kind == "commands" for _, said in block.commands) >= 12
    told = SimpleNamespace(scope={}, printed=io.StringIO(), code=0)
    for text in ("$ mpimasha list transports\nother", "$ echo $?\n8", "mpirun -n 2 mpimasha run bilinear"):
        with pytest.raises(AssertionError):
            play_commands(Block("page", 1, "commands", text), told)


def test_the_lists_hold_nothing_that_no_page_has():
    lines = [shlex.join(words) for path in pages().values() for block in blocks(path) if block.kind == "commands"
             for words, _ in block.commands]
    assert [start for start in [*NOT_RUN, *SHORTENED] if not any(line.startswith(start) for line in lines)] == []


# -- what single pages promise -----------------------------------------------------------------------


def python_of(page):
    return next(block.text for block in blocks(pages()[page]) if block.kind == "python")


def test_the_readme_example_is_short_and_prints_what_readme_says_of_it():
    assert len(python_of("README.rst").splitlines()) <= 12
    lines = played("README.rst").printed.getvalue().splitlines()
    megabits = {line.split()[0]: float(line.split()[3]) for line in lines}
    assert list(megabits) == ["og", "masha1", "diana_og"]
    assert megabits["masha1"] < megabits["og"] / 2 and megabits["diana_og"] < megabits["og"] / 13


def test_the_compressor_of_ones_own_is_unbiased_and_converges():
    scope = played("design.rst").scope
    assert scope["result"].converged
    check_unbiased(scope["Half"](), attained=True)
    check_wire(scope["Half"]())


def test_the_test_of_a_compressor_of_ones_own_passes_and_says_what_it_is_said_to():
    source = python_of("testing.rst")
    assert len(source[source.index("class "):source.index("def test")].strip().splitlines()) <= 10
    scope = {"__name__": "testing"}
    exec(compile(source, "testing.rst", "exec"), scope)
    scope["test_blocks"]()
    exec(compile(source.replace("[2 * (", "[1 * ("), "testing.rst", "exec"), scope)
    said = next(block.text for block in blocks(pages()["testing.rst"]) if block.kind == "text")
    with pytest.raises(AssertionError) as caught:
        scope["test_blocks"]()
    assert str(caught.value) == " ".join(said.split())
