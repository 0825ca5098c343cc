"""Problems: gradient fields of the stated objectives, honest constants, solutions and gaps as brute force finds them.

The objectives below are written from the problems' definitions, in plain NumPy, and differentiated numerically.
"""

import numpy as np
import pytest
from scipy.optimize import minimize

import mpimasha as mm
from mpimasha.data import samples
from mpimasha.errors import UserError
from mpimasha.mpi.communicator import Communicator
from mpimasha.problems.bilinear import Bilinear
from mpimasha.problems.robust_regression import RobustRegression
from mpimasha.solver import reference
from mpimasha.state import Shared, allocate, buffers

RNG = np.random.default_rng(0)
LOSSES = {"logistic": (lambda u, y: np.logaddexp(0.0, -y * u), 0.25), "square": (lambda u, y: 0.5 * (u - y)**2, 1.0)}


def F_m(problem, worker, z):
    out = np.full(problem.n, np.nan)
    problem.operator(worker)(np.asarray(z, float), out)
    return out


def F(problem, z):
    return np.mean([F_m(problem, m, z) for m in range(problem.workers)], axis=0)


def gradient_field(objective, z, step=1e-5):
    """(grad_x g, -grad_y g) at z = (x, y), by central differences."""
    d = len(z) // 2
    slope = np.array([(objective(z + step * e) - objective(z - step * e)) / (2 * step) for e in np.eye(len(z))])
    return np.concatenate([slope[:d], -slope[d:]])


def jacobian(operator, z, step=1e-5):
    return np.array([(operator(z + step * e) - operator(z - step * e)) / (2 * step) for e in np.eye(len(z))]).T


def norm(matrix):
    return np.linalg.svd(matrix, compute_uv=False)[0]


# -- bilinear --------------------------------------------------------------------------------------


def saddle(A, a, b, lam):
    def g(z):
        x, y = np.split(z, 2)
        return x @ A @ y + a @ x - b @ y + lam / 2 * (x @ x) - lam / 2 * (y @ y)
    return g


def mean_data(problem):
    parts = [problem.data(m) for m in range(problem.workers)]
    return [np.mean([part[i] for part in parts], axis=0) for i in range(3)]


BILINEAR = [dict(dim=5, workers=4), dict(dim=1, workers=2, kappa=1.0), dict(dim=4, workers=1, heterogeneity=3.0),
            dict(dim=3, workers=5, heterogeneity=0.0), dict(dim=6, workers=3, kappa=1e4, heterogeneity=10, seed=7)]


@pytest.mark.parametrize("options", BILINEAR, ids=str)
def test_every_bilinear_operator_is_the_gradient_field_of_its_objective(options):
    problem, z = Bilinear(**options), RNG.standard_normal(2 * options["dim"])
    for m in range(problem.workers):
        g = saddle(*problem.data(m), 1 / problem.kappa)
        np.testing.assert_allclose(F_m(problem, m, z), gradient_field(g, z), rtol=0, atol=1e-8)
    np.testing.assert_allclose(F(problem, z), gradient_field(saddle(*mean_data(problem), 1 / problem.kappa), z),
                               rtol=0, atol=1e-8)


