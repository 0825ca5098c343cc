"""Text comes out whatever the terminal can show, or where nothing listens; files are UTF-8 in every locale."""

import ast
import json
import shlex
import sys
from pathlib import Path

import pytest
from lanes import fast

import mpimasha

pytestmark = pytest.mark.launches

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
LATIN = ASCII | {"PYTHONIOENCODING": "latin-1"}
UTF_8 = ASCII | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
STUDY = """
workers = 2
seeds = 2
stop = { rounds = 5, gap = 5e3 }
[problem]
name = "bilinear"
dim = 4
[[compare]]
label = "méthode → γ"
method = { name = "masha1" }
compressor = { up = "randk:2" }
"""


@pytest.mark.slow
@pytest.mark.parametrize("env", [ASCII, LATIN], ids=["ascii", "latin-1"])
def test_a_comparison_is_the_same_in_every_locale(run_cli, tmp_path, env):
    (tmp_path / "s.toml").write_text(STUDY, encoding="utf-8")
    job = run_cli(["compare", "s.toml", "--out", "run", "--json"], env=env)
    assert job.returncode == 0 and len(json.loads(job.stdout.splitlines()[-1])["rows"]) == 2, job.stderr
    assert "méthode → γ" in (tmp_path / "run" / "table.txt").read_text(encoding="utf-8")
    assert (tmp_path / "run" / "méthode---γ" / "seed-1" / "final.npz").exists()
    again = run_cli(["resume", "run"], env=UTF_8)
    assert again.returncode == 0 and "2 of 2 runs ended before" in again.stderr


@pytest.mark.parametrize("what", fast(["methods", "problems", "compressors"], "methods"))
def test_lists_are_spelt_in_ascii(run_cli, what):
    job = run_cli(["list", what], env=ASCII)
    assert job.returncode == 0 and job.stdout.isascii() and len(job.stdout.splitlines()) > 5, job.stderr


@pytest.mark.parametrize("closed, ranks", fast([(">&-", 1), ("2>&-", 1), ("<&- >&- 2>&-", 1), ("<&- >&- 2>&-", 2)], 0))
def test_a_run_needs_nobody_who_listens(run_job, tmp_path, closed, ranks):
    words = [sys.executable, "-m", "mpimasha", "run", "bilinear", "--set", "problem.dim=4", "--set", "stop.rounds=5",
             "--out", "run", *(["-n", str(ranks)] if ranks > 1 else [])]
    job = run_job(["sh", "-c", f"{shlex.join(words)} {closed}"])
    assert job.returncode == 0, job.stderr
    assert (tmp_path / "run" / "summary.json").exists() and (tmp_path / "run" / "final.npz").exists()


def test_every_file_of_text_names_its_encoding():
    for path in Path(mpimasha.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) in ("read_text", "write_text"):
                assert "encoding" in {word.arg for word in node.keywords}, f"{path}:{node.lineno}"
