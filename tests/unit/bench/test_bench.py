"""`mpimasha bench networks`, and our gradients against PyTorch's where it is installed."""

import json
import logging
import sys

import numpy as np
import pytest

from mpimasha.bench import candidates, kernels, machine, networks
from mpimasha.commands import cli
from mpimasha.errors import UserError

WITHIN = {"float64": 1e-12, "float32": 1e-5}


def bench(*words, what="networks"):
    return cli.execute(cli.parse(["bench", what, *words]), None)


def test_without_pytorch_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"PyTorch, which is not installed: pip install 'mpimasha\[bench\]'"):
        bench("--only", "mlp_small")


def test_an_unknown_row_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="'mlp_smal' is no row .* did you mean 'mlp_small'"):
        bench("--only", "mlp_smal")


def test_the_table_says_what_was_missed():
    rows = [{"name": "a", "value": 3.0, "target": 2.0, "ok": True, "ours_us": 10.0, "torch_us": 30.0},
            {"name": "b", "value": 1.0, "target": 1.2, "ok": False, "ours_us": 30.0, "torch_us": 30.0}]
    fine, missed = networks.table(rows).splitlines()[2:]
    assert "3.00x" in fine and "missed" not in fine and missed.endswith("missed")


@pytest.mark.parametrize("name", networks.TARGETS)
@pytest.mark.parametrize("dtype", WITHIN)
def test_gradients_are_those_of_pytorch(name, dtype):
    pytest.importorskip("torch")
    errors = {key: value for key, value in networks.errors(name, dtype).items() if isinstance(value, float)}
    assert set(errors) == {"weights", "inputs"} | ({"shifts"} if "transformer" in name else set())
    assert max(errors.values()) < WITHIN[dtype]


def test_rows_are_ratios_of_times(monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.setattr(networks, "SECONDS", 0.1)
    assert bench("--only", "mlp_small", "--json") == 0
    row, = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert row["name"] == "mlp_small" and row["ok"] == (row["value"] >= row["target"] == 2.0)
    assert row["value"] == pytest.approx(row["torch_us"] / row["ours_us"], rel=0.5)


# -- kernels ---------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    for size in ("D", "HARD", "CACHED", "SCATTERED"):
        monkeypatch.setattr(candidates, size, 4096)
    monkeypatch.setattr(kernels, "SECONDS", 0.0)


def test_every_row_of_the_kernels_is_measured(tiny, capsys):
    assert bench("--json", what="kernels") == 0
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    rows = {row["name"]: row for row in found["rows"]}
    missing = set() if kernels.load(needed=False) else {name for name in kernels.TARGETS if name.endswith(".torch")}
    assert set(rows) == set(kernels.TARGETS) - missing and len(table) == len(rows) + 2
    for name, row in rows.items():
        floor = name.endswith(".floor")
        assert row["ok"] == (row["value"] <= row["target"] if floor else row["value"] >= row["target"])
        if row["rival_ns"] is not None:
            ratio = row["ours_ns"] / row["rival_ns"] if floor else row["rival_ns"] / row["ours_ns"]
            assert row["value"] == pytest.approx(ratio)
    assert rows["randk_indices.floor"]["value"] == rows["randk_indices.floor"]["ours_ns"]
    assert found["machine"] == machine.describe()


def test_rows_and_families_of_the_kernels_can_be_chosen(tiny, capsys):
    assert [row["name"] for row in kernels.rows(["scatter.library"])] == ["scatter.library"]
    assert [row["name"] for row in kernels.rows(["natural"])] == ["natural.library", "natural.floor"]
    with pytest.raises(UserError, match="did you mean 'scatter.library'"):
        bench("--only", "scatter.libary", what="kernels")


def test_without_pytorch_its_rows_are_left_out_and_asked_for_alone_refused(tiny, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(logging.getLogger("mpimasha"), "propagate", True)
    assert [row["name"] for row in kernels.rows(["topk64"])] == ["topk64.argpartition", "topk64.floor"]
    assert "PyTorch are left out" in caplog.text
    with pytest.raises(UserError, match="not installed"):
        kernels.rows(["topk64.torch"])


def test_what_is_compared_is_the_same(tiny):
    """Ours and NumPy's agree where they are not random."""
    case, = candidates.update()
    case["ours"](), case["library"]()
    case, = candidates.topk32()
    largest = np.argsort(-np.abs(candidates.gaussian(4096)))[:41]
    np.testing.assert_array_equal(np.sort(case["argpartition"]()), np.sort(largest))
    powers = candidates._powers(candidates.gaussian(4096), np.random.default_rng(0))
    assert (np.frexp(powers)[0] == np.copysign(0.5, powers)).all()


def test_the_machine_is_named_even_where_little_is_known_of_it(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "CACHES", tmp_path)
    assert machine.describe().endswith("cores")
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: A CPU\n")
    for i, (level, size) in enumerate((("1", "48K"), ("2", "2048K"), ("3", "30M"))):
        (tmp_path / f"index{i}").mkdir()
        (tmp_path / f"index{i}" / "level").write_text(level)
        (tmp_path / f"index{i}" / "size").write_text(size)
    assert machine.describe().startswith("A CPU, ") and machine.describe().endswith("cores, L2 2048K, L3 30M")
