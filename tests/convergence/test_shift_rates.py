"""Methods with Shift memories, in part, with batches: at the theorem's step at least as fast as the theorem says.

The mean over run seeds and two standard errors above it must lie below the bound on E Phi_k / Phi_0.
"""

import numpy as np
import pytest
from lanes import fast

import mpimasha as mm
from mpimasha import state

LEVELS = (0.9, 0.5, 0.1)  # of the bound, at which a run is looked at
PROBLEMS = {  # problem, run seeds
    "bilinear": (lambda: mm.Bilinear(dim=6, kappa=3.0, workers=5, samples=4), 12),
    "heterogeneous": (lambda: mm.Bilinear(dim=6, kappa=3.0, heterogeneity=5.0, workers=5, samples=4), 12),
    "policy evaluation": (lambda: mm.PolicyEvaluation(dim=4, states=10, ridge=0.3, samples=200, workers=5), 8),
    "breast cancer": (lambda: mm.RobustRegression(lam=0.3, beta=1.0, workers=5), 3),
}


def problem_and_seeds(name):
    if name == "breast cancer":
        pytest.importorskip("sklearn")
    make, seeds = PROBLEMS[name]
    return make(), range(seeds)


def operator(problem, worker, z):
    out = np.zeros(problem.n)
    problem.operator(worker)(z, out)
    return out


class Diana:
    """Phi = |z - z*|^2 + |z - x|^2 + N g^2 mean|F_m(x) - h_m|^2 + N_s g^2 |F(x) - S|^2, h and S of before the round."""

    def __init__(self, run, z_star):
        self.run, self.z_star = run, z_star
        up, server = run.method.up, run.method.up.server
        M, b, q = run.problem.workers, up.compressor.workers, up.compressor.q
        c = (b - 1) / (M - 1)
        noise = 1.0 if up.compressor.dependence == "partition" else (q - c) / b  # B', written out again
        self.w = 0.0 if server is None else server.compressor.q - 1
        self.N = 24 * (1 + 7.5 * self.w) * noise / (b / M / q)
        self.N_s = 24 * self.w * (1 + self.w)

    def before(self):
        """What the memories hold before a round."""
        up = self.run.method.up
        self.h = state.buffers(up.memory)["h"].copy()
        self.S = None if up.server is None else state.buffers(up.server.memory)["H"].copy()

    def distance(self, kept):
        return np.sum((kept["z"] - self.z_star)**2)

    def __call__(self):
        kept, problem, gamma = state.buffers(self.run.method), self.run.problem, self.run.method.gamma
        x = kept["x"]
        F_m = np.array([operator(problem, m, x) for m in range(problem.workers)])
        value = self.distance(kept) + np.sum((kept["z"] - x)**2)
        value += self.N * gamma**2 * np.mean(np.sum((F_m - self.h)**2, axis=1))
        if self.S is not None:
            value += self.N_s * gamma**2 * np.sum((F_m.mean(axis=0) - self.S)**2)
        return value


class Anchored(Diana):
    """(1 - p)|z - z*|^2 + |w - z*|^2 in the place of |z - z*|^2."""

    def distance(self, kept):
        tau = self.run.method.tau
        return tau * np.sum((kept["z"] - self.z_star)**2) + np.sum((kept["w"] - self.z_star)**2)


class Masha:
    """tau |z - z*|^2 + |w - z*|^2."""

    def __init__(self, run, z_star):
        self.run, self.z_star = run, z_star

    def before(self):
        pass

    def __call__(self):
        kept = state.buffers(self.run.method)
        return self.run.method.tau * np.sum((kept["z"] - self.z_star)**2) + np.sum((kept["w"] - self.z_star)**2)


def looks(problem, method, seeds, lyapunov):
    """[(k, bound on E Phi_k / Phi_0, mean, standard error)]."""
    z_star, table = problem.solution(), []
    for seed in seeds:
        run = mm.Run(problem, method, seed=seed)
        run.start()
        phi = lyapunov(run, z_star)
        phi.before()
        factor, first, values = run.method.theory_factor(run.constants), phi(), []
        ks = [int(np.ceil(np.log(level) / np.log(factor))) for level in LEVELS]
        for k in ks:
            while run.k < k:
                phi.before()
                run.step()
            values.append(phi() / first)
        table.append(values)
    means, errors = np.mean(table, axis=0), np.std(table, axis=0, ddof=1) / np.sqrt(len(table))
    return list(zip(ks, [factor**k for k in ks], means, errors))


def fast_enough(found):
    return all(mean + 2 * error <= bound for _, bound, mean, error in found)


METHODS = {
    "diana_og qsgd": (mm.DianaOG(mm.QSGD(4), gamma="theory"), Diana),
    "diana_og randk": (mm.DianaOG(mm.RandK(0.5), gamma="theory"), Diana),
    "diana_og permk": (mm.DianaOG(mm.PermK(), gamma="theory"), Diana),
    "diana_og, both ways": (mm.DianaOG(mm.AbsMax(7), gamma="theory", down=mm.AbsMax(7)), Diana),
    "diana_og, three of five": (mm.DianaOG(mm.QSGD(7), gamma="theory", participation=3), Diana),
    "masha_diana": (mm.MashaDiana(mm.QSGD(4)), Anchored),
    "pp_masha1": (mm.PPMasha1(mm.QSGD(4), participation=3), Masha),
    "pp_masha1 permk": (mm.PPMasha1(mm.PermK(), participation=3), Masha),
    "vr_masha1": (mm.VRMasha1(mm.QSGD(4), batch=0.5), Masha),
    "vr_masha1 in part": (mm.VRMasha1(mm.RandK(0.5), batch=0.5, participation=3), Masha),
}


