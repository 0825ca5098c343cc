"""Every method does, on the same draws, what its pseudo-code says.

Agreement is to rounding, not bit for bit: the oracles multiply by BLAS, divide by M where the package multiplies
by 1/M, and take F_m(u) - F_m(w) before they scale it, where the package gathers and scales in one pass.
"""

import numpy as np
import oracles
import pytest

import mpimasha as mm
from mpimasha.compressors.base import message
from mpimasha.kernels import hashing
from mpimasha.linear import Linear
from mpimasha.randomness import COMMON, Stream

ROUNDS = 50
SEED = 11
TAU = 0.8


def bilinear():
    """n = 26 and M = 7: neither divides what it might."""
    return mm.Bilinear(dim=13, kappa=20.0, heterogeneity=1.5, workers=7, seed=3)


def regression(**options):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((45, 6))
    y = np.sign(X @ rng.standard_normal(6) + 0.3)
    return mm.RobustRegression(data=(X, y), standardise=False, workers=7, **options)


def operators(problem):
    """The workers' operators in NumPy, from the problem's data."""
    workers = range(problem.workers)
    if isinstance(problem, mm.Bilinear):
        return [oracles.bilinear(*problem.data(m), problem.mu) for m in workers]
    make = {"logistic": oracles.logistic_regression, "square": oracles.square_regression}[problem.loss]
    return [make(*problem.shard(m), problem.workers / len(problem.y), problem.lam, problem.beta) for m in workers]


def compress(compressor, problem, purpose="uplink", workers=None):
    """`compressor` in NumPy on the draws that the package makes.

    Which coordinates a message holds is read off a message of ones.
    """
    stream = Stream(SEED, purpose)
    bound = compressor.bind(problem.n, workers or problem.workers, np.float64, stream)

    def index(m, k):
        ones, sent, out = np.ones(problem.n), message(bound.fields()), np.zeros(problem.n)
        bound.encode(Linear.of(ones), sent, m, k)
        bound.decode(sent, m, k, 1.0, out)
        return np.flatnonzero(out)

    def uniform(m, k):
        return np.array([hashing.uniform(stream(m, k), np.uint64(i)) for i in range(problem.n)])

    return {
        "identity": oracles.identity,
        "randk": lambda m, k, x: oracles.keep(x, index(m, k), problem.n / compressor.k),
        "permk": lambda m, k, x: oracles.keep(x, index(m, k), problem.workers),
        "qsgd": lambda m, k, x: oracles.qsgd(x, compressor.levels, uniform(m, k), compressor.bucket),
        "topk": lambda m, k, x: oracles.topk(x, compressor.k),
    }[compressor.name]


def coin(k):
    return Stream(SEED, "coin").uniform(COMMON, k) < 1 - TAU


def stepped(problem, method, wire="float64"):
    """The method after `ROUNDS` rounds in the package: (z, w)."""
    result = mm.solve(problem, method, seed=SEED, reference=None, wire=wire,
                      stop=mm.Stop(rounds=ROUNDS, relative_error=0))
    assert result.status == "rounds"
    return result.z, result.w


def agree(got, expected, start):
    moved = np.linalg.norm(expected - start)
    assert moved > 0.1 * np.linalg.norm(expected) > 0, "the run went nowhere: nothing was compared"
    assert np.linalg.norm(got - expected) <= 1e-13 * np.linalg.norm(expected)


@pytest.mark.parametrize("make, gamma", [(bilinear, 0.5), (regression, 0.1)])
def test_extragradient_follows_its_pseudocode(make, gamma):
    problem = make()
    z, _ = stepped(problem, mm.Extragradient(gamma=gamma))
    agree(z, oracles.extragradient(operators(problem), problem.start(), gamma, ROUNDS), problem.start())


@pytest.mark.parametrize("make, gamma", [(bilinear, 0.4), (regression, 0.1)])
def test_optimistic_follows_its_pseudocode(make, gamma):
    problem = make()
    z, _ = stepped(problem, mm.Optimistic(gamma=gamma))
    agree(z, oracles.optimistic(operators(problem), problem.start(), gamma, ROUNDS), problem.start())


@pytest.mark.parametrize("reference", ["new", "previous"])
@pytest.mark.parametrize("compressor", [
    mm.Identity(), mm.RandK(5), mm.RandK(5, sampling="uniform"), mm.RandK(5, sampling="uniform", indices=True),
    mm.PermK(), mm.QSGD(4, bucket=26), mm.QSGD(3, bucket=7)], ids=str)
def test_masha1_follows_its_pseudocode(compressor, reference):
    problem, gamma = bilinear(), 0.1
    z, w = stepped(problem, mm.Masha1(compressor, gamma=gamma, tau=TAU, reference=reference))
    expected_z, expected_w = oracles.masha1(operators(problem), problem.start(), gamma, TAU, ROUNDS,
                                            compress(compressor, problem), coin, reference)
    agree(z, expected_z, problem.start())
    agree(w, expected_w, problem.start())


def test_the_reference_operators_of_masha1_are_what_crossed_the_wire():
    """In single precision: F_m(w) rounded, not F_m(w), is what the workers subtract."""
    problem, gamma, compressor = bilinear(), 0.1, mm.RandK(5)
    exact = compress(compressor, problem)
    z, w = stepped(problem, mm.Masha1(compressor, gamma=gamma, tau=TAU), wire="float32")
    expected_z, expected_w = oracles.masha1(
        operators(problem), problem.start(), gamma, TAU, ROUNDS,
        lambda m, k, x: exact(m, k, x).astype(np.float32).astype(float), coin, wire=np.float32)
    agree(z, expected_z, problem.start())
    agree(w, expected_w, problem.start())


