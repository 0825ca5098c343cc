"""MASHA1: unbiased compression of operator differences around a reference point."""

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.compressors.randk import RandK
from mpimasha.errors import UserError
from mpimasha.methods.base import Method
from mpimasha.state import PerWorker, Shared
from mpimasha.stepsizes import anchor_probability, check_tau, second_moment


class Masha1(Method):
    """MASHA1 (Beznosikov et al. 2022, arXiv 2110.03313), any prox.

    The skeleton is Algorithm 1 of Alacaoglu and Malitsky (arXiv 2102.08352); where the
    compressor stands in it is reconstructed, the paper's text was not at hand.  The
    theorem is ours, proved in docs/theory.rst: gamma <= sqrt((1 - tau)/2)/C and
    tau >= 1/3 give the factor 1 - min(gamma mu/2, (1 - tau)/4) on
    tau |z - z*|^2 + |w - z*|^2 (both weights 1 for ``reference="previous"``).

    Parameters
    ----------
    up : Compressor
        Unbiased; default ``RandK(0.05)``.
    gamma : float or str
    tau : float or "theory"
        1 - tau is the probability of a refresh; theory: min(bits of a message / bits of a
        dense one, 2/3).
    reference : {"new", "previous"}
        What the refresh makes the reference point: z^{k+1} or z^k.
    """

    name = "masha1"
    theorem = "MASHA1: gamma = sqrt((1 - tau)/2)/C, factor 1 - min(gamma mu/2, (1 - tau)/4)"
    uses_refresh = True
    z, z_k, zhalf, w, Fw = Shared(), Shared(), Shared(), Shared(), Shared()
    Fw_m = PerWorker()

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory",
                 reference: str = "new"):
        super().__init__(up, gamma)
        self._tau = check_tau(tau)
        if self.from_theory and tau != "theory" and tau < 1 / 3:
            raise UserError(f"method.gamma = 'theory' needs method.tau of at least 1/3, not {tau!r}: raise it or give "
                            f"method.gamma as a number")
        if reference not in ("new", "previous"):
            raise UserError(f"method.reference = {reference!r} is unknown: use new or previous")
        self.reference = reference

    def default_compressor(self):
        return RandK(0.05)

    def accept(self, compressor):
        if not compressor.unbiased:
            raise UserError(f"compressor.up = '{compressor}' is biased and {self.name} needs an unbiased one (randk, "
                            f"permk, qsgd, identity): use it with masha2")

    def set_parameters(self, constants):
        self.tau = 1 - anchor_probability(self.up.compressor) if self._tau == "theory" else self._tau
        super().set_parameters(constants)

    def theory_gamma(self, constants):
        return np.sqrt((1 - self.tau) / 2) / second_moment(self.up.compressor, constants)

    def theory_factor(self, constants):
        tau, gammaC = self.tau, self.gamma * second_moment(self.up.compressor, constants)
        slack = min(tau, 1 - tau - gammaC**2)
        return 1 - min(self.gamma * constants.mu, slack) / 2 if slack > 0 else None

    def start(self):
        self.z = self.w = self.z0
        self.Fw = self.refresh.mean(self.fleet.F(self.w), 0, sent=self.Fw_m)

    def step(self, k):
        gamma, tau, prox, F = self.gamma, self.tau, self.prox, self.fleet.F
        zbar = tau * self.z + (1 - tau) * self.w                          # zbar^k
        self.zhalf = prox(zbar - gamma * self.Fw, gamma)                  # z^{k+1/2}
        g = self.up.mean(F(self.zhalf) - self.Fw_m, k)                    # 1/M sum Q_m(F_m(z^{k+1/2}) - F_m(w^k))
        if self.reference == "previous":
            self.z_k = self.z
        self.z = prox(zbar - gamma * (self.Fw + g), gamma)                # z^{k+1}
        self.move_reference(k)

    def move_reference(self, k):
        """With probability 1 - tau, w^{k+1} = z^{k+1} (or z^k) and a dense exchange of F_m(w^{k+1})."""
        if self.fleet.coin(k, 1 - self.tau):
            self.w = self.z if self.reference == "new" else self.z_k
            self.Fw = self.refresh.mean(self.fleet.F(self.w), k + 1, sent=self.Fw_m)
