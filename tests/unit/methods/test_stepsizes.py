"""Step sizes: the second moment they rest on bounds what compressors really do, the theorems' formulas, refusals."""

import math
from itertools import combinations, permutations, product

import numba
import numpy as np
import pytest

from mpimasha.compressors.absmax import AbsMax
from mpimasha.compressors.base import Compressor, message
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.linear import Linear
from mpimasha.methods import stepsizes
from mpimasha.methods.descent import SGDA
from mpimasha.methods.extragradient import Extragradient
from mpimasha.methods.masha1 import Masha1
from mpimasha.methods.masha2 import Masha2
from mpimasha.methods.masha_diana import MashaDiana
from mpimasha.methods.optimistic import Optimistic
from mpimasha.problems.bilinear import Bilinear
from mpimasha.problems.constants import Constants
from mpimasha.randomness import Stream
from mpimasha.solver.run import Run

ROUNDS = 400 if numba.config.DISABLE_JIT else 3000
UNBIASED = (Identity(), RandK(2), RandK(3, "uniform"), PermK(), QSGD(1), QSGD(4))


class Lossy(PermK):
    """PermK whose blocks arrive twofold or not at all: q = 2 M, and the blocks are still disjoint."""

    name = "lossy"

    def prepare(self):
        super().prepare()
        self.q = 2.0 * self.workers

    def decode(self, message, worker, k, scale, out):
        super().decode(message, worker, k, 2 * scale * (self.stream.branch(0).uniform(worker, k) < 0.5), out)


def bound(compressor, n, workers, wire=np.float64):
    return compressor.bind(n, workers, wire, Stream(0, "test"))


def of(problem):
    return Run(problem, Extragradient(gamma=1.0)).constants


def jacobians(problem):
    """J_m of an affine problem."""
    def column(m, z):
        out = np.zeros(problem.n)
        problem.operator(m)(z, out)
        return out
    zero = np.zeros(problem.n)
    return [np.array([column(m, e) - column(m, zero) for e in np.eye(problem.n)]).T for m in range(problem.workers)]


def squares_of_the_mean(compressor, vectors):
    """|1/M sum_m Q_m(v_m)|^2 in each of many rounds."""
    workers, n = vectors.shape
    q, sent = bound(compressor, n, workers), np.zeros(n)
    messages, squares = message(q.fields()), np.zeros(ROUNDS)
    for k in range(ROUNDS):
        sent[:] = 0
        for m, v in enumerate(vectors):
            q.encode(Linear.of(v), messages, m, k)
            q.decode(messages, m, k, 1 / workers, sent)
        squares[k] = sent @ sent
    return squares


# -- the second moment -----------------------------------------------------------------------------


@pytest.mark.parametrize("heterogeneity", (0.3, 3.0))
@pytest.mark.parametrize("compressor", (*UNBIASED, Lossy()), ids=str)
def test_C_bounds_the_second_moment_of_the_compressed_mean(compressor, heterogeneity):
    problem = Bilinear(dim=3, workers=3, heterogeneity=heterogeneity)
    known, J = of(problem), jacobians(problem)
    C = stepsizes.second_moment(bound(compressor, problem.n, 3), known)
    worst = np.linalg.svd(np.mean(J, axis=0))[2][0]
    for direction in (worst, np.linalg.svd(J[0])[2][0], np.random.default_rng(0).standard_normal(problem.n)):
        squares = squares_of_the_mean(compressor, np.array([J_m @ direction for J_m in J]))
        error = squares.std(ddof=1) / math.sqrt(ROUNDS)
        assert squares.mean() - 5 * error <= C**2 * (direction @ direction) * (1 + 1e-12)


@pytest.mark.parametrize("compressor", (RandK(2), RandK(3, "uniform"), RandK(1)), ids=str)
def test_C_is_attained_by_equal_workers_and_independent_draws(compressor):
    problem = Bilinear(dim=3, workers=3, heterogeneity=0.0)
    known, J = of(problem), jacobians(problem)
    C, u = stepsizes.second_moment(bound(compressor, 6, 3), known), np.linalg.svd(J[0])[2][0]
    squares = squares_of_the_mean(compressor, np.array([J_m @ u for J_m in J]))
    assert abs(squares.mean() - C**2) <= 5 * squares.std(ddof=1) / math.sqrt(ROUNDS)


