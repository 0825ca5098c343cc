"""When a run ends."""

from dataclasses import dataclass, fields

import numpy as np

from mpimasha.errors import UserError
from mpimasha.names import fits, shown

RUNNING, CONVERGED, ROUNDS, SECONDS, DIVERGED = "running", "converged", "rounds", "seconds", "diverged"
_TARGETS = ("relative_error", "residual", "gap")
_GROWTH = 1e12  # of a squared distance or of a residual: beyond any transient of a convergent run


@dataclass(frozen=True)
class Stop:
    """Limits and targets of a run; 0 switches one off, the first that is met ends the run.

    Parameters
    ----------
    rounds : int
    relative_error : float
        |z - z*|^2 / |z0 - z*|^2.
    residual : float
        r(z)/r(z0) with r(z) = L |z - prox_{h/L}(z - F(z)/L)|.
    gap : float
    seconds : float
        Of stepping, observers not counted.
    """

    rounds: int = 100_000
    relative_error: float = 1e-8
    residual: float = 0.0
    gap: float = 0.0
    seconds: float = 0.0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not fits(value, float) or not 0 <= value < np.inf:
                raise UserError(f"stop.{field.name} = {shown(value)} is out of range: use a number above 0, or 0 for "
                                f"off")
        if self.rounds != int(self.rounds):
            raise UserError(f"stop.rounds = {self.rounds!r} is out of range: use a whole number, or 0 for no limit")
        if not any(getattr(self, field.name) for field in fields(self)):
            raise UserError("stop has no limit at all: set stop.rounds, stop.seconds or a target such as "
                            "stop.relative_error")

    @property
    def targets(self):
        """The quantities that must be measured at every check."""
        return [name for name in _TARGETS if getattr(self, name)]

    def judge(self, k, seconds, row):
        """The state of the run after k rounds, given the measured quantities."""
        if diverged(row):
            return DIVERGED
        if any(row[name] is not None and row[name] <= getattr(self, name) for name in self.targets):
            return CONVERGED
        if self.rounds and k >= self.rounds:
            return ROUNDS
        if self.seconds and seconds >= self.seconds:
            return SECONDS
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
    return every
