"""A run directory is complete, says the truth, and never replaces anything; rows only grow."""

import json
import math
import os
import stat
from types import SimpleNamespace

import numpy as np
import pytest

from mpimasha.commands import cli
from mpimasha.errors import UserError
from mpimasha.experiment import results
from mpimasha.files import replace_atomically
from mpimasha.methods.masha1 import Masha1
from mpimasha.problems.bilinear import Bilinear
from mpimasha.solver.observers import Rows, finite
from mpimasha.solver.run import solve

SMALL = ["--set", "problem.dim=4", "--workers", "3", "--set", "stop.rounds=60", "--set", "stop.relative_error=1e-3"]
SUMMARY = {"problem", "method", "compressor", "workers", "ranks", "rounds", "converged", "relative_error", "residual",
           "gap",
           "uplink_bits_per_worker", "downlink_bits_per_worker", "wire_bytes_per_rank", "operator_calls", "seconds",
           "seconds_compute", "seconds_compress", "seconds_communicate", "gamma", "tau", "seed", "out"}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*argv):
    return cli.execute(cli.parse(list(argv)), None)


def strict(text):
    def no(constant):
        raise ValueError(f"{constant} is not JSON")
    return json.loads(text, parse_constant=no)


def read_rows(folder):
    return [strict(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


# -- a run -----------------------------------------------------------------------------------------


def test_a_run_leaves_manifest_rows_summary_and_the_final_iterate(tmp_path, capsys):
    assert run("run", "bilinear", *SMALL, "--method", "masha1", "--out", "here", "--seed", "4", "--json") == 0
    folder = tmp_path / "here"
    assert {"manifest.json", "rows.jsonl", "summary.json", "final.npz"} <= set(os.listdir(folder))
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
    printed = strict(capsys.readouterr().out.splitlines()[-1])
    summary = strict((folder / "summary.json").read_text())
    assert SUMMARY <= set(printed) and printed["out"] == "here"
    assert {k: v for k, v in summary.items() if k != "out"} == {k: v for k, v in printed.items() if k != "out"}
    again = solve(Bilinear(dim=4, workers=3), Masha1(), seed=4,
                  stop=cli.config.Stop(rounds=60, relative_error=1e-3))
    final = np.load(folder / "final.npz")
    np.testing.assert_array_equal(final["z"], again.z)
    np.testing.assert_array_equal(final["w"], again.w)
    rows = read_rows(folder)
    assert rows[-1]["round"] == printed["rounds"] == again.rounds
    assert rows[-1]["relative_error"] == printed["relative_error"]
    assert rows[-1]["uplink_bits"] == printed["uplink_bits_per_worker"]
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in rows] == \
        [{k: v for k, v in finite(r).items() if k != "seconds"} for r in again.rows]


def test_the_summary_on_disk_knows_its_folder(tmp_path):
    run("run", "bilinear", *SMALL, "--out", "here", "-q")
    assert strict((tmp_path / "here" / "summary.json").read_text())["out"] == "here"


def test_the_manifest_is_enough_to_repeat_the_run(tmp_path):
    run("run", "bilinear", *SMALL, "--out", "one", "--seed", "4", "--wire", "float32", "--method", "masha1",
        "--compressor", "qsgd:3", "-q")
    manifest = strict((tmp_path / "one" / "manifest.json").read_text())
    assert (manifest["seed"], manifest["wire"], manifest["workers"], manifest["mpi"]) == (4, "float32", 3, "serial")
    assert manifest["ranks"][0]["rank"] == 0 and manifest["ranks"][0]["pid"] == os.getpid()
    assert {"mpimasha", "python", "numpy", "numba"} <= set(manifest["versions"])
    e = cli.config.experiment(manifest["experiment"])
    again = solve(e.problem(), e.method(), seed=e.seed, wire=e.wire, stop=e.stop, every=e.every)
    np.testing.assert_array_equal(np.load(tmp_path / "one" / "final.npz")["z"], again.z)
    assert manifest["gamma"] == again.gamma and manifest["tau"] == again.tau


def test_uncompressed_methods_have_no_reference_point(tmp_path):
    run("run", "bilinear", *SMALL, "--method", "og", "--out", "here", "-q")
    assert set(np.load(tmp_path / "here" / "final.npz").files) == {"z"}


@pytest.mark.slow
def test_rows_only_grow(tmp_path):
    for i, (method, extra) in enumerate((("masha1", ["--compressor", "randk:2"]), ("masha2", []), ("og", []),
                                         ("masha1", ["--set", "observe.every=3"]))):
        run("run", "bilinear", *SMALL, "--method", method, *extra, "--out", str(i), "-q")
        rows = read_rows(tmp_path / str(i))
        assert rows[0]["round"] == 0 and rows[0]["relative_error"] == 1.0 and rows[0]["residual"] == 1.0
        for key in ("round", "uplink_bits", "downlink_bits", "exchanges", "operator_calls", "seconds", "wire_bytes"):
            values = [row[key] for row in rows]
            assert values == sorted(values) and (key == "wire_bytes" or values[-1] > values[0])
        assert len({row["round"] for row in rows}) == len(rows)
        assert all(set(row) == set(rows[0]) for row in rows)
    assert [row["round"] for row in rows[:4]] == [0, 3, 6, 9]


@pytest.mark.filterwarnings("error")
def test_a_diverged_run_says_so_in_valid_json_and_with_code_4(tmp_path, capsys):
    code = run("run", "bilinear", *SMALL, "--set", "method.gamma=1e4", "--out", "here", "--json")
    assert code == 4
    printed = strict(capsys.readouterr().out.splitlines()[-1])
    assert printed["converged"] is False and printed["rounds"] < 60
    assert len(read_rows(tmp_path / "here")) >= 2
    strict((tmp_path / "here" / "summary.json").read_text())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("gamma", ("1e160", "1e300"))
def test_a_run_that_overflows_at_once_says_so_and_warns_of_nothing(tmp_path, gamma, capsys):
    code = run("run", "bilinear", *SMALL, "--set", f"method.gamma={gamma}", "--out", "here", "--json")
    assert code == 4
    strict(capsys.readouterr().out.splitlines()[-1])


# -- a comparison ----------------------------------------------------------------------------------


def test_a_comparison_leaves_a_table_and_a_run_directory_a_label(tmp_path, capsys):
    (tmp_path / "experiment.toml").write_text(
        "[problem]\ndim = 4\n[stop]\nrounds = 60\n"
        "[[compare]]\nlabel = 'mine, 5 %'\n[[compare]]\nlabel = 'og'\nmethod.name = 'og'\n")
    assert run("compare", "experiment.toml", "--out", "both", "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = strict(lines[-1])["rows"]
    assert [row["method"] for row in rows] == ["diana_og", "og"] and all(SUMMARY <= set(row) for row in rows)
    folder = tmp_path / "both"
    table = (folder / "table.txt").read_text()
    assert table in "\n".join(lines) + "\n" and "mine, 5 %" in table
    for row in rows:
        assert {"manifest.json", "rows.jsonl", "summary.json", "final.npz"} <= set(os.listdir(row["out"]))
    assert len({row["out"] for row in rows}) == 2
    labels = {strict((folder / name / "manifest.json").read_text())["label"]
              for name in os.listdir(folder) if (folder / name).is_dir()}
    assert labels == {"mine, 5 %", "og"}


# -- nothing is overwritten ------------------------------------------------------------------------


def test_a_second_run_into_the_same_folder_is_refused_and_changes_nothing(tmp_path):
    run("run", "bilinear", *SMALL, "--out", "here", "-q")
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "here").iterdir()}
    with pytest.raises(UserError, match="--out 'here' exists"):
        run("run", "bilinear", *SMALL, "--out", "here", "-q")
    assert before == {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "here").iterdir()}


