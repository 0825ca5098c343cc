"""The loop: it ends when and as it says, records what it says, and what looks on changes nothing."""

import dataclasses
import math

import numpy as np
import pytest

from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.methods.descent import EFSGDA
from mpimasha.methods.extragradient import Extragradient
from mpimasha.methods.masha1 import Masha1
from mpimasha.methods.masha2 import Masha2
from mpimasha.methods.optimistic import Optimistic
from mpimasha.problems.base import Problem
from mpimasha.problems.bilinear import Bilinear
from mpimasha.problems.robust_regression import RobustRegression
from mpimasha.solver.observers import Observer
from mpimasha.solver.run import Run, solve
from mpimasha.solver.stop import CONVERGED, DIVERGED, ROUNDS, RUNNING, Stop

METHODS = (Extragradient, Optimistic, Masha1, Masha2)


def easy(**options):
    return Bilinear(**{"dim": 4, "workers": 3, "kappa": 5.0, **options})


class Log(Observer):
    """What it was called with; gives up after `limit` rows, so that an endless loop fails instead of hanging."""

    def __init__(self, limit=10_000):
        self.calls, self.limit = [], limit

    def start(self, run):
        self.calls.append(("start", run.k))

    def observe(self, run, row):
        self.calls.append(("row", run.k))
        if len(self.calls) > self.limit:
            raise AssertionError("the run does not end")

    def finish(self, run, result):
        self.calls.append(("finish", run.k))


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


# -- Stop ------------------------------------------------------------------------------------------


ROW = {"relative_error": 0.5, "residual": 0.5, "gap": 0.5, "distance": 1.0}


@pytest.mark.parametrize("limits, row, k, status", [
    ({"rounds": 10}, {}, 9, RUNNING), ({"rounds": 10}, {}, 10, ROUNDS), ({"rounds": 10}, {}, 11, ROUNDS),
    ({"relative_error": 0.5}, {}, 0, CONVERGED), ({"relative_error": 0.4}, {}, 10**9, RUNNING),
    ({"residual": 0.5}, {}, 0, CONVERGED), ({"residual": 0.4}, {}, 5, RUNNING), ({"gap": 0.6}, {}, 0, CONVERGED),
    ({"gap": 0.6}, {"gap": None}, 0, RUNNING), ({"gap": 0.6}, {"gap": -1e-17}, 0, CONVERGED),
    ({"relative_error": 0.1, "gap": 0.5}, {}, 0, CONVERGED), ({"rounds": 1, "gap": 0.5}, {}, 1, CONVERGED),
    ({"rounds": 1}, {"relative_error": math.nan}, 1, DIVERGED), ({"rounds": 1}, {"residual": math.inf}, 0, DIVERGED),
    ({"gap": 0.6}, {"relative_error": 1e13}, 0, DIVERGED), ({"rounds": 1}, {"relative_error": 1e9}, 0, RUNNING)])
def test_the_first_limit_that_is_met_ends_the_run_and_divergence_comes_first(limits, row, k, status):
    off = {"rounds": 0, "relative_error": 0}
    assert Stop(**{**off, **limits}).judge(k, {**ROW, **row}) == status


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Stop)])
@pytest.mark.parametrize("value", (-1, -0.5, math.nan, math.inf, True, None, "3", [1]))
def test_a_limit_that_is_no_number_is_refused(field, value):
    if value is None and field in ("rounds", "relative_error"):
        return  # their defaults: what the problem says
    with pytest.raises(UserError, match=f"stop.{field} = .*0 for off"):
        Stop(**{field: value})


def test_a_stop_needs_a_limit_and_rounds_are_whole():
    with pytest.raises(UserError, match="no limit at all.*stop.rounds"):
        Stop(rounds=0, relative_error=0)
    with pytest.raises(UserError, match="stop.rounds = 2.5.*whole number"):
        Stop(rounds=2.5)
    assert Stop(rounds=3.0).rounds == 3
    assert Stop(rounds=0, residual=1e-3, relative_error=0).targets == ["residual"]


# -- how runs end ----------------------------------------------------------------------------------


def test_whole_numbers_may_be_written_with_an_exponent():
    plain, written = (solve(easy(), Optimistic(), seed=number(1), every=number(10),
                            stop=Stop(rounds=number(300), relative_error=0)) for number in (int, float))
    assert (written.rounds, written.status) == (300, ROUNDS)
    assert [row["round"] for row in written.rows] == [row["round"] for row in plain.rows]
    assert type(written.summary["seed"]) is int


