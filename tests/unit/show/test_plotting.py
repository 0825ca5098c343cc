"""Figures show what the rows say, name every line, and are the same bytes each time."""

import io
import json
import os
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from lanes import fast

from mpimasha.commands import cli
from mpimasha.errors import UserError
from mpimasha.experiment import study
from mpimasha.mpi import launch
from mpimasha.show import curves, labels, plotting

pytest.importorskip("matplotlib")


def result(rate=0.5, status="converged", rounds=40, bits=1e4, start=1.0):
    rows = [{"round": k, "relative_error": start * rate**k, "residual": None, "gap": None, "gap_average": None,
             "uplink_bits": bits * k, "downlink_bits": 3 * bits * k, "operator_calls": 2.0 * k, "seconds": 0.01 * k}
            for k in range(rounds + 1)]
    return SimpleNamespace(rows=rows, status=status, summary={"seed": 0, "method": "og"})


def svg(found, **options):
    file = io.BytesIO()
    plotting.draw(found, [file], **options)
    return file.getvalue().decode()


def texts(image):
    return [re.sub("<[^>]*>", "", text).strip() for text in re.findall(r"<text.*?</text>", image, re.S)]


# -- curves ----------------------------------------------------------------------------------------


def test_a_curve_is_the_median_and_the_range_of_the_seeds_to_where_the_first_ended():
    several = [result(0.5, rounds=10), result(0.4, rounds=8), result(0.7, rounds=12)]
    costs, middle, least, most = curves.curve(several, "rounds", "relative_error")
    assert costs[-1] == 8 and np.allclose(middle, 0.5**costs) and np.allclose(least, 0.4**costs)
    assert np.allclose(most, 0.7**costs)


def test_errors_are_interpolated_on_a_logarithmic_scale():
    sparse = result(0.5)
    sparse.rows = sparse.rows[::10]
    costs, middle, least, most = curves.curve([sparse, result(0.5)], "up", "relative_error")
    assert len(costs) > 30 and np.allclose(least, most) and np.allclose(middle, 0.5**(costs / 1e4))


@pytest.mark.parametrize("x, last", [("up", 4e5), ("both", 1.6e6), ("rounds", 40), ("calls", 80), ("seconds", 0.4)])
def test_costs_are_those_of_the_rows(x, last):
    assert curves.curve([result()], x, "relative_error")[0][-1] == pytest.approx(last)


def test_a_measure_that_no_row_has_makes_no_curve():
    assert curves.curve([result()], "up", "gap") is None
    with pytest.raises(UserError, match="no run has a gap to draw"):
        svg({"a": [result()]}, y="gap")


# -- figures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 12])
def test_every_line_is_named(count):
    found = {f"method {i}": [result(0.3 + 0.05 * i)] for i in range(count)}
    named = texts(svg(found))
    assert all(label in named for label in found)
    assert {"uplink per worker, kbit", "uplink + downlink per worker, Mbit"} <= set(named)


def test_few_lines_have_their_names_beside_them_and_many_a_legend():
    few = texts(svg({"fast": [result(0.3)], "slow": [result(0.8)]}))
    many = texts(svg({f"method {i}": [result(0.3 + 0.05 * i)] for i in range(12)}))
    assert few.count("fast") == few.count("slow") == 2  # once a panel
    assert many.count("method 3") == 1


def test_names_beside_lines_do_not_cover_each_other():
    import matplotlib
    with matplotlib.rc_context(plotting._LOOK):
        several = {f"m{i}": [result(0.3 + 0.1 * i)] for i in range(5)}
        figure = plotting._figure(several, "error", ("up",), 2, None, None, "auto")
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("columns, width", [(1, 3.4), (2, 7.0)])
def test_the_width_is_that_of_the_columns(columns, width):
    image = svg({"a": [result()]}, columns=columns)
    assert float(re.search(r'<svg[^>]*width="([\d.]+)pt"', image, re.S)[1]) == pytest.approx(72 * width)


