"""Optimistic MASHA: a reference point, and one operator call a round."""

from mpimasha.channels.memory import Plain
from mpimasha.compressors.base import Compressor
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.methods.base import Method
from mpimasha.methods.stepsizes import anchor_probability, check_tau
from mpimasha.state import PerWorker, Shared


class OptimisticMasha(Method):
    """Optimistic MASHA (Beznosikov and Gasnikov 2022, arXiv 2206.09446), any prox; reconstructed, no theorem of ours.

    D = F(w-) + 1/M sum_m Q_m(F_m(z) - F_m(w-) + F_m(z) - F_m(z-)), where w- and z- are those of the round before;
    F_m(z) serves as F_m(w) when w = z, so that a refresh costs an exchange and no operator.

    Parameters
    ----------
    up : Compressor
        Unbiased; default PermK, which suits it best.
    gamma : float or str
        A number or "0.25/L".
    tau : float or "theory"
        1 - tau is the probability of a refresh; default 0.4 of what `Masha1` takes.
    """

    name = "optimistic_masha"
    accepts, standing = "unbiased", "reconstructed"
    z, w, Fw = Shared(), Shared(), Shared()
    F_m, Fz_m, Fw_m = PerWorker(), PerWorker(), PerWorker()

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory"):
        super().__init__(up, gamma)
        self._tau = check_tau(tau)

    def default_compressor(self):
        return PermK()

    def open_channels(self, channel):
        super().open_channels(channel)
        self.dense = channel(Identity(), Plain(), "refresh")

    def set_parameters(self, constants):
        self.tau = 1 - 0.4 * anchor_probability(self.up.compressor) if self._tau == "theory" else self._tau
        super().set_parameters(constants)

    @property
    def exchanges(self):
        return [(self.up, 1.0), (self.dense, self.refreshes)]

    @property
    def refreshes(self):
        return 1 - self.tau

    def start(self):
        self.z = self.w = self.z0
        self.Fz_m = self.fleet.F(self.z)                                  # F_m(z^{-1}), z^{-1} = w^{-1} = z^0
        self.Fw = self.dense.mean(self.Fz_m, 0, sent=self.Fw_m)           # F_m(w^{-1})

    def step(self, k):
        gamma, tau = self.gamma, self.tau
        self.F_m = self.fleet.F(self.z)                                   # F_m(z^k)
        D = self.Fw + self.up.mean(2 * self.F_m - self.Fw_m - self.Fz_m, k)
        self.z = self.prox(tau * self.z + (1 - tau) * self.w - gamma * D, gamma)   # z^{k+1}
        if k and self.fleet.coin(k - 1, 1 - tau):                         # w^k = z^k: F_m(w^k) for the next round
            self.Fw = self.dense.mean(self.F_m, k, sent=self.Fw_m)
        self.Fz_m = self.F_m
        if self.fleet.coin(k, 1 - tau):
            self.w = self.z                                               # w^{k+1}
