"""Group DRO: the gradient field of its objective, honest constants, the saddle point, data in groups.

The objective is written from its definition, in plain NumPy, and differentiated numerically.
"""

import numba
import numpy as np
import pytest
from lanes import fast

import mpimasha as mm
from mpimasha.kernels.operators import groups as kernels
from mpimasha.solver import reference
from mpimasha.solver.measure import Measure
from mpimasha.state import Shared, allocate, buffers

N, D = 23, 4
LOSSES = {"logistic": lambda u, y: np.logaddexp(0.0, -y * u), "square": lambda u, y: 0.5 * (u - y)**2}
SLOPES = {"logistic": lambda u, y: -y * (1 - np.tanh(y * u / 2)) / 2, "square": lambda u, y: u - y}
LAM, BETA = 0.2, 0.7
compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of rounds, for compiled kernels")


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def samples(loss, seed=0):
    """X, y and three groups of 3, 7 and 13 samples, named by any whole numbers."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D)) * [1.0, 2.0, 0.5, 1.0]
    y = X @ np.ones(D) + rng.standard_normal(N)
    return X, np.sign(y) if loss == "logistic" else y, rng.permutation(np.repeat([-4, 2, 70], [3, 7, 13]))


def dro(loss, **options):
    return mm.GroupDRO(samples(loss), loss=loss, **{"standardise": False, "workers": 4, "lam": LAM, "beta": BETA,
                                                    **options})


def objective(loss, X, y, groups, beta=BETA, share=1.0, sizes=None):
    """share sum_g p_g 1/N_g sum_{i in g} l_i + lam/2 |w|^2 - beta/2 |p - 1/G|^2; `groups` count from 0."""
    sizes = np.bincount(groups) if sizes is None else sizes

    def g(z):
        w, p = z[:D], z[D:]
        losses = LOSSES[loss](X @ w, y)
        means = np.array([losses[groups == k].sum() / size for k, size in enumerate(sizes)])
        return share * (p @ means) + LAM / 2 * (w @ w) - beta / 2 * np.sum((p - 1 / len(p))**2)
    return g


def whole(loss, **options):
    X, y, groups = samples(loss)
    return objective(loss, X, y, np.unique(groups, return_inverse=True)[1], **options)


def gradient_field(g, z, step=1e-5):
    slope = np.array([(g(z + step * e) - g(z - step * e)) / (2 * step) for e in np.eye(len(z))])
    return np.concatenate([slope[:D], -slope[D:]])


def F_m(problem, worker, z):
    out = np.full(problem.n, np.nan)
    problem.operator(worker)(z, out)
    return out


def F(problem, z):
    return np.mean([F_m(problem, m, z) for m in range(problem.workers)], axis=0)


def jacobian(operator, z, step=1e-5):
    return np.array([(operator(z + step * e) - operator(z - step * e)) / (2 * step) for e in np.eye(len(z))]).T


def points(problem, count, seed=1):
    """Points of the region L is stated for: w up to its edge (or far out), p inside the simplex or at a vertex."""
    rng = np.random.default_rng(seed)
    edge = problem.R_w if np.isfinite(problem.R_w) else 30.0
    for i in range(count):
        w = rng.standard_normal(D)
        w *= (edge if i % 2 else edge * rng.uniform()**2) / np.linalg.norm(w)
        yield np.concatenate([w, np.eye(3)[i % 3] if i % 4 < 2 else rng.dirichlet(np.ones(3))])


# -- the operator ----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ("shuffled", "even", "sorted", "grouped"))
@pytest.mark.parametrize("workers", (1, 4, 23))
@pytest.mark.parametrize("loss", LOSSES)
def test_blocks_of_any_split_average_to_the_gradient_field_of_the_whole(loss, workers, split):
    problem, rng = dro(loss, workers=workers, split=split), np.random.default_rng(2)
    for z in rng.standard_normal((2, D + 3)):
        np.testing.assert_allclose(F(problem, z), gradient_field(whole(loss), z), rtol=0, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_operator_is_M_times_the_sum_over_its_block_with_regularisers_in_full(loss):
    problem, z = dro(loss, split="grouped"), np.random.default_rng(3).standard_normal(D + 3)
    blocks = [problem.shard(m) for m in range(4)]
    assert [len(y) for _, y, _ in blocks] == [5, 6, 6, 6]
    assert len(set(blocks[3][2])) == 1  # a worker that misses two of the groups
    for m, (X, y, groups) in enumerate(blocks):
        g = objective(loss, X, y, groups, share=4.0, sizes=[3, 7, 13])
        np.testing.assert_allclose(F_m(problem, m, z), gradient_field(g, z), rtol=0, atol=1e-7)


def test_splits_are_the_files_order_the_labels_the_groups_and_a_shuffle():
    X, y, groups = samples("square")
    shards = {split: dro("square", workers=1, split=split).shard(0) for split in ("even", "sorted", "grouped",
                                                                                 "shuffled")}
    np.testing.assert_array_equal(shards["even"][0], X)
    np.testing.assert_array_equal(shards["sorted"][1], np.sort(y))
    np.testing.assert_array_equal(shards["grouped"][2], np.repeat([0, 1, 2], [3, 7, 13]))
    assert (shards["shuffled"][0] != X).any()
    for Xs, ys, gs in shards.values():
        together = np.column_stack((Xs, ys, np.array([-4, 2, 70])[gs]))
        np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(np.column_stack((X, y, groups)), axis=0))


# -- constants -------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ("shuffled", "grouped"))
@pytest.mark.parametrize("options", [{}, {"radius": 0.5}, {"beta": 0.0}, {"beta": 30.0}], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_L_and_mu_hold_on_the_region_they_are_stated_for_and_are_not_far_off(loss, options, split):
    problem = dro(loss, split=split, **options)
    assert problem.mu == min(LAM, options.get("beta", BETA))
    bounds, largest, smallest = [problem.lipschitz(m) for m in range(4)], 0.0, np.inf
    for z in points(problem, 24):
        J = jacobian(lambda v: F(problem, v), z)
        largest = max(largest, np.linalg.norm(J, 2))
        smallest = min(smallest, np.linalg.eigvalsh((J + J.T) / 2)[0])
        for m in range(4):
            assert np.linalg.norm(jacobian(lambda v: F_m(problem, m, v), z), 2) <= bounds[m]
    assert problem.L / 4 <= largest <= problem.L
    assert smallest == pytest.approx(problem.mu, abs=1e-6)  # a group of 3 samples in 4 dimensions is flat


@pytest.mark.parametrize("loss", LOSSES)
def test_two_points_of_the_region_are_mapped_monotonically_and_not_too_far_apart(loss):
    problem = dro(loss)
    for u, v in zip(points(problem, 30, seed=4), points(problem, 30, seed=5)):
        step, change = u - v, F(problem, u) - F(problem, v)
        assert change @ step >= problem.mu * (step @ step) - 1e-9
        assert np.linalg.norm(change) <= problem.L * np.linalg.norm(step)


def test_the_logistic_constants_hold_everywhere_and_the_square_ones_on_the_radius_if_there_is_one():
    assert dro("logistic").R_w == np.inf and dro("logistic", radius=0.1).R_w == np.inf
    assert dro("square", radius=0.3).R_w == 0.3
    y, groups = samples("square")[1:]
    worst = max(np.mean(y[groups == g]**2) / 2 for g in (-4, 2, 70))
    assert dro("square").R_w == pytest.approx(np.sqrt(2 * worst / LAM))


def test_who_leaves_the_ball_of_the_square_loss_is_told_in_one_sentence():
    far = np.concatenate([np.full(D, 1e3), np.full(3, 1 / 3)])
    assert dro("logistic").warnings(far) == [] and dro("square").warnings(0 * far) == []
    sentence, = dro("square").warnings(far)
    assert "problem.radius" in sentence and "\n" not in sentence


def test_the_largest_data_that_are_accepted_have_finite_constants():
    X, y, groups = samples("square")
    problem = mm.GroupDRO((1e99 * X, 1e99 * y, groups), loss="square", standardise=False, workers=2)
    assert np.isfinite([problem.L, problem.lipschitz(0), problem.R_w]).all()


# -- domain and solution ---------------------------------------------------------------------------


class Holder:
    z = Shared()


@pytest.mark.parametrize("radius", (0.0, 0.6))
def test_the_prox_projects_p_onto_the_simplex_and_w_onto_its_ball(radius):
    problem, rng, holder = dro("square", radius=radius), np.random.default_rng(6), Holder()
    allocate(holder, 1, D + 3, np.dtype(float))
    for scale in (0.05, 0.5, 5.0):
        v = scale * rng.standard_normal(D + 3)
        holder.z = v
        holder.z = problem.prox(1.0 * holder.z, 0.3)
        z = buffers(holder)["z"]
        assert z[D:].sum() == pytest.approx(1) and (z[D:] >= 0).all()
        for q in (*rng.dirichlet(np.ones(3), 10), *np.eye(3)):  # <v - z, q - z> <= 0 on the domain
            assert (v - z)[D:] @ (q - z[D:]) <= 1e-12
        if radius and np.linalg.norm(v[:D]) > radius:
            np.testing.assert_allclose(z[:D], v[:D] * radius / np.linalg.norm(v[:D]), rtol=1e-14)
        else:
            np.testing.assert_array_equal(z[:D], v[:D])


def test_the_start_is_in_the_domain():
    np.testing.assert_array_equal(dro("square").start(), [0, 0, 0, 0, 1 / 3, 1 / 3, 1 / 3])


@compiled
@pytest.mark.parametrize("beta", (0.05, 5.0))
@pytest.mark.parametrize("loss", LOSSES)
def test_the_reference_is_the_saddle_point(loss, beta):
    """grad_w g = 0, and no vertex of the simplex is better for the adversary; w* lies where L holds."""
    problem = dro(loss, beta=beta)
    run = mm.Run(problem, mm.Optimistic())
    z, *_ = reference.find(run, Measure(run), mm.solve, mm.Stop())
    field = gradient_field(whole(loss, beta=beta), z)
    np.testing.assert_allclose(field[:D], 0, atol=1e-7)
    assert z[D:].sum() == pytest.approx(1) and z[D:].min() >= 0
    assert (field[D:] - field[D:] @ z[D:]).min() >= -1e-7
    assert (z[D:].min() == 0) == (beta == 0.05)  # both a face and the inside are met
    assert np.linalg.norm(z[:D]) <= problem.R_w


@compiled
@pytest.mark.parametrize("options", fast(({}, {"radius": 0.2}), 1), ids=str)
@pytest.mark.parametrize("method", (mm.Extragradient(), mm.Masha1(mm.RandK(2)), mm.Masha1(mm.PermK())),
                         ids=("eg", "randk", "permk"))
def test_the_theorys_steps_converge(method, options):
    result = mm.solve(dro("square", **options), method, stop=mm.Stop(relative_error=1e-9, rounds=50_000))
    assert result.converged
    assert options == {} or np.linalg.norm(result.z[:D]) == pytest.approx(0.2)


@compiled
def test_without_beta_no_reference_is_sought_but_the_worst_group_is_made_as_good_as_can_be():
    problem = dro("square", beta=0.0)
    assert problem.mu == 0
    result = mm.solve(problem, mm.Extragradient(), stop=mm.Stop(relative_error=0, residual=1e-8, rounds=50_000))
    assert result.converged and result.relative_error is None
    w, p = result.z[:D], result.z[D:]
    value = problem.worst_group_loss(result.z) + LAM / 2 * (w @ w)  # max_p g(w, p), the minimum over w of which is
    X, y, groups = samples("square")
    weight = (p / [3, 7, 13])[np.searchsorted([-4, 2, 70], groups)]
    best = np.linalg.solve(X.T @ (weight[:, None] * X) + LAM * np.eye(D), X.T @ (weight * y))  # >= min_w g(w, p)
    assert value == pytest.approx(whole("square", beta=0.0)(np.concatenate([best, p])), rel=1e-7)


def test_the_losses_of_groups_are_means_over_their_samples():
    X, y, groups = samples("logistic")
    z = np.random.default_rng(7).standard_normal(D + 3)
    expected = [np.logaddexp(0, -(y * (X @ z[:D])))[groups == g].mean() for g in (-4, 2, 70)]
    np.testing.assert_allclose(dro("logistic").group_losses(z), expected, rtol=1e-13)
    assert dro("logistic").worst_group_loss(z) == pytest.approx(max(expected))


def test_what_identifies_the_problem_changes_with_everything_its_solution_depends_on():
    X, y, groups = samples("square")
    problems = [dro("square"), dro("logistic"), dro("square", lam=0.3), dro("square", beta=0.0),
                dro("square", radius=1.0), dro("square", standardise=True),
                mm.GroupDRO((X, y, groups % 4), loss="square", standardise=False, workers=4, lam=LAM, beta=BETA)]
    assert len({p.identity() for p in problems}) == len(problems)
    assert dro("square").identity() == dro("square").identity()


# -- data ------------------------------------------------------------------------------------------


def test_the_classes_of_a_bundled_set_are_its_groups_and_the_upper_half_of_them_the_label():
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits
    X, y, groups = mm.GroupDRO(split="even", standardise=False, workers=1).shard(0)
    digits = load_digits()
    np.testing.assert_array_equal(groups, digits.target)
    np.testing.assert_array_equal(y, np.where(digits.target >= 5, 1, -1))
    np.testing.assert_array_equal(X, digits.data)
    with pytest.raises(mm.UserError, match="problem.data = 'diabetes' has 214 different labels.*groups"):
        mm.GroupDRO("diabetes", loss="square")


def test_groups_come_from_a_file_or_else_from_the_labels(tmp_path):
    X, y, groups = samples("logistic")
    with_groups, without = str(tmp_path / "with.npz"), str(tmp_path / "without.npz")
    np.savez(with_groups, X=X, y=y, groups=groups)
    np.savez(without, X=X, y=y)
    options = dict(standardise=False, workers=4, lam=LAM, beta=BETA)
    assert mm.GroupDRO(with_groups, **options).identity() == dro("logistic").identity()
    _, labels, made = mm.GroupDRO(without, **options).shard(2)
    np.testing.assert_array_equal(2 * made - 1, labels)
    assert mm.GroupDRO((X, y), **options).identity() == mm.GroupDRO(without, **options).identity()


X0, Y0 = np.random.default_rng(0).standard_normal((12, 3)), np.arange(12) % 2


@pytest.mark.parametrize("arguments, words", [
    (dict(data=(X0, Y0, np.zeros(12, int))), "only one group"), (dict(data=(X0, Y0, np.arange(11))), "shape .11"),
    (dict(data=(X0, Y0, np.linspace(0, 1, 12))), "whole numbers"), (dict(data=(X0,)), "no pair"),
    (dict(data=(X0, Y0, Y0, Y0)), "no pair"), (dict(data=(X0, np.ones(12))), "problem.data"),
    (dict(data=(X0, np.arange(12), Y0)), "12 classes"),
    (dict(workers=13), "workers = 13 exceeds the 12"), (dict(loss="hinge"), "problem.loss = 'hinge'.*square"),
    (dict(split="random"), "problem.split = 'random'.*grouped"), (dict(lam=0), "problem.lam = 0"),
    (dict(beta=-1), "problem.beta = -1"), (dict(beta=float("nan")), "problem.beta"),
    (dict(radius=-1.0), "problem.radius"), (dict(seed=-1), "problem.seed"), (dict(lam="x"), "problem.lam = 'x'")])
def test_a_mistake_is_named_in_one_sentence(arguments, words):
    with pytest.raises(mm.UserError, match=words) as caught:
        mm.GroupDRO(**{"data": (X0, Y0, Y0), "workers": 3, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("groups", (np.array(["a"] * 12), np.array([object()] * 12)), ids=("text", "objects"))
def test_groups_of_a_file_that_are_no_numbers_are_refused(tmp_path, groups):
    path = str(tmp_path / "set.npz")
    np.savez(path, X=X0, y=Y0, groups=groups)
    with pytest.raises(mm.UserError, match="problem.data = .*set.npz.*groups"):
        mm.GroupDRO(path, workers=2)


def test_masha2_is_refused_because_of_the_simplex():
    with pytest.raises(mm.UserError, match="masha2.*prox.*masha1"):
        mm.Masha2().check_problem(dro("square"))


# -- kernels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows, d, G", [(1, 1, 1), (3, 5, 2), (4, 4, 4), (9, 6, 3), (40, 13, 5)])
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("loss", LOSSES)
def test_the_kernels_are_the_formula(loss, dtype, rows, d, G):
    operator = getattr(kernels, f"{loss}_group_operator")
    rng = np.random.default_rng(8)
    X, z = rng.standard_normal((rows, d)).astype(dtype), rng.standard_normal(d + G).astype(dtype)
    y, group, omega = rng.choice([dtype(-1), dtype(1)], rows), rng.integers(0, G, rows), rng.uniform(0.1, 1, G)
    out = np.full(d + G, np.nan, dtype)
    operator(out, X, y, group, omega, 0.03, 0.7, z)
    w, p, X = z[:d].astype(float), z[d:].astype(float), X.astype(float)
    c = omega[group] * p[group] * SLOPES[loss](X @ w, y)
    losses = omega[group] * LOSSES[loss](X @ w, y)
    sums = np.array([losses[group == g].sum() for g in range(G)])
    expected = np.concatenate([X.T @ c + 0.03 * w, 0.7 * (p - 1 / G) - sums])
    spread = omega[group] * (np.abs(X) @ np.abs(w) + 1)  # of u and y, which the roundings are relative to
    size = np.concatenate([np.abs(X).T @ (np.abs(p[group]) * spread) + np.abs(w),
                           np.abs(p) + 1 + spread @ (1 + np.abs(X) @ np.abs(w)) * np.ones(G)])
    assert (np.abs(out - expected) <= 10 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("margin", (800.0, -800.0, 1e300, -1e300))
def test_large_margins_neither_overflow_nor_lose_the_loss(margin):
    out = np.empty(2)
    kernels.logistic_group_operator(out, np.ones((1, 1)), np.ones(1), np.zeros(1, np.int64), np.ones(1), 0.0, 0.0,
                                    np.array([margin, 1.0]))
    np.testing.assert_array_equal(out, [0.0 if margin > 0 else -1.0, -max(-margin, 0.0)])


@pytest.mark.slow
@pytest.mark.ranks(3)
def test_ranks_give_the_same_bits_as_one_process(comm):
    for method in (mm.Extragradient(), mm.Masha1(mm.RandK(2))):
        alone, together = (mm.solve(dro("logistic"), method, comm=c, reference=None,
                                    stop=mm.Stop(rounds=60, relative_error=0)) for c in (None, comm))
        assert alone.z.tobytes() == together.z.tobytes()