def test_C_of_permk_is_L_for_equal_workers_and_attained_in_every_round():
    problem = Bilinear(dim=3, workers=4, heterogeneity=0.0)
    known, J = of(problem), jacobians(problem)
    C = stepsizes.second_moment(bound(PermK(), 6, 4), known)
    assert C == pytest.approx(known.L, rel=1e-12)
    squares = squares_of_the_mean(PermK(), np.array([J[0] @ np.linalg.svd(J[0])[2][0]] * 4))
    np.testing.assert_allclose(squares, C**2, rtol=1e-12)


def test_C_is_its_formula():
    L_m, similarity = np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.5, 2.5])
    known = Constants(L=1.5, mu=0.1, L_m=L_m, similarity_m=similarity, workers=3)
    mean_square, spread = (1 + 4 + 16) / 3, (0.25 + 2.25 + 6.25) / 3
    assert stepsizes.second_moment(bound(Identity(), 12, 3), known) == 1.5
    for k in (1, 4, 12):
        C = stepsizes.second_moment(bound(RandK(k), 12, 3), known)
        assert C**2 == pytest.approx(1.5**2 + (12 / k - 1) / 3 * mean_square, rel=1e-14)
    q = 1 + min(12 / 9, math.sqrt(12) / 3)
    assert stepsizes.second_moment(bound(QSGD(3), 12, 3), known)**2 == pytest.approx(1.5**2 + (q - 1) / 3 * mean_square)
    permk = bound(PermK(), 12, 3)
    assert stepsizes.second_moment(permk, known)**2 == pytest.approx(min(mean_square, 1.5**2 + spread), rel=1e-14)
    alike = Constants(1.5, 0.1, L_m, 0.01 * similarity, 3)
    assert stepsizes.second_moment(permk, alike)**2 == pytest.approx(1.5**2 + 1e-4 * spread, rel=1e-14)
    unknown = Constants(1.5, 0.1, L_m, None, 3)
    assert stepsizes.second_moment(permk, unknown)**2 == pytest.approx(mean_square, rel=1e-14)


def test_constants_that_are_not_known_are_asked_for_in_a_sentence():
    bare = Constants(L=None, mu=0.0, L_m=None, similarity_m=None, workers=3)
    for compressor in (Identity(), RandK(2), PermK()):
        with pytest.raises(UserError, match="method.gamma needs L.*give a number"):
            stepsizes.second_moment(bound(compressor, 6, 3), bare)
    only_L = Constants(L=1.0, mu=0.0, L_m=None, similarity_m=None, workers=3)
    with pytest.raises(UserError, match="L_m"):
        stepsizes.second_moment(bound(RandK(2), 6, 3), only_L)
    assert stepsizes.second_moment(bound(Identity(), 6, 3), only_L) == 1.0


def test_draws_of_an_unknown_dependence_have_no_theory():
    class Strange(Compressor):
        name, unbiased, dependence, q = "strange", True, "entangled", 2.0
    with pytest.raises(UserError, match="strange.*'entangled'.*give a number"):
        stepsizes.second_moment(Strange().bind(3, 3, np.float64, None), Constants(1.0, 0.1, np.ones(3), np.ones(3), 3))


@pytest.mark.parametrize("L_m", ([1.0, 2.0, None], [None] * 3))
def test_one_unknown_L_m_without_saddle_structure_makes_L_rms_unknown(L_m):
    class Partly(Bilinear):
        saddle = property(lambda self: None, lambda self, value: None)

        def lipschitz(self, worker):
            return L_m[worker]
    known = of(Partly(dim=2, workers=3))
    assert known.L_m is None and known.L_rms is None and known.similarity_rms is not None


class Blind(Bilinear):
    """Bilinear, which knows none of its constants."""

    L = None

    def lipschitz(self, worker):
        return None

    def dissimilarity(self, worker):
        return None


