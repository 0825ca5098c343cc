"""Matrix games: the matrices of the literature, honest constants, exact gaps, and what the theory says of averages."""

import itertools
import sys

import numba
import numpy as np
import pytest
from scipy.optimize import minimize

import mpimasha as mm
from mpimasha import MatrixGame, UserError
from mpimasha.problems.matrix_game import _GAMES

RNG = np.random.default_rng(5)
OPTIONS = [dict(zip(("game", "lam", "centred"), chosen)) for chosen in itertools.product(_GAMES, (0.0, 0.3),
                                                                                         (False, True))]
compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of rounds, for compiled kernels")


def game(size=5, workers=3, **options):
    return MatrixGame(size=size, workers=workers, **options)


def F_m(problem, worker, z):
    out = np.full(problem.n, np.nan)
    problem.operator(worker)(np.asarray(z, float), out)
    return out


def strategies(size, count):
    """Random points of the product of two simplices: the centre, vertices and others."""
    yield np.full(2 * size, 1 / size)
    for _ in range(count):
        yield np.concatenate([RNG.dirichlet(np.full(size, a)) for a in RNG.choice([0.1, 1.0, 5.0], 2)])


def onto_simplex(v):
    """The projection by sorting."""
    u = np.sort(v)[::-1]
    t = (np.cumsum(u) - 1) / np.arange(1, len(v) + 1)
    return np.maximum(v - t[np.nonzero(u > t)[0][-1]], 0)


# -- the matrices ----------------------------------------------------------------------------------


def test_the_policeman_pays_the_wealth_of_the_house_times_the_chance_that_he_is_late():
    A = game(size=300).matrix
    wealth = A[0, 1:] / (1 - np.exp(-0.8 * np.arange(1, 300)))
    assert (wealth > 0).all() and wealth.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.12)
    for i, j in ((0, 7), (7, 8), (299, 3), (150, 151), (8, 7)):
        assert A[i, j] == pytest.approx(wealth[j - 1] * (1 - np.exp(-0.8 * abs(i - j))), rel=1e-13)
    assert (np.diag(A) == 0).all()  # at the house that he guards nothing is won


def test_nemirovskis_matrix_is_the_distance_plus_one_over_its_largest_possible_value():
    A = game(game="nemirovski", size=4).matrix
    np.testing.assert_allclose(7 * A, [[1, 2, 3, 4], [2, 1, 2, 3], [3, 2, 1, 2], [4, 3, 2, 1]], rtol=1e-15)


def test_who_opens_the_box_of_the_hider_wins_its_value():
    A = game(game="hide_and_seek", size=200).matrix
    v = np.diag(A)
    np.testing.assert_array_equal(A, np.diag(v))
    assert ((0.5 <= v) & (v <= 1.5)).all() and np.ptp(v) > 0.9


@pytest.mark.parametrize("name", _GAMES)
@pytest.mark.parametrize("workers", (1, 2, 5))
def test_the_workers_disagree_by_a_share_of_the_entries_and_average_to_the_game(name, workers):
    problem = game(game=name, size=30, workers=workers, heterogeneity=2.0)
    parts = np.array([problem.data(m) for m in range(workers)])
    A, size = game(game=name, size=30, heterogeneity=0.0).matrix, np.sqrt(np.mean(problem.matrix**2))
    np.testing.assert_array_equal(problem.matrix, A)
    np.testing.assert_allclose(parts.mean(axis=0), A, rtol=0, atol=1e-14 * size)
    for m in range(workers if workers > 1 else 0):
        assert np.sqrt(np.mean((parts[m] - A)**2)) == pytest.approx(2 * size, rel=0.5 if workers == 2 else 0.1)


def test_a_worker_makes_its_data_without_the_others_and_the_seed_decides_all_of_it():
    whole = [game(workers=6, seed=3).data(m) for m in range(6)]
    for m in (5, 0, 3):
        np.testing.assert_array_equal(game(workers=6, seed=3).data(m), whole[m])
    assert len({A.tobytes() for A in whole}) == 6
    assert not np.allclose(game(seed=4).matrix, game(seed=3).matrix)


