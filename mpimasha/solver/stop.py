"""When a run ends."""

from dataclasses import dataclass, fields, replace

import numpy as np

from mpimasha.errors import UserError
from mpimasha.names import fits, meant, shown
from mpimasha.solver.measure import error

RUNNING, CONVERGED, ROUNDS, DIVERGED = "running", "converged", "rounds", "diverged"
SECONDS, STOPPED = "seconds", "stopped"  # the run's own limit of time; a signal, or the end of the batch job
SLURM = "slurm"
_TARGETS = ("relative_error", "residual", "gap")
_GROWTH = 1e12  # of a squared distance or of a residual: beyond any transient of a convergent run


@dataclass(frozen=True)
class Stop:
    """Limits and targets of a run; 0 switches one off, the first that is met ends the run.

    Parameters
    ----------
    rounds : int, optional
        Default that of the problem: 100,000, or 1,000 where networks are trained.
    relative_error : float, optional
        |z - z*|^2 / |z0 - z*|^2; default 1e-8 where z* can be known.  Where it cannot and no other target is
        set, the default target is gap = 1e-3 or else residual = 1e-6.
    residual : float
        r(z)/r(z0) with r(z) = L |z - prox_{h/L}(z - F(z)/L)|.
    gap : float
        Of the last iterate, or of the average where mu = 0.
    seconds : float or "slurm"
        Of stepping, observers not counted; "slurm" for the end of the batch job, less what a checkpoint takes.

    Examples
    --------
    >>> import mpimasha as mm
    >>> mm.solve(mm.Bilinear(dim=5), mm.Optimistic(), stop=mm.Stop(rounds=50)).status
    'rounds'
    >>> mm.solve(mm.MatrixGame(size=5), mm.Optimistic(), stop=mm.Stop(gap=1e-2)).status
    'converged'
    >>> mm.Stop(rounds=-1)
    Traceback (most recent call last):
    mpimasha.errors.UserError: stop.rounds = -1 is out of range: use a number above 0, or 0 for off
    """

    rounds: int | None = None
    relative_error: float | None = None
    residual: float = 0.0
    gap: float = 0.0
    seconds: float | str = 0.0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("rounds", "relative_error") and value is None \
                    or field.name == "seconds" and isinstance(value, str) and value == SLURM:
                continue
            if not fits(value, float) or not 0 <= value < np.inf:
                others = ", or 'slurm' for the end of the job" if field.name == "seconds" else ""
                raise UserError(f"stop.{field.name} = {shown(value)} is out of range: use a number above 0, or 0 for "
                                f"off{others}")
        if self.rounds is not None and not fits(self.rounds, int):
            raise UserError(f"stop.rounds = {self.rounds!r} is out of range: use a whole number, or 0 for no limit")
        object.__setattr__(self, "rounds", meant(self.rounds, int))
        limits = [self.relative_error, self.residual, self.gap, self.seconds]
        if None not in (self.rounds, self.relative_error) and not any([self.rounds, *limits]):
            raise UserError("stop has no limit at all: set stop.rounds, stop.seconds or a target such as "
                            "stop.relative_error")

    def resolved(self, problem, solvable):
        """With the default limit and target for `problem`; `solvable`: z* is or will be known."""
        if self.rounds is None:
            return replace(self, rounds=problem.rounds).resolved(problem, solvable)
        if self.relative_error is not None:
            return self
        if problem.scored:
            return replace(self, relative_error=0.0)
        if solvable:
            return replace(self, relative_error=1e-8)
        if self.residual or self.gap:
            return replace(self, relative_error=0.0)
        known = problem.gap(problem.start()) is not None
        return replace(self, relative_error=0.0, **({"gap": 1e-3} if known else {"residual": 1e-6}))

    @property
    def targets(self):
        """The quantities that must be measured at every check."""
        return [name for name in _TARGETS if getattr(self, name)]

    @property
    def limit(self):
        """Seconds of stepping; 0 where there is no such limit."""
        return 0.0 if self.seconds == SLURM else self.seconds

    def judge(self, k, row):
        """The state of the run after k rounds, given the measured quantities."""
        if diverged(row):
            return DIVERGED
        measured = {name: error(row, name) for name in self.targets}
        if any(value is not None and value <= getattr(self, name) for name, value in measured.items()):
            return CONVERGED
        if self.rounds and k >= self.rounds:
            return ROUNDS
        return RUNNING


def diverged(row):
    """Whether a measured quantity is not finite, or an error has grown beyond any transient."""
    errors = [row[name] for name in ("relative_error", "residual") if row[name] is not None]
    return not np.isfinite([row["distance"], *errors]).all() or any(error > _GROWTH for error in errors)


def check_every(every):
    """The spacing of rows: "log" or a number of rounds."""
    if every != "log" and not (fits(every, int) and every >= 1):
        raise UserError(f"observe.every = {shown(every)} is out of range: use 'log' or a number of rounds of at "
                        f"least 1")
    return meant(every, int)
