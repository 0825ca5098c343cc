"""Gradient descent-ascent: the plain step, with every memory."""

from mpimasha.channels.memory import ErrorFeedback
from mpimasha.compressors.base import Compressor
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.fleet.draw import check_share
from mpimasha.methods.base import Method, check_accepted
from mpimasha.methods.stepsizes import needed
from mpimasha.methods.traits import Learning, NoTheorem
from mpimasha.state import Shared


class SGDA(Method):
    """SGDA: z+ = prox(z - gamma F(z)), uncompressed, stochastic with ``batch``.

    Whole operators: |z+ - z*|^2 <= (1 - 2 gamma mu + gamma^2 L^2)|z - z*|^2, least at gamma = mu/L^2; this is the
    one step size that needs mu.  Batches leave a floor.

    Parameters
    ----------
    up : Compressor, optional
    gamma : float or str
    batch, participation : float
        Part of a worker's samples, and of the workers, in a round: below 1, or a count; 0 for all.
    down : Compressor, optional
        The server's, of the same kind and with the same memory as the workers'; default none.
    """

    name = "sgda"
    accepts, standing = "identity", "proved"
    theorem = "SGDA, whole operators: gamma = mu/L^2, factor 1 - mu^2/L^2"
    trains, metrics = ("metric", "damping", "warmup", "decay"), ("none", "rms", "adam")
    z = Shared()

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", batch: float = 0,
                 participation: float = 0, down: Compressor | None = None):
        super().__init__(up, gamma)
        self.batch = check_share("method.batch", batch)
        self.participation = check_share("method.participation", participation)
        self.down_compressor = None if down is None or down.name == "identity" else down
        if self.down_compressor is not None:
            check_accepted(self, "down", down)

    def open_channels(self, channel):
        down = None if self.down_compressor is None else (self.down_compressor, self.memory())
        self.up = channel(self.compressor, self.memory(), "uplink", down, senders=self.senders)

    def theory_gamma(self, constants):
        mu = constants.known("mu")
        if self.batch or self.participation or not mu:
            raise UserError(f"method.gamma = 'theory': {self.name} has a theorem only for whole operators of all "
                            f"workers and a known mu > 0, give a number or '0.25/L'")
        return mu / needed(constants.L, "L")**2

    def theory_factor(self, constants):
        if self.batch or self.participation:
            return None
        factor = 1 - 2 * self.gamma * constants.mu + (self.gamma * constants.L)**2
        return factor if factor < 1 else None

    def step(self, k):
        gamma, D, draw = self.step_size(k), self.metric, self.draw(k)
        g = self.up.mean(self.fleet.F(self.z, draw), k, draw)
        D.learn(g)
        self.z = self.prox(self.z - gamma * D(g), gamma)


class QSGDA(NoTheorem, SGDA):
    """QSGDA: SGDA whose workers send Q_m(F_m(z)).

    Stalls where some F_m(z*) is not 0, at a distance that shrinks with gamma, for what is compressed does not vanish.
    """

    name = "qsgda"
    accepts = "unbiased"

    def default_compressor(self):
        return QSGD(4)


class EFSGDA(NoTheorem, SGDA):
    """EF-SGDA: z+ = z - mean C_m(gamma F_m(z) + e_m), e_m+ = what was not sent; h = 0.

    With a metric, z+ = z - gamma D(mean C_m(F_m(z) + e_m)).  Stalls where some F_m(z*) is not 0, as QSGDA does.
    """

    name = "ef_sgda"
    accepts = "contractive or unbiased"
    memory = ErrorFeedback
    takes_prox = False

    def default_compressor(self):
        return TopK(0.05)

    def step(self, k):
        gamma, D, draw = self.step_size(k), self.metric, self.draw(k)
        inside, outside = (1.0, gamma) if D.learns else (gamma, 1.0)
        s = self.up.mean(inside * self.fleet.F(self.z, draw), k, draw)
        D.learn(s)
        self.z = self.prox(self.z - outside * D(s), gamma)


class DianaSGDA(Learning, NoTheorem, SGDA):
    """DIANA-SGDA: SGDA whose workers send Q_m(F_m(z) - h_m) and learn h_m (Mishchenko et al. 2019).

    Converges to z* at a small step where F is strongly monotone; the theorems that are known need cocoercivity for a
    step that does not shrink with mu/L.
    """

    name = "diana_sgda"

    def default_compressor(self):
        return QSGD(4)
