"""A problem, a step size and a lot of participants and samples, for the package and for an oracle alike.

Agreement is to rounding, not bit for bit: the oracles multiply by BLAS, divide by M where the package multiplies
by 1/M, and take F_m(u) - F_m(w) before they scale it, where the package gathers and scales in one pass.
"""

import numpy as np
import oracles
import pytest

import mpimasha as mm
from mpimasha.compressors.base import message
from mpimasha.fleet.draw import Lots
from mpimasha.kernels import hashing
from mpimasha.linear import Linear
from mpimasha.randomness import COMMON, Stream

ROUNDS = 50
SEED = 11
TAU = 0.8


def bilinear(kind=mm.Bilinear):
    """n = 26 and M = 7: neither divides what it might."""
    return kind(dim=13, kappa=20.0, heterogeneity=1.5, workers=7, seed=3)


def regression(**options):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((45, 6))
    y = np.sign(X @ rng.standard_normal(6) + 0.3)
    return mm.RobustRegression(data=(X, y), standardise=False, workers=7, **options)


def operator(problem, m, chosen=slice(None)):
    """The operator of worker m in NumPy, from the problem's data; on its samples `chosen`."""
    if isinstance(problem, mm.Bilinear):
        return oracles.bilinear(*problem.data(m), problem.mu)
    make = {"logistic": oracles.logistic_regression, "square": oracles.square_regression}[problem.loss]
    X, y = problem.shard(m)
    weight = problem.workers / len(problem.y) * len(y) / len(y[chosen])
    return make(X[chosen], y[chosen], weight, problem.lam, problem.beta)


def coin(k):
    return Stream(SEED, "coin").uniform(COMMON, k) < 1 - TAU


