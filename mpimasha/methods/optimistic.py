"""The optimistic gradient method (Popov 1980; Malitsky and Tam 2020 with a prox), uncompressed."""

from mpimasha.methods.base import Method
from mpimasha.methods.stepsizes import needed
from mpimasha.state import Shared


class Optimistic(Method):
    """OG: z+ = prox(z - gamma (2 F(z) - F(z_prev))), one dense exchange a round.

    Popov's method where h = 0, forward-reflected-backward otherwise.  Any gamma < 1/(2L)
    converges; the factor below is derived in docs/theory.rst.
    """

    name = "og"
    accepts, standing = "identity", "proved"
    theorem = "OG: gamma = 0.45/L, factor 1/(1 + min(2 gamma mu/(1 + gamma L), 1/(2 gamma L) - 1))"
    z, F_prev = Shared(), Shared()

    def theory_gamma(self, constants):
        return 0.45 / needed(constants.L, "L")

    def theory_factor(self, constants):
        gL = self.gamma * constants.L
        if gL >= 1 / 2:
            return None
        return 1 / (1 + min(2 * self.gamma * constants.mu / (1 + gL), 1 / (2 * gL) - 1))

    def step(self, k):
        gamma = self.gamma
        F = self.up.mean(self.fleet.F(self.z), k)
        F_prev = self.F_prev if k else F                          # z^{-1} = z^0
        self.z = self.prox(self.z - gamma * (2 * F - F_prev), gamma)
        self.F_prev = F