def test_constants_that_a_saddle_problem_does_not_know_are_estimated_from_above():
    options = {"dim": 12, "workers": 4, "heterogeneity": 2.0}
    estimated, exact = of(Blind(**options)), of(Bilinear(**options))
    assert 1.0 <= estimated.L / exact.L <= 1.1
    ratios = estimated.L_m / exact.L_m
    assert (1.0 <= ratios).all() and (ratios <= 1.1).all()
    assert estimated.estimated == ["L", "L_m"]
    estimated._problem.mu = None
    assert estimated.mu == pytest.approx(exact.mu, rel=1e-3)
    deviation = sum(np.array(J) .T @ J for J in jacobians(Bilinear(**options))) / 4
    mean = sum(jacobians(Bilinear(**options))) / 4
    sharp = math.sqrt(np.linalg.eigvalsh(deviation - mean.T @ mean)[-1])
    assert 1.0 <= estimated.similarity_rms / sharp <= 1.1
    assert sharp <= exact.similarity_rms


def test_constants_are_worked_out_only_when_they_are_asked_for():
    class Counted(Bilinear):
        asked = 0

        def lipschitz(self, worker):
            type(self).asked += 1
            return super().lipschitz(worker)
    run = Run(Counted(dim=2, workers=3), Masha1(RandK(1), gamma=0.1))
    assert Counted.asked == 0 and run.constants.known("L_rms") is None
    assert run.constants.L_rms > 0 and Counted.asked == 3 and run.constants.known("L_rms") == run.constants.L_rms


