"""MASHA2: contractive compression with error feedback around a reference point."""

import numpy as np

from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.memory import ErrorFeedback
from mpimasha.methods.masha1 import Masha1
from mpimasha.stepsizes import contraction, needed


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
    """

    name = "masha2"
    theorem = "MASHA2: gamma = sqrt(1 - tau)/(2 delta L_rms), observed to be stable, not proved by us"
    theorem_of_compressed_refresh = None
    memory = down_memory = ErrorFeedback

    def default_compressor(self):
        return TopK(0.05)

    def accept(self, compressor):
        if not (compressor.contractive or compressor.unbiased):
            raise UserError(f"compressor.up = '{compressor}' is neither contractive nor unbiased: masha2 needs one of "
                            f"them")

    def accept_down(self, compressor):
        if not (compressor.contractive or compressor.unbiased):
            raise UserError(f"compressor.down = '{compressor}' is neither contractive nor unbiased: masha2 needs one "
                            f"of them")

    def check_problem(self, problem):
        if not problem.prox.is_zero:
            raise UserError(f"method.name = 'masha2' cannot take the prox that {problem.name} has on communicated "
                            f"coordinates: use masha1 (or set problem.radius = 0 where there is one)")

    def theory_gamma(self, constants):
        """gamma = sqrt(1 - tau)/(2 delta delta_serv L_rms)."""
        if self.refresh is not None:
            raise UserError("method.gamma = 'theory': no step size is known for masha2 with a compressed refresh, give "
                            "a number or '0.25/L'")
        delta = contraction(self.up.compressor)
        delta_serv = 1.0 if self._down is None else contraction(self._down)
        return np.sqrt(1 - self.tau) / (2 * delta * delta_serv * needed(constants.L_rms, "L_m"))

    def theory_factor(self, constants):
        return None

    def step(self, k):
        gamma, tau, F = self.gamma, self.tau, self.fleet.F
        zbar = tau * self.z + (1 - tau) * self.w                          # zbar^k
        self.zhalf = zbar - gamma * self.Fw                               # z^{k+1/2}
        # s = 1/M sum C_m(gamma (F_m(z^{k+1/2}) - F_m(w^k)) + e_m)
        s = self.up.mean(gamma * (F(self.zhalf) - self.Fw_m), k)
        if self.reference == "previous":
            self.z_k = self.z
        self.z = zbar - gamma * self.Fw - s                               # z^{k+1}
        self.move_reference(k)
