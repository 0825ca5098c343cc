"""What the doctor forecasts of a run is what the run then allocates, sends and bills."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lanes import fast

from mpimasha import state
from mpimasha.channels.channel import Channel
from mpimasha.compressors import COMPRESSORS
from mpimasha.compressors.randk import RandK
from mpimasha.doctor import needs
from mpimasha.doctor import experiment as findings
from mpimasha.experiment import config, matrix
from mpimasha.experiment.config import experiment, override_all
from mpimasha.methods import METHODS
from mpimasha.mpi.communicator import Communicator
from mpimasha.problems import PROBLEMS
from mpimasha.problems.bilinear import Bilinear
from mpimasha.solver.run import Run

ROUNDS = 3
UNBIASED = ("randk:7", "randk:3,indices=true", "permk", "qsgd:4")
PAIRS = [(name, up) for name, method in METHODS.items() for up in
         (UNBIASED if name == "masha1" else (*UNBIASED, "topk:0.1") if name == "masha2" else (None,))]


def described(name, up=None, **keys):
    """An experiment whose every round refreshes, so that what is expected is what happens."""
    document = {"problem": {"name": "bilinear", "dim": 20, "samples": 3}, "workers": 7, "wire": "float32"}
    wishes = {"method.name": name, "method.gamma": 1e-3} | ({"compressor.up": up} if up else {})
    if METHODS[name].takes("tau"):
        wishes["method.tau"] = 0.0
    override_all(document, [*wishes.items(), *keys.items()])
    return experiment(document)


def check_round(name, up, comm):
    """Bits, bytes and collectives of a round."""
    asked, comm = described(name, up), Communicator(comm)
    problem = asked.problem()
    told = needs.forecast(asked, problem, comm)
    assert not any(comm.sent.values())  # a forecast sends no vector
    calls = []
    for collective in ("allgather_bytes", "exchange_slices"):
        original = getattr(comm, collective)
        setattr(comm, collective, lambda *args, original=original: (calls.append(1), original(*args)))
    run = Run(problem, asked.method(), comm, wire=asked.wire)
    run.start()
    run.step()  # of Optimistic MASHA, the first round alone has no refresh

    def so_far():
        return np.array([run.ledger.uplink_bits, run.ledger.downlink_bits, comm.sent["rounds"], len(calls)])
    before = so_far()
    for _ in range(ROUNDS):
        run.step()
    up_bits, down_bits, sent, messages = (so_far() - before) / ROUNDS
    assert told["uplink_bits"] == pytest.approx(up_bits) and told["downlink_bits"] == pytest.approx(down_bits)
    if all(channel.memory.share == 1 for channel, _ in run.method.exchanges):  # else a mean over who sends is told
        assert told["sent"] == pytest.approx(max(comm.gather_objects(sent)))
    assert told["messages"] == (messages if comm.size > 1 else 0)


def check_memory(name, up, comm):
    """The arrays of a run, found by another way than the forecast's, and at most two vectors more."""
    asked, comm = described(name, up, **{"problem.dim": 60}), Communicator(comm)
    problem = asked.problem()
    told = needs.forecast(asked, problem, comm)["memory"][comm.rank]
    run = Run(problem, asked.method(), comm, wire=asked.wire)
    run.start()
    run.step()
    kept = list(state.buffers(run.method).values()) + [run.method.z0, *run.fleet._scratch]
    channels = [channel for channel in vars(run.method).values() if isinstance(channel, Channel)]
    for channel in channels:
        kept += [channel._mean, *state.buffers(channel.memory).values()]
        for part in (channel.transport, channel.compressor):
            kept += [array for value in vars(part).values()
                     for array in (value.values() if isinstance(value, dict)
                                   else vars(value).values() if isinstance(value, SimpleNamespace) else [value])
                     if isinstance(array, np.ndarray)]
    real = sum({id(root): root.nbytes for root in map(_owner, kept)}.values())
    forecast = told["workers"] + told["method"] + told["exchange"]
    assert real <= forecast <= real + 2 * 8 * problem.n
    assert told["data"] >= 8 * problem.dim**2 * (len(run.fleet.owned) + 1)


@pytest.mark.parametrize("name, up", PAIRS)
def test_a_round_of_one_rank_costs_what_was_forecast(name, up):
    check_round(name, up, None)


@pytest.mark.parametrize("name, up", PAIRS)
def test_one_rank_takes_the_memory_that_was_forecast(name, up):
    check_memory(name, up, None)