# -- operators and constants -----------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_operator_is_that_of_its_matrix_up_to_what_the_projections_do_not_see(options):
    problem, lam = game(**options), options["lam"]
    for z, m in itertools.product(strategies(5, 4), range(3)):
        x, y = np.split(z, 2)
        A = problem.data(m)
        difference = F_m(problem, m, z) - np.concatenate([A @ y + lam * x, -A.T @ x + lam * y])
        if options["centred"]:
            difference = np.concatenate([part - part.mean() for part in np.split(difference, 2)])
        np.testing.assert_allclose(difference, 0, rtol=0, atol=2e-15)
        p = z - 0.3 * F_m(problem, m, z)
        problem.prox.apply(p, 0.3)
        nearest = onto_simplex(x - 0.3 * (A @ y + lam * x)), onto_simplex(y + 0.3 * (A.T @ x - lam * y))
        np.testing.assert_allclose(p, np.concatenate(nearest), rtol=0, atol=2e-15)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_constants_are_the_singular_values_of_the_jacobian(options):
    problem = game(**options)

    def jacobian(m):
        zero = F_m(problem, m, np.zeros(10))
        return np.array([F_m(problem, m, e) - zero for e in np.eye(10)]).T

    J_m = [jacobian(m) for m in range(3)]
    J = sum(J_m) / 3
    assert np.linalg.norm(J, 2) == pytest.approx(problem.L, rel=1e-12)
    assert np.linalg.eigvalsh((J + J.T) / 2)[0] == pytest.approx(problem.mu, abs=1e-14)
    for m in range(3):
        assert np.linalg.norm(J_m[m], 2) == pytest.approx(problem.lipschitz(m), rel=1e-12)
        assert np.linalg.norm(J_m[m] - J, 2) == pytest.approx(problem.dissimilarity(m), rel=1e-12)


def test_centring_lowers_L_and_changes_neither_game_nor_gap():
    plain, centred = (game(size=40, centred=c) for c in (False, True))
    assert centred.L < plain.L / 5
    assert plain.identity() == centred.identity()
    for z in strategies(40, 5):
        assert plain.gap(z) == centred.gap(z)


def test_norms_of_large_games_are_left_open():
    large = game(size=1501)
    assert large.L is None and large.lipschitz(0) is None and large.dissimilarity(0) is None


def test_what_identifies_a_game_changes_with_everything_its_solution_depends_on():
    games = [game(), game(size=6), game(lam=0.1), game(seed=1), game(workers=4), game(heterogeneity=0.1),
             *(game(game=name) for name in _GAMES if name != "policeman_burglar")]
    assert len({g.identity() for g in games}) == len(games)


# -- value, gap and solution -----------------------------------------------------------------------


@pytest.mark.parametrize("name", _GAMES)
def test_the_gap_brackets_the_value_of_the_game(name):
    problem = game(game=name, size=20)
    A, value = problem.matrix, problem.value()
    for z in strategies(20, 20):
        x, y = np.split(z, 2)
        lower, upper = (A @ y).min(), (A.T @ x).max()
        assert lower - 1e-12 <= value <= upper + 1e-12
        assert problem.gap(z) == pytest.approx(upper - lower, rel=1e-12)


@pytest.mark.parametrize("size", (2, 5, 30))
def test_linear_programming_finds_the_values_known_in_closed_form(size):
    assert game(game="nemirovski", size=size).value() == pytest.approx((size + 1) / (4 * size - 2), rel=1e-9)
    hiding = game(game="hide_and_seek", size=size)
    assert hiding.value() == pytest.approx(1 / np.sum(1 / np.diag(hiding.matrix)), rel=1e-9)


def test_the_value_is_not_known_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    assert game().value() is None


@pytest.mark.parametrize("name", _GAMES)
@pytest.mark.parametrize("lam", (0.05, 0.3, 5.0))
def test_the_regularised_gap_is_what_brute_force_finds(name, lam):
    problem = game(game=name, lam=lam)
    A = problem.matrix

    def g(x, y):
        return x @ A @ y + lam / 2 * (x @ x) - lam / 2 * (y @ y)

    def smallest(f):
        return min(minimize(f, start, method="SLSQP", bounds=[(0, 1)] * 5, options={"ftol": 1e-14, "maxiter": 500},
                            constraints={"type": "eq", "fun": lambda p: p.sum() - 1}).fun
                   for start in [np.full(5, 0.2), np.array([0.6, 0.1, 0.1, 0.1, 0.1])])

    for z in strategies(5, 4):
        x, y = np.split(z, 2)
        assert problem.gap(z) == pytest.approx(-smallest(lambda v: -g(x, v)) - smallest(lambda u: g(u, y)), abs=1e-8)
        assert problem.gap(z) >= 0


