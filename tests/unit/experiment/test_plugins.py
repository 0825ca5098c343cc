"""Files of a user's own: `--plugin` through the command line, the examples in jobs/plugins."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from mpimasha.commands import cli
from mpimasha.compressors import COMPRESSORS
from mpimasha.errors import UserError
from mpimasha.experiment import config, plugins
from mpimasha.methods import METHODS
from mpimasha.mpi import launch
from mpimasha.problems import PROBLEMS
from mpimasha.show import plotting
from mpimasha.solver import reference
from mpimasha.testing import check_contractive, check_method, check_operator, check_unbiased, check_wire
from tests.blocks import blocks

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "jobs" / "plugins").glob("*.py"))
HALF = str(ROOT / "jobs" / "plugins" / "half.py")
SMALL = ["run", "bilinear", "--workers", "3", "--method", "masha1", "--set", "problem.dim=4"]
MINE = "import mpimasha as mm\nclass Mine(mm.Identity):\n    name = 'mine'\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in; what a test loads is forgotten after it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "work"
    forget()


def forget():
    """As a new process."""
    for plugin in list(plugins._loaded.values()):
        plugins._forget(plugin.path)


def command(*argv):
    return launch.guard(lambda: cli.execute(cli.parse(list(argv)), None), None)


def written(path, text):
    path.write_text(text)
    return str(path)


def told(folder):
    return json.loads((Path(folder) / "manifest.json").read_text())


def status(folder):
    return json.loads((Path(folder) / "summary.json").read_text())["status"]


# -- the examples ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_example_runs_by_the_command_in_its_first_line(path):
    words = shlex.split(re.match(r'""".*: mpimasha (.*)"""', path.read_text())[1])
    words = [str(ROOT / word) if word.startswith("jobs/") else word for word in words]
    assert str(path) in words
    compiled = not numba.config.DISABLE_JIT
    assert command(*words, "--out", "run", *([] if compiled else ["--set", "stop.rounds=20"])) == 0
    assert status("run") == ("converged" if compiled else "rounds")


@pytest.mark.slow
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of rounds, for compiled kernels")
def test_the_examples_pass_the_kit():
    plugins.load(map(str, FILES))
    for check in (check_unbiased, check_contractive, check_wire):
        check(COMPRESSORS["half"](0.3))
    for name in ("quadratic_game", "noisy_logistic", "sparse_blocks"):
        check_operator(PROBLEMS[name]())
    for name in ("reflected", "ef21_eg"):
        check_method(METHODS[name]())


def test_the_prox_example_sets_blocks_to_zero():
    plugins.load([str(ROOT / "jobs" / "plugins" / "prox.py")])
    problem = PROBLEMS["sparse_blocks"](weight=1.0)
    x = np.array([3.0, 4, 0, 0, 0, 0.1, 0, 0, 0, 0])
    problem.prox.apply(x, 1.0)
    assert np.allclose(x, [2.4, 3.2, *[0] * 8])


def test_what_an_example_defines_is_listed(capsys):
    for path, kind, name in ((HALF, "compressors", "half"), (ROOT / "jobs/plugins/memory.py", "methods", "ef21_eg")):
        assert command("list", kind, "--plugin", str(path)) == 0
        assert f"  {name} " in capsys.readouterr().out


# -- the tutorial ----------------------------------------------------------------------------------


def test_the_tutorial_takes_two_files_of_less_than_40_lines_and_three_commands_to_a_figure():
    found = blocks(ROOT / "docs" / "tutorial.rst")  # which tests/docs/test_pages.py runs
    files = {block.name: block.text for block in found if block.name in ("parity.py", "mine.toml")}
    assert len(files) == 2 and sum(len(text.splitlines()) for text in files.values()) < 40
    commands = [words for block in found for words, _ in block.commands if {"parity.py", "runs/mine"} & set(words)]
    assert [words[1] for words in commands] == ["list", "compare", "plot"]


# -- what is refused -------------------------------------------------------------------------------


WRONG = {
    "nothing": ("x = 1\n", "defines no problem, method or compressor"),
    "unnamed": ("import mpimasha as mm\nclass A(mm.Identity): pass\n", "defines no problem, method or compressor"),
    "imported": ("from mpimasha import RandK\n", "defines no problem, method or compressor"),
    "taken": (MINE.replace("mine", "randk"), "'randk' names a compressor that exists already"),
    "twice": (MINE + MINE[MINE.index("class"):].replace("Mine(", "Other("), "'mine' names a compressor that exists"),
    "odd": (MINE.replace("mine", "a:b"), "Mine.name = 'a:b' is no name"),
    "raises": ("import mpimasha\n\n1 / 0\n", "fails at line 3: ZeroDivisionError: division by zero"),
    "deep": ("def f():\n    return {}['a']\n\nf()\n", "fails at line 2: KeyError: 'a'"),
    "syntax": ("a = 1\nb = (\n", "fails at line 2: SyntaxError"),
    "exits": ("import sys\nsys.exit(3)\n", "fails at line 2: SystemExit: 3"),
    "binary": ("\0", "fails at line"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_no_plugin_is_a_sentence_and_code_2(case, tmp_path, here, capsys):
    text, words = WRONG[case]
    path, before = written(tmp_path / "my.py", text), [*COMPRESSORS]
    for argv in ([*SMALL, "--plugin", path], ["list", "--plugin", path], ["doctor", "--plugin", path]):
        assert command(*argv) == 2
        said = capsys.readouterr()
        assert words in said.err and path in said.err and said.err.count("\n") == 1 and not said.out
    with pytest.raises(UserError, match=re.escape(words)):
        cli.validate(cli.parse([*SMALL, "--plugin", path]), 2)  # before any rank is started
    assert [*COMPRESSORS] == before and not plugins.loaded() and os.listdir() == []


@pytest.mark.parametrize("path, words", [("none.py", "'none.py' does not exist"), (".", "'.' cannot be read")])
def test_a_missing_file_is_a_sentence_and_code_2(path, words, capsys):
    assert command(*SMALL, "--plugin", path) == 2
    assert words in capsys.readouterr().err and os.listdir() == []


def test_without_the_plugin_its_name_is_unknown(capsys):
    assert command(*SMALL, "--compressor", "half:0.5") == 2
    assert "names no compressor" in capsys.readouterr().err


@pytest.mark.parametrize("text, words", [
    ("half:2", "half:2 is no probability"), ("half:a", "has the wrong type: use a number"),
    ("half,q=2", "has the unknown key 'q'"), ("bare", "bare needs p"), ("bare:0.5,r=true", "unknown key 'r'")])
def test_wrong_parameters_of_ones_own_compressor_are_sentences(text, words, tmp_path, capsys):
    bare = MINE.replace("mine", "bare") + "    def __init__(self, p):\n        self.p = p\n"
    argv = [*SMALL, "--plugin", HALF, "--plugin", written(tmp_path / "bare.py", bare)]
    assert command(*argv, "--compressor", text) == 2
    assert words in capsys.readouterr().err
    assert COMPRESSORS["bare"](p=1).p == 1
    assert cli._experiments(cli.parse([*argv, "--compressor", "bare:3"]))[0].method().compressor.p == 3


def test_missing_parameters_of_ones_own_problem_are_sentences(tmp_path):
    plugins.load([written(tmp_path / "my.py", """if True:
        import mpimasha as mm
        class Mine(mm.Problem):
            name = "mine"
            def __init__(self, size):
                self.size = size
        """)])
    with pytest.raises(UserError, match="problem.size is missing: problem.name = 'mine' needs it"):
        config.experiment({"problem": {"name": "mine"}})
    with pytest.raises(UserError, match="workers = 3 cannot be set"):
        config.experiment({"problem": {"name": "mine", "size": 1}, "workers": 3})
    assert config.experiment({"problem": {"name": "mine", "size": 1}}).problem().size == 1


# -- loading ---------------------------------------------------------------------------------------


def test_a_file_is_loaded_once_and_anew_when_it_was_edited(tmp_path):
    path = written(tmp_path / "my.py", MINE)
    plugins.load([path, path])
    first = COMPRESSORS["mine"]
    plugins.load([os.path.relpath(path)])
    assert COMPRESSORS["mine"] is first and len(plugins.loaded()) == 1
    plugins.load([written(tmp_path / "my.py", MINE.replace("'mine'", "'yours'"))])
    assert "mine" not in COMPRESSORS and COMPRESSORS["yours"] is not first and len(plugins.loaded()) == 1
    assert os.listdir(tmp_path / "work") == [] and not (tmp_path / "__pycache__").exists()


def test_files_that_differ_between_ranks_are_refused():
    class Hosts:
        def __init__(self, *others):
            self.others = others

        def gather_objects(self, own):
            return [own, *self.others]

    plugins.load([HALF])
    plugins.check_same(Hosts([plugins.loaded()[0]["sha256"]]))
    with pytest.raises(UserError, match="--plugin are not the same on all ranks"):
        plugins.check_same(Hosts(["0" * 64]))


def test_the_solution_of_an_edited_problem_is_another_one(tmp_path):
    text = (ROOT / "jobs" / "plugins" / "operator_numpy.py").read_text()
    paths = []
    for edit in ("", "# edited\n"):
        plugins.load([written(tmp_path / "my.py", text + edit)])
        paths.append(reference._path(PROBLEMS["quadratic_game"]()))
    assert paths[0] != paths[1]


def test_submit_hands_the_absolute_path_on(here, capsys):
    Path("half.py").write_text(Path(HALF).read_text())
    assert command("submit", "bilinear", "--nodes", "1", "--tasks-per-node", "2", "--time", "1:00:00", "--method",
                   "masha1", "--compressor", "half:0.5", "--plugin", "half.py", "--out", "job", "--dry-run") == 0
    assert f"--plugin={here}/half.py" in capsys.readouterr().out


# -- runs ------------------------------------------------------------------------------------------


def stopped(folder, path):
    """A run with the plugin that was left at its limit of rounds."""
    assert command(*SMALL, "--plugin", path, "--compressor", "half", "--set", "stop.rounds=20", "--out", folder) == 0
    entry, = told(folder)["plugins"]
    forget()
    return entry


def test_resume_loads_the_plugin_by_itself_and_says_if_it_changed_moved_or_went(here, capsys):
    path = written(here / "half.py", Path(HALF).read_text())
    first = stopped("run", path)
    assert first["path"] == path and len(first["sha256"]) == 64

    assert command("resume", "run", "--set", "stop.rounds=40") == 0
    assert "has changed" not in capsys.readouterr().err and told("run")["resumed"][-1]["plugins"] == [first]
    forget()
    written(here / "half.py", Path(HALF).read_text() + "# edited\n")
    assert command("resume", "run", "--set", "stop.rounds=60") == 0
    assert capsys.readouterr().err.count(f"plugin '{path}' has changed since the run was made") == 1
    assert told("run")["plugins"] == [first] and told("run")["resumed"][-1]["plugins"][0]["sha256"] != first["sha256"]

    forget()
    (here / "elsewhere").mkdir()
    os.rename(path, here / "elsewhere" / "half.py")
    assert command("resume", "run", "--set", "stop.rounds=80") == 2
    said = capsys.readouterr().err
    assert "does not exist any more" in said and said.count("\n") == 1
    assert command("resume", "run", "--set", "stop.rounds=80", "--plugin", "elsewhere/half.py") == 0
    assert json.loads((here / "run" / "summary.json").read_text())["rounds"] == 80


def test_a_comparison_records_its_plugins_and_is_resumed_with_them(here, monkeypatch):
    monkeypatch.setattr(plotting, "available", lambda: False)
    toml = '[[compare]]\nlabel = "a"\nmethod = { name = "masha1" }\ncompressor = { up = "half:0.4" }\n'
    argv = ["compare", written(here / "c.toml", toml), "--plugin", HALF, "--out", "c", "--set", "problem.dim=4"]
    assert command(*argv, "--set", "stop.rounds=10") == 0
    assert told("c")["plugins"] == told("c/a")["plugins"] == plugins.loaded() != []
    forget()
    assert command("resume", "c", "--set", "stop.rounds=20") == 0
    assert json.loads((here / "c" / "a" / "summary.json").read_text())["rounds"] == 20


def test_evaluate_loads_the_plugins_of_all_runs_below(here):
    stopped("runs", HALF)
    with pytest.raises(UserError, match="solved bilinear, which is no network"):  # read, so its compressor is known
        cli.execute(cli.parse(["evaluate", "."]), None)


def test_what_fails_in_a_run_is_a_traceback_into_the_users_file_and_code_1(here, capsys):
    text = Path(HALF).read_text().replace("        odd = ", "        if k == 7:\n            1 / 0\n        odd = ")
    line = text[:text.index("1 / 0")].count("\n") + 1
    path = written(here / "half.py", text)
    assert command(*SMALL, "--plugin", path, "--compressor", "half:0.5", "--out", "run") == 1
    said = capsys.readouterr().err
    assert f'File "{path}", line {line}, in kept\n    1 / 0' in said and "ZeroDivisionError" in said


@pytest.mark.slow
@pytest.mark.launches
def test_two_ranks_load_it_and_find_what_one_finds(here):
    argv = [*SMALL, "--plugin", HALF, "--compressor", "half:0.5", "--set", "stop.rounds=20"]
    done = subprocess.run([sys.executable, "-m", "mpimasha", *argv, "-n", "2", "--out", "two"], capture_output=True,
                          text=True, env=launch.job_environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert command(*argv, "--out", "one") == 0
    with np.load("one/final.npz") as one, np.load("two/final.npz") as two:
        assert one["z"].tobytes() == two["z"].tobytes()
    assert told("two")["plugins"] == told("one")["plugins"] and len(told("two")["ranks"]) == 2