@pytest.mark.parametrize("rounds", (1, 2, 37, 250))
@pytest.mark.parametrize("method", METHODS)
def test_a_limit_of_rounds_is_kept_to_the_round(method, rounds):
    result = solve(easy(kappa=1e6), method(), stop=Stop(rounds=rounds, relative_error=0))
    assert (result.status, result.rounds, result.converged) == ("rounds", rounds, False)
    assert result.rows[-1]["round"] == rounds


@pytest.mark.parametrize("method", (Extragradient(), Optimistic(), Masha1(RandK(2)), Masha2(TopK(4))),
                         ids=lambda m: m.name)
@pytest.mark.parametrize("target", ({"relative_error": 1e-9}, {"residual": 1e-5}, {"gap": 1e-7}))
def test_every_method_reaches_every_kind_of_target(method, target):
    problem = easy()
    result = solve(problem, method, stop=Stop(rounds=20_000, **{"relative_error": 0, **target}))
    assert result.status == "converged" and result.converged
    (name, value), = target.items()
    assert result.rows[-1][name] <= value < result.rows[-2][name]
    F = sum(_operator(problem, m, result.z) for m in range(3)) / 3
    F0 = sum(_operator(problem, m, problem.start()) for m in range(3)) / 3
    z_star = problem.solution()
    assert result.residual == pytest.approx(np.linalg.norm(F) / np.linalg.norm(F0), rel=1e-6)
    assert result.relative_error == pytest.approx(np.sum((result.z - z_star)**2) / np.sum(z_star**2), rel=1e-6)
    assert result.gap == pytest.approx(problem.gap(result.z))


def _operator(problem, worker, z):
    out = np.zeros(problem.n)
    problem.operator(worker)(z, out)
    return out


