"""MASHA1: unbiased compression around a reference point."""

import numpy as np

from mpimasha.channels.memory import Contracted, ErrorFeedback, Plain
from mpimasha.compressors.base import Compressor
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.randk import RandK
from mpimasha.errors import UserError
from mpimasha.fleet.draw import check_share, share
from mpimasha.kernels.updates import squared_distance
from mpimasha.methods.adaptive import Adaptive
from mpimasha.methods.base import check_accepted
from mpimasha.methods.stepsizes import (anchor_probability, batch_rms, check_tau, contraction, moments, needed,
                                        second_moment)
from mpimasha.state import PerWorker, Shared

_RATIO = 0.8  # of |x - w| sqrt(1 - tau) to |G - H| in the adaptive step; 0.4 to 1 worked


class Masha1(Adaptive):
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
        "theory", a number, "0.25/L", or with a compressed refresh "adaptive" (observed).
    tau : float or "theory"
        1 - tau is the probability of a refresh; theory: bits of a round over bits of a
        refresh, at most 2/3, with batches at most their share of the samples.
    reference : {"new", "previous"}
        What the refresh makes the reference point: z^{k+1} or z^k.
    down : Compressor, optional
        The server's, unbiased; default none.
    refresh : Compressor, optional
        Of the change of each worker's reference operator; default the identity, a dense
        exchange.  Contractive, or unbiased and then scaled by 1/q.
    refresh_down : Compressor, optional
        Of what the server sends in a compressed refresh, with error feedback; contractive, or unbiased as Q/q.
        Default none: it sends a dense vector.  No step size is known.
    batch : float
        Samples of each worker that a round looks at, the same at both points: a part
        below 1 or a count; 0 for all.  Refreshes take all.  Reconstructed.
    participation : float
        Workers that take part in a round, likewise; in refreshes all do.  Reconstructed.
    """

    name = "masha1"
    accepts, standing, rules = "unbiased", "proved", ("theory", "adaptive")
    trains = ("extrapolation", "metric", "damping", "warmup", "decay")
    theorem = "MASHA1: gamma = sqrt((1 - tau)/2)/C, factor 1 - min(gamma mu/2, (1 - tau)/4)"
    theorem_of_compressed_refresh = ("MASHA1 with compressed refresh: gamma = sqrt(p/(8 C^2 + 64 (A + B) r "
                                     "L_rms^2)), p = 1 - tau, factor 1 - min(gamma mu/2, p (1 - rho)/4)")
    down_memory = Plain
    z, z_k, zhalf, w, Fw, G = Shared(), Shared(), Shared(), Shared(), Shared(np.float64), Shared()
    Fw_m = PerWorker(np.float64)   # F_m(w), or the h_m that stands for it; with batches F_m(w) less what crossed of it
    h_m = PerWorker(np.float64)    # with batches and a compressed refresh, what crossed

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", tau: float | str = "theory",
                 reference: str = "new", down: Compressor | None = None, refresh: Compressor | None = None,
                 batch: float = 0, participation: float = 0, refresh_down: Compressor | None = None):
        super().__init__(up, gamma)
        self._tau = check_tau(tau)
        if self.from_theory and tau != "theory" and tau < 1 / 3:
            raise UserError(f"method.gamma = 'theory' needs method.tau of at least 1/3, not {tau!r}: raise it or give "
                            f"method.gamma as a number")
        if reference not in ("new", "previous"):
            raise UserError(f"method.reference = {reference!r} is unknown: use new or previous")
        self.reference = reference
        self.batch = check_share("method.batch", batch)
        self.participation = check_share("method.participation", participation)
        self.down_compressor = None if down is None or down.name == "identity" else down
        if self.down_compressor is not None:
            check_accepted(self, "down", down)
        self.refresh_compressor = None if refresh is None or refresh.name == "identity" else refresh
        self.refresh_down_compressor = None if refresh_down is None or refresh_down.name == "identity" else refresh_down
        if self.refresh_down_compressor is not None and self.refresh_compressor is None:
            raise UserError(f"compressor.refresh_down = '{refresh_down}' belongs to a compressed refresh: set "
                            f"compressor.refresh too, as in 'absmax:127,bucket=256,nearest'")
        if self.refresh_compressor is not None:
            self.theorem = self.theorem_of_compressed_refresh
        elif self.adapts:
            raise UserError("method.gamma = 'adaptive' is for a compressed refresh: set compressor.refresh, as in "
                            "'absmax:3,nearest', or use diana_og")

    def default_compressor(self):
        return RandK(0.05)

    def open_channels(self, channel):
        down = None if self.down_compressor is None else (self.down_compressor, self.down_memory())
        self.up = channel(self.compressor, self.memory(), "uplink", down, senders=self.senders)
        compressed = self.refresh_compressor is not None                  # then later changes are added to H
        self.dense = channel(Identity(), Plain(), "refresh", precise=compressed)
        self.refresh = None
        if compressed:
            back = self.refresh_down_compressor
            down = None if back is None else (back, ErrorFeedback())
            self.refresh = channel(self.refresh_compressor, Contracted(), "refresh", down, precise=True)

    @property
    def unused(self):
        unused = () if self.reference == "previous" else ("z_k",)
        unused += () if self.adapts else ("G",)
        return unused + (() if self.batch and self.refresh_compressor is not None else ("h_m",))

    @property
    def exchanges(self):
        return [(self.up, 1.0), (self.refresh or self.dense, self.refreshes)]

    @property
    def refreshes(self):
        return 1 - self.tau

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
            most = 2 / 3
            if self.batch:
                most = min(most, float(np.mean([share(self.batch, r) / r for r in constants.components])))
            self.tau = 1 - anchor_probability(self.up.compressor, self._down, renewal, self.up.memory.share, most)
        else:
            self.tau = self._tau
        super().set_parameters(constants)

    def _second_moment(self, constants):
        return second_moment(self.up.compressor, constants, self._down,
                             batch_rms(constants, self.batch) if self.batch else None)

    def theory_gamma(self, constants):
        """gamma <= sqrt((1 - tau)/2)/C.

        With a compressed refresh, rho its decay, p = 1 - tau, r = rho (1 + rho)/(1 - rho)^2:
        gamma <= sqrt(p / (8 C^2 + 64 (A + B) r L_rms^2)).
        """
        p, C = 1 - self.tau, self._second_moment(constants)
        if self.refresh is None:
            return np.sqrt(p / 2) / C
        if self.reference == "previous":
            raise UserError("method.gamma = 'theory': with a compressed refresh the theorem is for method.reference = "
                            "'new', use that or give a number")
        if self.batch or self.refresh.server is not None:
            raise UserError("method.gamma = 'theory': the theorem of a compressed refresh is for whole operators and a "
                            "dense downlink of refreshes: give a number, or leave method.batch and "
                            "compressor.refresh_down out")
        rho, weight = self._rho, sum(moments(self.up.compressor, constants.workers))
        weight *= 1.0 if self._down is None else self._down.q
        r = rho * (1 + rho) / (1 - rho)**2
        return np.sqrt(p / (8 * C**2 + 64 * weight * r * needed(constants.L_rms, "L_m")**2))

    def theory_factor(self, constants):
        p, mu = 1 - self.tau, constants.mu
        if self.adapts:
            return None
        if self.refresh is not None:
            proved = self.reference == "new" and not self.batch and self.refresh.server is None and p <= 2 / 3
            proved = proved and self.gamma <= self.theory_gamma(constants)
            return 1 - min(self.gamma * mu / 2, p * (1 - self._rho) / 4) if proved else None
        slack = min(self.tau, p - (self.gamma * self._second_moment(constants))**2)
        return 1 - min(self.gamma * mu, slack) / 2 if slack > 0 else None

    def adaptive_gamma(self, constants):
        """The first step: a tenth of 1/L, which the run soon leaves; 0 where L is not known."""
        return 0.0 if constants.L is None else 0.1 / constants.L

    @property
    def basis(self):
        return "adaptive step: 0.8 sqrt(1 - tau) |x - w|/|G - H|, averaged" if self.adapts else super().basis

    # -- the algorithm -----------------------------------------------------------------

    def start(self):
        self.z = self.w = self.z0
        self.exchange_reference(0)
        self.metric.learn(self.Fw)
        self.start_step(self.Fw)

    def step(self, k):
        gamma, tau, prox, D, draw = self.step_size(k), self.tau, self.prox, self.metric, self.draw(k)
        zbar = tau * self.z + (1 - tau) * self.w                          # zbar^k
        self.zhalf = prox(zbar - gamma * D(self.Fw, self.practice.extrapolation), gamma)  # z^{k+1/2}
        g = self.up.mean(self.difference(draw), k, draw)                  # 1/M sum Q_m(F_m(z^{k+1/2}) - F_m(w^k))
        if self.reference == "previous":
            self.z_k = self.z
        if self.adapts:
            self.G = self.Fw + g
        self.z = prox(zbar - gamma * D(self.Fw + g), gamma)               # z^{k+1}
        if self.adapts:
            self.adapt()
        self.move_reference(k)

    def difference(self, draw):
        """F_m(z^{k+1/2}) - F_m(w^k), one vector a worker; of batches the same at both points."""
        F = self.fleet.F
        if not self.batch:
            return F(self.zhalf) - self.Fw_m
        return F(self.zhalf, draw) - F(self.w, draw) + self.Fw_m

    def move_reference(self, k):
        """With probability 1 - tau, w^{k+1} = z^{k+1} (or z^k), and the workers' operators there are sent."""
        if not self.fleet.coin(k, 1 - self.tau):
            return
        self.w = self.z if self.reference == "new" else self.z_k
        if self.refresh is None:
            self.exchange_reference(k + 1)
        else:                                                             # h_m += C(F_m(w^{k+1}) - h_m), H = mean h_m
            known, lost = (self.h_m, self.Fw_m) if self.batch else (self.Fw_m, None)
            self.Fw = self.Fw + self.refresh.mean(self.fleet.F(self.w) - known, k + 1, added=known, lost=lost)
        self.metric.learn(self.Fw)

    def exchange_reference(self, k):
        """Whole operators of all workers at w, uncompressed."""
        if not self.batch:
            self.Fw = self.dense.mean(self.fleet.F(self.w), k, sent=self.Fw_m)
        else:                                                             # what the wire's rounding cost is sent later
            sent = None if self.refresh is None else self.h_m
            self.Fw = self.dense.mean(self.fleet.F(self.w), k, sent=sent, lost=self.Fw_m)

    def adapt(self):
        x, w, G, H = map(self.point, ("zhalf", "w", "G", "Fw"))
        self.follow(squared_distance(x, w), squared_distance(G, H), _RATIO * np.sqrt(1 - self.tau))