def test_hide_and_seek_has_its_textbook_solution_and_the_others_have_none_in_closed_form():
    problem = game(game="hide_and_seek", size=7)
    z = problem.solution()
    x, y = np.split(z, 2)
    assert x.sum() == pytest.approx(1, rel=1e-15) and (z > 0).all() and abs(problem.gap(z)) <= 1e-16
    np.testing.assert_allclose(problem.matrix @ y, problem.value(), rtol=1e-9)
    np.testing.assert_allclose(problem.matrix.T @ x, problem.value(), rtol=1e-9)
    assert game(game="hide_and_seek", lam=0.1).solution() is None
    assert game().solution() is None and game(game="nemirovski").solution() is None


def test_a_run_starts_at_the_uniform_strategies_and_knows_where_y_begins():
    problem = game()
    np.testing.assert_array_equal(problem.start(), np.full(10, 0.2))
    assert problem.saddle == 5 and problem.n == 10


# -- what methods make of them ---------------------------------------------------------------------


def averages(A, gamma, rounds):
    """(k, average of z^{1/2} .. z^{k-1/2}) of extragradient in plain NumPy, at the given numbers of rounds."""
    d = len(A)
    x, y, total = np.full(d, 1 / d), np.full(d, 1 / d), np.zeros(2 * d)
    for k in range(1, max(rounds) + 1):
        xhalf, yhalf = onto_simplex(x - gamma * A @ y), onto_simplex(y + gamma * A.T @ x)
        x, y = onto_simplex(x - gamma * A @ yhalf), onto_simplex(y + gamma * A.T @ xhalf)
        total += np.concatenate([xhalf, yhalf])
        if k in rounds:
            yield k, total / k


def test_the_gap_of_the_average_falls_like_one_over_the_rounds_to_the_value_of_linear_programming():
    problem = MatrixGame(workers=1)
    gamma, rounds, gaps = 1 / problem.L, (100, 1000, 10_000), []
    for k, z in averages(problem.matrix, gamma, rounds):
        x, y = np.split(z, 2)
        gaps.append(problem.gap(z))
        assert gaps[-1] <= 0.99 / (gamma * k)  # max_u |z0 - u|^2 / (2 gamma k); |z0 - u|^2 = 2 (1 - 1/100) at vertices
        assert abs(x @ problem.matrix @ y - problem.value()) <= gaps[-1]
    assert abs(x @ problem.matrix @ y - problem.value()) <= 1e-3
    assert 7 <= gaps[0] / gaps[1] <= 15 and 7 <= gaps[1] / gaps[2] <= 15


@compiled
@pytest.mark.parametrize("name", _GAMES)
def test_extragradient_solves_a_centred_game(name):
    problem = game(game=name, size=12, centred=True)
    result = mm.solve(problem, mm.Extragradient(), stop=mm.Stop(relative_error=0, gap=1e-10), reference=None)
    assert result.converged
    x, y = np.split(result.z, 2)
    assert x @ problem.matrix @ y == pytest.approx(problem.value(), abs=1e-9)


@compiled
def test_masha1_finds_the_solution_of_a_regularised_game():
    problem = game(size=8, lam=0.3, centred=True, heterogeneity=0.1)
    result = mm.solve(problem, mm.Masha1(mm.QSGD(4)), stop=mm.Stop(relative_error=1e-10))
    assert result.converged and problem.gap(result.z) <= 1e-4


def test_the_solution_of_hide_and_seek_measures_the_relative_error_without_regularisation():
    problem = game(game="hide_and_seek", size=4, workers=2)
    result = mm.solve(problem, mm.Extragradient(), stop=mm.Stop(rounds=60, relative_error=1e-3))
    assert result.converged


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key, value", [("game", "policeman"), ("game", 3), ("size", 1), ("size", 2.5), ("size", 10**6),
                                        ("lam", -0.1), ("lam", 1e-300), ("lam", np.nan),
                                        ("heterogeneity", -1), ("centred", 1), ("seed", -1), ("workers", 0)])
def test_a_parameter_out_of_range_is_named(key, value):
    with pytest.raises(UserError, match=f"{key} = .*: (use|did you mean)"):
        MatrixGame(**{key: value})


def test_a_method_that_takes_no_prox_says_so():
    with pytest.raises(UserError, match="masha2.*matrix_game.*masha1"):
        mm.solve(game(), mm.Masha2(), stop=mm.Stop(relative_error=0, rounds=1))


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
