"""`mpimasha bench networks`, and our gradients against PyTorch's where it is installed."""

import json
import sys

import pytest

from mpimasha import cli
from mpimasha.bench import networks
from mpimasha.errors import UserError

WITHIN = {"float64": 1e-12, "float32": 1e-5}


def bench(*words):
    return cli.execute(cli.parse(["bench", "networks", *words]), None)


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
