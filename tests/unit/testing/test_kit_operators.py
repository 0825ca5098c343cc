"""The kit's check names the fault of a wrong operator, constant or solution."""

import re

import numpy as np
import pytest

from mpimasha.problems.base import Problem
from mpimasha.problems.proximal import Balls
from mpimasha.testing import check_operator

D, M = 3, 4
RNG = np.random.default_rng(0)
A, a, b = RNG.standard_normal((M, D, D)), RNG.standard_normal((M, D)), RNG.standard_normal((M, D))
LAM = 0.5
MEAN = A.mean(axis=0)


def norm(J):
    return float(np.linalg.svd(J, compute_uv=False)[0])


def jacobian(A_m):
    return np.block([[LAM * np.eye(D), A_m], [-A_m.T, LAM * np.eye(D)]])


class Game(Problem):
    """A sound one: g(x, y) = mean x'A_m y + a_m'x - b_m'y + lam/2 (|x|^2 - |y|^2)."""

    name, workers, n, saddle, mu = "game", M, 2 * D, D, LAM
    L = norm(jacobian(MEAN))

    def operator(self, worker):
        return lambda z, out: self.write(worker, z[:D], z[D:], out)

    def write(self, m, x, y, out):
        out[:D] = A[m] @ y + LAM * x + a[m]
        out[D:] = -A[m].T @ x + LAM * y + b[m]

    def lipschitz(self, worker):
        return norm(jacobian(A[worker]))

    def dissimilarity(self, worker):
        return norm(jacobian(A[worker]) - jacobian(MEAN))

    def solution(self):
        return np.linalg.solve(jacobian(MEAN), -np.concatenate([a.mean(axis=0), b.mean(axis=0)]))

    def gap(self, z):
        x, y = z[:D], z[D:]
        best_x, best_y = MEAN @ y + a.mean(axis=0), MEAN.T @ x - b.mean(axis=0)
        return a.mean(axis=0) @ x + b.mean(axis=0) @ y + LAM / 2 * (z @ z) \
            + (best_x @ best_x + best_y @ best_y) / (2 * LAM)


def g(x, y):
    return x @ MEAN @ y + a.mean(axis=0) @ x - b.mean(axis=0) @ y + LAM / 2 * (x @ x - y @ y)


def field(z):
    return jacobian(MEAN) @ z + np.concatenate([a.mean(axis=0), b.mean(axis=0)])


def says(problem, *words, **options):
    with pytest.raises(AssertionError) as caught:
        check_operator(problem, **options)
    sentence = str(caught.value)
    assert sentence.startswith(f"{type(problem).__name__} (game): ") and "\n" not in sentence
    missing = [word for word in words if not re.search(word, sentence)]
    assert not missing, f"{missing} not in: {sentence}"


def game(**changes):
    """A `Game` with other attributes or methods."""
    return type("Wrong", (Game,), changes)()


@pytest.mark.parametrize("options", [{}, {"gradient_of": g}, {"mean": field}, {"radius": 100.0}], ids=str)
def test_a_sound_problem_passes(options):
    check_operator(Game(), **options)
    check_operator(game(saddle=None), **({} if "gradient_of" in options else options))


def test_a_sound_problem_in_single_precision_passes():
    check_operator(game(dtype=np.dtype(np.float32)), gradient_of=g)


# -- signs -----------------------------------------------------------------------------------------


def y_slip(self, m, x, y, out):
    """+A'x for -A'x."""
    Game.write(self, m, x, y, out)
    out[D:] += 2 * A[m].T @ x


def y_flipped(self, m, x, y, out):
    """(grad_x g, grad_y g)."""
    Game.write(self, m, x, y, out)
    out[D:] *= -1


def x_flipped(self, m, x, y, out):
    Game.write(self, m, x, y, out)
    out[:D] *= -1


def transposed(self, m, x, y, out):
    Game.write(self, m, x, y, out)
    out[D:] += A[m].T @ x - A[m] @ x


def one_worker_slips(self, m, x, y, out):
    (y_slip if m == 2 else Game.write.__get__(self).__func__)(self, m, x, y, out)


@pytest.mark.parametrize("write, words", [
    (y_slip, ["the y block of F_0 has the wrong sign", "must be opposite"]),
    (y_flipped, ["the y block of F_0 has the wrong sign"]), (x_flipped, ["the x block of F_0 has the wrong sign"]),
    (one_worker_slips, ["the y block of F_2 has the wrong sign"]),
    (transposed, ["F_0 is no .grad_x g, -grad_y g.", "transpose"])], ids=lambda v: getattr(v, "__name__", ""))
def test_a_slipped_sign_is_named_with_its_block(write, words):
    says(game(write=write), *words)


@pytest.mark.parametrize("write", (y_slip, y_flipped))
def test_a_slipped_sign_is_found_by_monotonicity_where_no_saddle_is_declared(write):
    says(game(write=write, saddle=None), "F is not monotone", "wrong sign")


def test_a_slipped_sign_is_found_by_the_objective():
    slipped = game(write=y_slip)
    slipped.saddle = None
    says(slipped, "not monotone|block of F is not")

    def other(x, y):  # the objective whose y block has the sign slipped
        return g(x, y) + 2 * b.mean(axis=0) @ y - LAM * 0
    says(Game(), "the y block of F is not -grad_y g", "g changes by", gradient_of=other)
    says(Game(), "the x block of F is not grad_x g", "the sign is wrong", gradient_of=lambda x, y: -g(x, y))


