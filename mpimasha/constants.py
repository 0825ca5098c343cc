"""The constants of F and of its parts, collected from the ranks that know them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Constants:
    """What step sizes are made of.

    Attributes
    ----------
    L, mu : float
        Of F = 1/M sum_m F_m.
    L_m : array of shape (M,), or None
        Of the workers' operators.
    similarity_m : array of shape (M,), or None
        Lipschitz constants of F_m - F.
    workers : int
    """

    L: float
    mu: float
    L_m: np.ndarray | None
    similarity_m: np.ndarray | None
    workers: int

    @property
    def L_rms(self):
        return None if self.L_m is None else float(np.sqrt(np.mean(self.L_m**2)))

    @property
    def similarity_rms(self):
        return None if self.similarity_m is None else float(np.sqrt(np.mean(self.similarity_m**2)))


def collect(problem, owned, comm):
    """The constants of `problem`; each rank works out those of the workers it owns."""
    rows = comm.together(lambda: [(problem.lipschitz(m), problem.dissimilarity(m)) for m in owned])
    table = [row for rows in comm.gather_objects(rows) for row in rows]
    L_m, similarity_m = (None if None in column else np.array(column) for column in zip(*table))
    return Constants(problem.L, problem.mu, L_m, similarity_m, problem.workers)
