"""DIANA-OG: the optimistic step on compressed operators whose reference is learnt; the default method."""

import numpy as np

from mpimasha.channels.memory import Shift
from mpimasha.compressors.absmax import AbsMax
from mpimasha.compressors.base import Compressor
from mpimasha.errors import UserError
from mpimasha.fleet.draw import check_share, share
from mpimasha.kernels.updates import squared_distance
from mpimasha.methods.adaptive import Adaptive
from mpimasha.methods.base import check_accepted
from mpimasha.methods.stepsizes import needed, noise
from mpimasha.methods.traits import Learning
from mpimasha.state import Shared

LEVELS = (1, 2, 3, 7, 15)  # S of absmax:S among which the default chooses
GUESS = 3                # S where no constant is known
_SAFE = 0.78            # of the step size at which the observed envelope of stability ends
_DISCOUNT = 0.6         # of the noise in the choice of S, for the adaptive step
_CAP = 8.0              # of the adaptive step size, in safe ones
_RATIO = 0.45           # of |x - x'| to |e - e'|; from 1/sqrt 3 on runs diverge


class DianaOG(Learning, Adaptive):
    """DIANA-OG (ours): Popov's step, and messages Q_m(F_m(x) - h_m) around memories h_m that learn F_m(z*).

    One operator and one message a round, no refresh, any prox, any heterogeneity.  The theorem is in docs/theory.rst.

    Parameters
    ----------
    up : Compressor, optional
        Unbiased; default absmax:S with the S of 1, 2, 3, 7, 15 that costs the fewest bits for its step size.
    gamma : float or str
        "adaptive" (the default: needs no constant; is held below eight times the safe step near z^0 if L and L_m are
        known), "safe" (stable in the worst of the cases that we tried), "theory", a number or "0.25/L".
    down : Compressor, optional
        The server's, unbiased, with a Shift memory.
    participation : float
        Part of the workers in a round: below 1, or a count; 0 for all.
    batch : float
        Samples of each worker that a round looks at, likewise.  Batches leave a floor, and gamma must be a number.
    """

    name = "diana_og"
    standing, rules = "proved", ("adaptive", "safe", "theory")
    trains = ("extrapolation", "metric", "damping", "warmup", "decay")
    theorem = ("DIANA-OG: gamma = (11 L^2 + 139 (1 + 7.5 w) B L_rms^2/a^2 + c w L^2/a_s^2)^(-1/2), factor "
               "1 - min(gamma mu, 1/8, a/4, a_s/4)")
    z, x, x_prev, e, e_prev = Shared(), Shared(), Shared(), Shared(), Shared()

    def __init__(self, up: Compressor | None = None, gamma: float | str = "adaptive", down: Compressor | None = None,
                 participation: float = 0, batch: float = 0):
        super().__init__(up, gamma)
        self.participation = check_share("method.participation", participation)
        self.batch = check_share("method.batch", batch)
        if self.batch and self.rule:
            raise UserError(f"method.gamma = {self.rule!r} does not go with method.batch = {batch}: give a number")
        self.down_compressor = None if down is None or down.name == "identity" else down
        if self.down_compressor is not None:
            check_accepted(self, "down", down)
        self._open = up is None

    def default_compressor(self):
        return AbsMax(1)

    # -- what is chosen from constants ----------------------------------------------------

    @property
    def choices(self):
        return [AbsMax(s) for s in LEVELS] if self._open else []

    def choose(self, problem, wire, constants):
        """absmax:S with the least bits / step, by the rule that gamma follows; S = 3 where L or L_m is not known."""
        if not self._open:
            return
        constants, senders = self._relevant(constants), share(self.participation, problem.workers)
        self.compressor = AbsMax(GUESS)
        if _known(constants):
            choices = [choice.bind(problem.n, senders, wire, None) for choice in self.choices]
            price = [choice.bits / self._prospect(choice, constants) for choice in choices]
            self.compressor = AbsMax(LEVELS[int(np.argmin(price))])

    def _relevant(self, constants):
        """A step size that follows the run begins with constants near z^0; others must hold everywhere."""
        return constants.near if self.adapts else constants

    def _prospect(self, up, constants):
        """The step size that `up` lets expect."""
        if self.from_theory:
            return theorem_step(up, None, constants)
        return safe_step(up, None, constants, _DISCOUNT if self.adapts else 1.0)

    def open_channels(self, channel):
        typical = not self.from_theory
        down = None if self.down_compressor is None else (self.down_compressor, Shift(typical))
        self.up = channel(self.compressor, Shift(typical), "uplink", down, senders=self.senders)
        self.open_first(channel)

    # -- step sizes ------------------------------------------------------------------------

    @property
    def _down(self):
        return None if self.up.server is None else self.up.server.compressor

    def theory_gamma(self, constants):
        return theorem_step(self.up.compressor, self._down, constants)

    @property
    def _rates(self):
        """(a, a_s): how fast h_m and the server's S are sure to learn."""
        a_s = 1.0 if self._down is None else self.up.server.memory.rate
        return self.up.memory.share * self.up.memory.rate, a_s

    def theory_factor(self, constants):
        sides = [self.up] if self._down is None else [self.up, self.up.server]
        if self.adapts or any(side.memory.rate * side.compressor.q > 1 + 1e-12 for side in sides):
            return None
        if self.gamma > self.theory_gamma(constants) * (1 + 1e-12):
            return None
        return 1 - min(self.gamma * constants.mu, 1 / 8, *(rate / 4 for rate in self._rates))

    def safe_gamma(self, constants):
        return safe_step(self.up.compressor, self._down, constants)

    def adaptive_gamma(self, constants):
        """The first step; 0 where no constant is known: `start` then looks at F(z^0)."""
        near = constants.near
        self.cap = _CAP * self.safe_gamma(near) if _known(near) else np.inf
        return self.cap / _CAP if _known(near) else 0.0

    @property
    def basis(self):
        return {"safe": "safe step: 0.78 of the largest that was stable in the worst case tried",
                "adaptive": "adaptive step: 0.45 |x - x'|/|e - e'|, averaged"
                            + (f", at most {self.cap:.3g}" if self.adapts and np.isfinite(self.cap) else "")
                }.get(self.rule, super().basis)

    # -- the algorithm -----------------------------------------------------------------------

    def start(self):
        self.z = self.x = self.z0
        self.e = self.learn()                                             # h_m = F_m(z^0), e = H = mean h_m
        self.metric.learn(self.e)
        self.start_step(self.e)

    def step(self, k):
        gamma, prox, D, draw = self.step_size(k), self.prox, self.metric, self.draw(k)
        if self.adapts:
            self.x_prev, self.e_prev = self.x, self.e
        self.x = prox(self.z - gamma * D(self.e, self.practice.extrapolation), gamma)
        self.e = self.up.mean(self.fleet.F(self.x, draw), k, draw)        # H + mean Q_m(F_m(x) - h_m)
        D.learn(self.e)
        self.z = prox(self.z - gamma * D(self.e), gamma)
        if self.adapts:
            x, x_prev, e, e_prev = map(self.point, ("x", "x_prev", "e", "e_prev"))
            self.follow(squared_distance(x, x_prev), squared_distance(e, e_prev), _RATIO, self.cap)

    @property
    def probe(self):
        return self.point("x")