@pytest.mark.parametrize("options", BILINEAR, ids=str)
def test_the_constants_of_a_bilinear_problem_are_the_singular_values_of_its_jacobian(options):
    problem = Bilinear(**options)
    n, zero = problem.n, np.zeros(problem.n)

    def linear(operator):  # F is affine: no differences needed
        return np.array([operator(e) - operator(zero) for e in np.eye(n)]).T

    J = linear(lambda z: F(problem, z))
    assert norm(J) == pytest.approx(problem.L, rel=1e-12)
    assert np.linalg.eigvalsh((J + J.T) / 2)[0] == pytest.approx(problem.mu, rel=1e-9)
    for m in range(problem.workers):
        J_m = linear(lambda z: F_m(problem, m, z))
        assert norm(J_m) == pytest.approx(problem.lipschitz(m), rel=1e-12)
        assert norm(J_m - J) == pytest.approx(problem.dissimilarity(m), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("workers", (2, 3, 10))
def test_the_deviations_of_the_workers_sum_to_nothing_and_scale_with_heterogeneity(workers):
    problems = {h: Bilinear(dim=6, workers=workers, heterogeneity=h) for h in (0.0, 1.0, 2.0)}
    means = {h: mean_data(p) for h, p in problems.items()}
    assert norm(means[0.0][0]) == pytest.approx(1.0, rel=1e-12)
    for h in (1.0, 2.0):
        for part, common in zip(means[h], means[0.0]):
            np.testing.assert_allclose(part, common, rtol=0, atol=1e-14)
    N = np.array([problems[1.0].data(m)[0] - means[0.0][0] for m in range(workers)])
    assert all(0.2 < norm(N_m) < 2 for N_m in N)
    for m in range(workers):
        np.testing.assert_allclose(problems[2.0].data(m)[0], means[0.0][0] + 2 * N[m], rtol=0, atol=1e-14)


def test_the_size_of_the_data_is_as_stated():
    problem = Bilinear(dim=80, workers=4, heterogeneity=2.0)
    A, a, b = mean_data(problem)
    assert np.std(a) == pytest.approx(1, rel=0.25) and np.std(b) == pytest.approx(1, rel=0.25)
    for m in range(4):
        A_m, a_m, b_m = problem.data(m)
        assert norm((A_m - A) / 2.0) == pytest.approx(1, rel=0.15)
        assert np.std(a_m - a) == pytest.approx(1, rel=0.25) and np.std(b_m - b) == pytest.approx(1, rel=0.25)


def test_a_worker_makes_its_data_without_the_others_and_the_seed_decides_all_of_it():
    whole = [Bilinear(dim=4, workers=6, seed=3).data(m) for m in range(6)]
    shared = Bilinear(dim=4, workers=6, seed=3)
    for m in (5, 0, 3, 3):
        for alone, among_others in zip(Bilinear(dim=4, workers=6, seed=3).data(m), whole[m]):
            np.testing.assert_array_equal(alone, among_others)
        np.testing.assert_array_equal(shared.data(m)[0], whole[m][0])
    assert len({data_[0].tobytes() for data_ in whole}) == 6
    assert not np.allclose(Bilinear(dim=4, workers=6, seed=4).data(0)[0], whole[0][0])


@pytest.mark.parametrize("options", BILINEAR, ids=str)
def test_the_operator_vanishes_to_rounding_at_the_bilinear_solution(options):
    problem = Bilinear(**options)
    z = problem.solution()
    scale = np.abs(mean_data(problem)[0]).sum() * np.abs(z).max() + 1
    np.testing.assert_allclose(F(problem, z), 0, atol=1e-14 * scale)


@pytest.mark.parametrize("options", [o for o in BILINEAR if o.get("kappa", 100) <= 100], ids=str)
def test_the_bilinear_gap_is_what_brute_force_finds_and_zero_at_the_solution(options):
    problem, d = Bilinear(**options), options["dim"]
    g = saddle(*mean_data(problem), problem.mu)
    solution = problem.solution()
    for z in (np.zeros(2 * d), RNG.standard_normal(2 * d), solution + 0.1 * RNG.standard_normal(2 * d)):
        best_y = minimize(lambda y: -g(np.concatenate([z[:d], y])), z[d:], options={"gtol": 1e-9})
        best_x = minimize(lambda x: g(np.concatenate([x, z[d:]])), z[:d], options={"gtol": 1e-9})
        assert problem.gap(z) == pytest.approx(-best_y.fun - best_x.fun, rel=1e-6)
        assert problem.gap(z) > 0
    assert abs(problem.gap(solution)) <= 1e-12 * max(1.0, abs(g(solution)) * problem.kappa)


# -- robust regression -----------------------------------------------------------------------------


def generated(loss, N=23, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, d)) * [1.0, 2.0, 0.5][:d]
    y = X @ np.ones(d) + rng.standard_normal(N)
    return X, np.sign(y) if loss == "logistic" else y


