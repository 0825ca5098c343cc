"""The extragradient method (Korpelevich 1976), uncompressed and compressed."""

import numpy as np

from mpimasha.channels.memory import ErrorFeedback
from mpimasha.compressors.base import Compressor
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.fleet.draw import check_share
from mpimasha.methods.base import Method
from mpimasha.methods.stepsizes import needed
from mpimasha.methods.traits import Learning, NoTheorem
from mpimasha.state import Shared


class Extragradient(Method):
    """EG: two dense exchanges a round.

    With gamma = 1/(sqrt 2 L): |z+ - z*|^2 <= (1 - min(gamma mu, 1/4)) |z - z*|^2.

    Parameters
    ----------
    up : Compressor, optional
    gamma : float or str
    batch : float
        Samples of each worker that a round looks at, the same at both points: a part below 1 or a count; 0 for all.
        Batches leave a floor.
    """

    name = "eg"
    accepts, standing = "identity", "proved"
    theorem = "EG: gamma = 1/(sqrt(2) L), factor 1 - min(gamma mu, 1/4)"
    trains = ("extrapolation", "metric", "damping", "warmup", "decay")
    z, zhalf = Shared(), Shared()

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", batch: float = 0):
        super().__init__(up, gamma)
        self.batch = check_share("method.batch", batch)

    def theory_gamma(self, constants):
        if self.batch:
            raise UserError(f"method.gamma = 'theory': {self.name} has a theorem only for whole operators, give a "
                            f"number or '0.25/L'")
        return 1 / (np.sqrt(2) * needed(constants.L, "L"))

    def theory_factor(self, constants):
        if self.batch:
            return None
        slack = 1 - (self.gamma * constants.L)**2
        return 1 - min(self.gamma * constants.mu, slack / 2) if slack > 0 else None

    @property
    def exchanges(self):
        return [(self.up, 2.0)]

    def step(self, k):
        gamma, prox, F, D, draw = self.step_size(k), self.prox, self.fleet.F, self.metric, self.draw(k)
        Fz = self.up.mean(F(self.z, draw), 2 * k)
        D.learn(Fz)
        self.zhalf = prox(self.z - gamma * D(Fz, self.practice.extrapolation), gamma)  # z^{k+1/2}
        Fhalf = self.up.mean(F(self.zhalf, draw), 2 * k + 1)
        self.z = prox(self.z - gamma * D(Fhalf), gamma)                                # z^{k+1}


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
    trains = ("extrapolation", "warmup", "decay")

    def default_compressor(self):
        return TopK(0.05)

    def open_channels(self, channel):
        super().open_channels(channel)
        self.ahead = channel(self.compressor, self.memory(), "uplink")

    @property
    def exchanges(self):
        return [(self.up, 1.0), (self.ahead, 1.0)]

    def step(self, k):
        gamma, prox, F, D, draw = self.step_size(k), self.prox, self.fleet.F, self.metric, self.draw(k)
        s = self.ahead.mean(gamma * F(self.z, draw), 2 * k)
        self.zhalf = prox(self.z - D(s, self.practice.extrapolation), gamma)     # z^{k+1/2}
        self.z = prox(self.z - D(self.up.mean(gamma * F(self.zhalf, draw), 2 * k + 1)), gamma)  # z^{k+1}


class DianaEG(Learning, NoTheorem, Extragradient):
    """DIANA-EG: EG whose workers send Q_m(F_m - h_m) at both points and learn h_m (as in Mishchenko et al. 2019).

    What is compressed vanishes at the solution, so it converges linearly at a small step, with two messages a round
    where DIANA-OG needs one.
    """

    name = "diana_eg"

    def default_compressor(self):
        return QSGD(4)
