"""What `import mpimasha` offers: names; problems, methods and compressors of one's own; no silent mistakes."""

import inspect
import itertools
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mpimasha
from mpimasha import (QSGD, Bilinear, Compressor, Extragradient, Identity, Masha1, Masha2, Method, Optimistic,
                      PerWorker, PermK, Problem, RandK, RobustRegression, Run, Shared, Stop, TopK, UserError, solve)
from mpimasha.mpi import environment
from mpimasha.problems.proximal import Proximal
from mpimasha.solver.observers import Observer

ROOT = Path(mpimasha.__file__).resolve().parent.parent
NAMES = sorted(mpimasha._PUBLIC)


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def fresh(code):
    """What `code` prints in a new interpreter."""
    env = environment.clean_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- names -----------------------------------------------------------------------------------------


def test_public_names_are_objects_with_a_docstring():
    for name in NAMES:
        value = getattr(mpimasha, name)
        assert (inspect.isclass(value) or inspect.isfunction(value)) and inspect.getdoc(value), name
        assert name in dir(mpimasha)
    with pytest.raises(AttributeError, match="song"):
        mpimasha.song


def test_importing_the_package_loads_neither_numpy_nor_mpi_nor_numba():
    code = "import sys, mpimasha; print(sorted({'numpy', 'numba', 'mpi4py', 'kernels'} & set(sys.modules)))"
    assert fresh(code) == "[]"


def test_solving_in_one_process_loads_no_mpi_and_no_second_copy_of_the_kernels():
    code = ("import sys; from mpimasha import Bilinear, Optimistic, Stop, solve; "
            "r = solve(Bilinear(dim=2, workers=2), Optimistic(), stop=Stop(rounds=2)); "
            "print(r.rounds, sorted({'mpi4py', 'kernels', 'sklearn', 'matplotlib'} & set(sys.modules)))")
    assert fresh(code) == "2 []"


def test_modules_that_were_documented_before_they_moved_are_found_by_that_name():
    code = ("from mpimasha.observers import Observer; from mpimasha.checkpoint import Saving, Checkpoints; "
            "from mpimasha.notice import Notice; from mpimasha.plotting import draw; "
            "from mpimasha.channel import Channel; from mpimasha.memory import ErrorFeedback; import mpimasha as mm; "
            "print([Observer, Saving, Notice, draw, ErrorFeedback] == "
            "[mm.Observer, mm.Saving, mm.Notice, mm.draw, mm.ErrorFeedback])")
    assert fresh(code) == "True"


def test_every_name_is_the_same_object_in_whatever_order_names_are_asked_for():
    code = """
import subprocess, sys
import mpimasha
names = sorted(mpimasha._PUBLIC)
import mpimasha.commands.cli, mpimasha.solver.reference
for name in names + names[::-1]:
    value = getattr(mpimasha, name)
    assert callable(value), name
    assert value.__module__ == 'mpimasha.' + mpimasha._PUBLIC[name], name
print('ok')
"""
    assert fresh(code) == "ok"
    assert fresh("from mpimasha import Result, Run, solve; print(callable(solve))") == "True"


def test_star_gives_the_public_names():
    assert fresh("from mpimasha import *; print(sorted(n for n in dir() if not n.startswith('_')))") == str(NAMES)


# -- a problem of one's own ------------------------------------------------------------------------


class Rotation(Problem):
    """F_m(x, y) = (y - c_m, -x) + mu (x, y): a user's problem with the least a problem must say."""

    name, n, workers = "rotation", 2, 4

    def operator(self, worker):
        def F(z, out):
            out[0] = z[1] + 0.5 * z[0] - worker
            out[1] = -z[0] + 0.5 * z[1]
        return F


