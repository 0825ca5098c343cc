"""MASHA2: contractive compression with error feedback around a reference point."""

import numpy as np

from mpimasha.channels.memory import ErrorFeedback
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.methods.masha1 import Masha1
from mpimasha.methods.stepsizes import contraction, needed


class Masha2(Masha1):
    """MASHA2 (Beznosikov et al. 2022, arXiv 2110.03313); h = 0.

    Reconstructed, the paper's text was not at hand; we have no proof of our own.  The step
    size gamma = sqrt(1 - tau)/(2 delta L_rms) was stable for the worst linear contraction
    at every delta tried.

    Parameters
    ----------
    up : Compressor
        Contractive, default ``TopK(0.05)``; an unbiased one enters as Q/q.
    gamma, tau, reference
        As for `Masha1`.
    down : Compressor, optional
        The server's, with error feedback at the server; contractive, or unbiased as Q/q.
    refresh : Compressor, optional
        As for `Masha1`; no step size is known then.
    batch, participation : float
        As for `Masha1`; who does not take part keeps its e_m.  No step size is known then.
    """

    name = "masha2"
    accepts, standing, rules = "contractive or unbiased", "reconstructed", ("theory",)
    theorem = "MASHA2: gamma = sqrt(1 - tau)/(2 delta L_rms), observed to be stable, not proved by us"
    theorem_of_compressed_refresh = None
    memory = down_memory = ErrorFeedback
    takes_prox = False

    def default_compressor(self):
        return TopK(0.05)

    def theory_gamma(self, constants):
        """gamma = sqrt(1 - tau)/(2 delta delta_serv L_rms)."""
        if self.batch or self.participation:
            raise UserError(f"method.gamma = 'theory': no step size is known for {self.name} with method.batch or "
                            f"method.participation, give a number or '0.25/L'")
        if self.refresh is not None:
            raise UserError("method.gamma = 'theory': no step size is known for masha2 with a compressed refresh, give "
                            "a number or '0.25/L'")
        delta = contraction(self.up.compressor)
        delta_serv = 1.0 if self._down is None else contraction(self._down)
        return np.sqrt(1 - self.tau) / (2 * delta * delta_serv * needed(constants.L_rms, "L_m"))

    def theory_factor(self, constants):
        return None

    def step(self, k):
        gamma, tau, prox, D, draw = self.step_size(k), self.tau, self.prox, self.metric, self.draw(k)
        zbar = tau * self.z + (1 - tau) * self.w                          # zbar^k
        self.zhalf = prox(zbar - gamma * D(self.Fw, self.practice.extrapolation), gamma)  # z^{k+1/2}
        # s = 1/M sum C_m(gamma (F_m(z^{k+1/2}) - F_m(w^k)) + e_m)
        s = self.up.mean(gamma * self.difference(draw), k, draw)
        if self.reference == "previous":
            self.z_k = self.z
        self.z = prox(zbar - D(gamma * self.Fw + s), gamma)               # z^{k+1}
        self.move_reference(k)