def theorem_step(up, down, constants):
    """gamma^-2 = 11 L^2 + 139 (1 + 7.5 w) B L_rms^2/a^2 + c w L^2/a_s^2, w = q_s - 1.

    a = share/q, where `share` of the workers take part; a_s = 1/q_s; c = 139 for a_s <= 1/2, else 208.
    """
    L, a, B = needed(constants.L, "L"), up.workers / constants.workers / up.q, noise(up, constants.workers)
    w, a_s = (0.0, 1.0) if down is None else (down.q - 1, 1 / down.q)
    square = 11 * L**2 + (139 if a_s <= 1 / 2 else 208) * w * (L / a_s)**2
    if B:
        square += 139 * (1 + 7.5 * w) * B * (needed(constants.L_rms, "L_m") / a)**2
    return square**-0.5


def safe_step(up, down, constants, discount=1.0):
    """0.78 (3 L^2 + 6 B L_rms^2/a^2)^(-1/2) with q as it is on Gaussian vectors; observed, not proved.

    The envelope 3 L^2 + 6 q^2 (q - 1) L_rms^2/M held for the worst rotations tried (exact spectral radii); B and a
    stand in it as in the theorem, and so do the terms of a compressed downlink.  `discount`: of the noise, B.
    """
    q = up.typical
    a, B = up.workers / constants.workers / q, discount * noise(up, constants.workers, q)
    w = 0.0 if down is None else down.typical - 1
    L, L_rms = needed(constants.L, "L"), needed(constants.L_rms, "L_m")
    square = 3 * L**2 * (1 + 2 * w * (1 + w)**2) + 6 * (1 + w) * B * (L_rms / a)**2
    return _SAFE * square**-0.5


def _known(constants):
    return constants.L is not None and constants.L_rms is not None