@pytest.mark.parametrize("reference", ["new", "previous"])
@pytest.mark.parametrize("compressor", [mm.TopK(4), mm.Identity(), mm.RandK(7), mm.PermK(), mm.QSGD(4, bucket=26)],
                         ids=str)
def test_masha2_follows_its_pseudocode(compressor, reference):
    problem, gamma = bilinear(), 0.05
    z, w = stepped(problem, mm.Masha2(compressor, gamma=gamma, tau=TAU, reference=reference))
    unbiased = compress(compressor, problem)
    q = {"topk": 1, "identity": 1, "randk": 26 / 7, "permk": 7, "qsgd": 1 + min(26 / 4**2, np.sqrt(26) / 4)}
    expected_z, expected_w = oracles.masha2(operators(problem), problem.start(), gamma, TAU, ROUNDS,
                                            lambda m, k, x: unbiased(m, k, x) / q[compressor.name], coin, reference)
    agree(z, expected_z, problem.start())
    agree(w, expected_w, problem.start())


@pytest.mark.parametrize("up, down", [(mm.RandK(5), mm.RandK(9)), (mm.QSGD(4, bucket=26), mm.QSGD(5, bucket=26)),
                                      (mm.PermK(), mm.QSGD(4, bucket=7)), (mm.RandK(5, mask="shared"), mm.RandK(13))],
                         ids=str)
def test_the_server_of_masha1_compresses_the_mean(up, down):
    problem, gamma = bilinear(), 0.05
    z, w = stepped(problem, mm.Masha1(up, gamma=gamma, tau=TAU, down=down))
    serve = compress(down, problem, "downlink", workers=1)
    expected_z, expected_w = oracles.masha1(operators(problem), problem.start(), gamma, TAU, ROUNDS,
                                            compress(up, problem), coin, down=lambda k, x: serve(0, k, x))
    agree(z, expected_z, problem.start())
    agree(w, expected_w, problem.start())


@pytest.mark.parametrize("down", [mm.TopK(7), mm.RandK(13), mm.QSGD(6, bucket=26)], ids=str)
def test_the_server_of_masha2_feeds_its_error_back(down):
    problem, gamma, up = bilinear(), 0.03, mm.TopK(5)
    z, w = stepped(problem, mm.Masha2(up, gamma=gamma, tau=TAU, down=down))
    serve = compress(down, problem, "downlink", workers=1)
    q = {"topk": 1, "randk": 2, "qsgd": 1 + min(26 / 6**2, np.sqrt(26) / 6)}[down.name]
    expected_z, expected_w = oracles.masha2(operators(problem), problem.start(), gamma, TAU, ROUNDS,
                                            compress(up, problem), coin, down=lambda k, x: serve(0, k, x) / q)
    agree(z, expected_z, problem.start())
    agree(w, expected_w, problem.start())


@pytest.mark.parametrize("refresh", [mm.TopK(9), mm.RandK(13), mm.QSGD(7, bucket=26)], ids=str)
def test_a_compressed_refresh_sends_the_change_of_the_reference_operators(refresh):
    problem, gamma, up = bilinear(), 0.05, mm.QSGD(4, bucket=26)
    z, w = stepped(problem, mm.Masha1(up, gamma=gamma, tau=TAU, refresh=refresh))
    renew = compress(refresh, problem, "refresh")
    q = {"topk": 1, "randk": 2, "qsgd": 1 + min(26 / 7**2, np.sqrt(26) / 7)}[refresh.name]
    expected_z, expected_w = oracles.masha1_with_compressed_refresh(
        operators(problem), problem.start(), gamma, TAU, ROUNDS, compress(up, problem),
        lambda m, k, x: renew(m, k, x) / q, coin)
    agree(z, expected_z, problem.start())
    agree(w, expected_w, problem.start())


@pytest.mark.parametrize("loss, gamma", [("logistic", 0.1), ("square", 0.05)])
@pytest.mark.parametrize("method", ["eg", "og", "masha1-randk", "masha1-permk", "masha1-qsgd"])
def test_a_prox_is_applied_where_the_pseudocode_says(method, loss, gamma):
    radius = 0.25
    problem = regression(loss=loss, radius=radius)
    F, z0, prox = operators(problem), problem.start(), oracles.ball(slice(0, 6), radius)
    if method == "eg":
        z, _ = stepped(problem, mm.Extragradient(gamma=gamma))
        expected = oracles.extragradient(F, z0, gamma, ROUNDS, prox)
    elif method == "og":
        z, _ = stepped(problem, mm.Optimistic(gamma=gamma))
        expected = oracles.optimistic(F, z0, gamma, ROUNDS, prox)
    else:
        compressor = {"randk": mm.RandK(4), "permk": mm.PermK(), "qsgd": mm.QSGD(4, bucket=5)}[method[7:]]
        z, w = stepped(problem, mm.Masha1(compressor, gamma=gamma, tau=TAU))
        expected, expected_w = oracles.masha1(F, z0, gamma, TAU, ROUNDS, compress(compressor, problem), coin,
                                              prox=prox)
        agree(w, expected_w, z0)
    assert np.linalg.norm(z[:6]) > 0.999 * radius, "the ball was never met"
    agree(z, expected, z0)


def test_the_reference_point_moves_in_these_rounds():
    """Otherwise the comparisons above would not have seen a refresh."""
    assert 5 <= sum(coin(k) for k in range(ROUNDS)) <= 15