@pytest.mark.parametrize("name", fast(["f.png", "f.pdf", "f.svg"], "f.svg"))
def test_the_same_results_give_the_same_bytes(tmp_path, name):
    found = {"a": [result(0.5), result(0.6)], "b": [result(0.7, "diverged")]}
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        plotting.draw(found, [tmp_path / folder / name], title="T")
    first, second = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
    assert first == second and len(first) > 3000


def test_an_error_that_explodes_does_not_flatten_the_others():
    found = {"good": [result(0.5)], "bad": [result(1e6, "diverged", rounds=20)]}
    import matplotlib
    with matplotlib.rc_context(plotting._LOOK):
        figure = plotting._figure(found, "error", ("up",), 2, None, None, "auto")
    assert figure.axes[0].get_ylim()[1] == 100


def test_places_for_names_stay_inside():
    path = np.column_stack([np.linspace(0, 300, 400), np.linspace(0, 200, 400)])
    inside = SimpleNamespace(x0=0, x1=300, y0=0, y1=200)
    best = min(labels._places(path, 50, 10), key=lambda box: labels._cost(box, 0, [path], inside, []))
    assert 0 <= best[0] and best[2] <= 300 and 0 <= best[1] and best[3] <= 200
    assert labels._within(path, best, 0) == 0


@pytest.mark.parametrize("label", [r"$\gama$ tuned", "cost $5 and $6", r"\$", "$"])
def test_a_dollar_is_drawn_as_typed(label):
    assert texts(svg({label: [result()]}, title=label)).count(label) == 3  # in two panels, and above them


def test_a_name_that_begins_with_an_underscore_is_in_the_legend_too():
    named = texts(svg({f"_method {i}": [result(0.3 + 0.05 * i)] for i in range(12)}))
    assert all(named.count(f"_method {i}") == 1 for i in range(12))


def test_the_settings_of_the_user_change_no_byte(monkeypatch):
    import matplotlib
    plain = svg({"a": [result()], "b": [result(0.7)]})
    for key, value in {"text.usetex": True, "path.effects": [0], "font.size": 20, "axes.grid": True,
                       "savefig.facecolor": "red", "axes.prop_cycle": matplotlib.cycler(lw=[5])}.items():
        monkeypatch.setitem(matplotlib.rcParams, key, value)
    assert svg({"a": [result()], "b": [result(0.7)]}) == plain
    assert matplotlib.rcParams["font.size"] == 20


@pytest.mark.parametrize("fault", [ValueError("two\nlines"), RuntimeError("no font")])
def test_a_figure_that_cannot_be_drawn_is_one_sentence(monkeypatch, fault):
    def fail(*arguments):
        raise fault
    monkeypatch.setattr(plotting, "_figure", fail)
    with pytest.raises(UserError, match="cannot be drawn .*mpimasha plot"):
        svg({"a": [result()]})


# -- the command -----------------------------------------------------------------------------------