@pytest.mark.parametrize("problem", fast(PROBLEMS, "bilinear"))
@pytest.mark.parametrize("name", METHODS)
def test_it_is_as_fast_as_its_theorem(name, problem):
    (method, lyapunov), (problem, seeds) = METHODS[name], problem_and_seeds(problem)
    if method.batch and not problem.finite_sum:
        pytest.skip("no samples")
    found = looks(problem, method, seeds, lyapunov)
    assert fast_enough(found), found


class Forgetful(mm.DianaOG):
    """The mistake of not moving H with the h_m."""

    def step(self, k):
        H = state.buffers(self.up.memory)["H"]
        before = H.copy()
        super().step(k)
        H[:] = before


class Stale(mm.PPMasha1):
    """The mistake of scaling the mean over the participants by b/M."""

    def open_channels(self, channel):
        super().open_channels(channel)
        mean = self.up.mean
        self.up.mean = lambda x, k, draw=None: 0.6 * mean(x, k, draw)


@pytest.mark.parametrize("method, lyapunov", [(Forgetful(mm.QSGD(4), gamma="theory"), Diana),
                                              (Stale(mm.QSGD(4), participation=3), Masha)], ids=["H", "mean"])
def test_a_mistaken_one_is_not(method, lyapunov):
    problem, _ = problem_and_seeds("heterogeneous")
    found = looks(problem, method, range(4), lyapunov)
    errors = []
    for seed in range(2):
        run = mm.Run(problem, method, seed=seed)
        run.start()
        factor = run.method.theory_factor(run.constants)
        for _ in range(int(np.ceil(np.log(1e-4) / np.log(factor)))):
            run.step()
        errors.append(np.sum((run.method.iterate - problem.solution())**2) / np.sum(problem.solution()**2))
    assert not fast_enough(found) or min(errors) > 1e-3, (found, errors)


# -- what is linear and what stalls, on workers that differ ------------------------------------------

LINEAR = {
    "diana_og": mm.DianaOG(), "masha_diana": mm.MashaDiana(mm.QSGD(4), gamma="safe"),
    "diana_eg": mm.DianaEG(mm.AbsMax(7), gamma="0.15/L"), "diana_sgda": mm.DianaSGDA(mm.AbsMax(7), gamma="0.05/L"),
}
DENSE_REFRESHES = {"optimistic_masha": mm.OptimisticMasha(gamma="0.15/L"),
                   "three_pillars": mm.ThreePillars(gamma="0.2/L")}
STALLING = {
    "ceg": mm.CEG(mm.QSGD(4), gamma="0.1/L"), "ceg_ef": mm.CEGFeedback(mm.TopK(4), gamma="0.05/L"),
    "qsgda": mm.QSGDA(gamma="0.05/L"), "ef_sgda": mm.EFSGDA(mm.TopK(4), gamma="0.05/L"),
    "local_eg": mm.LocalEG(gamma="0.1/L"),
}


def ends_at(method, wire="float32", rounds=4000):
    problem = mm.Bilinear(dim=8, kappa=4.0, heterogeneity=2.0, workers=5)
    return mm.solve(problem, method, wire=wire, stop=mm.Stop(rounds=rounds, relative_error=1e-20)).relative_error


@pytest.mark.parametrize("name", LINEAR)
def test_learnt_references_have_no_floor_on_a_float32_wire(name):
    assert ends_at(LINEAR[name]) <= 1e-20


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSE_REFRESHES)
def test_dense_refreshes_leave_the_rounding_of_the_wire(name):
    """Of operators that do not vanish: nothing in float64, some 1e-15 of the squared error in float32."""
    assert ends_at(DENSE_REFRESHES[name], "float64") <= 1e-20
    assert 1e-20 < ends_at(DENSE_REFRESHES[name], "float32") <= 1e-13


@pytest.mark.parametrize("name", fast(STALLING, "ceg", "qsgda"))
def test_what_compresses_operators_that_do_not_vanish_stalls(name):
    assert ends_at(STALLING[name]) > 1e-6


# -- mu = 0 ------------------------------------------------------------------------------------------


def test_the_average_of_a_game_is_within_the_theorems_gap():
    """E gap(average of the x_k) <= max_u |z0 - u|^2 / (gamma K), for two simplices 2 (1 - 1/size)."""
    size, K = 20, 400
    for seed in range(3):
        problem = mm.MatrixGame(size=size, workers=5, seed=seed)
        run = mm.Run(problem, mm.DianaOG(mm.AbsMax(7), gamma="theory"), seed=seed)
        run.start()
        for _ in range(K):
            run.step()
        assert problem.gap(run.average) <= 2 * (1 - 1 / size) / (run.method.gamma * K)