class Documented(Rotation):
    """The same, with its constants and its solution."""

    L, mu = float(np.hypot(1, 0.5)), 0.5

    def lipschitz(self, worker):
        return self.L

    def dissimilarity(self, worker):
        return 0.0

    def solution(self):
        return np.linalg.solve([[0.5, 1.0], [-1.0, 0.5]], [1.5, 0.0])

    def identity(self):
        return "rotation"


@pytest.mark.parametrize("method", (Extragradient(), Optimistic(), Masha1(RandK(1)), Masha1(PermK()), Masha1(QSGD(2)),
                                    Masha2(TopK(1)),
                                    Masha2(RandK(1)), Masha1(Identity())), ids=lambda m: f"{m.name}-{m.compressor}")
def test_a_problem_of_ones_own_is_solved_by_every_method(method):
    result = solve(Documented(), method, stop=Stop(rounds=20_000, relative_error=1e-12))
    assert result.status == "converged"
    np.testing.assert_allclose(result.z, Documented().solution(), atol=1e-5)


@pytest.mark.parametrize("method", (Extragradient(gamma=0.2), Optimistic(gamma=0.2), Masha1(RandK(1), gamma=0.05),
                                    Masha2(TopK(1), gamma=0.1)), ids=lambda m: m.name)
def test_a_problem_that_knows_no_constants_is_solved_with_a_given_step(method):
    result = solve(Rotation(), method, stop=Stop(rounds=20_000, relative_error=0, residual=1e-6))
    assert result.status == "converged" and result.gamma_L is None
    np.testing.assert_allclose(result.z, Documented().solution(), atol=1e-5)


@pytest.mark.parametrize("method", (Extragradient(), Optimistic(), Masha1(RandK(1)), Masha1(Identity()),
                                    Masha1(PermK()), Masha2(TopK(1)),
                                    Extragradient(gamma="0.1/L")), ids=lambda m: f"{m.name}-{m.compressor}")
def test_a_problem_that_knows_no_constants_is_asked_for_a_step(method):
    with pytest.raises(UserError, match="method.gamma needs L.*give a number"):
        solve(Rotation(), method, stop=Stop(rounds=3, relative_error=0))


@pytest.mark.parametrize("missing", ("operator", "n", "workers"))
def test_a_problem_that_lacks_what_it_must_say_is_told_what(missing):
    members = {"name": "half", "n": 2, "workers": 2, "operator": Rotation.operator}
    del members[missing]
    with pytest.raises((NotImplementedError, UserError, AttributeError), match=missing):
        solve(type("Half", (Problem,), members)(), Extragradient(gamma=0.1), stop=Stop(rounds=1, relative_error=0))


@pytest.mark.parametrize("method", (Extragradient(), Optimistic(), Masha1(RandK(1)), Masha1(QSGD(2)), Masha2(TopK(1))),
                         ids=lambda m: f"{m.name}-{m.compressor}")
def test_a_problem_in_float32_is_solved_and_billed_in_float32(method):
    class Narrow(Documented):
        dtype = np.dtype(np.float32)

        def operator(self, worker):
            def F(z, out):
                assert z.dtype == out.dtype == np.float32
                out[0] = z[1] + np.float32(0.5) * z[0] - np.float32(worker)
                out[1] = -z[0] + np.float32(0.5) * z[1]
            return F

    result = solve(Narrow(), method, stop=Stop(rounds=20_000, relative_error=1e-10))
    assert result.status == "converged" and result.z.dtype == np.float32
    if method.name in ("eg", "og"):
        assert result.uplink_bits_per_worker == result.rows[-1]["exchanges"] * 2 * 32


class L1(Proximal):
    """h = weight |z|_1."""

    def __init__(self, weight):
        self.weight = weight

    def apply(self, x, gamma):
        x[:] = np.sign(x) * np.maximum(np.abs(x) - gamma * self.weight, 0)