def test_an_empty_folder_and_a_new_one_below_new_ones_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for out in ("empty", "new/newer/newest"):
        assert run("run", "bilinear", *SMALL, "--out", out, "-q") == 0
        assert (tmp_path / out / "final.npz").exists()


def test_runs_started_in_the_same_second_get_folders_of_their_own(tmp_path):
    for _ in range(3):
        run("run", "bilinear", *SMALL, "-q")
    names = sorted(os.listdir(tmp_path / "runs"))
    assert len(names) == 3 and all(name.startswith("bilinear-diana_og-") for name in names)
    assert results.default_folder("x") == results.default_folder("x") and not results.default_folder("x").exists()


def test_a_mistake_found_late_leaves_no_folder(tmp_path):
    with pytest.raises(UserError):
        run("run", "bilinear", *SMALL, "--set", "method.tau=0.1", "-q")
    assert not (tmp_path / "runs").exists()


# -- files -----------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half(file):
        file.write(b"half")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        replace_atomically(path, half)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]
    replace_atomically(path, lambda file: file.write(b"new"))
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["file"]


def test_a_new_file_has_the_permissions_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        replace_atomically(tmp_path / "file", lambda file: file.write(b"x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_rows_are_on_disk_line_by_line_with_null_for_what_json_cannot_hold(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl")
    rows.start(SimpleNamespace(rows=[]))
    rows.observe(None, {"round": 0, "gap": math.nan, "error": np.float64(math.inf), "bits": np.float64(2.5),
                        "none": None})
    assert read_rows(tmp_path) == [{"round": 0, "gap": None, "error": None, "bits": 2.5, "none": None}]
    rows.observe(None, {"round": 1})
    assert read_rows(tmp_path)[1] == {"round": 1}
    rows.finish(None, None)


def test_what_json_cannot_hold_is_null_everywhere_in_a_manifest(tmp_path):
    results.write_json(tmp_path / "a.json", {"L": math.nan, "experiment": {"problem": {"kappa": math.inf,
                                                                                       "list": [math.nan]}}})
    assert strict((tmp_path / "a.json").read_text()) == {"L": None, "experiment": {"problem": {"kappa": None,
                                                                                               "list": [None]}}}
