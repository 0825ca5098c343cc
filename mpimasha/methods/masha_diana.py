"""MASHA-DIANA: the optimistic step towards an averaged anchor, with learnt references."""

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.compressors.randk import RandK
from mpimasha.errors import UserError
from mpimasha.fleet.draw import check_share
from mpimasha.methods.base import Method
from mpimasha.methods.stepsizes import check_tau, needed, noise
from mpimasha.methods.traits import Learning
from mpimasha.state import Shared, buffers


class MashaDiana(Learning, Method):
    """MASHA-DIANA (ours): DIANA-OG around zbar = tau z + (1 - tau) w with w an average of the z.

    Made for sparse compressors with a large q, whose noise the anchor damps.  No refresh and no coin.  The theorem, in
    docs/theory.rst, does not show what the anchor gains.

    Parameters
    ----------
    up : Compressor
        Unbiased; default ``RandK(0.05)``.
    gamma : float or str
        "theory", "safe" (0.2 sqrt(1 - tau)/C, stable in the worst of the cases that we tried), a number or "0.25/L";
        0.7 sqrt(1 - tau)/C is good on random matrices and diverges on some rotations.
    tau : float or "theory"
        Theory: 1 - tau = min(0.7, 3/q), observed to be good.
    participation : float
        Part of the workers in a round: below 1, or a count; 0 for all.
    """

    name = "masha_diana"
    standing, rules = "proved", ("theory", "safe")
    theorem = ("MASHA-DIANA: gamma = sqrt(tau/4)/sqrt(4 L^2 + 52 B L_rms^2/a^2), factor "
               "1 - min(gamma mu/2, tau/4, (1 - tau)/2, a/4)")
    z, w, x, e = Shared(), Shared(), Shared(), Shared()

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory",
                 participation: float = 0):
        super().__init__(up, gamma)
        self._tau = check_tau(tau)
        if tau == 0 and self.rule:
            raise UserError(f"method.tau = {tau} leaves only the anchor, and no rule knows method.gamma then: use a "
                            f"number above 0, or diana_og")
        self.participation = check_share("method.participation", participation)

    def default_compressor(self):
        return RandK(0.05)

    # -- theory --------------------------------------------------------------------------

    def set_parameters(self, constants):
        self.tau = 1 - min(0.7, 3 / self.up.compressor.q) if self._tau == "theory" else self._tau
        super().set_parameters(constants)

    @property
    def _rate(self):
        """a: how fast the h_m are sure to learn."""
        return self.up.memory.share * self.up.memory.rate

    def theory_gamma(self, constants):
        """gamma^2 = (tau/4) / (4 L^2 + 52 B L_rms^2/a^2), a = share/q."""
        B, square = noise(self.up.compressor, constants.workers), 4 * needed(constants.L, "L")**2
        if B:
            square += 52 * B * (needed(constants.L_rms, "L_m") / self._rate)**2
        return np.sqrt(self.tau / 4 / square)

    def theory_factor(self, constants):
        p = 1 - self.tau
        if not 0 < p < 1 or self.gamma > self.theory_gamma(constants) * (1 + 1e-12):
            return None
        return 1 - min(self.gamma * constants.mu / 2, self.tau / 4, p / 2, self._rate / 4)

    def safe_gamma(self, constants):
        """0.2 sqrt(1 - tau)/C: three quarters of what was stable on rotations for every q tried."""
        B = noise(self.up.compressor, constants.workers)
        C = np.sqrt(needed(constants.L, "L")**2 + B * needed(constants.L_rms, "L_m")**2)
        return 0.2 * np.sqrt(1 - self.tau) / C

    @property
    def basis(self):
        safe = "safe step: 0.2 sqrt(1 - tau)/C, stable in the worst case tried"
        return safe if self.rule == "safe" else super().basis

    # -- the algorithm ---------------------------------------------------------------------

    def start(self):
        self.z = self.w = self.x = self.z0
        self.e = self.learn()                                             # h_m = F_m(z^0), e = H = mean h_m

    def step(self, k):
        gamma, tau, prox, draw = self.gamma, self.tau, self.prox, self.draw(k)
        zbar = tau * self.z + (1 - tau) * self.w
        self.x = prox(zbar - gamma * self.e, gamma)
        self.e = self.up.mean(self.fleet.F(self.x), k, draw)              # H + mean Q_m(F_m(x) - h_m)
        self.z = prox(zbar - gamma * self.e, gamma)
        self.w = tau * self.w + (1 - tau) * self.z

    @property
    def probe(self):
        return buffers(self)["x"]