@pytest.mark.slow
@pytest.mark.ranks(3)
def test_three_ranks_cost_and_take_what_was_forecast(comm):
    for name, up in PAIRS:
        check_round(name, up, comm)
        check_memory(name, up, comm)


def _owner(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


# -- what the forecast refuses, and what it does not touch ------------------------------------------


class Unknown(Bilinear):
    def lipschitz(self, worker):
        return None


class Untouchable(Bilinear):
    def data(self, worker):
        raise AssertionError("the data was made")

    lipschitz = dissimilarity = lambda self, worker: 1.0


class Entangled(RandK):
    def __init__(self, k: float = 0.05):
        super().__init__(k)
        self.dependence = "entangled"


def test_constants_that_would_have_to_be_estimated_are_not_judged_and_the_rest_is_told_all_the_same():
    asked = described("masha1", "randk:7", **{"method.gamma": "theory", "method.tau": "theory"})
    told = needs.forecast(asked, Unknown(dim=20, workers=7), Communicator())
    assert not told["judged"] and told["uplink_bits"] > 0 and told["memory"]
    known = needs.forecast(asked, Bilinear(dim=20, workers=7), Communicator())
    assert known["judged"] and known["refusal"] is None


def test_a_compressor_without_a_theorem_refuses_even_where_constants_are_not_worked_out(monkeypatch):
    monkeypatch.setitem(COMPRESSORS, "randk", Entangled)
    monkeypatch.setattr(needs, "_CHEAP", 0)
    asked = described("masha1", "randk:7", **{"method.gamma": "theory", "method.tau": "theory"})
    assert "knows no bound" in needs.forecast(asked, Bilinear(dim=20, workers=7), Communicator())["refusal"]


def test_a_large_problem_is_described_without_its_data_or_its_constants():
    asked = described("masha2", "topk:0.1", **{"problem.dim": 100_000, "method.tau": "theory"})
    told = needs.forecast(asked, Untouchable(dim=100_000, workers=200), Communicator())
    assert not told["judged"] and told["refusal"] is None and told["n"] == 200_000
    assert findings.worst_rank(told) > 200 * 8e10  # 200 matrices of 1e5 x 1e5


def test_what_does_not_fit_is_a_refusal_not_a_crash(monkeypatch):
    def full(*arguments):
        raise MemoryError("Unable to allocate 9 TiB")
    monkeypatch.setattr(state, "allocate", full)
    told = needs.forecast(described("og"), Bilinear(dim=20, workers=7), Communicator())
    assert "not enough memory" in told["refusal"] and told["memory"] is None


# -- every experiment that is shipped, and what the default chooses ------------------------------------

SHIPPED = [*sorted(Path(__file__).parents[2].glob("jobs/experiments/*.toml")), *PROBLEMS]
SMALL = {"policy_evaluation": {"states": 20, "dim": 5}, "matrix_game": {"size": 20}}


@pytest.mark.parametrize("what", SHIPPED, ids=lambda what: getattr(what, "stem", what))
def test_whatever_is_shipped_can_be_forecast(what):
    document = {"problem": {"name": what, **SMALL.get(what, {})}} if isinstance(what, str) else config.read(what)
    asked = matrix.experiments(document) if "compare" in document else [experiment(document)]
    problem = asked[0].problem()
    for one in {each.label: each for each in asked if each.problem_class is type(problem)}.values():
        told = needs.forecast(one, problem, Communicator())
        assert told["refusal"] is None and told["uplink_bits"] > 0
        assert told["guess"] is None or told["guess"][0] <= told["uplink_bits"] <= told["guess"][1]


CHOSEN = {"bilinear": {"dim": 10}, "sparse_bilinear": {"dim": 2000}, "robust_regression": {},
          "adversarial_mlp": {"hidden": [8]}}


@pytest.mark.parametrize("name", fast(CHOSEN, "bilinear", "robust_regression"))
def test_what_the_default_sends_is_forecast_or_lies_in_the_range_of_the_guess(name):
    asked = experiment({"problem": {"name": name, **CHOSEN[name]}})
    problem = asked.problem()
    told = needs.forecast(asked, problem, Communicator())
    run = Run(problem, asked.method(), wire=asked.wire)
    run.start()
    before = run.ledger.uplink_bits
    run.step()
    sent = run.ledger.uplink_bits - before
    if name in ("bilinear", "adversarial_mlp"):
        assert told["guess"] is None and told["uplink_bits"] == sent
        assert told["compressor"] == str(run.method.compressor)
    else:
        assert told["guess"][0] <= sent <= told["guess"][1]
        assert "a guess" in findings._bits(told).value and "?" in findings.table([told])[2]
