"""RMS and Adam against loops in plain NumPy, and that a metric is made of what all ranks know."""

import numpy as np
import oracles
import pytest

import mpimasha as mm
from mpimasha import state
from mpimasha.fleet.draw import Lots
from mpimasha.fleet.parts import Parts
from mpimasha.linear import Linear
from mpimasha.methods.metric import METRICS, RMS, Adam
from mpimasha.randomness import COMMON, Stream

ROUNDS, SEED, GAMMA, TAU, DAMPING = 30, 5, 0.02, 0.7, 1e-2
RAMP = {"warmup": 6, "decay": 24}


def bilinear():
    return mm.Bilinear(dim=4, kappa=5.0, heterogeneity=1.0, workers=3, samples=4, seed=2)


class Whole:
    """F and the workers' operators in NumPy, on the batches of a round."""

    def __init__(self, batch=0):
        self.problem, self.batch = bilinear(), batch
        self.lots = Lots(SEED, 3, range(3))
        self.lots.of_components([4] * 3)
        self.F_m = [oracles.bilinear(*self.problem.data(m), self.problem.mu) for m in range(3)]
        self.start = self.problem.start()

    def __call__(self, z, k=None):
        if k is None or not self.batch:
            return oracles.mean([F_m(z) for F_m in self.F_m])
        draw, rows = self.lots.draw(k, batch=self.batch), np.empty((3, len(z)))
        for m, row in enumerate(rows):
            self.problem.batch_operator(m)(z, row, draw.components(m))
        return rows.mean(axis=0)


class Mean:
    """v forgets 10 % whenever it learns; the first square as it is."""

    v = None

    def learn(self, F):
        self.v = F**2 if self.v is None else 0.9 * self.v + 0.1 * F**2

    def __call__(self, F):
        return F / (np.sqrt(self.v) + DAMPING)


def ramp(k):
    """The part of gamma in round k, by `RAMP`."""
    return (k + 1) / 6 if k < 6 else max((24 - k) / 18, 1e-3)


def coin(k):
    return Stream(SEED, "coin").uniform(COMMON, k) < 1 - TAU


def ends_at(problem, method, *expected, within=1e-12):
    run = mm.Run(problem, method, seed=SEED)
    run.start()
    for _ in range(ROUNDS):
        run.step()
    for name, point in zip("zw", expected):
        got = run.method.point(name)
        assert np.linalg.norm(point) > 0.1
        np.testing.assert_allclose(got, point, rtol=0, atol=within * np.linalg.norm(point))
    return run


# -- methods with a metric against NumPy ---------------------------------------------------------------


@pytest.mark.parametrize("batch", (0, 2))
@pytest.mark.parametrize("name", ("sgda", "ef_sgda"))
def test_adam_is_adam(name, batch):
    """EF-SGDA with the identity sends all: Adam as well."""
    F = Whole(batch)
    z, m, v = F.start, 0.0, 0.0
    for k in range(ROUNDS):
        g = F(z, k)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        ahead = m / (1 - 0.9**(k + 1)) / (np.sqrt(v / (1 - 0.999**(k + 1))) + DAMPING)
        z = z - GAMMA * ramp(k) * ahead
    kind = {"sgda": mm.SGDA, "ef_sgda": mm.EFSGDA}[name]
    method = kind(mm.Identity(), gamma=GAMMA, batch=batch)
    ends_at(bilinear(), method.practised(metric="adam", damping=DAMPING, **RAMP), z)


def test_feedback_is_before_the_metric():
    """EF-SGDA: z+ = z - gamma D(s), s = mean C_m(F_m + e_m), D from s alone."""
    F, D, e = Whole(), Mean(), np.zeros((3, 8))
    z = F.start
    for k in range(ROUNDS):
        wanted = [F_m(z) + e_m for F_m, e_m in zip(F.F_m, e)]
        sent = [oracles.topk(x, 3) for x in wanted]
        e = [x - c for x, c in zip(wanted, sent)]
        s = oracles.mean(sent)
        D.learn(s)
        z = z - GAMMA * ramp(k) * D(s)
    method = mm.EFSGDA(mm.TopK(3), gamma=GAMMA).practised(metric="rms", damping=DAMPING, **RAMP)
    ends_at(bilinear(), method, z, within=1e-11)


