"""At their theoretical step sizes the methods are at least as fast as their theorems say.

The theorems of EG and OG bound every round; that of MASHA1 bounds an expectation, estimated over run seeds: the mean
and two standard errors above it must lie below the bound.
"""

import numpy as np
import oracles
import pytest
from lanes import fast

import mpimasha as mm
from mpimasha import state


class Affine(mm.Problem):
    """F_m(z) = J_m z + b_m with the mean J, and J_m - J summing to zero."""

    name = "affine"

    def __init__(self, J, seed, workers=3):
        rng = np.random.default_rng(seed)
        self.n, self.workers = len(J), workers
        spread = rng.standard_normal((workers, self.n, self.n))
        self.J_m = J + spread - spread.mean(axis=0)
        self.b_m = rng.standard_normal((workers, self.n))
        self.J = J
        self.L = float(np.linalg.norm(J, 2))
        self.mu = float(np.linalg.eigvalsh((J + J.T) / 2)[0])

    def operator(self, worker):
        J, b = self.J_m[worker], self.b_m[worker]

        def F(z, out):
            out[:] = J @ z + b

        return F

    def solution(self):
        return -np.linalg.solve(self.J, self.b_m.mean(axis=0))


def affine_problems():
    """Rotations, scalings, and what lies between, mu/L from 1 to 1e-3."""
    rng = np.random.default_rng(7)
    for mu in (1.0, 0.3, 0.03, 0.001):
        yield np.array([[mu, 1.0], [-1.0, mu]])
        yield np.diag([mu, 1.0])
        yield np.array([[mu, 1.0, 0.0], [-1.0, mu, 0.0], [0.0, 0.0, 1.0]])
        for n in (2, 3, 5, 8):
            skew, root = rng.standard_normal((2, n, n))
            yield mu * np.eye(n) + (skew - skew.T) + rng.uniform(0, 0.5) * root @ root.T


def deterministic_problems():
    """(problem, F, z*), F the whole operator in NumPy."""
    for seed, J in enumerate(affine_problems()):
        problem = Affine(J, seed)
        yield problem, lambda z, p=problem: p.J @ z + p.b_m.mean(axis=0), problem.solution()
    yield projected_regression()


def projected_regression():
    rng = np.random.default_rng(8)
    X = rng.standard_normal((30, 4))
    problem = mm.RobustRegression(data=(X, np.sign(X[:, 0] + 0.2)), standardise=False, radius=0.4, workers=3)
    F = oracles.logistic_regression(problem.X, problem.y, 1 / 30, problem.lam, problem.beta)
    z = oracles.extragradient([F], problem.start(), 0.7 / problem.L, 4000, oracles.ball(slice(0, 4), 0.4))
    assert np.linalg.norm(z[:4]) > 0.399, "the ball is never met"
    return problem, F, z


def falls_in_every_round(run, lyapunov, factor, rounds=300):
    """Check Phi <= factor * (Phi of the round before), as far as rounding does not blur Phi."""
    run.start()
    first = before = lyapunov()
    for _ in range(rounds):
        run.step()
        now = lyapunov()
        if now < 1e-12 * first:
            return
        assert now <= factor * before * (1 + 1e-8), (run.problem.name, run.problem.mu / run.problem.L, run.k)
        before = now


def test_extragradient_contracts_in_every_round():
    for problem, _, z_star in deterministic_problems():
        run = mm.Run(problem, mm.Extragradient())
        assert run.method.gamma == pytest.approx(1 / (np.sqrt(2) * problem.L))
        factor = 1 - min(run.method.gamma * problem.mu, 1 / 4)
        assert run.method.theory_factor(run.constants) == pytest.approx(factor)
        falls_in_every_round(run, lambda: np.sum((run.method.iterate - z_star)**2), factor)


@pytest.mark.parametrize("gamma", fast(["theory", "0.1/L", "0.49/L"], "theory"))
def test_optimistic_contracts_in_every_round(gamma):
    """Phi = |z-z*|^2 + 2 gamma <F(z) - F(z_prev), z* - z> + gamma L |z - z_prev|^2."""
    for problem, F, z_star in deterministic_problems():
        run = mm.Run(problem, mm.Optimistic(gamma=gamma))
        step, L = run.method.gamma, problem.L
        factor = 1 / (1 + min(2 * step * problem.mu / (1 + step * L), 1 / (2 * step * L) - 1))
        assert run.method.theory_factor(run.constants) == pytest.approx(factor)
        last = [problem.start()]

        def lyapunov():
            z, z_prev = run.method.iterate.copy(), last[0]
            last[0] = z
            return (np.sum((z - z_star)**2) + 2 * step * (F(z) - F(z_prev)) @ (z_star - z)
                    + step * L * np.sum((z - z_prev)**2))

        falls_in_every_round(run, lyapunov, factor)


@pytest.mark.parametrize("method", [mm.Extragradient(gamma="1.2/L"), mm.Optimistic(gamma="0.6/L"),
                                    mm.Masha1(mm.RandK(4), gamma="3/L"), mm.Masha2(mm.TopK(4))], ids=lambda m: m.name)
