"""Student's interval, the seeds of a comparison, and what a comparison over seeds leaves behind."""

import json
import math
import os

import numpy as np
import pytest

from mpimasha.commands import cli
from mpimasha.errors import UserError
from mpimasha.experiment import matrix
from mpimasha.show import tables
from mpimasha.show.intervals import mean_and_interval, shown


# -- the interval ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(2, 41))
def test_the_interval_is_students(count):
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(count).normal(3.0, 0.5, count).tolist()
    mean, half = mean_and_interval(values)
    low, high = stats.t.interval(0.95, count - 1, loc=np.mean(values), scale=stats.sem(values))
    assert mean == pytest.approx(np.mean(values), rel=1e-14)
    assert half == pytest.approx((high - low) / 2, rel=3e-4)


def test_one_value_has_no_interval_and_equal_ones_have_none_to_speak_of():
    assert mean_and_interval([0.25]) == (0.25, None)
    assert mean_and_interval([0.5, 0.5, 0.5]) == (0.5, 0.0)


def test_what_is_shown():
    assert shown([0.68449]) == "0.684" and shown([0.5], scale=100, digits=1) == "50.0"
    assert shown([0.5, 0.7]) == "0.600 ± 1.271"  # t = 12.706, deviation 0.1414
    assert shown([0.5, 0.7], scale=100, digits=1) == "60.0 ± 127.1"


# -- seeds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document, seeds", [({}, [0]), ({"seed": 4}, [4]), ({"seeds": 3}, [0, 1, 2]),
                                             ({"seeds": 1}, [0]), ({"seeds": [7, 2]}, [7, 2]), ({"seeds": [5]}, [5])])
def test_seeds_are_a_list_or_how_many(document, seeds):
    assert matrix.seeds(document) == seeds


@pytest.mark.parametrize("document, words", [
    ({"seeds": 3, "seed": 1}, ["seed = 1", "seeds = 3", "keep one"]), ({"seeds": []}, ["seeds = []"]),
    ({"seeds": [1, 1]}, ["seeds = [1, 1]", "different"]), ({"seeds": 0}, ["seeds = 0"]),
    ({"seeds": -2}, ["seeds = -2"]),
    ({"seeds": True}, ["seeds = True"]), ({"seeds": 2.5}, ["seeds = 2.5"]), ({"seeds": "3"}, ["seeds = '3'"]),
    ({"seeds": [1, -1]}, ["-1"]), ({"seeds": [1, 2.5]}, ["2.5"]), ({"seeds": [1, True]}, ["True"]),
    ({"seeds": 10**9}, ["seeds = 1000000000"])])
def test_other_seeds_are_refused(document, words):
    refused(lambda: matrix.seeds(document), words)
    refused(lambda: matrix.experiments(document | {"compare": [{}]}), words)


def test_a_seed_in_a_block_beside_seeds_for_all_is_refused():
    refused(lambda: matrix.experiments({"seeds": 2, "compare": [{"seed": 5}]}), ["seed", "seeds", "keep one"])


def test_blocks_are_repeated_in_order():
    found = matrix.experiments({"seeds": [4, 9], "compare": [{"label": "a"}, {"method": {"name": "og"}}]})
    assert [(e.label, e.seed) for e in found] == [("a", 4), ("a", 9), ("og", 4), ("og", 9)]
    assert [e.document["seed"] for e in found] == [4, 9, 4, 9]
    assert not any("seeds" in e.document for e in found)  # a manifest repeats one run


def refused(make, words):
    with pytest.raises(UserError) as caught:
        make()
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# -- a comparison over seeds -------------------------------------------------------------------------