class Setting:
    """A problem, a step size, who takes part in a round and with which samples: for the package and for an oracle.

    Parameters
    ----------
    problem : Problem
    gamma : float, optional
    wire : str
    **lot
        participation, batch.

    Attributes
    ----------
    F : list
        The workers' operators in NumPy.
    senders : int
        How many workers take part in a round.
    """

    def __init__(self, problem, gamma=None, wire="float64", **lot):
        self.problem, self.gamma, self.wire, self.lot = problem, gamma, np.dtype(wire), lot
        self.workers, self.n, self.z0 = range(problem.workers), problem.n, problem.start()
        self.F = [operator(problem, m) for m in self.workers]
        self.lots = Lots(SEED, problem.workers, self.workers)
        if "batch" in lot:
            self.lots.of_components([len(problem.shard(m)[1]) for m in self.workers])
        self.senders, self.met = len(self.drawn(0)), None
        self.given = {"drawn": self.drawn} if lot else {}
        if getattr(problem, "radius", 0):
            self.given["prox"], self.met = self.prox, False

    def drawn(self, k):
        lot = self.lots.draw(k, **self.lot)
        who = self.workers if lot.participants is None else lot.participants
        return {int(m): operator(self.problem, m, lot.components(m)) if lot.batch else self.F[m] for m in who}

    def prox(self, x, gamma):
        projected = oracles.ball(slice(0, self.n // 2), self.problem.radius)(x, gamma)
        self.met |= bool(np.any(projected != x))
        return projected

    def run(self, oracle, *args, **options):
        return oracle(self.F, self.z0, self.gamma, ROUNDS, *args, **self.given, **options)

    def check(self, method, *expected, within=1e-13):
        """The run of `method` in the package ends at the points `expected`, z and w."""
        result = mm.solve(self.problem, method, seed=SEED, reference=None, wire=self.wire.name,
                          stop=mm.Stop(rounds=ROUNDS, relative_error=0))
        assert result.status == "rounds" and self.met in (None, True), "the ball was never met"
        for got, point in zip((result.z, result.w), expected):
            agree(got, point, self.z0, within)
        return result

    # -- compressors -------------------------------------------------------------------

    def q(self, compressor, senders=None):
        """E|Q(x)|^2 <= q |x|^2; 1 if biased."""
        if compressor.name == "qsgd":
            bucket = min(compressor.bucket, self.n)
            return 1 + min(bucket / compressor.levels**2, np.sqrt(bucket) / compressor.levels)
        if compressor.name == "absmax":
            return (1 + np.sqrt(1 + (self.n - 1) / compressor.levels**2)) / 2
        return {"randk": self.n / getattr(compressor, "k", 1), "permk": senders or self.senders}.get(compressor.name, 1)

    def typical(self, compressor):
        """q as it is on Gaussian vectors."""
        if compressor.name == "absmax":
            return compressor.bind(self.n, self.senders, self.wire, None).typical
        return self.q(compressor)

    def compress(self, compressor, purpose="uplink", senders=None, contracted=False):
        """`compressor` in NumPy on the draws that the package makes; `contracted`: Q/q.

        Which coordinates a message holds is read off a message of ones.
        """
        n, senders, stream = self.n, senders or self.senders, Stream(SEED, purpose)
        bound = compressor.bind(n, senders, self.wire, stream)

        def index(m, k):
            ones, sent, out = np.ones(n), message(bound.fields()), np.zeros(n)
            bound.encode(Linear.of(ones), sent, m, k)
            bound.decode(sent, m, k, 1.0, out)
            return np.flatnonzero(out)

        def uniform(m, k):
            return np.array([hashing.uniform(stream(m, k), np.uint64(i)) for i in range(n)])

        def dither(m, k):
            draws = np.zeros(n, np.uint32)
            hashing.dither(draws, 0, n, stream(m, k))
            return np.array([hashing.fraction(draw) for draw in draws])

        sent, scale = oracles.crossing(self.wire), 1 / self.q(compressor, senders) if contracted else 1
        Q = {
            "identity": oracles.identity,
            "randk": lambda m, k, x: sent(oracles.keep(x, index(m, k), n / compressor.k)),
            "permk": lambda m, k, x: sent(oracles.keep(x, index(m, k), senders)),
            "qsgd": lambda m, k, x: oracles.qsgd(x, compressor.levels, uniform(m, k), compressor.bucket),
            "absmax": lambda m, k, x: oracles.absmax(x, compressor.levels, dither(m, k)),
            "topk": lambda m, k, x: oracles.topk(x, compressor.k),
        }[compressor.name]
        return lambda m, k, x: scale * Q(m, k, x)

    def memory(self, kind, compressor, purpose="uplink", senders=None):
        """The estimate of a mean that `compressor` gives with the memory of this kind."""
        Q = self.compress(compressor, purpose, senders, contracted=kind == "feedback")
        if kind == "shift":
            return oracles.shift(Q, 1 / self.q(compressor), [F_m(self.z0) for F_m in self.F])
        return oracles.plain(Q) if kind == "plain" else oracles.feedback(Q, self.gamma)


def agree(got, expected, start, within=1e-13):
    moved, size = np.linalg.norm(expected - start), np.linalg.norm(expected)
    assert moved > 0.1 * size > 0, "the run went nowhere: nothing was compared"
    apart = np.linalg.norm(got - expected) / size
    assert apart <= within, f"package and oracle part by {apart:.1e}"


SETTINGS = {
    "bilinear": lambda: Setting(bilinear(), 0.05),
    "ball": lambda: Setting(regression(radius=0.25), 0.1),
    "participation": lambda: Setting(bilinear(), 0.03, participation=3),
    "batch": lambda: Setting(regression(), 0.1, batch=2),
    "both": lambda: Setting(regression(), 0.1, participation=0.5, batch=0.3),
}
MEMORY = {"sgda": "plain", "qsgda": "plain", "ef_sgda": "feedback", "diana_sgda": "shift",
          "ceg": "plain", "ceg_ef": "feedback", "diana_eg": "shift",
          "masha1": "plain", "vr_masha1": "plain", "pp_masha1": "plain",
          "masha2": "feedback", "vr_masha2": "feedback", "pp_masha2": "feedback"}


def cases(names, settings, compressors):
    """All that go together: no method with error feedback takes a prox, no other one a biased compressor."""
    return [pytest.param(name, where, up, id=f"{name}-{where}-{up}")
            for name in names for where in settings for up in compressors
            if not (MEMORY[name] == "feedback" and where == "ball") and (MEMORY[name] == "feedback" or up.unbiased)]


def lipschitz(s):
    """(L, L_m) of affine operators, from differences along the axes."""
    J_m = [np.column_stack([F_m(e) - F_m(0 * e) for e in np.eye(s.n)]) for F_m in s.F]
    return np.linalg.norm(np.mean(J_m, axis=0), 2), np.array([np.linalg.norm(J, 2) for J in J_m])


def changes(s, refresh):
    """All workers take part in a refresh."""
    return s.compress(refresh, "refresh", len(s.workers), contracted=True)