def test_a_block_that_is_no_gradient_is_named():
    def rotated(self, m, x, y, out):
        Game.write(self, m, x, y, out)
        out[:2] += [x[1], -x[0]]
    says(game(write=rotated), "the x block of F_0 is no gradient in x", "must be equal")


# -- functions -------------------------------------------------------------------------------------


def changes_z(self, m, x, y, out):
    Game.write(self, m, x, y, out)
    x[1] *= 0.5


def leaves(self, m, x, y, out):
    before = out[4]
    Game.write(self, m, x, y, out)
    out[4] = before


def adds(self, m, x, y, out):
    before = out.copy()
    Game.write(self, m, x, y, out)
    out += before


def counts(self, m, x, y, out):
    self.calls = getattr(self, "calls", 0) + 1
    Game.write(self, m, x, y, out)
    out += 1e-6 * self.calls


def divides(self, m, x, y, out):
    Game.write(self, m, x, y, out)
    out[0] = np.inf


@pytest.mark.parametrize("write, words", [
    (changes_z, ["F_0 changes z in place at coordinate 1"]), (leaves, [r"F_0 does not write out\[4\]"]),
    (adds, [r"F_0 adds to out\[0\]"]), (counts, ["F_0 gives another value at the same z"]),
    (divides, ["F_0 is not finite"])], ids=lambda v: getattr(v, "__name__", ""))
def test_an_operator_that_is_no_function_of_z_is_named(write, words):
    says(game(write=write), *words)


def test_a_start_that_does_not_fit_is_named():
    says(game(start=lambda self: np.zeros(5)), r"start\(\) has shape \(5,\)", r"shape \(6,\)")
    says(game(start=lambda self: np.zeros(6, np.float32)), "type float32", "type float64")


# -- the mean --------------------------------------------------------------------------------------


def thin_regulariser(self, m, x, y, out):
    """lam/M z in every worker: the mean has lam/M z, not lam z."""
    Game.write(self, m, x, y, out)
    out -= (1 - 1 / M) * LAM * np.concatenate([x, y])


def block_means(self, m, x, y, out):
    """Weighted by the worker, as if blocks were unequal."""
    Game.write(self, m, x, y, out)
    out *= 1 + 0.1 * (m - 1)


def test_a_regulariser_that_is_not_in_full_is_named():
    says(game(write=thin_regulariser, mu=LAM / M, L=10.0, lipschitz=lambda self, m: None, solution=lambda self: None),
         "1/M sum F_m is not F", r"in the x block, namely by -0\.375 x", "regulariser in full", mean=field)
    says(game(write=thin_regulariser), "mu = 0.5 is too large|does not solve")


def test_workers_that_are_weighted_wrongly_are_named():
    says(game(write=block_means), "1/M sum F_m is not F", "M/N times the sum", mean=field)


# -- constants and solution ------------------------------------------------------------------------


@pytest.mark.parametrize("changes, words", [
    ({"L": 0.98 * Game.L}, [r"L = 1\.\d+ is exceeded", r"\|F\(u\) - F\(v\)\| ="]),
    ({"lipschitz": lambda self, m: 0.97 * Game.lipschitz(self, m)}, [r"lipschitz\(\d\) = .* is exceeded", r"\|F_\d\("]),
    ({"dissimilarity": lambda self, m: 0.9 * Game.dissimilarity(self, m)}, [r"dissimilarity\(\d\) = .* is exceeded"]),
    ({"mu": 1.02 * LAM}, ["mu = 0.51 is too large", "<F.u. - F.v., u - v> = 0.5 "]),
    ({"solution": lambda self: 1.001 * Game.solution(self)}, [r"solution\(\) does not solve: \|F\(z\*\)\| ="]),
    ({"solution": lambda self: np.zeros(5)}, [r"solution\(\) has shape \(5,\)"]),
    ({"gap": lambda self, z: Game.gap(self, z) - 1.0}, ["gap = -|gap = .* at the solution"]),
    ({"gap": lambda self, z: Game.gap(self, z) + 1e-3}, ["gap = 0.001 at the solution"]),
    ({"gap": lambda self, z: -Game.gap(self, z)}, ["never below 0"]),
], ids=lambda v: "-".join(v) if isinstance(v, dict) else "")
def test_a_wrong_constant_solution_or_gap_is_named(changes, words):
    says(game(**changes), *words)


def test_unknown_constants_are_not_asked_for():
    nothing = {"lipschitz": lambda self, m: None, "dissimilarity": lambda self, m: None, "gap": lambda self, z: None}
    check_operator(game(L=None, solution=lambda self: None, **nothing))


def test_points_of_a_constrained_problem_are_feasible():
    """F is defined in the ball alone, and solved on its boundary."""
    def guarded(self, m, x, y, out):
        Game.write(self, m, x, y, out)
        if np.linalg.norm(x) > 0.1 * (1 + 1e-4):
            out[:] = np.nan
    ball = {"prox": Balls([(slice(0, D), 0.1)]), "write": guarded, "saddle": None, "gap": lambda self, z: None}

    def solution(self):
        z = np.zeros(2 * D)
        for _ in range(2000):
            z = z - 0.1 * field(z)
            z[:D] *= min(1.0, 0.1 / np.linalg.norm(z[:D]))
        return z
    check_operator(game(solution=solution, **ball), radius=3.0)
    says(game(solution=lambda self: np.zeros(2 * D), **ball), r"prox\(z\* - gamma F")


def test_points_may_be_given():
    seen = []

    def points(rng):
        seen.append(5.0 + rng.standard_normal(2 * D))
        return seen[-1]
    check_operator(Game(), points=points, count=5)
    assert len(seen) == 5
