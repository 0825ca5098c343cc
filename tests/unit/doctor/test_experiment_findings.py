"""What the doctor promises of an experiment, from an invented forecast."""

import pytest
from findings import GB, named, ranks, spread

from mpimasha.doctor import experiment
from mpimasha.doctor.finding import NOTE, OK, PROBLEM

NETWORK = {"latency": (5e-6, 1e-5), "large": (4e-4, 1.01e-3), "bytes": 1_000_000}


def forecast(**changes):
    memory = {"workers": 2 * GB, "method": GB, "exchange": GB, "measuring": 0, "data": None}
    return {"label": "masha1", "problem": "bilinear", "n": 100, "workers": 8, "ranks": 4, "method": "masha1",
            "compressor": "randk:0.05", "rule": "theory", "judged": True, "refusal": None, "gamma": 0.1, "gamma_L": 0.1,
            "tau": 0.75, "refresh": 0.25, "wire": "float64", "memory": [memory] * 4, "uplink_bits": 640.0,
            "downlink_bits": 3520.0, "messages": 1.5, "sent": 400.0, "received": 1000.0, "uplink": 500.0,
            "dense": 900.0} | changes


def of_experiment(name, job=None, network=NETWORK, **changes):
    return named(experiment.findings([forecast(**changes)], job or ranks(4), network), name)


def test_a_sound_experiment_is_described():
    found = experiment.findings([forecast()], ranks(4), NETWORK)
    assert {f.level for f in found} == {OK}
    assert "640 bit up and 3.52 kbit down" in named(found, "model bits").value
    assert "every 4 rounds" in named(found, "model bits").value
    assert "2 workers a rank" in named(found, "problem").value


def test_communication_is_latency_of_each_collective_and_the_bytes_received():
    assert experiment.communication(forecast(), NETWORK) == pytest.approx(1.5 * 1e-5 + 1000 * 1e-9)  # the slowest rank
    assert "16.0 us" in of_experiment("time").value
    assert experiment.communication(forecast(ranks=1), None) == 0
    assert experiment.communication(forecast(messages=None), NETWORK) is None


def test_idle_ranks_are_noted_with_a_number_that_fits():
    found = of_experiment("problem", workers=10)
    assert found.level == NOTE and "2 or 3 workers a rank" in found.value and "17%" in found.value  # 1 - 10/12
    assert found.advice.startswith("use 2 ranks")


def test_memory_beyond_what_a_host_has_is_a_problem():
    assert of_experiment("memory", ranks(4, memory__available=21 * GB)).level == OK
    assert of_experiment("memory", ranks(4, memory__available=17 * GB)).level == NOTE
    found = of_experiment("memory", ranks(4, memory__available=15 * GB))
    assert found.level == PROBLEM and "16.0 GB of 15.0 GB free on a" in found.value and "data not known" in found.value
    halves = spread(ranks(2, memory__available=15 * GB), ranks(2, memory__available=15 * GB))
    assert of_experiment("memory", halves).level == OK


def test_messages_that_outweigh_dense_vectors_are_noted():
    assert of_experiment("wire", uplink=900.0).level == OK
    found = of_experiment("wire", uplink=901.0)
    assert found.level == NOTE and "permk" in found.advice


def test_a_run_that_would_refuse_is_a_problem_with_its_sentence():
    found = of_experiment("start", refusal="method.gamma needs L: give a number", memory=None)
    assert found.level == PROBLEM and "method.gamma needs L" in found.value


def test_a_comparison_is_a_table_and_its_faults():
    blocks = [forecast(label="og"), forecast(label="mine", uplink=901.0)]
    found = experiment.findings(blocks, ranks(4), NETWORK)
    assert [(f.name, f.level) for f in found] == [("problem", OK), ("wire", NOTE)]
    assert found[1].value.startswith("mine: ")
    lines = experiment.table(blocks, NETWORK)
    assert [line.split()[0] for line in lines[2:]] == ["og", "mine"] and "randk:0.05" in lines[2]
    assert "randk:0.05" not in experiment.table(blocks, NETWORK, width=len(lines[0]) - 1)[2]