@pytest.mark.parametrize("method", (Extragradient(), Optimistic(), Masha1(RandK(1))), ids=lambda m: m.name)
def test_a_prox_of_ones_own_is_used(method):
    class Sparse(Documented):
        prox = L1(2.0)

        def solution(self):
            return None

    result = solve(Sparse(), method, stop=Stop(rounds=50_000, relative_error=0, residual=1e-9), reference=None)
    F = np.array([0.5 * result.z[0] + result.z[1] - 1.5, -result.z[0] + 0.5 * result.z[1]])
    np.testing.assert_allclose(result.z, np.sign(result.z - F) * np.maximum(np.abs(result.z - F) - 2.0, 0), atol=1e-7)
    assert np.count_nonzero(result.z) < 2


# -- a method of one's own -------------------------------------------------------------------------


class Gradient(Method):
    """z+ = prox(z - gamma F(z)): what a user's first method looks like."""

    name = "gradient"
    z = Shared()

    def step(self, k):
        g = self.up.mean(self.fleet.F(self.z), k)
        self.z = self.prox(self.z - self.gamma * g, self.gamma)


class Differences(Method):
    """z+ = z - gamma (F(z) - F(w)), w+ = z; the workers' differences are kept."""

    name = "differences"
    z, w = Shared(), Shared()
    D = PerWorker()

    def start(self):
        self.z = self.z0
        self.w = 0.5 * self.z

    def step(self, k):
        F = self.fleet.F
        self.D = F(self.z) - F(self.w)
        g = self.up.mean(F(self.z) - F(self.w), k)
        self.w = self.z
        self.z = self.z - self.gamma * g


def test_a_method_of_ones_own_follows_its_formula():
    run = Run(Documented(), Gradient(gamma=0.25))
    run.start()
    z, J, b = np.zeros(2), np.array([[0.5, 1.0], [-1.0, 0.5]]), np.array([1.5, 0.0])
    for _ in range(5):
        run.step()
        z = z - 0.25 * (J @ z - b)
    np.testing.assert_allclose(run.method.iterate, z, rtol=1e-14)
    result = solve(Documented(), Gradient(gamma=0.25), stop=Stop(rounds=3000))
    assert result.status == "converged" and result.tau is None and result.w is None


def test_a_method_of_ones_own_may_take_differences_of_operators():
    class Started(Documented):
        def start(self):
            return np.array([1.0, -2.0])
    run = Run(Started(), Differences(gamma=0.25))
    run.start()
    z, w, J = np.array([1.0, -2.0]), np.array([0.5, -1.0]), np.array([[0.5, 1.0], [-1.0, 0.5]])
    for _ in range(4):
        run.step()
        z, w = z - 0.25 * J @ (z - w), z
        np.testing.assert_allclose(run.method.iterate, z, rtol=1e-13)


def test_a_method_without_a_step_or_a_theory_is_told_so():
    class Nothing(Method):
        name = "nothing"
        z = Shared()
    with pytest.raises(NotImplementedError, match="nothing has no step"):
        solve(Documented(), Nothing(gamma=0.1), stop=Stop(rounds=1))
    with pytest.raises(UserError, match="no theorem is known for gradient"):
        solve(Documented(), Gradient(), stop=Stop(rounds=1))


# -- a compressor of one's own ---------------------------------------------------------------------


class Coin(Compressor):
    """Q(x) = x/p with probability p, else nothing: the least a compressor must say."""

    name, unbiased = "coin", True

    def __init__(self, p):
        self.p, self.q = p, 1 / p

    @property
    def bits(self):
        return self.p * self.value_bits * self.n

    def fields(self):
        return {"values": (self.wire, self.n)}

    def encode(self, x, message, worker, k):
        kept = self.stream.uniform(worker, k) < self.p
        ((1 / self.p if kept else 0.0) * x).write(message.values)

    def decode(self, message, worker, k, scale, out):
        out += scale * message.values


