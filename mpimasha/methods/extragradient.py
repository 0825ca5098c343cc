"""The extragradient method (Korpelevich 1976), uncompressed."""

import numpy as np

from mpimasha.methods.base import Method, uncompressed
from mpimasha.state import Shared
from mpimasha.stepsizes import needed


class Extragradient(Method):
    """EG: two dense exchanges a round.

    With gamma = 1/(sqrt 2 L): |z+ - z*|^2 <= (1 - min(gamma mu, 1/4)) |z - z*|^2.
    """

    name = "eg"
    theorem = "EG: gamma = 1/(sqrt(2) L), factor 1 - min(gamma mu, 1/4)"
    z, zhalf = Shared(), Shared()

    def accept(self, compressor):
        uncompressed(self.name, compressor)

    def theory_gamma(self, constants):
        return 1 / (np.sqrt(2) * needed(constants.L, "L"))

    def theory_factor(self, constants):
        slack = 1 - (self.gamma * constants.L)**2
        return 1 - min(self.gamma * constants.mu, slack / 2) if slack > 0 else None

    @property
    def exchanges(self):
        return [(self.up, 2.0)]

    def step(self, k):
        gamma, prox, F = self.gamma, self.prox, self.fleet.F
        Fz = self.up.mean(F(self.z), 2 * k)
        self.zhalf = prox(self.z - gamma * Fz, gamma)             # z^{k+1/2}
        Fhalf = self.up.mean(F(self.zhalf), 2 * k + 1)
        self.z = prox(self.z - gamma * Fhalf, gamma)              # z^{k+1}