def test_no_factor_is_claimed_where_no_theorem_holds(method):
    """A rotation makes the first three diverge."""
    run = mm.Run(mm.Bilinear(dim=8, kappa=100.0, workers=5), method)
    assert run.method.theory_factor(run.constants) is None


# -- MASHA1 --------------------------------------------------------------------------------------


class StaleReference(mm.Masha1):
    """The mistake of refreshing w and F(w) but not the F_m(w) that the workers subtract."""

    def move_reference(self, k):
        if self.fleet.coin(k, 1 - self.tau):
            self.w = self.z
            self.Fw = self.dense.mean(self.fleet.F(self.w), k + 1)


PROBLEMS = {  # problem, run seeds
    "bilinear": (lambda: mm.Bilinear(dim=8, kappa=4.0, workers=5), 20),
    "heterogeneous": (lambda: mm.Bilinear(dim=8, kappa=4.0, heterogeneity=5.0, workers=5), 20),
    "breast cancer": (lambda: mm.RobustRegression(lam=0.1, beta=1.0, workers=5), 4),
}
COMPRESSORS = {"randk": mm.RandK(0.25), "permk": mm.PermK(), "qsgd": mm.QSGD(4)}
LEVELS = (0.9, 0.5, 0.1)  # of the bound, at which the run is looked at


def problem_and_seeds(name):
    if name == "breast cancer":
        pytest.importorskip("sklearn")
    make, seeds = PROBLEMS[name]
    return make(), range(seeds)


def lyapunov(run, z_star, weight, memory=False):
    kept = state.buffers(run.method)
    value = weight * np.sum((kept["z"] - z_star)**2) + np.sum((kept["w"] - z_star)**2)
    return value + memory_part(run, kept) if memory else value


def memory_part(run, kept):
    """N gamma^2 s, the constants written out again from what the compressors declare."""
    up, p, M = run.method.up.compressor, 1 - run.method.tau, run.problem.workers
    A_plus_B = {"partition": 1.0, "independent": 1 + (up.q - 1) / M}[up.dependence]
    A_plus_B *= run.method.up.server.compressor.q if run.method.up.server else 1.0
    C = run.method.refresh.compressor
    rho, F = 1 - 1 / (C.contraction if C.contractive else C.q), np.zeros(run.problem.n)
    s = 0.0
    for m in range(M):
        run.problem.operator(m)(kept["w"], F)
        s += np.sum((kept["Fw_m"][m] - F)**2) / M
    return 16 * A_plus_B / (p * (1 - rho)) * run.method.gamma**2 * s


def bound_and_estimate(problem, method, seeds, weight, memory=False):
    """[(k, bound on E Psi_k / Psi_0, mean, standard error)] at the rounds where the bound passes `LEVELS`."""
    z_star, table, ks = problem.solution(), [], None
    for seed in seeds:
        run = mm.Run(problem, method, seed=seed)
        run.start()
        factor = run.method.theory_factor(run.constants)
        ks = [int(np.ceil(np.log(level) / np.log(factor))) for level in LEVELS]
        first, values = lyapunov(run, z_star, weight(run.method.tau), memory), []
        for k in ks:
            while run.k < k:
                run.step()
            values.append(lyapunov(run, z_star, weight(run.method.tau), memory) / first)
        table.append(values)
    means, errors = np.mean(table, axis=0), np.std(table, axis=0, ddof=1) / np.sqrt(len(seeds))
    return list(zip(ks, [factor**k for k in ks], means, errors))


def is_as_fast_as_its_theorem(looks):
    return all(mean + 2 * error <= bound for _, bound, mean, error in looks)


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("problem", fast(PROBLEMS, "bilinear"))
def test_masha1_is_as_fast_as_its_theorem(problem, compressor):
    problem, seeds = problem_and_seeds(problem)
    looks = bound_and_estimate(problem, mm.Masha1(COMPRESSORS[compressor]), seeds, weight=lambda tau: tau)
    assert is_as_fast_as_its_theorem(looks), looks


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("problem", fast(["bilinear", "heterogeneous"], "bilinear"))
def test_masha1_with_the_previous_iterate_is_as_fast_as_its_theorem(problem, compressor):
    """On |z - z*|^2 + |w - z*|^2."""
    problem, seeds = problem_and_seeds(problem)
    method = mm.Masha1(COMPRESSORS[compressor], reference="previous")
    looks = bound_and_estimate(problem, method, seeds, weight=lambda tau: 1.0)
    assert is_as_fast_as_its_theorem(looks), looks


@pytest.mark.parametrize("problem", fast(["bilinear", "heterogeneous"], "bilinear"))
@pytest.mark.parametrize("up, down", [(mm.QSGD(4), mm.QSGD(4)), (mm.PermK(), mm.RandK(8)),
                                      (mm.RandK(4, mask="shared"), None)], ids=str)
def test_masha1_in_both_directions_or_with_one_mask_is_as_fast_as_its_theorem(problem, up, down):
    problem, seeds = problem_and_seeds(problem)
    looks = bound_and_estimate(problem, mm.Masha1(up, down=down), seeds, weight=lambda tau: tau)
    assert is_as_fast_as_its_theorem(looks), looks