@pytest.mark.parametrize("method", (Masha1, Masha2))
def test_a_compressor_of_ones_own_is_used_billed_and_named(method):
    result = solve(Documented(), method(Coin(0.5), tau=0.75), stop=Stop(rounds=30_000))
    assert result.status == "converged" and result.compressor == "coin"
    refreshes = result.rows[-1]["exchanges"] - result.rounds
    assert result.uplink_bits_per_worker == result.rounds * 0.5 * 64 * 2 + refreshes * 64 * 2


def test_a_compressor_without_a_constant_is_refused_by_masha():
    class Neither(Coin):
        unbiased = False
    for method in (Masha1, Masha2):
        with pytest.raises(UserError, match="compressor.up = 'coin'"):
            method(Neither(0.5))


# -- an observer of one's own ----------------------------------------------------------------------


def test_an_observer_of_ones_own_sees_the_run_and_every_row():
    class Distances(Observer):
        seen = ()

        def observe(self, run, row):
            self.seen += ((row["round"], float(np.linalg.norm(run.method.iterate))),)

    watching = Distances()
    result = solve(Documented(), Optimistic(), stop=Stop(rounds=4, relative_error=0), observers=[watching], every=1)
    assert [k for k, _ in watching.seen] == [0, 1, 2, 3, 4]
    assert watching.seen[-1][1] == np.linalg.norm(result.z)


# -- side effects ----------------------------------------------------------------------------------


def test_solving_prints_nothing_seeds_nothing_and_leaves_its_arguments_alone(capsys):
    problem, method = Bilinear(dim=3, workers=2), Masha1(RandK(2))
    before = (dict(vars(method)), dict(vars(method.compressor)), np.random.get_state()[1].tolist())
    handlers = list(logging.getLogger().handlers), list(logging.getLogger("mpimasha").handlers)
    solve(problem, method, stop=Stop(rounds=20))
    assert capsys.readouterr() == ("", "")
    assert before == (dict(vars(method)), dict(vars(method.compressor)), np.random.get_state()[1].tolist())
    assert handlers == (list(logging.getLogger().handlers), list(logging.getLogger("mpimasha").handlers))


def test_the_data_given_to_a_problem_are_not_changed():
    X = np.random.default_rng(0).standard_normal((9, 2))
    y = np.sign(X[:, 0])
    kept = X.copy(), y.copy()
    solve(RobustRegression((X, y), workers=2), Masha1(RandK(2)), stop=Stop(rounds=5))
    np.testing.assert_array_equal(X, kept[0])
    np.testing.assert_array_equal(y, kept[1])


# -- mistakes that must not be silent --------------------------------------------------------------


ARRAYS = np.random.default_rng(0).standard_normal((9, 2)), np.arange(9) % 2


@pytest.mark.parametrize("X, y", [
    (ARRAYS[0], ARRAYS[1][:5]), (ARRAYS[0] * np.nan, ARRAYS[1]), (ARRAYS[0], np.full(9, np.inf)),
    (ARRAYS[0][:, 0], ARRAYS[1]),
    (ARRAYS[0] + 1j, ARRAYS[1]), (ARRAYS[0], ARRAYS[1][:, None])], ids=["lengths", "nan", "inf", "1d", "complex",
                                                                        "y 2d"])
@pytest.mark.parametrize("standardise", (True, False))
@pytest.mark.filterwarnings("error")
def test_arrays_are_checked_like_files(X, y, standardise):
    with pytest.raises(UserError, match="problem.data"):
        RobustRegression((X, y), loss="square", workers=3, standardise=standardise)


@pytest.mark.parametrize("standardise", (True, False))
@pytest.mark.parametrize("convert", (lambda a: a.tolist(), lambda a: a.astype(np.float32),
                                     lambda a: np.asfortranarray(a)),
                         ids=["lists", "float32", "fortran"])