def command(*argv):
    return launch.guard(lambda: cli.execute(cli.parse(list(argv)), None), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study of two methods on two problems, one of whose runs has not ended."""
    here = tmp_path_factory.mktemp("study")
    (here / "s.toml").write_text("""
        seeds = 2
        stop = { relative_error = 1e-2, rounds = 400 }
        problems = [{ label = "M = 3", workers = 3, problem = { dim = 4, kappa = 4 } },
                    { label = "M = 4", workers = 4, problem = { dim = 4, kappa = 4 } }]
        compare = [{ label = "og", method = { name = "og", gamma = "0.5/L" } }, { label = "<default> & co" }]
    """)
    assert command("compare", str(here / "s.toml"), "--out", str(here / "run"), "-q") == 0
    (here / "run" / "M---4" / "og" / "seed-1" / "summary.json").unlink()
    return here / "run"


def test_a_study_is_read_in_the_order_of_its_blocks(folder):
    found = study.read([folder])
    assert {on: {label: len(several) for label, several in results.items()} for on, results in found.groups.items()} \
        == {"M = 3": {"og": 2, "<default> & co": 2}, "M = 4": {"og": 1, "<default> & co": 2}}
    assert found.missing == 1


def test_labels_of_two_folders_are_told_apart(folder, tmp_path):
    assert command("run", "bilinear", "--method", "og", "--workers", "3", "--set", "problem.dim=4", "--set",
                   "stop.rounds=5", "--out", str(tmp_path / "a"), "-q") == 0
    assert command("run", "bilinear", "--method", "og", "--workers", "3", "--set", "problem.dim=4", "--set",
                   "stop.rounds=6", "--out", str(tmp_path / "b"), "-q") == 0
    assert list(study.read([tmp_path / "a", tmp_path / "b"]).groups[""]) == ["og", "og (b)"]


def test_a_figure_for_each_problem(folder, tmp_path, capsys):
    assert command("plot", str(folder), "--x", "up", "calls", "--out", str(tmp_path / "f.svg")) == 0
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["f-M---3.svg", "f-M---4.svg"]
    assert "<default> & co" in [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
                                for text in texts((tmp_path / names[0]).read_text())]


def test_one_problem_and_one_method_in_several_formats(folder, tmp_path):
    outs = [str(tmp_path / name) for name in ("a.png", "a.pdf")]
    assert command("plot", str(folder), "--on", "M = 3", "--only", "og", "--columns", "1", "--out", outs[0], "--out",
                   outs[1]) == 0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG" and (tmp_path / "a.pdf").read_bytes()[:4] == b"%PDF"


@pytest.mark.parametrize("argv, words", [
    (["--out", "x.jpg"], ["--out 'x.jpg'", ".png, .pdf or .svg"]), (["--out", "no/x.png"], ["no folder"]),
    (["--on", "M = 5"], ["--on 'M = 5'", "'M = 4'"]), (["--only", "ogg"], ["--only 'ogg'", "'og'"]),
    (["--y", "gap_"], ["gap_"]), (["--y", "robust_accuracy"], ["no run has a robust accuracy"])])
def test_mistakes_are_refused(folder, argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("plot", str(folder), *argv) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words) and not list(tmp_path.iterdir())


def test_a_folder_without_runs_is_refused(tmp_path, capsys):
    assert command("plot", str(tmp_path)) == 2
    assert "no folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["plot", "report"])
def test_a_folder_that_is_not_there_is_what_is_blamed(tmp_path, capsys, what):
    assert command(what, str(tmp_path / "nope")) == 2
    said = capsys.readouterr().err
    assert "nope" in said and "--out" not in said


def test_a_comparison_has_its_results_though_its_figure_fails(folder, tmp_path, capsys, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no font")
    monkeypatch.setattr(plotting, "_figure", fail)
    out = tmp_path / "out"
    assert command("compare", str(folder.parent / "s.toml"), "--out", str(out), "--json") == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out.splitlines()[-1])["rows"]) == 8 and "plot: " not in said.out
    assert said.err.count("no plot: the figure cannot be drawn") == 2
    assert {"table.txt", "table.md", "runs.csv"} <= {path.name for path in out.iterdir()}


@pytest.mark.launches
@pytest.mark.parametrize("backend", fast(["module://no_such.backend", "nonsense"]))
def test_no_backend_is_asked_for(folder, tmp_path, run_cli, backend):
    job = run_cli(["plot", str(folder), "--on", "M = 3", "--out", "f.png"], env={"MPLBACKEND": backend})
    assert job.returncode == 0 and (tmp_path / "f.png").exists(), job.stderr


@pytest.mark.slow
@pytest.mark.launches
def test_a_matplotlib_that_does_not_import_is_one_sentence(folder, tmp_path, run_cli):
    (tmp_path / "matplotlib.py").write_text("raise OSError('libfreetype.so.6: no such file')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    job = run_cli(["plot", str(folder), "--on", "M = 3", "--out", "f.png"], env={"PYTHONPATH": path})
    assert job.returncode == 2 and "Traceback" not in job.stderr
    assert "error: the figure cannot be drawn (ImportError: libfreetype.so.6" in job.stderr