def regression(loss, **options):
    return RobustRegression(generated(loss), loss=loss, **{"standardise": False, "workers": 4, "lam": 0.2, "beta": 3.0,
                                                         **options})


def worst_case(loss, X, y, lam, beta):
    """1/N sum l(w'(x_i + r), y_i) + lam/2 |w|^2 - beta/2 |r|^2."""
    def f(z):
        w, r = np.split(z, 2)
        return LOSSES[loss][0]((X + r) @ w, y).mean() + lam / 2 * (w @ w) - beta / 2 * (r @ r)
    return f


def points(problem, count, r_radius):
    """Random points of the region |w| <= R_w, |r| <= r_radius, half of them on its boundary."""
    d = problem.n // 2
    for i in range(count):
        w, r = RNG.standard_normal((2, d))
        shrink = 1.0 if i % 2 else RNG.uniform()
        yield np.concatenate([w * problem.R_w / np.linalg.norm(w), shrink * r * r_radius / np.linalg.norm(r)])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("workers", (1, 4, 7, 23))  # 23 samples: unequal shards but for 1 and 23
def test_unequal_shards_average_to_the_gradient_field_of_the_whole(loss, workers):
    problem, (X, y) = regression(loss, workers=workers), generated(loss)
    assert len({len(problem.shard(m)[1]) for m in range(workers)}) == (1 if workers in (1, 23) else 2)
    f = worst_case(loss, X, y, 0.2, 3.0)
    for z in RNG.standard_normal((3, problem.n)):
        np.testing.assert_allclose(F(problem, z), gradient_field(f, z), rtol=0, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_regression_operator_is_M_over_N_times_the_sum_over_its_shard(loss):
    problem = regression(loss)
    z = RNG.standard_normal(problem.n)
    for m in range(4):
        X, y = problem.shard(m)
        share = 4 * len(y) / 23

        def g(v):
            w, r = np.split(v, 2)
            return share * LOSSES[loss][0]((X + r) @ w, y).mean() + 0.1 * (w @ w) - 1.5 * (r @ r)
        np.testing.assert_allclose(F_m(problem, m, z), gradient_field(g, z), rtol=0, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("split", ("shuffled", "sorted"))
def test_L_and_mu_hold_on_the_region_they_are_stated_for(loss, split):
    problem = regression(loss, split=split)
    assert problem.R_w == pytest.approx(np.sqrt(3.0 / (2 * LOSSES[loss][1])))
    bounds = [problem.lipschitz(m) for m in range(4)]
    for z in points(problem, 30, problem._R_r):
        J = jacobian(lambda v: F(problem, v), z)
        assert norm(J) <= problem.L
        assert np.linalg.eigvalsh((J + J.T) / 2)[0] >= problem.mu - 1e-8
        for m in range(4):
            assert norm(jacobian(lambda v: F_m(problem, m, v), z)) <= bounds[m]
    assert problem.mu == pytest.approx(min(0.2, 1.5))
    assert problem.L <= 10 * max(norm(jacobian(lambda v: F(problem, v), z)) for z in points(problem, 30, problem._R_r))


@pytest.mark.parametrize("loss", LOSSES)
def test_L_holds_where_the_shift_lies_along_w_and_labels_are_large(loss):
    X = 0.01 * generated(loss)[0]
    y = np.where(np.arange(23) % 5, 1.0, -1.0) if loss == "logistic" else np.full(23, 5.0)
    problem = RobustRegression((X, y), loss=loss, standardise=False, workers=4, lam=0.2, beta=3.0)
    for z in points(problem, 10, problem._R_r):
        w = z[:3] * problem.R_w / np.linalg.norm(z[:3])
        for r in (w * problem._R_r / problem.R_w, -w * problem._R_r / problem.R_w):
            J = jacobian(lambda v: F(problem, v), np.concatenate([w, r]))
            assert norm(J) <= problem.L


def hard(loss):
    """Data that drive the adversary to the edge of its region where w = -R_w e_1."""
    X = 0.01 * generated(loss)[0]
    if loss == "square":
        return X, np.full(23, 5.0)
    return X + [50.0, 0, 0], np.where(np.arange(23) == 0, -1.0, 1.0)


@pytest.mark.parametrize("make", (generated, hard))
@pytest.mark.parametrize("loss", LOSSES)
def test_the_adversary_stays_in_the_region_the_constants_are_stated_for(loss, make):
    X, y = make(loss)
    problem = RobustRegression((X, y), loss=loss, standardise=False, workers=4, lam=0.2, beta=3.0)
    f, furthest = worst_case(loss, X, y, 0.2, 3.0), 0.0
    for z in [*points(problem, 6, 1.0), np.array([-problem.R_w, 0, 0, 0, 0, 0])]:
        best = minimize(lambda r: -f(np.concatenate([z[:3], r])), np.zeros(3), options={"gtol": 1e-8})
        furthest = max(furthest, np.linalg.norm(best.x))
    assert furthest <= problem._R_r
    assert make is generated or furthest > 0.8 * problem._R_r


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("named", (False, True))
def test_the_operator_vanishes_to_rounding_at_the_regression_solution(loss, named):
    if named:
        problem = RobustRegression({"logistic": "breast_cancer", "square": "diabetes"}[loss], loss=loss, workers=5)
    else:
        problem = regression(loss)
    z = problem.solution()
    np.testing.assert_allclose(F(problem, z), 0, atol=1e-13)
    w = z[:problem.n // 2]
    assert LOSSES[loss][1] * (w @ w) < problem.beta  # concave in r there: a saddle point


@pytest.mark.parametrize("loss", LOSSES)
def test_the_regression_gap_is_what_brute_force_finds_and_zero_at_the_solution(loss):
    problem, (X, y) = regression(loss), generated(loss)
    f, solution = worst_case(loss, X, y, 0.2, 3.0), problem.solution()
    starts = [np.zeros(6), solution + 0.05 * RNG.standard_normal(6), solution * 0.5, *points(problem, 2, 0.5)]
    for z in starts:
        best_r = minimize(lambda r: -f(np.concatenate([z[:3], r])), z[3:], options={"gtol": 1e-9})
        best_w = minimize(lambda w: f(np.concatenate([w, z[3:]])), z[:3], options={"gtol": 1e-9})
        assert problem.gap(z) == pytest.approx(-best_r.fun - best_w.fun, rel=1e-5, abs=1e-9)
        assert problem.gap(z) > 0
    assert abs(problem.gap(solution)) <= 1e-13


def test_the_gap_is_not_computed_where_the_inner_problem_is_not_concave_or_a_ball_is_set():
    problem = regression("square")
    outside = np.full(6, 2.0)
    assert outside[:3] @ outside[:3] > problem.beta
    assert problem.gap(outside) is None
    assert regression("square", radius=0.5).gap(np.zeros(6)) is None


@pytest.mark.parametrize("loss", LOSSES)
def test_who_leaves_the_region_is_warned_in_one_sentence(loss):
    problem = regression(loss)
    inside, outside = np.zeros(6), np.full(6, 10.0)
    assert problem.warnings(inside) == []
    sentence, = problem.warnings(outside)
    assert "radius" in sentence and "\n" not in sentence


# -- shards and splits -----------------------------------------------------------------------------


def rows_of(problem):
    shards = [problem.shard(m) for m in range(problem.workers)]
    return np.concatenate([X for X, _ in shards]), np.concatenate([y for _, y in shards])


@pytest.mark.parametrize("workers", (1, 4, 23))
def test_shards_are_blocks_that_cover_every_sample_once(workers):
    for split in samples.SPLITS:
        problem, (X, y) = regression("square", split=split, workers=workers), generated("square")
        together = np.column_stack(rows_of(problem))
        original = np.column_stack((X, y))
        np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(original, axis=0))
        assert len(together) == len(original)
        sizes = [len(problem.shard(m)[1]) for m in range(workers)]
        assert max(sizes) - min(sizes) <= 1


def test_splits_are_the_files_order_the_labels_order_and_a_shuffle_by_the_seed():
    X, y = generated("square")
    np.testing.assert_array_equal(rows_of(regression("square", split="even"))[0], X)
    np.testing.assert_array_equal(rows_of(regression("square", split="sorted"))[1], np.sort(y))
    one, same, other = (rows_of(regression("square", split="shuffled", seed=s))[1] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and (one != y).any() and (one != np.sort(y)).any()
    labels = generated("logistic")[1]
    stable = rows_of(regression("logistic", split="sorted"))[0]
    np.testing.assert_array_equal(stable, X[np.argsort(labels, kind="stable")])


def test_the_split_does_not_change_the_problem():
    z = RNG.standard_normal(6)
    fields = [F(regression("logistic", split=split, workers=w), z) for split in samples.SPLITS for w in (2, 5)]
    for field in fields:
        np.testing.assert_allclose(field, fields[0], rtol=0, atol=1e-13)


def test_what_identifies_a_problem_changes_with_everything_its_solution_depends_on():
    problems = [Bilinear(), Bilinear(dim=51), Bilinear(kappa=99.0), Bilinear(seed=1), regression("square"),
                regression("logistic"), regression("square", lam=0.3), regression("square", beta=2.0),
                regression("square", radius=0.5), regression("square", standardise=True)]
    assert len({p.identity() for p in problems}) == len(problems)
    assert regression("square").identity() == regression("square").identity()


# -- prox ------------------------------------------------------------------------------------------


class Holder:
    z = Shared()


def test_the_prox_of_a_radius_projects_w_and_leaves_r_alone():
    problem = regression("square", radius=0.7)
    assert problem.solution() is None
    holder = Holder()
    allocate(holder, 1, 6, np.dtype(float))
    for scale in (0.01, 0.3, 5.0):
        v = scale * RNG.standard_normal(6)
        holder.z = v
        holder.z = problem.prox(1.0 * holder.z, 0.3)
        p = buffers(holder)["z"]
        np.testing.assert_array_equal(p[3:], v[3:])
        assert np.linalg.norm(p[:3]) <= 0.7 * (1 + 1e-15)
        if np.linalg.norm(v[:3]) <= 0.7:
            np.testing.assert_array_equal(p, v)
        for q in RNG.standard_normal((20, 3)):  # p is the projection: <v - p, q - p> <= 0 on the ball
            q *= 0.7 * RNG.uniform() / np.linalg.norm(q)
            assert (v - p)[:3] @ (q - p[:3]) <= 1e-14


def test_a_radius_up_to_R_w_is_taken_and_beyond_it_refused():
    R_w = regression("square").R_w
    assert regression("square", radius=R_w).radius == R_w
    with pytest.raises(UserError, match="problem.radius = .*1.225"):
        regression("square", radius=R_w * 1.01)


def test_the_solution_on_an_active_ball_is_a_fixed_point_of_projected_steps():
    problem = regression("square", radius=0.3)
    z = np.zeros(6)
    for _ in range(4000):  # projected extragradient, written here
        half = z - 0.05 * F(problem, z)
        half[:3] *= min(1, 0.3 / np.linalg.norm(half[:3]))
        z = z - 0.05 * F(problem, half)
        z[:3] *= min(1, 0.3 / np.linalg.norm(z[:3]))
    found = reference._solved(problem, Communicator(), mm.solve)[0]
    assert np.linalg.norm(z[:3]) == pytest.approx(0.3)
    np.testing.assert_allclose(found, z, rtol=0, atol=1e-9)


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