def test_arrays_of_any_kind_give_the_problem_of_their_float64_values(convert, standardise):
    X = ARRAYS[0].astype(np.float32).astype(float)
    expected = RobustRegression((X, ARRAYS[1]), workers=2, standardise=standardise)
    problem = RobustRegression((convert(X), convert(ARRAYS[1])), workers=2, standardise=standardise)
    assert problem.X.dtype == problem.y.dtype == np.float64
    assert problem.identity() == expected.identity()


@pytest.mark.parametrize("seed", (2.5, "3", None, -1))
def test_a_seed_that_is_no_whole_number_of_at_least_0_is_refused(seed):
    with pytest.raises((UserError, TypeError), match="seed"):
        solve(Documented(), Masha1(RandK(1)), seed=seed, stop=Stop(rounds=1))


@pytest.mark.parametrize("reference", ("none", "Auto", np.zeros(3), np.zeros((2, 1)), [np.nan, 0.0]), ids=str)
def test_a_reference_that_is_none_is_refused(reference):
    with pytest.raises((UserError, TypeError), match="reference"):
        solve(Documented(), Masha1(RandK(1)), reference=reference, stop=Stop(rounds=1))


@pytest.mark.parametrize("make", [lambda: Bilinear(dim=2.5), lambda: Bilinear(workers=2.5), lambda: Bilinear(seed=1.5),
                                  lambda: Bilinear(dim=True), lambda: RandK(True), lambda: RandK(np.inf),
                                  lambda: TopK(np.inf),
                                  lambda: QSGD(np.nan), lambda: QSGD(4, np.inf), lambda: RandK(3, indices="no")],
                         ids=["dim=2.5", "workers=2.5", "seed=1.5", "dim=True", "k=True", "k=inf", "topk inf",
                              "levels=nan", "bucket=inf", "indices=no"])
def test_a_parameter_of_a_wrong_kind_is_refused_where_it_is_given(make):
    with pytest.raises((UserError, TypeError)):
        make()


@pytest.mark.filterwarnings("error")
def test_numbers_of_numpy_are_numbers():
    problem = Bilinear(dim=np.int64(3), workers=np.int32(2), kappa=np.float32(10), heterogeneity=np.float64(0.5))
    for gamma, tau, k in itertools.product((np.float64(0.05), np.float32(0.05)), (np.float64(0.75), np.float32(0.75)),
                                           (np.int64(2), np.float64(0.5))):
        result = solve(problem, Masha1(RandK(k), gamma=gamma, tau=tau),
                       stop=Stop(rounds=np.int64(3), relative_error=np.float32(1e-3)))
        assert result.gamma == pytest.approx(0.05)


# -- results ---------------------------------------------------------------------------------------


def test_a_result_shows_what_ran_how_it_ended_and_what_it_cost_in_three_short_lines():
    result = solve(Bilinear(dim=4, workers=3), Masha1(RandK(0.5)), stop=Stop(rounds=20))
    lines = repr(result).splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= 120
    assert lines[0] == "bilinear by masha1, randk:0.5"
    assert lines[1].startswith("rounds after 20 rounds, relative error ") and f"gap {result.gap:.3e}" in lines[1]
    assert lines[2] == f"up {result.uplink_bits_per_worker / 1e6:.4g}, down " \
        f"{result.downlink_bits_per_worker / 1e6:.4g} Mbit per worker"


def test_a_column_is_an_array_with_nan_for_what_a_row_has_not():
    result = solve(Bilinear(dim=4, workers=3), Masha1(), stop=Stop(rounds=20))
    error, average = result.column("relative_error"), result.column("gap_average")
    assert error.dtype == np.float64 and error.tolist() == [row["relative_error"] for row in result.rows]
    assert len(error) > 2 and np.isnan(average).all()  # mu > 0: no average is kept
    result.rows[1]["relative_error"] = None
    assert np.flatnonzero(np.isnan(result.column("relative_error"))).tolist() == [1]
    with pytest.raises(UserError, match="no column 'relative_eror': did you mean 'relative_error'"):
        result.column("relative_eror")
