"""The extragradient method (Korpelevich 1976), uncompressed and compressed."""

import numpy as np

from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.topk import TopK
from mpimasha.memory import ErrorFeedback
from mpimasha.methods.base import Method
from mpimasha.methods.traits import Learning, NoTheorem
from mpimasha.state import Shared
from mpimasha.stepsizes import needed


class Extragradient(Method):
    """EG: two dense exchanges a round.

    With gamma = 1/(sqrt 2 L): |z+ - z*|^2 <= (1 - min(gamma mu, 1/4)) |z - z*|^2.
    """

    name = "eg"
    accepts, standing = "identity", "proved"
    theorem = "EG: gamma = 1/(sqrt(2) L), factor 1 - min(gamma mu, 1/4)"
    z, zhalf = Shared(), Shared()

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


class CEG(NoTheorem, Extragradient):
    """CEG: EG whose workers send Q_m(F_m(z)) and Q_m(F_m(z^{k+1/2})).

    Stalls where some F_m(z*) is not 0, for what is compressed does not vanish.
    """

    name = "ceg"
    accepts = "unbiased"

    def default_compressor(self):
        return QSGD(4)


class CEGFeedback(NoTheorem, Extragradient):
    """CEG with error feedback: both exchanges send C_m(gamma F_m + e_m), each with a memory of its own; h = 0.

    Stalls where some F_m(z*) is not 0, as CEG does.
    """

    name = "ceg_ef"
    accepts = "contractive or unbiased"
    memory = ErrorFeedback
    takes_prox = False

    def default_compressor(self):
        return TopK(0.05)

    def open_channels(self, channel):
        super().open_channels(channel)
        self.ahead = channel(self.compressor, self.memory(), "uplink")

    @property
    def exchanges(self):
        return [(self.up, 1.0), (self.ahead, 1.0)]

    def step(self, k):
        gamma, F = self.gamma, self.fleet.F
        self.zhalf = self.z - self.ahead.mean(gamma * F(self.z), 2 * k)          # z^{k+1/2}
        self.z = self.z - self.up.mean(gamma * F(self.zhalf), 2 * k + 1)         # z^{k+1}


class DianaEG(Learning, NoTheorem, Extragradient):
    """DIANA-EG: EG whose workers send Q_m(F_m - h_m) at both points and learn h_m (as in Mishchenko et al. 2019).

    What is compressed vanishes at the solution, so it converges linearly at a small step, with two messages a round
    where DIANA-OG needs one.
    """

    name = "diana_eg"

    def default_compressor(self):
        return QSGD(4)