@pytest.mark.parametrize("alpha", (1.0, 0.0, 0.5))
def test_extragradient_learns_the_operator_at_z(alpha):
    F, D = Whole(), Mean()
    z = F.start
    for k in range(ROUNDS):
        D.learn(F(z))
        half = z - alpha * GAMMA * ramp(k) * D(F(z))
        z = z - GAMMA * ramp(k) * D(F(half))
    method = mm.Extragradient(gamma=GAMMA)
    ends_at(bilinear(), method.practised(metric="rms", damping=DAMPING, extrapolation=alpha, **RAMP), z)


@pytest.mark.parametrize("alpha", (1.0, 0.0, 0.5))
@pytest.mark.parametrize("reference", ("new", "previous"))
@pytest.mark.parametrize("kind", (mm.Masha1, mm.Masha2))
def test_masha_learns_the_operator_of_the_reference_point_at_each_refresh(kind, reference, alpha):
    F, D = Whole(), Mean()
    z = w = F.start
    D.learn(F(w))
    for k in range(ROUNDS):
        gamma, zbar = GAMMA * ramp(k), TAU * z + (1 - TAU) * w
        half = zbar - alpha * gamma * D(F(w))
        z_prev, z = z, zbar - gamma * D(F(half))
        if coin(k):
            w = z if reference == "new" else z_prev
            D.learn(F(w))
    method = kind(mm.Identity(), gamma=GAMMA, tau=TAU, reference=reference)
    ends_at(bilinear(), method.practised(metric="rms", damping=DAMPING, extrapolation=alpha, **RAMP), z, w)
    assert 4 <= sum(map(coin, range(ROUNDS))) <= 20


def test_masha2_scales_what_error_feedback_returns():
    F, D = Whole(), Mean()
    z = w = F.start
    e = np.zeros((3, len(z)))
    D.learn(F(w))
    for k in range(ROUNDS):
        gamma, zbar = GAMMA * ramp(k), TAU * z + (1 - TAU) * w
        half = zbar - gamma * D(F(w))
        wanted = [gamma * (F_m(half) - F_m(w)) + e_m for F_m, e_m in zip(F.F_m, e)]
        sent = [oracles.topk(x, 3) for x in wanted]
        e = [x - c for x, c in zip(wanted, sent)]
        z = zbar - D(gamma * F(w) + oracles.mean(sent))
        if coin(k):
            w = z
            D.learn(F(w))
    method = mm.Masha2(mm.TopK(3), gamma=GAMMA, tau=TAU).practised(metric="rms", damping=DAMPING, **RAMP)
    ends_at(bilinear(), method, z, w, within=1e-11)


def test_diana_og_learns_its_estimate():
    F, D = Whole(), Mean()
    z, e = F.start, F(F.start)
    D.learn(e)
    for k in range(ROUNDS):
        half = z - GAMMA * ramp(k) * D(e)
        e = F(half)
        D.learn(e)
        z = z - GAMMA * ramp(k) * D(e)
    method = mm.DianaOG(mm.Identity(), gamma=GAMMA).practised(metric="rms", damping=DAMPING, **RAMP)
    ends_at(bilinear(), method, z)


# -- the metric itself -------------------------------------------------------------------------------


def bound(kind, n=4, dtype=np.float64, **options):
    return kind().bind(Parts(n, ()), np.dtype(dtype), DAMPING, **options)


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_rms_forgets_by_a_tenth(dtype):
    metric, other, rng = bound(RMS, dtype=dtype), Mean(), np.random.default_rng(0)
    for F in rng.standard_normal((5, 4)).astype(dtype):
        metric.learn(Linear.of(F))
        other.learn(F.astype(float))
        out, x = np.empty(4, dtype), rng.standard_normal(4).astype(dtype)
        (Linear.of(x) - 0.5 * metric(Linear.of(F))).write(out)
        np.testing.assert_allclose(out, x - 0.5 * other(F), rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-6
                                   if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("kind", (RMS, Adam))
def test_where_nothing_was_learnt_yet_damping_is_left(kind):
    metric, out = bound(kind), np.empty(4)
    metric.learn(Linear.of(np.zeros(4)))
    (Linear.of(np.ones(4)) - 1.0 * metric(Linear.of(np.zeros(4)))).write(out)
    np.testing.assert_array_equal(out, np.ones(4))


def test_without_a_metric_a_formula_stays_a_formula():
    metric, x = METRICS["none"]().bind(Parts(4, ()), np.dtype(float)), Linear.of(np.arange(4.0))
    assert metric(x) is x and metric(x, 0.5).terms[0][0] == 0.5


def test_the_default_metric_keeps_nothing():
    run = mm.Run(bilinear(), mm.SGDA(gamma=0.1))
    assert all(array.size <= 1 for array in state.buffers(run.method.metric).values())