REFRESHES = {"qsgd": (mm.QSGD(4), None, mm.QSGD(4)), "topk": (mm.RandK(4), None, mm.TopK(8)),
             "permk, both ways": (mm.PermK(), mm.QSGD(4), mm.QSGD(7))}


class ForgottenMean(mm.Masha1):
    """The mistake of moving the h_m but not H, their mean."""

    def move_reference(self, k):
        before = state.buffers(self)["Fw"].copy()
        super().move_reference(k)
        self.Fw = before


@pytest.mark.parametrize("problem", fast(["bilinear", "heterogeneous"], "bilinear"))
@pytest.mark.parametrize("case", REFRESHES)
@pytest.mark.parametrize("method, holds", [(mm.Masha1, True), (ForgottenMean, False)], ids=["masha1", "mistaken"])
def test_a_compressed_refresh_is_as_fast_as_its_theorem(method, holds, case, problem):
    """Psi = (1 - p)|z - z*|^2 + |w - z*|^2 + N gamma^2 mean|h_m - F_m(w)|^2; s = 0 at the start."""
    (problem, seeds), (up, down, refresh) = problem_and_seeds(problem), REFRESHES[case]
    looks = bound_and_estimate(problem, method(up, down=down, refresh=refresh), list(seeds)[:8],
                               weight=lambda tau: tau, memory=True)
    assert is_as_fast_as_its_theorem(looks) == holds, looks


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_stale_reference_is_slower_than_the_theorem(compressor):
    problem, seeds = problem_and_seeds("bilinear")
    looks = bound_and_estimate(problem, StaleReference(COMPRESSORS[compressor]), seeds, weight=lambda tau: tau)
    assert not is_as_fast_as_its_theorem(looks), looks


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_masha1_takes_the_step_and_the_coin_of_its_theorem(compressor):
    """gamma = sqrt((1 - tau)/2)/C, 1 - tau = bits of a message / bits of a dense vector; mean of |A_m|^2 by SVD."""
    problem = mm.Bilinear(dim=8, kappa=4.0, heterogeneity=2.0, workers=5)
    run = mm.Run(problem, mm.Masha1(COMPRESSORS[compressor]), wire="float32")
    A, lam = np.array([problem.data(m)[0] for m in range(5)]), 1 / 4
    L2 = np.linalg.norm(A.mean(axis=0), 2)**2 + lam**2
    L2_mean = np.mean([np.linalg.norm(A_m, 2)**2 + lam**2 for A_m in A])
    spread2 = np.mean([np.linalg.norm(A_m - A.mean(axis=0), 2)**2 for A_m in A])
    C2, share = {"randk": (L2 + (4 - 1) / 5 * L2_mean, 4 / 16),
                 "permk": (min(L2_mean, L2 + spread2), 1 / 5),
                 "qsgd": (L2 + min(16 / 4**2, 4 / 4) / 5 * L2_mean, (32 + 16 * 4) / (32 * 16))}[compressor]
    assert run.method.tau == pytest.approx(1 - share, rel=1e-12)
    assert run.method.gamma == pytest.approx(np.sqrt(share / 2 / C2), rel=1e-9)
    factor = 1 - min(run.method.gamma * lam / 2, share / 4)
    assert run.method.theory_factor(run.constants) == pytest.approx(factor, rel=1e-9)


# -- no floor ------------------------------------------------------------------------------------

LINEAR = {
    "masha1-randk": mm.Masha1(mm.RandK(0.25)),
    "masha1-permk-previous": mm.Masha1(mm.PermK(), reference="previous"),
    "masha1-qsgd": mm.Masha1(mm.QSGD(4)),
    "masha2-topk": mm.Masha2(mm.TopK(0.25)),
    "masha2-topk-previous": mm.Masha2(mm.TopK(0.25), reference="previous"),
    "masha2-randk": mm.Masha2(mm.RandK(0.5)),
}


def rounds_to(method, levels=(1e-1, 1e-13, 1e-25), limit=20_000):
    """The rounds after which the relative error first lies below each of `levels`."""
    problem = mm.Bilinear(dim=8, kappa=4.0, heterogeneity=2.0, workers=5)
    run, z_star, found = mm.Run(problem, method), problem.solution(), []
    run.start()
    for level in levels:
        while np.sum((run.method.iterate - z_star)**2) > level * np.sum(z_star**2):
            if run.k == limit:
                return found
            run.step()
        found.append(run.k)
    return found


@pytest.mark.parametrize("method", fast(LINEAR, "masha1-qsgd", "masha2-topk"))
def test_masha_converges_linearly_to_rounding(method):
    """As many rounds for the second twelve digits as for the first."""
    start, middle, end = rounds_to(LINEAR[method])
    assert end - middle == pytest.approx(middle - start, rel=0.25)


def test_a_stale_reference_does_not_converge():
    assert len(rounds_to(StaleReference(mm.RandK(0.25)), limit=2000)) < 3
