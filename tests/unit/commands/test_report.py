"""The page of a study stands alone, says what was run, and believes nothing that a user wrote to be HTML."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mpimasha.commands import cli
from mpimasha.experiment import plugins
from mpimasha.mpi import launch

pytest.importorskip("matplotlib")
_VOID = {"meta", "br", "path", "use"}


def command(*argv):
    return launch.guard(lambda: cli.execute(cli.parse(list(argv)), None), None)


class Checked(HTMLParser):
    """Tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.loads = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in _VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    here = tmp_path_factory.mktemp("report")
    (here / "s.toml").write_text("""
        seeds = 2
        stop = { relative_error = 1e-2, rounds = 300 }
        problems = [{ label = "three <b>", workers = 3, problem = { dim = 4, kappa = 4 } },
                    { label = "four", workers = 4, problem = { dim = 4, kappa = 4 } }]
        compare = [{ label = "og", method = { name = "og", gamma = "0.5/L" } }, { label = "<script>alert(1)</script>" },
                   { label = "wild", method = { name = "eg", gamma = "50/L" } }]
    """)
    assert command("compare", str(here / "s.toml"), "--out", str(here / "my study"), "-q") == 4  # one diverges
    assert command("report", str(here / "my study")) == 0
    return (here / "my study" / "report.html").read_text()


def test_it_is_whole_and_loads_nothing(page):
    parser = Checked()
    parser.feed(page)
    assert not parser.open and {"table", "svg", "pre", "h2"} <= parser.seen
    assert "script" not in parser.seen and all(link.startswith("#") for link in parser.loads)
    assert not re.search(r"@import|url\((?!#)", page)


def test_it_says_what_was_run_how_it_ended_and_how_to_repeat_it(page):
    assert "12 runs: 8 reached the target, 4 diverged" in page
    assert "three &lt;b&gt;" in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "bilinear, n = 8, 3 workers, float64 on the wire, 2 seeds; dim = 4, kappa = 4" in page
    assert "mpimasha compare" in page and "--out &#x27;runs/my study&#x27;" in page and "numpy " in page
    assert "wild (2 diverged)" in page and page.count("<svg") == 4 and "relative_error = 0.01" in page


@pytest.mark.slow
def test_it_is_the_same_each_time(tmp_path):
    (tmp_path / "s.toml").write_text("workers = 3\nproblem = {dim = 4}\nstop = {rounds = 9}\n"
                                     "[[compare]]\nlabel = 'a'\n")
    assert command("compare", str(tmp_path / "s.toml"), "--out", str(tmp_path / "run"), "-q") == 0
    for name in ("one.html", "two.html"):
        assert command("report", str(tmp_path / "run"), "--out", str(tmp_path / name), "--title", "T & t") == 0
    one, two = ((tmp_path / name).read_text() for name in ("one.html", "two.html"))
    assert one == two and "<title>T &amp; t</title>" in one


@pytest.mark.slow
def test_the_table_is_that_of_the_comparison_with_the_default_target_too(tmp_path):
    (tmp_path / "s.toml").write_text("workers = 3\nproblem = {dim = 4, kappa = 3}\n[[compare]]\nlabel = 'a'\n")
    assert command("compare", str(tmp_path / "s.toml"), "--out", str(tmp_path / "run"), "-q") == 0
    assert command("report", str(tmp_path / "run")) == 0
    assert ">up 1e-08</th>" in (tmp_path / "run" / "report.html").read_text()
    assert "up 1e-08" in (tmp_path / "run" / "table.txt").read_text()


def test_mistakes_are_refused(tmp_path, capsys):
    assert command("report", str(tmp_path)) == 2
    assert "no folder of a run" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_to_repeat_it_the_files_of_plugins_are_needed(tmp_path):
    half = str(Path(__file__).parents[3] / "jobs" / "plugins" / "half.py")
    assert command("run", "bilinear", "--plugin", half, "--method", "masha1", "--compressor", "half", "--set",
                   "problem.dim=3", "--set", "stop.rounds=5", "--out", str(tmp_path / "run"), "-q") == 0
    assert command("report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")) == 0
    plugins._forget(half)  # other tests look at all compressors there are
    assert f"mpimasha run run.toml --plugin={half} --out runs/run" in (tmp_path / "page.html").read_text()
