"""Three Pillars: compression, similarity and local steps."""

import numpy as np

from mpimasha.channels.memory import Plain
from mpimasha.compressors.base import Compressor
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.errors import UserError
from mpimasha.fleet.draw import Draw
from mpimasha.methods.base import Method
from mpimasha.methods.stepsizes import anchor_probability, check_tau, needed
from mpimasha.names import fits, shown
from mpimasha.state import PerWorker, Shared, buffers

ONLY_0 = Draw(np.zeros(1, np.uint32))  # an exchange in which worker 0 alone speaks


class ThreePillars(Method):
    """Three Pillars (Beznosikov, Takáč and Gasnikov 2023, arXiv 2302.07615), h = 0; reconstructed.

    No theorem of ours.  Worker 0 solves gamma F_0(u) + u = v, v = zbar - gamma (F - F_0)(m) with
    zbar = tau z + (1 - tau) m, by extragradient steps of its own, and sends u and F_0(u) to all (billed); the others
    send Q_i[(F_i - F_0)(m) - (F_i - F_0)(u)].  Then z+ = v - gamma F_0(u) + gamma mean Q_i[...], which is
    u + gamma mean Q_i[...] where u is exact, and with any u still in the mean zbar - gamma F(u) (ours).  m+ = u by the
    coin.  Made for workers that are alike.

    Parameters
    ----------
    up : Compressor
        Unbiased; default PermK.
    gamma : float or str
        A number or "0.25/L"; about 1/(Lipschitz constant of the F_m - F).
    tau : float or "theory"
        1 - tau is the probability of a refresh; default: bits of a round over bits of a refresh, at most 2/3.
    inner : int
        Extragradient steps of worker 0 in a round, two operators each.
    """

    name = "three_pillars"
    accepts, standing, takes_prox = "unbiased", "reconstructed", False
    z, m, u, v = Shared(), Shared(), Shared(), Shared()
    Fm, F0m, F0u = Shared(), Shared(), Shared()
    Fm_m, own, ahead = PerWorker(), PerWorker(), PerWorker()

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory",
                 inner: int = 10):
        super().__init__(up, gamma)
        self._tau = check_tau(tau)
        if not fits(inner, int) or not 1 <= inner <= 10_000:
            raise UserError(f"method.inner = {shown(inner)} is out of range: use a whole number from 1 to 10000")
        self.inner = int(inner)

    def default_compressor(self):
        return PermK()

    def open_channels(self, channel):
        super().open_channels(channel)
        self.announce = channel(Identity(), Plain(), "refresh", senders=1)
        self.dense = channel(Identity(), Plain(), "refresh")

    @property
    def exchanges(self):
        return [(self.up, 1.0), (self.announce, 2.0), (self.dense, self.refreshes)]

    @property
    def refreshes(self):
        return 1 - self.tau

    def set_parameters(self, constants):
        self.tau = 1 - anchor_probability(self.up.compressor) if self._tau == "theory" else self._tau
        super().set_parameters(constants)
        L_0 = needed(constants.L_m, "L_m")[0]
        self.inner_gamma = 1 / (np.sqrt(2) * (1 + self.gamma * L_0))      # that of EG for u -> u - v + gamma F_0(u)

    def start(self):
        self.z = self.m = self.z0
        self.Fm = self.dense.mean(self.fleet.F(self.m), 0, sent=self.Fm_m)
        self.F0m = self.announce.mean(self.Fm_m, 0, ONLY_0)

    def step(self, k):
        gamma, tau, F = self.gamma, self.tau, self.fleet.F
        zbar = tau * self.z + (1 - tau) * self.m
        self.v = zbar - gamma * (self.Fm - self.F0m)
        self.solve(zbar)
        self.u = self.announce.mean(self.own, 2 * k + 1, ONLY_0)
        self.F0u = self.announce.mean(F(self.u), 2 * k + 2, ONLY_0)
        g = self.up.mean(self.Fm_m - self.F0m - F(self.u) + self.F0u, k)  # 1/M sum Q_i((F_i - F_0)(m) - (F_i - F_0)(u))
        self.z = self.v - gamma * self.F0u + gamma * g
        if self.fleet.coin(k, 1 - tau):
            self.m, self.F0m = self.u, self.F0u
            self.Fm = self.dense.mean(F(self.m), k + 1, sent=self.Fm_m)

    def solve(self, zbar):
        """own_0, near the u with gamma F_0(u) + u = v: extragradient from zbar on, on the rank of worker 0."""
        if 0 not in self.fleet.owned:
            return
        s, gamma, F = self.inner_gamma, self.gamma, self.fleet.F
        own, ahead = buffers(self)["own"][0], buffers(self)["ahead"][0]
        u, uhalf = self.own.row(0), self.ahead.row(0)
        zbar.write(own)
        for _ in range(self.inner):
            ((1 - s) * u + s * self.v - s * gamma * F(self.own).row(0)).write(ahead)
            (u - s * uhalf + s * self.v - s * gamma * F(self.ahead).row(0)).write(own)
