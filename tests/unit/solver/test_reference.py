"""The solution that errors are measured against is one, is that of this problem, and keeps nobody waiting."""

import logging

import numpy as np
import pytest

import mpimasha as mm
from mpimasha.solver import reference


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mpimasha" / "references"


class Game(mm.Problem):
    """F(x, y) = (A y + mu x, -A'x + mu y) + scale a, the same for all workers; its identity hides the scale."""

    name, workers, n, saddle = "game", 3, 8, 4

    def __init__(self, scale=1.0, mu=0.5, dtype=np.float64):
        self.dtype, self.mu = np.dtype(dtype), mu
        rng = np.random.default_rng(5)
        A, I = rng.standard_normal((4, 4)), mu * np.eye(4)
        self.J = np.block([[I, A], [-A.T, I]]).astype(dtype)
        self.a = (scale * rng.standard_normal(8)).astype(dtype)

    def operator(self, worker):
        def F(z, out):
            out[:] = self.J @ z + self.a
        return F

    def identity(self):
        return f"game {self.mu}"

    @property
    def z_star(self):
        return np.linalg.solve(self.J.astype(float), -self.a.astype(float))


def solved(problem, **stop):
    return mm.solve(problem, mm.Optimistic(gamma=0.1), stop=mm.Stop(**{"rounds": 4000} | stop))


def test_an_edited_problem_of_the_same_identity_is_not_measured_against_the_old_solution(cache):
    for scale in (1.0, 2.0, 2.0):
        result = solved(Game(scale))
        assert result.converged and np.sum((result.z - Game(scale).z_star)**2) <= 2e-8 * np.sum(Game(scale).z_star**2)
        kept, = cache.iterdir()
        np.testing.assert_allclose(np.load(kept), Game(scale).z_star, rtol=0, atol=1e-10)


def test_what_was_kept_for_the_same_problem_is_used(monkeypatch):
    solved(Game())
    monkeypatch.setattr(reference, "_solved", lambda *given: pytest.fail("sought again"))
    assert solved(Game()).converged


def test_a_solution_that_was_not_found_is_none_and_not_kept(cache, monkeypatch, caplog):
    monkeypatch.setattr(reference, "_ROUNDS", 30)
    result = solved(Game(mu=1e-3), rounds=40)
    assert result.relative_error is None and not cache.exists()
    assert len(caplog.messages) == 1 and "the solution of game was not found: after 30 rounds" in caplog.messages[0]
    with pytest.raises(mm.UserError, match="stop.relative_error needs the solution of game"):
        solved(Game(mu=1e-3), relative_error=1e-6)


def test_a_problem_in_single_precision_is_solved_as_far_as_it_can_be(monkeypatch):
    monkeypatch.setattr(reference, "_ROUNDS", 20_000)
    problem = Game(dtype=np.float32)
    result = solved(problem, relative_error=1e-9)
    assert result.converged and np.sum((result.z - problem.z_star)**2) <= 1e-8 * np.sum(problem.z_star**2)


def test_it_has_no_more_time_than_the_run(monkeypatch, caplog):
    monkeypatch.setattr(reference, "_reach", lambda dtype: 1e-300)
    result = solved(Game(mu=1e-3), seconds=0.6, relative_error=1e-9, rounds=10**7)
    assert result.status == "seconds" and result.relative_error is None
    assert "was not found" in caplog.text


def test_notice_ends_it_and_the_run(monkeypatch):
    class Asked:
        asked = True

    monkeypatch.setattr(reference, "_reach", lambda dtype: 1e-300)
    stop = mm.Stop(relative_error=1e-9)
    assert mm.solve(Game(), mm.Optimistic(gamma=0.1), stop=stop, notice=Asked()).status == "stopped"


def test_who_waits_is_told_what_for(monkeypatch, caplog):
    monkeypatch.setattr(reference, "_SILENCE", 0.0)
    with caplog.at_level(logging.INFO):
        solved(Game(), rounds=5)
    assert [message.startswith("looking for the solution of game") for message in caplog.messages] == [True]