# -- tau -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v, wire", [(32, np.float32), (64, np.float64)])
@pytest.mark.parametrize("n", (10, 100))
def test_the_reference_point_moves_with_the_probability_of_the_table(n, v, wire):
    def moves(compressor):
        return stepsizes.anchor_probability(bound(compressor, n, 4, wire))

    assert moves(Identity()) == pytest.approx(2 / 3)
    assert moves(PermK()) == pytest.approx(1 / 4)
    assert moves(RandK(n // 10)) == pytest.approx(0.1)
    assert moves(RandK(n)) == pytest.approx(2 / 3)
    log_n = math.ceil(math.log2(n))
    assert moves(RandK(n // 10, indices=True)) == pytest.approx(0.1 * (v + log_n) / v)
    assert moves(TopK(n // 5)) == pytest.approx(0.2 * (v + log_n) / v)
    assert moves(QSGD(4)) == pytest.approx((v + 4 * n) / (v * n))


# -- gamma -----------------------------------------------------------------------------------------


def run(method, **options):
    problem = Bilinear(**{"dim": 5, "workers": 4, "heterogeneity": 0.7, **options})
    return Run(problem, method), of(problem)


def test_theory_gamma_is_the_theorems():
    r, c = run(Extragradient())
    assert r.method.gamma == pytest.approx(1 / (math.sqrt(2) * c.L), rel=1e-14)
    r, c = run(Optimistic())
    assert r.method.gamma == pytest.approx(0.45 / c.L, rel=1e-14)
    for tau in ("theory", 0.5, 0.9):
        r, c = run(Masha1(RandK(2), tau=tau))
        assert r.method.tau == (0.8 if tau == "theory" else tau)
        C = math.sqrt(c.L**2 + (5 - 1) / 4 * np.mean(c.L_m**2))
        assert r.method.gamma == pytest.approx(math.sqrt((1 - r.method.tau) / 2) / C, rel=1e-12)
        r, c = run(Masha2(TopK(2), tau=tau if tau != "theory" else 0.75))
        assert r.method.gamma == pytest.approx(math.sqrt(1 - r.method.tau) / (2 * 5 * c.L_rms), rel=1e-12)
        r, c = run(Masha2(RandK(1), tau=0.75))
        assert r.method.gamma == pytest.approx(math.sqrt(0.25) / (2 * 10 * c.L_rms), rel=1e-12)
    assert c.L_rms == pytest.approx(math.sqrt(np.mean(c.L_m**2)))


@pytest.mark.parametrize("method", (Extragradient, Optimistic, Masha1, Masha2))
@pytest.mark.parametrize("gamma, expected", [(0.125, lambda L: 0.125), (1, lambda L: 1.0),
                                             ("0.25/L", lambda L: 0.25 / L),
                                             (" 1e-2 / L ", lambda L: 0.01 / L), ("3/L", lambda L: 3 / L)])
def test_gamma_may_be_a_number_or_a_multiple_of_one_over_L(method, gamma, expected):
    r, known = run(method(gamma=gamma))
    assert r.method.gamma == pytest.approx(expected(known.L), rel=1e-15)
    assert type(r.method.gamma) is float and not r.method.from_theory


@pytest.mark.parametrize("tau", (0, 0.0, 0.2, 0.3333))
@pytest.mark.parametrize("method", (Masha1, Masha2))
def test_theory_needs_tau_of_at_least_a_third_and_a_number_does_not(method, tau):
    with pytest.raises(UserError, match="'theory'.*method.tau.*1/3"):
        run(method(tau=tau))
    assert run(method(tau=tau, gamma=0.01))[0].method.tau == tau


def test_the_smallest_tau_that_theory_itself_chooses_is_taken_by_theory():
    r, _ = run(Masha1(Identity()))
    assert r.method.tau == pytest.approx(1 / 3) and r.method.gamma > 0
    assert run(Masha1(tau=1 / 3))[0].method.tau == 1 / 3


@pytest.mark.parametrize("gamma", (0, -1, -0.5, math.nan, math.inf, -math.inf, True, None, "", "abc", "theory ", "L",
                                   "1/l",
                                   "0/L", "-1/L", "nan/L", "inf/L", "1e999/L", "1/2/L", "--1/L", "e/L", "1/L/L", [0.1],
                                   pytest.param(10**400, id="huge")))
def test_what_is_no_step_size_is_refused(gamma):
    with pytest.raises(UserError, match="method.gamma = .*: use 'theory', a number above 0, or a text like '0.25/L'"):
        Extragradient(gamma=gamma)


@pytest.mark.parametrize("tau", (1, 1.0, -0.1, 2, math.nan, math.inf, True, None, "", "0.5", [0.5]))
def test_what_is_no_tau_is_refused(tau):
    with pytest.raises(UserError, match="method.tau = .*: use 'theory' or a number from 0"):
        Masha1(tau=tau)


# -- participation and batches: exact, by going through all subsets ----------------------------------


def exact(dependence, b, vectors, n):
    """E|1/b sum_S Q_m(v_m)|^2 over all S of b workers, Q keeping coordinate j, uniform, times n (PermK: b = n)."""
    squares = []
    for S in combinations(range(len(vectors)), b):
        if dependence == "partition":
            draws = permutations(range(n))
        elif dependence == "common":
            draws = [(j,) * b for j in range(n)]
        else:
            draws = product(range(n), repeat=b)
        for kept in draws:
            total = np.zeros(n)
            for m, j in zip(S, kept):
                total[j] += n * vectors[m][j] / b
            squares.append(total @ total)
    return np.mean(squares)


@pytest.mark.parametrize("b", (1, 2, 3))
@pytest.mark.parametrize("dependence", ("independent", "common", "partition"))
def test_the_constants_of_participation_are_exact(dependence, b):
    M, n = 5, b if dependence == "partition" else 2
    Q = Compressor().bind(n, b, np.float64, None)
    Q.q, Q.dependence = float(n), dependence
    A, B = stepsizes.moments(Q, M)
    for seed in range(5):
        vectors = np.random.default_rng(seed).standard_normal((M, n))
        expected = A * np.sum(vectors.mean(axis=0)**2) + B * np.mean(np.sum(vectors**2, axis=1))
        assert exact(dependence, b, vectors, n) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dependence", ("independent", "common", "partition", "any"))
def test_with_all_workers_the_constants_are_those_without_participation(dependence):
    Q = Compressor().bind(4, 4, np.float64, None)
    Q.q, Q.dependence = 4.0, dependence
    expected = {"independent": (1.0, 3 / 4), "common": (4.0, 0.0), "partition": (0.0, 1.0), "any": (0.0, 4.0)}
    assert stepsizes.moments(Q, 4) == pytest.approx(expected[dependence])


@pytest.mark.parametrize("b", (1, 2, 4))
@pytest.mark.parametrize("dependence", ("independent", "common"))
def test_the_constants_of_batches_bound_the_second_moment(dependence, b):
    """V_m takes one of two values; all cases."""
    M, n = 4, 2
    Q = Compressor().bind(n, b, np.float64, None)
    Q.q, Q.dependence = float(n), dependence
    A, B = stepsizes.moments(Q, M, noisy=True)
    for seed in range(3):
        two = np.random.default_rng(seed).standard_normal((2, M, n))
        mean = np.mean([exact(dependence, b, two[list(case), range(M)], n) for case in product((0, 1), repeat=M)])
        bound_ = A * np.sum(two.mean(axis=(0, 1))**2) + B * np.mean(np.sum(two**2, axis=2))
        assert mean <= bound_ * (1 + 1e-12)


def test_the_constant_of_a_batch_is_that_of_sampling_without_replacement():
    """E|mean of s of r vectors|^2 over all subsets, for components whose sum and squares are known."""
    r, s = 5, 2
    d = np.random.default_rng(0).standard_normal((r, 3))
    mean = np.mean([np.sum(d[list(S)].mean(axis=0)**2) for S in combinations(range(r), s)])
    constants = Constants(1.0, 0.1, np.array([np.linalg.norm(d.mean(axis=0))]), None, 1,
                          np.array([np.sqrt(np.mean(np.sum(d**2, axis=1)))]), (r,))
    assert stepsizes.batch_rms(constants, s)**2 == pytest.approx(mean, rel=1e-12)
    assert stepsizes.batch_rms(constants, r) == pytest.approx(constants.L_m[0])


@pytest.mark.parametrize("levels, typical", [(1, 2.2), (2, 1.31), (3, 1.14), (7, 1.02)])
def test_absmax_on_gaussian_vectors(levels, typical):
    q = AbsMax(levels).bind(100, 3, np.float64, Stream(0, "test"))
    assert q.typical == pytest.approx(typical, rel=0.03) and q.typical < q.q
    rng, sent, out = np.random.default_rng(1), message(q.fields()), np.zeros(100)
    ratios = []
    for k in range(400):
        x = rng.standard_normal(100)
        out[:] = 0
        q.encode(Linear.of(x), sent, 0, k)
        q.decode(sent, 0, k, 1.0, out)
        ratios.append(out @ out / (x @ x))
    assert np.mean(ratios) == pytest.approx(q.typical, rel=0.03)


@pytest.mark.parametrize("method, words", [
    (lambda: Masha1(gamma="safe"), "'theory', 'adaptive', a number"),
    (lambda: Masha1(gamma="adaptive"), "compressor.refresh"),
    (lambda: Run(Bilinear(dim=3, workers=3, samples=4), Masha1(batch=2, refresh=QSGD(4))), "whole operators"),
    (lambda: Run(Bilinear(dim=3, workers=3), Masha1(refresh=QSGD(4), refresh_down=QSGD(4))), "dense downlink"),
    (lambda: Masha1(refresh_down=QSGD(4)), "refresh_down = .* compressed refresh"),
    (lambda: Masha2(gamma="adaptive"), "method.gamma = 'adaptive'"),
    (lambda: MashaDiana(tau=0), "method.tau = 0"),
    (lambda: Run(Bilinear(dim=3, workers=3), Masha2(TopK(2), participation=2)), "masha2 with method.batch or"),
    (lambda: Run(Bilinear(dim=3, workers=3), SGDA(participation=2)), "sgda has a theorem only for whole"),
    (lambda: Run(Bilinear(dim=3, workers=3), Masha1(batch=1)), "method.batch = 1 needs")])
def test_rules_that_a_method_does_not_know_are_refused(method, words):
    with pytest.raises(UserError, match=words):
        method()
