"""Policy evaluation: trajectories of the stated process, the gradient field of the Bellman error's saddle form.

The process is simulated and the objective written anew here, in plain NumPy.
"""

import numba
import numpy as np
import pytest
from scipy.optimize import minimize

import mpimasha as mm
from mpimasha.kernels.operators import policy as kernels

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of rounds, for compiled kernels")
SMALL = dict(dim=3, states=6, actions=2, branching=3, samples=50, workers=4)
CASES = [SMALL, {**SMALL, "ridge": 0.0}, {**SMALL, "ridge": 2.0, "heterogeneity": 0.0}, {**SMALL, "dim": 5, "seed": 3},
         {**SMALL, "dim": 1, "workers": 1, "discount": 0.0}]


def small(**options):
    return mm.PolicyEvaluation(**{**SMALL, **options})


def saddle(A, C, b, ridge):
    def g(z):
        theta, u = np.split(z, 2)
        return u @ (b - A @ theta) - u @ C @ u / 2 + ridge / 2 * (theta @ theta)
    return g


def gradient_field(g, z, step=1e-4):
    slope = np.array([(g(z + step * e) - g(z - step * e)) / (2 * step) for e in np.eye(len(z))])
    return np.concatenate([slope[:len(z) // 2], -slope[len(z) // 2:]])


def mean_data(problem):
    parts = [problem.data(m) for m in range(problem.workers)]
    return [np.mean([part[i] for part in parts], axis=0) for i in range(3)]


def F_m(problem, worker, z):
    out = np.full(problem.n, np.nan)
    problem.operator(worker)(z, out)
    return out


def F(problem, z):
    return np.mean([F_m(problem, m, z) for m in range(problem.workers)], axis=0)


def linear_part(problem, operator):
    zero = np.zeros(problem.n)
    return np.array([operator(e) - operator(zero) for e in np.eye(problem.n)]).T


# -- the data --------------------------------------------------------------------------------------


def test_a_walk_counts_the_transitions_that_its_luck_draws():
    rng, S, A, B = np.random.default_rng(0), 5, 3, 2
    behaviour, arrival = rng.dirichlet(np.ones(A), S), rng.dirichlet(np.ones(B), (S, A))
    successor, luck = rng.integers(0, S, (S, A, B)), rng.random((300, 2))
    counts = np.zeros((S, A, B), np.int64)
    kernels.walk(counts, 2, behaviour, arrival, successor, luck)
    expected, s = np.zeros_like(counts), 2
    for u, v in luck:
        a = np.searchsorted(np.cumsum(behaviour[s]), u, side="right")
        j = np.searchsorted(np.cumsum(arrival[s, a]), v, side="right")
        expected[s, a, j] += 1
        s = successor[s, a, j]
    np.testing.assert_array_equal(counts, expected)


def test_the_last_outcome_takes_what_rounding_leaves():
    counts = np.zeros((1, 2, 2), np.int64)
    short = np.array([0.25, 0.5])  # sums to less than 1
    kernels.walk(counts, 0, short[None], np.array([[short, short]]), np.zeros((1, 2, 2), np.int64),
                 np.array([[0.99, 0.1]]))
    np.testing.assert_array_equal(counts, [[[0, 0], [1, 0]]])


def test_the_process_is_a_garnet_with_normal_rewards_and_features():
    problem = mm.PolicyEvaluation(dim=30, states=60, actions=3, branching=4)
    policy, arrival, successor, reward, phi = problem._process
    assert policy.shape == (60, 3) and arrival.shape == successor.shape == (60, 3, 4) and phi.shape == (60, 30)
    np.testing.assert_allclose(policy.sum(-1), 1)
    np.testing.assert_allclose(arrival.sum(-1), 1)
    assert arrival.min() > 0 and successor.min() >= 0 and successor.max() < 60
    assert (np.diff(np.sort(successor, axis=-1), axis=-1) > 0).all()  # different successors of one action
    for normal in (reward, phi):
        assert abs(normal.mean()) < 4 / np.sqrt(normal.size) and np.std(normal) == pytest.approx(1, rel=0.2)


def test_a_workers_data_are_the_averages_over_its_transitions():
    problem = small()
    _, _, successor, reward, phi = problem._process
    counts, ratio = problem._walk(3)
    A, C, b = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros(3)
    for s, a, j in np.ndindex(*counts.shape):
        following = phi[successor[s, a, j]]
        A += counts[s, a, j] * ratio[s, a] * np.outer(phi[s], phi[s] - 0.95 * following) / 50
        C += counts[s, a, j] * np.outer(phi[s], phi[s]) / 50
        b += counts[s, a, j] * ratio[s, a] * reward[s, a] * phi[s] / 50
    assert counts.sum() == 50
    for part, expected in zip(problem.data(3), (A, C, b)):
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("heterogeneity", (0.0, 0.6))
def test_long_trajectories_average_to_the_expectations_under_the_behaviours_stationary_law(heterogeneity):
    """A = Phi'D(I - discount P)Phi, b = Phi'D r, C = Phi'D Phi with P and r of the policy, D of the behaviour."""
    problem = small(samples=30_000, heterogeneity=heterogeneity, discount=0.8)
    policy, arrival, successor, reward, phi = problem._process
    counts, _ = problem._walk(1)
    taken = counts.sum(axis=2)
    behaviour = taken / taken.sum(axis=1, keepdims=True)
    assert (np.abs(behaviour - policy).max() > 0.1) == (heterogeneity > 0)

    def chain(actions):
        P = np.zeros((6, 6))
        for s, a, j in np.ndindex(*successor.shape):
            P[s, successor[s, a, j]] += actions[s, a] * arrival[s, a, j]
        return P
    values, vectors = np.linalg.eig(chain(behaviour).T)
    law = np.real(vectors[:, np.argmin(abs(values - 1))])
    D, P, r = np.diag(law / law.sum()), chain(policy), (policy * reward).sum(axis=1)
    A, C, b = problem.data(1)
    np.testing.assert_allclose(A, phi.T @ D @ (np.eye(6) - 0.8 * P) @ phi, atol=0.06)
    np.testing.assert_allclose(C, phi.T @ D @ phi, atol=0.06)
    np.testing.assert_allclose(b, phi.T @ D @ r, atol=0.06)


def test_a_worker_makes_its_data_without_the_others_and_the_seed_decides_all_of_it():
    whole = [small(seed=3).data(m) for m in range(4)]
    for m in (3, 0, 1):
        for alone, among_others in zip(small(seed=3).data(m), whole[m]):
            np.testing.assert_array_equal(alone, among_others)
    assert len({part[0].tobytes() for part in whole}) == 4
    assert not np.allclose(small(seed=4).data(0)[0], whole[0][0])
    np.testing.assert_array_equal(small(seed=3, workers=9).data(2)[1], whole[2][1])


def test_ratios_never_exceed_their_bound_and_are_1_where_behaviour_and_policy_agree():
    for h in (0.3, 0.9):
        ratio = small(heterogeneity=h)._walk(2)[1]
        assert 1 < ratio.max() <= 1 / (1 - h)
    np.testing.assert_array_equal(small(heterogeneity=0.0)._walk(2)[1], 1)


# -- the operator and its constants ----------------------------------------------------------------


@pytest.mark.parametrize("options", CASES, ids=str)
def test_every_operator_is_the_gradient_field_of_its_objective_and_their_mean_that_of_the_mean(options):
    problem = mm.PolicyEvaluation(**options)
    z = np.random.default_rng(1).standard_normal(problem.n)
    for m in range(problem.workers):
        np.testing.assert_allclose(F_m(problem, m, z), gradient_field(saddle(*problem.data(m), problem.ridge), z),
                                   rtol=0, atol=1e-9)
    np.testing.assert_allclose(F(problem, z), gradient_field(saddle(*mean_data(problem), problem.ridge), z), rtol=0,
                               atol=1e-9)


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_constants_are_those_of_the_jacobian(options):
    problem = mm.PolicyEvaluation(**options)
    J = linear_part(problem, lambda z: F(problem, z))
    assert problem.L == pytest.approx(np.linalg.svd(J, compute_uv=False)[0], rel=1e-12)
    assert problem.mu == pytest.approx(np.linalg.eigvalsh((J + J.T) / 2)[0], abs=1e-12)
    assert problem.mu == min(problem.ridge, problem.mu) and (problem.mu > 0) == (problem.ridge > 0)
    for m in range(problem.workers):
        J_m = linear_part(problem, lambda z: F_m(problem, m, z))
        assert problem.lipschitz(m) == pytest.approx(np.linalg.svd(J_m, compute_uv=False)[0], rel=1e-12)
        assert problem.dissimilarity(m) == pytest.approx(np.linalg.norm(J_m - J, 2), rel=1e-9, abs=1e-13)
    S = np.diag(np.where(np.arange(problem.n) < problem.saddle, 1.0, -1.0))
    np.testing.assert_allclose(J.T, S @ J @ S, atol=1e-13)


def test_a_large_ridge_leaves_mu_to_the_features():
    problem = small(ridge=100.0)
    assert problem.mu == pytest.approx(np.linalg.eigvalsh(mean_data(problem)[1])[0], rel=1e-10) and problem.mu < 100


def test_random_pairs_are_mapped_strongly_monotonically():
    problem, rng = small(), np.random.default_rng(2)
    for u, v in rng.standard_normal((30, 2, problem.n)):
        change = F(problem, u) - F(problem, v)
        assert change @ (u - v) >= problem.mu * np.sum((u - v)**2)
        assert np.linalg.norm(change) <= problem.L * np.linalg.norm(u - v)


def test_workers_differ_more_the_more_their_behaviours_do():
    size = [np.mean([small(samples=2000, heterogeneity=h).dissimilarity(m) for m in range(4)]) for h in (0, 0.3, 0.9)]
    assert 2 * size[0] < size[1] < size[2] / 2


# -- solution and gap ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_operator_vanishes_at_the_solution(options):
    problem = mm.PolicyEvaluation(**options)
    z = problem.solution()
    np.testing.assert_allclose(F(problem, z), 0, atol=1e-13 * (1 + np.abs(z).max()))
    if problem.ridge == 0:
        A, _, b = mean_data(problem)
        np.testing.assert_allclose(z, np.concatenate([np.linalg.solve(A, b), np.zeros(problem.dim)]), atol=1e-10)


def test_with_all_of_the_states_for_features_the_solution_is_the_value_of_the_policy():
    """dim = states, ridge = 0, long trajectories: phi(s)'theta = V(s), V = r + discount P V."""
    problem = small(dim=6, ridge=0.0, samples=20_000, discount=0.7)
    policy, arrival, successor, reward, phi = problem._process
    V = np.zeros(6)
    for _ in range(200):
        V = (policy * (reward + 0.7 * (arrival * V[successor]).sum(axis=2))).sum(axis=1)
    np.testing.assert_allclose(phi @ problem.solution()[:6], V, atol=0.1)
    assert np.abs(V).max() > 1


def test_the_gap_is_what_brute_force_finds_and_zero_at_the_solution():
    problem, rng = small(ridge=0.3), np.random.default_rng(3)
    g, solution = saddle(*mean_data(problem), 0.3), problem.solution()
    for z in (np.zeros(6), *rng.standard_normal((2, 6))):
        theta, u = np.split(z, 2)
        upper = -minimize(lambda v: -g(np.concatenate([theta, v])), u, options={"gtol": 1e-9}).fun
        lower = minimize(lambda v: g(np.concatenate([v, u])), theta, options={"gtol": 1e-9}).fun
        assert problem.gap(z) == pytest.approx(upper - lower, rel=1e-6)
    assert abs(problem.gap(solution)) <= 1e-12
    assert small(ridge=0.0).gap(np.zeros(6)) is None


def test_a_singular_problem_has_no_strong_constant_no_gap_and_no_solution():
    problem = small(samples=1, workers=2)  # C and A of rank 2 at most, three features
    assert problem.mu == 0 and problem.solution() is None and problem.gap(np.zeros(6)) is None
    assert mm.solve(problem, mm.Optimistic(gamma=0.1), stop=mm.Stop(rounds=1)).relative_error is None


@compiled
@pytest.mark.parametrize("ridge", (0.05, 0.0))
@pytest.mark.parametrize("method", (mm.Extragradient(), mm.Masha1(mm.RandK(2)), mm.Masha1(mm.PermK()),
                                    mm.Masha2(mm.TopK(2))), ids=("eg", "randk", "permk", "masha2"))
def test_the_theorys_steps_converge_with_and_without_a_ridge(method, ridge):
    problem = mm.PolicyEvaluation(dim=4, states=20, samples=300, workers=5, ridge=ridge)
    result = mm.solve(problem, method, stop=mm.Stop(relative_error=1e-9, rounds=50_000))
    assert result.converged
    z = problem.solution()
    assert np.sum((result.z - z)**2) <= 1e-9 * np.sum(z**2)


def test_what_identifies_the_problem_changes_with_everything_its_solution_depends_on():
    changed = [{}, {"dim": 4}, {"states": 7}, {"actions": 3}, {"branching": 2}, {"discount": 0.9}, {"ridge": 0.02},
               {"samples": 51}, {"heterogeneity": 0.4}, {"workers": 5}, {"seed": 1}]
    assert len({small(**change).identity() for change in changed}) == len(changed)
    assert len({tuple(small(**change).solution()) for change in changed}) == len(changed)


# -- mistakes and kernels --------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, words", [
    (dict(dim=7), "problem.dim = 7 .* 1 to problem.states = 6"), (dict(dim=0), "problem.dim = 0"),
    (dict(states=0), "problem.states = 0"), (dict(states=10**9), "problem.states.*5000"),
    (dict(actions=0), "problem.actions = 0"), (dict(actions=101), "problem.actions = 101"),
    (dict(branching=7), "problem.branching = 7 .* 1 to 6"), (dict(branching=0), "problem.branching = 0"),
    (dict(discount=1.0), "problem.discount = 1.0 .*not including 1"), (dict(discount=-0.1), "problem.discount"),
    (dict(ridge=-1), "problem.ridge = -1"), (dict(ridge=float("nan")), "problem.ridge"),
    (dict(samples=0), "problem.samples = 0"), (dict(samples=2.5), "problem.samples = 2.5"),
    (dict(heterogeneity=1.0), "problem.heterogeneity = 1.0 .*0.99"), (dict(workers=0), "workers = 0"),
    (dict(seed=-1), "problem.seed = -1"), (dict(dim="x"), "problem.dim = 'x'")])
def test_a_mistake_is_named_in_one_sentence(arguments, words):
    with pytest.raises(mm.UserError, match=words) as caught:
        small(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("d", (1, 3, 4, 5, 8, 30))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_the_kernel_is_the_formula(dtype, d):
    rng = np.random.default_rng(4)
    A, C = rng.standard_normal((2, d, d)).astype(dtype)
    b, z, out = rng.standard_normal(d).astype(dtype), rng.standard_normal(2 * d).astype(dtype), np.empty(2 * d, dtype)
    kernels.policy_operator(out, A, C, b, 0.3, z)
    A, C, b, theta, u = (v.astype(float) for v in (A, C, b, z[:d], z[d:]))
    expected = np.concatenate([0.3 * theta - A.T @ u, A @ theta + C @ u - b])
    size = np.concatenate([abs(theta) + abs(A).T @ abs(u), abs(A) @ abs(theta) + abs(C) @ abs(u) + abs(b)])
    assert (np.abs(out - expected) <= 10 * np.finfo(dtype).eps * size).all()


@pytest.mark.slow
@pytest.mark.ranks(3)
def test_ranks_give_the_same_bits_as_one_process(comm):
    for method in (mm.Extragradient(), mm.Masha1(mm.RandK(2))):
        alone, together = (mm.solve(small(), method, comm=c, stop=mm.Stop(rounds=60, relative_error=0))
                           for c in (None, comm))
        assert alone.z.tobytes() == together.z.tobytes()
