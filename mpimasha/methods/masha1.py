"""MASHA1: unbiased compression around a reference point."""

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.randk import RandK
from mpimasha.errors import UserError
from mpimasha.memory import Contracted, Plain
from mpimasha.methods.base import Method
from mpimasha.state import PerWorker, Shared
from mpimasha.stepsizes import anchor_probability, check_tau, contraction, moments, needed, second_moment


class Masha1(Method):
    """MASHA1 (Beznosikov et al. 2022, arXiv 2110.03313), any prox.

    The skeleton is Algorithm 1 of Alacaoglu and Malitsky (arXiv 2102.08352); where the
    compressor stands in it is reconstructed, the paper's text was not at hand.  The
    theorems are ours, proved in docs/theory.rst: gamma <= sqrt((1 - tau)/2)/C and
    tau >= 1/3 give the factor 1 - min(gamma mu/2, (1 - tau)/4) on
    tau |z - z*|^2 + |w - z*|^2 (both weights 1 for ``reference="previous"``); with a
    compressed refresh see `theory_gamma`.

    Parameters
    ----------
    up : Compressor
        Unbiased; default ``RandK(0.05)``.
    gamma : float or str
    tau : float or "theory"
        1 - tau is the probability of a refresh; theory: bits of a round over bits of a
        refresh, at most 2/3.
    reference : {"new", "previous"}
        What the refresh makes the reference point: z^{k+1} or z^k.
    down : Compressor, optional
        The server's, unbiased; default none.
    refresh : Compressor, optional
        Of the change of each worker's reference operator; default the identity, a dense
        exchange.  Contractive, or unbiased and then scaled by 1/q.
    """

    name = "masha1"
    theorem = "MASHA1: gamma = sqrt((1 - tau)/2)/C, factor 1 - min(gamma mu/2, (1 - tau)/4)"
    theorem_of_compressed_refresh = ("MASHA1 with compressed refresh: gamma = sqrt(p/(8 C^2 + 64 (A + B) r "
                                     "L_rms^2)), p = 1 - tau, factor 1 - min(gamma mu/2, p (1 - rho)/4)")
    down_memory = Plain
    z, z_k, zhalf, w, Fw = Shared(), Shared(), Shared(), Shared(), Shared(np.float64)
    Fw_m = PerWorker(np.float64)                  # F_m(w), or the h_m that stands for it

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory",
                 reference: str = "new", down: Compressor | None = None, refresh: Compressor | None = None):
        super().__init__(up, gamma)
        self._tau = check_tau(tau)
        if self.from_theory and tau != "theory" and tau < 1 / 3:
            raise UserError(f"method.gamma = 'theory' needs method.tau of at least 1/3, not {tau!r}: raise it or give "
                            f"method.gamma as a number")
        if reference not in ("new", "previous"):
            raise UserError(f"method.reference = {reference!r} is unknown: use new or previous")
        self.reference = reference
        self.down_compressor = None if down is None or down.name == "identity" else down
        if self.down_compressor is not None:
            self.accept_down(down)
        self.refresh_compressor = None if refresh is None or refresh.name == "identity" else refresh
        if self.refresh_compressor is not None:
            self.theorem = self.theorem_of_compressed_refresh

    def default_compressor(self):
        return RandK(0.05)

    def accept(self, compressor):
        if not compressor.unbiased:
            raise UserError(f"compressor.up = '{compressor}' is biased and {self.name} needs an unbiased one (randk, "
                            f"permk, qsgd, absmax, natural, identity): use it with masha2")

    def accept_down(self, compressor):
        if not compressor.unbiased:
            raise UserError(f"compressor.down = '{compressor}' is biased and {self.name} needs an unbiased one (qsgd, "
                            f"randk): use it with masha2")

    def open_channels(self, channel):
        down = None if self.down_compressor is None else (self.down_compressor, self.down_memory())
        self.up = channel(self.compressor, self.memory(), "uplink", down)
        compressed = self.refresh_compressor is not None                  # then later changes are added to H
        self.dense = channel(Identity(), Plain(), "refresh", precise=compressed)
        self.refresh = None
        if compressed:
            self.refresh = channel(self.refresh_compressor, Contracted(), "refresh", precise=True)

    @property
    def exchanges(self):
        return [(self.up, 1.0), (self.refresh or self.dense, 1 - self.tau)]

    # -- theory ------------------------------------------------------------------------

    @property
    def _down(self):
        return None if self.up.server is None else self.up.server.compressor

    @property
    def _rho(self):
        """E|C(v) - v|^2 <= rho |v|^2 of the refresh."""
        return 1 - 1 / contraction(self.refresh.compressor)

    def set_parameters(self, constants):
        if self._tau == "theory":
            renewal = None if self.refresh is None else self.refresh.compressor
            self.tau = 1 - anchor_probability(self.up.compressor, self._down, renewal)
        else:
            self.tau = self._tau
        super().set_parameters(constants)

    def theory_gamma(self, constants):
        """gamma <= sqrt((1 - tau)/2)/C.

        With a compressed refresh, rho its decay, p = 1 - tau, r = rho (1 + rho)/(1 - rho)^2:
        gamma <= sqrt(p / (8 C^2 + 64 (A + B) r L_rms^2)).
        """
        p, C = 1 - self.tau, second_moment(self.up.compressor, constants, self._down)
        if self.refresh is None:
            return np.sqrt(p / 2) / C
        if self.reference == "previous":
            raise UserError("method.gamma = 'theory': with a compressed refresh the theorem is for method.reference = "
                            "'new', use that or give a number")
        rho, weight = self._rho, sum(moments(self.up.compressor, constants.workers))
        weight *= 1.0 if self._down is None else self._down.q
        r = rho * (1 + rho) / (1 - rho)**2
        return np.sqrt(p / (8 * C**2 + 64 * weight * r * needed(constants.L_rms, "L_m")**2))

    def theory_factor(self, constants):
        p, mu = 1 - self.tau, constants.mu
        if self.refresh is not None:
            proved = self.reference == "new" and p <= 2 / 3 and self.gamma <= self.theory_gamma(constants)
            return 1 - min(self.gamma * mu / 2, p * (1 - self._rho) / 4) if proved else None
        gammaC = self.gamma * second_moment(self.up.compressor, constants, self._down)
        slack = min(self.tau, p - gammaC**2)
        return 1 - min(self.gamma * mu, slack) / 2 if slack > 0 else None

    # -- the algorithm -----------------------------------------------------------------

    def start(self):
        self.z = self.w = self.z0
        self.Fw = self.dense.mean(self.fleet.F(self.w), 0, sent=self.Fw_m)

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
        """With probability 1 - tau, w^{k+1} = z^{k+1} (or z^k), and the workers' operators there are sent."""
        if not self.fleet.coin(k, 1 - self.tau):
            return
        self.w = self.z if self.reference == "new" else self.z_k
        F = self.fleet.F(self.w)
        if self.refresh is None:
            self.Fw = self.dense.mean(F, k + 1, sent=self.Fw_m)
        else:                                                             # h_m += C(F_m(w^{k+1}) - h_m), H = mean h_m
            self.Fw = self.Fw + self.refresh.mean(F - self.Fw_m, k + 1, added=self.Fw_m)