def test_a_target_is_noticed_within_a_hundredth_of_the_rounds():
    stop = Stop(relative_error=1e-8)
    every = solve(easy(kappa=50.0), Optimistic(), stop=stop, every=1)
    first = next(row["round"] for row in every.rows if row["relative_error"] <= 1e-8)
    assert first <= solve(easy(kappa=50.0), Optimistic(), stop=stop).rounds <= first + max(1, first // 100)


def test_a_limit_of_seconds_ends_the_run_soon_after():
    result = solve(easy(dim=20, kappa=1e12), Masha1(), stop=Stop(rounds=0, relative_error=0, seconds=0.2))
    assert result.status == "seconds" and 0.2 <= result.seconds < 2.0


def test_a_start_at_the_solution_is_converged_before_round_1():
    class Solved(Bilinear):
        def start(self):
            return self.solution()
    result = solve(Solved(dim=4, workers=3), Masha1(), stop=Stop())
    assert (result.status, result.rounds, len(result.rows)) == ("converged", 0, 1)
    assert result.rows[0]["relative_error"] == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_too_large_a_step_diverges_and_says_so_soon(method):
    result = solve(easy(), method(gamma=100.0), stop=Stop(rounds=10_000))
    assert result.status == "diverged" and not result.converged and result.rounds < 2000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", ("square", "logistic"))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_regression_that_diverges_ends_in_order(method, loss):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 3))
    problem = RobustRegression((X, np.sign(X[:, 0])), loss=loss, workers=3, standardise=False)
    for gamma in (50.0, 1e8, 1e100):
        assert solve(problem, method(gamma=gamma), stop=Stop(rounds=3000)).status == "diverged"


@pytest.mark.parametrize("method", (Masha2(TopK(1), gamma=0.05), EFSGDA(TopK(1), gamma=0.05)),
                         ids=lambda method: method.name)
def test_a_number_that_is_none_in_one_entry_of_one_worker_passes_topk_and_the_next_check_sees_it(method):
    class Ill(Bilinear):
        ill = False

        def operator(self, worker):
            healthy = super().operator(worker)

            def F(z, out):
                healthy(z, out)
                if self.ill and worker == 1:
                    out[3] = np.nan

            return F

    class Illness(Observer):
        def observe(self, run, row):
            run.problem.ill = row["round"] >= 20

    result = solve(Ill(dim=4, workers=3), method, observers=[Illness()], every=1,
                   stop=Stop(rounds=100, relative_error=0))
    assert (result.status, result.rounds) == ("diverged", 21)


class Far(Problem):
    """F_m(z) = 1e-3 (z - c), c far away: no number of this problem is near 1."""

    name, workers, n, L, mu = "far", 2, 4, 1e-3, 1e-3

    def operator(self, worker):
        return lambda z, out: np.multiply(1e-3, z - 1e7, out=out)

    def lipschitz(self, worker):
        return 1e-3

    def solution(self):
        return np.full(4, 1e7)


@pytest.mark.parametrize("method", (Extragradient(), Optimistic(), Masha1(RandK(2))))
def test_a_solution_far_from_the_start_is_no_divergence(method):
    result = solve(Far(), method, stop=Stop(rounds=5000))
    assert result.status == "converged"
    np.testing.assert_allclose(result.z, 1e7, rtol=1e-3)


# -- targets that cannot be measured ---------------------------------------------------------------


class Monotone(Bilinear):
    """Nothing is known of its solution."""

    def solution(self):
        return None

    def gap(self, z):
        return None


def monotone():
    problem = Monotone(dim=3, workers=2, kappa=5.0)
    problem.mu = 0.0
    return problem


def test_a_target_without_a_measure_is_refused_with_what_to_use_instead():
    for stop, word in ((Stop(relative_error=1e-8), "stop.relative_error = 0"), (Stop(gap=1e-3), "use stop.residual")):
        with pytest.raises(UserError, match=word):
            solve(monotone(), Masha1(), stop=stop)
    result = solve(monotone(), Optimistic(), stop=Stop(relative_error=0, residual=1e-6))
    assert result.status == "converged" and result.relative_error is None and result.gap is None


@pytest.mark.parametrize("problem, reference, target", [
    (easy(), None, "relative_error"), (monotone(), np.ones(6), "gap"), (monotone(), None, "gap")],
    ids=["left out", "gap beside a reference", "gap"])
def test_a_run_that_could_never_reach_its_only_target_is_refused(problem, reference, target):
    stop = Stop(**{"rounds": 0, "relative_error": 0, target: 1e-3})
    with pytest.raises(UserError, match=f"stop.{target}"):
        solve(problem, Optimistic(), stop=stop, reference=reference, observers=[Log(limit=20)])


def test_a_reference_that_cannot_be_found_is_no_target():
    class Unfindable(Bilinear):
        """Its constants are wrong: OG diverges."""

        L = 0.01

        def solution(self):
            return None

    with pytest.raises(UserError, match="stop.relative_error"):
        solve(Unfindable(dim=3, workers=2), Optimistic(gamma=0.1), stop=Stop(rounds=0, relative_error=1e-8),
              observers=[Log(limit=20)])


class Flat(Bilinear):
    """Without regularisation as far as anybody knows."""

    mu = property(lambda self: 0.0, lambda self, value: None)

    def solution(self):
        return None


@pytest.mark.parametrize("gap, target", [(True, {"gap": 1e-3}), (False, {"residual": 1e-6})])
def test_the_default_target_is_what_the_problem_can_measure(gap, target):
    problem = Flat(dim=3, workers=2)
    problem.gap = lambda z: 1.0 if gap else None
    off = {"relative_error": 0.0, "gap": 0.0, "residual": 0.0}
    for stop, solvable, expected in (
            (Stop(), True, {"relative_error": 1e-8}), (Stop(), False, target),
            (Stop(residual=0.1), False, {"residual": 0.1}), (Stop(gap=0.2), True, {"gap": 0.2, "relative_error": 1e-8}),
            (Stop(relative_error=0.5), False, {"relative_error": 0.5}), (Stop(relative_error=0), True, {})):
        resolved = stop.resolved(problem, solvable)
        assert {name: getattr(resolved, name) for name in off} == off | expected


def test_where_mu_is_0_the_average_of_the_probes_is_kept_and_its_gap_may_end_the_run():
    class Gap(Flat):
        def gap(self, z):
            return float(np.abs(z).max()) + 1.0

    probes = []

    class Spy(Extragradient):
        def step(self, k):
            super().step(k)
            probes.append(self.probe.copy())
    result = solve(Gap(dim=3, workers=2, kappa=1e6), Spy(gamma=0.3), stop=Stop(rounds=30, gap=1e-9), every=1)
    np.testing.assert_allclose(result.average, np.mean(probes[-30:], axis=0), rtol=1e-12)
    assert [row["gap_average"] for row in result.rows][-1] == pytest.approx(np.abs(result.average).max() + 1)
    ended = solve(Gap(dim=3, workers=2, kappa=1e6), Extragradient(gamma=0.3), every=1,
                  stop=Stop(rounds=300, gap=min(row["gap_average"] for row in result.rows if row["gap_average"])))
    assert ended.converged and ended.rounds <= 30
    assert solve(easy(), Optimistic(), stop=Stop(rounds=3)).average is None


def test_a_reference_may_be_given_or_left_out():
    problem, z = easy(), np.full(8, 0.5)
    result = solve(problem, Optimistic(), stop=Stop(rounds=5), reference=z)
    assert result.rows[-1]["relative_error"] == pytest.approx(np.sum((result.z - z)**2) / np.sum(z**2))
    assert solve(problem, Optimistic(), stop=Stop(rounds=5, relative_error=0), reference=None).relative_error is None


def test_without_a_closed_form_the_reference_is_found_to_rounding_and_cached(tmp_path):
    class Unsolved(Bilinear):
        def solution(self):
            return None
    problem, stop = Unsolved(dim=3, workers=2, kappa=5.0), Stop(rounds=20)
    first = solve(problem, Masha1(), stop=stop)
    known = solve(Bilinear(dim=3, workers=2, kappa=5.0), Masha1(), stop=stop)
    assert first.relative_error == pytest.approx(known.relative_error, rel=1e-6)
    assert first.uplink_bits_per_worker == known.uplink_bits_per_worker  # finding it is not billed
    cached, = (tmp_path / "mpimasha" / "references").iterdir()
    np.testing.assert_allclose(np.load(cached), known_solution := Bilinear(dim=3, workers=2, kappa=5.0).solution(),
                               atol=1e-10 * np.abs(known_solution).max())
    good = cached.read_bytes()
    for spoil in (lambda: cached.write_bytes(b"torn"), lambda: cached.write_bytes(good[:-8]),
                  lambda: cached.write_bytes(b""), lambda: np.save(cached, np.ones(5)),
                  lambda: np.save(cached, np.full(6, np.nan))):
        spoil()
        assert solve(problem, Masha1(), stop=stop).relative_error == first.relative_error
        assert cached.read_bytes() == good


# -- rows and observers ----------------------------------------------------------------------------


def test_rows_come_every_so_many_rounds_and_at_the_end():
    result = solve(easy(kappa=1e6), Masha1(), stop=Stop(rounds=23, relative_error=0), every=5)
    assert [row["round"] for row in result.rows] == [0, 5, 10, 15, 20, 23]


def test_logarithmic_rows_are_dense_at_first_and_about_fifty_a_decade():
    result = solve(easy(kappa=1e9), Optimistic(), stop=Stop(rounds=10_000, relative_error=0))
    rounds = [row["round"] for row in result.rows]
    assert rounds[:22] == list(range(22))
    for low in (100, 1000):
        assert 40 <= sum(low <= k < 10 * low for k in rounds) <= 60


@pytest.mark.parametrize("every", (0, -1, 2.5, "often", None, True))
def test_a_spacing_of_rows_that_makes_no_sense_is_refused(every):
    with pytest.raises(UserError, match="every"):
        solve(easy(), Masha1(), stop=Stop(rounds=3), every=every, observers=[Log(limit=20)])


def test_observers_are_called_at_the_start_at_every_row_and_at_the_end():
    log = Log()
    result = solve(easy(kappa=1e6), Masha1(), stop=Stop(rounds=7, relative_error=0), every=3, observers=[log])
    assert log.calls == [("start", 0), ("row", 0), ("row", 3), ("row", 6), ("row", 7), ("finish", 7)]
    assert [k for what, k in log.calls if what == "row"] == [row["round"] for row in result.rows]


def test_looking_on_is_not_billed_and_changes_nothing():
    stop = Stop(rounds=300, relative_error=0)
    sparse = solve(easy(kappa=1e6), Masha1(QSGD(3)), stop=stop, every=300)
    dense = solve(easy(kappa=1e6), Masha1(QSGD(3)), stop=Stop(rounds=300, relative_error=0, residual=1e-300,
                                                              gap=1e-300), every=1)
    np.testing.assert_array_equal(sparse.z, dense.z)
    for key in ("uplink_bits_per_worker", "downlink_bits_per_worker", "operator_calls", "wire_bytes_per_rank"):
        assert getattr(sparse, key) == getattr(dense, key)


def test_bits_and_operator_calls_are_those_of_the_rounds_and_refreshes():
    n, M, rounds = 8, 3, 200
    result = solve(easy(kappa=1e6), Masha1(RandK(2), tau=0.9), stop=Stop(rounds=rounds, relative_error=0), every=1)
    exchanges = [row["exchanges"] for row in result.rows]
    assert exchanges[0] == 1
    refreshes = exchanges[-1] - rounds  # the first exchange is one
    assert 5 < refreshes < 60
    assert result.uplink_bits_per_worker == rounds * 2 * 64 + refreshes * n * 64
    assert result.downlink_bits_per_worker == rounds * min(n * 64, M * 2 * 64) + refreshes * n * 64
    assert result.operator_calls == rounds + refreshes
    for method, calls in ((Extragradient, 2), (Optimistic, 1)):
        result = solve(easy(kappa=1e6), method(), stop=Stop(rounds=10, relative_error=0))
        assert result.rows[-1]["exchanges"] == result.operator_calls == 10 * calls
        assert result.uplink_bits_per_worker == result.downlink_bits_per_worker == 10 * calls * n * 64


def test_one_process_hands_nothing_to_mpi():
    assert solve(easy(), Masha1(), stop=Stop(rounds=5)).wire_bytes_per_rank == 0


# -- results and reproducibility -------------------------------------------------------------------


def test_the_keys_of_the_summary_are_attributes_and_others_are_not():
    result = solve(easy(), Masha1(RandK(2), tau=0.75), stop=Stop(rounds=5))
    for key, value in result.summary.items():
        assert getattr(result, key) == value
    assert (result.problem, result.method, result.compressor, result.workers, result.ranks) == (
        "bilinear", "masha1", "randk:2", 3, 1)
    assert result.tau == 0.75 and result.gamma_L == pytest.approx(result.gamma * easy().L)
    with pytest.raises(AttributeError, match="song"):
        result.song
    assert result.z.shape == result.w.shape == (8,)
    assert solve(easy(), Optimistic(), stop=Stop(rounds=5)).w is None


def test_the_same_seed_gives_the_same_run_and_another_another():
    def z(seed, compressor):
        return solve(easy(kappa=1e4), Masha1(compressor, tau=0.8), seed=seed, stop=Stop(rounds=30, relative_error=0)).z
    for compressor in (RandK(2), RandK(2, "uniform"), PermK(), QSGD(2)):
        np.testing.assert_array_equal(z(0, compressor), z(0, compressor))
        assert (z(0, compressor) != z(1, compressor)).any()


def test_a_method_may_start_any_number_of_runs_and_results_stay_as_they_were():
    method = Masha1(RandK(2))
    first = solve(easy(), method, stop=Stop(rounds=40, relative_error=0))
    kept = first.z.copy()
    second = solve(easy(), method, stop=Stop(rounds=40, relative_error=0))
    np.testing.assert_array_equal(first.z, kept)
    np.testing.assert_array_equal(second.z, kept)
    assert not hasattr(method, "gamma")


def test_stepping_by_hand_is_what_solve_does():
    run = Run(easy(), Masha1(RandK(2)), seed=3)
    run.start()
    for _ in range(17):
        run.step()
    result = solve(easy(), Masha1(RandK(2)), seed=3, stop=Stop(rounds=17, relative_error=0))
    np.testing.assert_array_equal(run.method.iterate, result.z)
    assert run.k == 17 and run.ledger.uplink_bits == result.uplink_bits_per_worker


@pytest.mark.parametrize("wire", ("float32", "float64", np.float32, np.dtype("float64"), None))
def test_the_wire_is_billed_by_its_width(wire):
    result = solve(easy(kappa=1e6), Optimistic(), wire=wire, stop=Stop(rounds=10, relative_error=0))
    assert result.uplink_bits_per_worker == 10 * 8 * 8 * np.dtype(wire or "float64").itemsize


@pytest.mark.parametrize("wire", ("float16", "int32", "complex128", "junk", 7))
def test_a_wire_that_is_no_float_of_32_or_64_bits_is_refused(wire):
    with pytest.raises(UserError, match="wire.*float64.*float32"):
        solve(easy(), Masha1(), wire=wire, stop=Stop(rounds=3))