BLOCKS = """
[stop]
rounds = 6
[[compare]]
label = "plain"
method = {name = "sgda", gamma = 0.05}
[[compare]]
label = "sparse"
method = {name = "masha2", gamma = 0.02, tau = 0.6}
compressor = {up = "topk:0.05"}
"""
NETWORK = """
seeds = [3, 5]
workers = 3
problem = {name = "adversarial_mlp", data = "images.npz", hidden = [8], radius = 0.1}
observe = {milestone = 0.99}
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    np.savez("images.npz", images=rng.random((60, 4, 4)), labels=np.arange(60) % 3)


def compared(text, capsys):
    with open("experiment.toml", "w") as file:
        file.write(text)
    assert cli.execute(cli.parse(["compare", "experiment.toml", "--out", "out", "--json"]), None) == 0
    printed = capsys.readouterr().out
    return printed, json.loads(printed.splitlines()[-1])["rows"]


@pytest.mark.slow
def test_each_seed_has_a_folder_and_each_label_a_row(tmp_path, capsys):
    printed, rows = compared(NETWORK + BLOCKS, capsys)
    assert [(row["method"], row["seed"]) for row in rows] == [("sgda", 3), ("sgda", 5), ("masha2", 3), ("masha2", 5)]
    for label in ("plain", "sparse"):
        assert sorted(os.listdir(tmp_path / "out" / label)) == ["seed-3", "seed-5"]
        for seed in (3, 5):
            folder = tmp_path / "out" / label / f"seed-{seed}"
            assert {"manifest.json", "rows.jsonl", "summary.json", "final.npz"} <= set(os.listdir(folder))
            assert json.loads((folder / "manifest.json").read_text())["seed"] == seed
    table = (tmp_path / "out" / "table.txt").read_text()
    assert table in printed
    header, _, *lines = table.splitlines()
    assert len(lines) == 2 and [line.split()[:2] for line in lines] == [["plain", "2"], ["sparse", "2"]]
    accuracies = [row["accuracy"] for row in rows[:2]]
    assert shown(accuracies) in lines[0] and "±" in lines[1] and "MB to 0.99" in header
    z = [np.load(tmp_path / "out" / "plain" / f"seed-{seed}" / "final.npz")["z"] for seed in (3, 5)]
    assert not np.array_equal(*z)


def test_one_seed_needs_no_folder_of_its_own(tmp_path, capsys):
    compared(NETWORK.replace("[3, 5]", "[5]") + BLOCKS, capsys)
    assert (tmp_path / "out" / "plain" / "manifest.json").exists()
    assert "±" not in (tmp_path / "out" / "table.txt").read_text()


def test_problems_with_a_solution_have_a_row_for_each_method_with_all_its_seeds(tmp_path, capsys):
    _, rows = compared('seeds = 2\nworkers = 3\nproblem = {name = "bilinear", dim = 4}\n' + BLOCKS, capsys)
    lines = (tmp_path / "out" / "table.txt").read_text().splitlines()[2:]
    assert [(row["method"], row["seed"]) for row in rows] == [("sgda", 0), ("sgda", 1), ("masha2", 0), ("masha2", 1)]
    assert [line.split("  ")[0] for line in lines] == ["plain (2 rounds)", "sparse (2 rounds)"]


# -- the table of trained networks --------------------------------------------------------------------


class Trained:
    """What `tables.training` reads of a Result."""

    def __init__(self, method, mb, robust, status="rounds"):
        self.summary, self.status = {"method": method, "seconds": 2.0}, status
        self.rows = [{"round": 10 * i, "uplink_bits": 4e6 * m, "downlink_bits": 4e6 * m, "accuracy": 0.9,
                      "robust_accuracy": r} for i, (m, r) in enumerate(zip(mb, robust))]


def test_megabytes_to_a_level_are_those_of_the_first_row_that_has_it():
    found = {"dense": [Trained("sgda", (0, 10, 20), (0.1, 0.5, 0.4)), Trained("sgda", (0, 10, 20), (0.1, 0.4, 0.6))],
             "sparse": [Trained("masha2", (0, 1, 2), (0.1, 0.6, 0.7)), Trained("masha2", (0, 1, 2), (0.1, 0.2, 0.5))],
             "never": [Trained("qsgda", (0, 1, 2), (0.1, 0.6, 0.7)),
                       Trained("qsgda", (0, 1, 2), (0.1, 0.2, 0.3), "diverged")]}
    header, rows, _ = tables.training(found, 0.5)
    cells = [dict(zip(header, row)) for row in rows]
    assert [cell["method"] for cell in cells] == ["dense", "sparse", "never (1 diverged)"]
    assert [cell["MB to 0.5"] for cell in cells] == ["15.0", "1.50", "- (1 of 2)"]
    assert [cell["range"] for cell in cells] == ["10.0-20.0", "1.00-2.00", "1.00-1.00"]
    assert [cell["vs sgda"] for cell in cells] == ["1.0x", "10.0x", "-"]
    assert cells[0]["robust"] == shown([0.4, 0.6]) and cells[0]["MB"] == "20.0" and cells[0]["rounds"] == "20"
    assert math.isclose(tables.megabytes(found["dense"][0].rows[1]), 10)


def test_a_level_that_was_there_from_the_start_cost_nothing():
    found = {"dense": [Trained("sgda", (0, 10), (0.6, 0.7))], "sparse": [Trained("masha2", (0, 1), (0.6, 0.7))]}
    header, rows, _ = tables.training(found, 0.5)
    assert [row[header.index("MB to 0.5")] for row in rows] == ["0", "0"]
    assert [row[header.index("vs sgda")] for row in rows] == ["-", "-"]
