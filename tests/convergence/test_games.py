"""The average of z^{k+1/2} solves the game of policeman and burglar at the rate of the theorem for mu = 0."""

import numpy as np
import pytest
from lanes import fast
from scipy.optimize import linprog

import mpimasha as mm
from mpimasha.solver.observers import Observer

ROUNDS = (125, 500, 2000, 8000)


def value_by_linear_programming(A):
    """max_t { t : some strategy of the maximising player earns t against every pure answer }."""
    n = len(A)
    found = linprog(np.append(np.zeros(n), -1.0), A_ub=np.hstack([-A, np.ones((n, 1))]), b_ub=np.zeros(n),
                    A_eq=[np.append(np.ones(n), 0.0)], b_eq=[1.0], bounds=[(0, None)] * n + [(None, None)])
    return -found.fun


class Averages(Observer):
    """The averaged strategies after each of `ROUNDS`."""

    def start(self, run):
        self.kept = {}

    def observe(self, run, row):
        if run.k in ROUNDS:
            self.kept[run.k] = (run.average.copy(), row["gap_average"])


@pytest.mark.parametrize("method", fast([mm.Masha1(mm.QSGD(4)), mm.Masha1(mm.PermK()), mm.Extragradient()], 1),
                         ids=lambda m: f"{m.name}-{m.compressor}")
def test_the_gap_of_the_average_falls_like_one_over_k_to_the_value_of_the_game(method):
    game, averages = mm.MatrixGame(game="policeman_burglar", size=100), Averages()
    result = mm.solve(game, method, every=125, observers=[averages],
                      stop=mm.Stop(rounds=ROUNDS[-1], relative_error=0))  # on some CPUs a residual is 0 before
    scaled = [k * averages.kept[k][1] for k in ROUNDS]
    assert max(scaled) < 2.5 * min(scaled), scaled                      # gap = c/K over a factor of 64
    A, n = game.matrix, 100
    x, y = averages.kept[ROUNDS[-1]][0][:n], averages.kept[ROUNDS[-1]][0][n:]
    assert x @ A @ y == pytest.approx(value_by_linear_programming(A), abs=1e-3)
    assert x.sum() == pytest.approx(1) and y.sum() == pytest.approx(1) and min(x.min(), y.min()) > -1e-15
    assert result.gap_average == pytest.approx((A.T @ x).max() - (A @ y).min())
