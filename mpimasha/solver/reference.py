"""The solution against which relative errors are measured."""

import hashlib
import logging
import os
from pathlib import Path
from time import monotonic

import numpy as np

from mpimasha.files import replace_atomically
from mpimasha.methods.optimistic import Optimistic
from mpimasha.solver.observers import Observer
from mpimasha.solver.stop import CONVERGED, SECONDS, STOPPED, Stop

_ROUNDS = 1_000_000
_SILENCE = 2.0  # seconds after which the user is told what takes so long
_SLACK = 100.0  # by which the residual of a solution that was kept may exceed that at which it was found
_log = logging.getLogger("mpimasha")


def find(run, measure, solve, stop, notice=None):
    """z* in closed form, from the cache, or by uncompressed OG; collective.

    OG runs until its residual has fallen to what the dtype can reach, 1e-12 at least; only then is it a solution, and
    kept in the user's cache folder under the hash of the problem's identity.  What is found there counts only if the
    operators of today have as small a residual at it: another problem may bear the same identity.

    Parameters
    ----------
    run : Run
    measure : Measure
        Of the run.
    solve : callable
        `mpimasha.solve`, which uses this module.
    stop : Stop
        OG has no more time than the run.
    notice : Notice, optional

    Returns
    -------
    z : array of shape (n,) or None
        On rank 0.  None elsewhere, if the problem is not strongly monotone, or if OG did not converge.
    known : bool
        Whether rank 0 has it; like the next, the same on all ranks.
    stopped : bool
        Whether OG was told to stop, or had no time left.
    """
    problem, comm = run.problem, run.comm
    found = comm.together(lambda: problem.solution() if comm.rank == 0 else None)
    known = _agreed(comm, found is not None)
    if known or not problem.strongly_monotone or run.fleet.parts:
        return found, known, False
    kept = comm.together(lambda: _read(_path(problem), problem.n) if comm.rank == 0 else None)
    if _agreed(comm, kept is not None):
        z = kept.astype(problem.dtype) if comm.rank == 0 else np.zeros(problem.n, problem.dtype)
        with comm.billed_to("observers"):
            comm.broadcast(z)
        if _agreed(comm, measure.residual(z) <= _SLACK * _reach(problem.dtype)):
            return kept, True, False
    return _solved(problem, comm, solve, stop.seconds, notice)


def _solved(problem, comm, solve, seconds=0.0, notice=None):
    """z* on rank 0, whether it was found, whether OG was stopped."""
    with comm.billed_to("observers"):
        result = solve(problem, Optimistic(), comm=comm, reference=None, on_error="raise",  # the caller's to end
                       notice=notice, observers=[_Waiting(problem)] if comm.rank == 0 else [],
                       stop=Stop(rounds=_ROUNDS, relative_error=0, residual=_reach(problem.dtype), seconds=seconds))
    if result.status == CONVERGED:
        if comm.rank == 0:
            _write(_path(problem), result.z)
        return result.z if comm.rank == 0 else None, True, False
    if comm.rank == 0:
        _log.warning(f"the solution of {problem.name} was not found: after {result.rounds} rounds of og the residual "
                     f"has fallen to {result.residual:.1e}, not to {_reach(problem.dtype):.0e}; there is no relative "
                     f"error")
    return None, False, result.status in (STOPPED, SECONDS)


def _reach(dtype):
    """The residual, in parts of the first one, that rounding allows."""
    return max(1e-12, 30 * float(np.finfo(dtype).eps))


class _Waiting(Observer):
    """Says once what takes so long."""

    def __init__(self, problem):
        self._name, self._start = problem.name, monotonic()

    def check(self, run, row):
        if self._start is not None and monotonic() > self._start + _SILENCE:
            self._start = None
            _log.info(f"looking for the solution of {self._name}, against which errors are measured: og, at most "
                      f"{_ROUNDS} rounds; set stop.relative_error = 0 and another target to do without")


def _agreed(comm, true):
    """Whether it is true on rank 0."""
    word = np.array([bool(true)], np.int64)
    with comm.billed_to("observers"):
        comm.broadcast(word)
    return bool(word[0])


def _path(problem):
    identity = problem.identity() + problem.origin  # a file that was edited defines another problem
    return folder() / f"{hashlib.sha256(identity.encode()).hexdigest()}.npy"


def folder():
    """Where solutions are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpimasha" / "references"


def _read(path, n):
    try:
        z = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    return z if z.shape == (n,) and z.dtype.kind == "f" and np.isfinite(z).all() else None


def _write(path, z):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(path, lambda file: np.save(file, z))
    except OSError:
        return  # a cache that cannot be written only costs time
