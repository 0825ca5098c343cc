"""How far a run has come: relative error, residual, gap, and what it has cost so far."""

import math

import numpy as np

from mpimasha.errors import UserError
from mpimasha.kernels.updates import squared_distance
from mpimasha.linear import Linear


def check_targets(problem, targets, solvable):
    """Refuse a target that this problem has no measure for; `solvable`: z* is or will be known."""
    if problem.scored and targets:
        raise UserError(f"stop.{targets[0]} has no meaning for {problem.name}, whose solution is not known: use "
                        f"stop.rounds or stop.seconds")
    if "relative_error" in targets and not solvable:
        raise UserError(f"stop.relative_error needs the solution of {problem.name}, which is not known with these "
                        f"settings: set stop.relative_error = 0 and use stop.residual or stop.rounds")
    if "gap" in targets and problem.gap(problem.start()) is None:
        raise UserError(f"stop.gap cannot be computed for {problem.name} with these settings: use stop.residual")


ERRORS = {"relative_error": r"relative error $|z-z^*|^2/|z^0-z^*|^2$", "gap": "gap of the better of last and average",
          "residual": "residual $r(z)/r(z^0)$"}


def kind(rows):
    """Which of `ERRORS` a run is judged by: the first one that is known."""
    return next((name for name in ERRORS if rows and rows[-1].get(name) is not None), "relative_error")


def error(row, name):
    """How far a row is from the solution, by a measure of `ERRORS`; the smaller of the two gaps; None if not known."""
    values = [row[name]] + ([row.get("gap_average")] if name == "gap" else [])
    return min((v for v in values if v is not None), default=None)

_FAR = 1e12  # |z - z0|^2 / (1 + |z0|^2) of weights at which a network is lost, though all its numbers may be finite


class Measure:
    """Measures a run; the exchange it needs is not billed to the run.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run):
        self.run, self.reference = run, None
        problem = run.problem
        z0 = problem.start_of(run.seed)
        self._z0 = z0
        self._size = 1.0 + float(z0 @ z0)
        gamma = run.method.gamma
        self._L = run.constants.known("L") or (1 / gamma if gamma else 1.0)
        self._residual0 = None
        if not problem.scored and not run.fleet.parts:
            self._residual0 = self.residual(z0)

    def against(self, reference):
        """Measure relative errors too: `reference` is z*, shape (n,), or None; needed on rank 0 only."""
        self.reference = reference
        self._error0 = squared_distance(self._z0, reference) if reference is not None else None

    def __call__(self, targets, full, seconds):
        """A row after run.k rounds; without `full`, only what `targets` need."""
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging run is the solver's to report
            return self._row(targets, full, seconds)

    def _row(self, targets, full, seconds):
        run, z, ledger = self.run, self.run.method.iterate, self.run.ledger
        row = {"round": run.k, "relative_error": self._relative_error(z),
               "residual": None, "gap": None, "gap_average": None,
               "uplink_bits": ledger.uplink_bits, "downlink_bits": ledger.downlink_bits,
               "wire_bytes": run.wire_bytes, "exchanges": ledger.exchanges,
               "operator_calls": None, "seconds": seconds,
               "distance": squared_distance(z, self._z0) / self._size}
        if full:
            row["operator_calls"] = self._operator_calls()
        if run.problem.scored:
            if row["distance"] > _FAR:
                row["distance"] = np.inf
            if full:
                row |= run.problem.scores(z, run.comm)
        elif (full or "residual" in targets) and not run.fleet.parts:
            row["residual"] = self.residual(z)
        if (full or "gap" in targets) and run.comm.rank == 0:
            finite = np.isfinite(row["distance"])
            row["gap"] = run.problem.gap(z) if finite else None
            row["gap_average"] = run.problem.gap(run.average) if finite and run.average is not None and run.k else None
        return row

    def _operator_calls(self):
        """Of a worker, the mean over all; added in their order, so that it does not depend on the ranks."""
        parts = self.run.comm.gather_objects(self.run.ledger.operator_calls)
        return math.fsum(calls for part in parts for calls in part.values()) / self.run.fleet.workers

    def _relative_error(self, z):
        if self.reference is None:
            return None
        return squared_distance(z, self.reference) / (self._error0 or 1.0)

    def residual(self, z):
        """r(z)/r(z0), r(z) = L |z - prox_{h/L}(z - F(z)/L)|, which is |F(z)| for h = 0."""
        run = self.run
        F = run.exact_mean(run.fleet.F(Linear.of(z)))
        if not run.problem.prox.is_zero:
            L = self._L
            moved = z - F / L
            run.problem.prox.apply(moved, 1 / L)
            F = L * (z - moved)
        value = float(np.linalg.norm(F))
        return value / (self._residual0 or value or 1.0) if self._residual0 is not None else value
