"""Local extragradient: steps of each worker's own between dense means."""

from mpimasha.compressors.base import Compressor
from mpimasha.errors import UserError
from mpimasha.methods.base import Method
from mpimasha.names import fits, shown
from mpimasha.state import PerWorker, Shared


class LocalEG(Method):
    """Local EG: every worker makes extragradient steps on its own operator, then all take the mean of their points.

    Fewer means, but the mean of the workers' points is not z* where their operators differ: it stalls at a distance
    that grows with gamma, with the steps and with the heterogeneity.  What travels is z_m - z, uncompressed.

    Parameters
    ----------
    up : Compressor, optional
    gamma : float or str
        A number or "0.25/L"; no theorem of ours.
    steps : int
        Of each worker in a round, two operators each.
    """

    name = "local_eg"
    accepts = "identity"
    z, z_m, zhalf_m = Shared(), PerWorker(), PerWorker()

    def __init__(self, up: Compressor | None = None, gamma: float | str = "theory", steps: int = 4):
        super().__init__(up, gamma)
        if not fits(steps, int) or not 1 <= steps <= 10_000:
            raise UserError(f"method.steps = {shown(steps)} is out of range: use a whole number from 1 to 10000")
        self.steps = int(steps)

    def step(self, k):
        gamma, prox, F = self.gamma, self.prox, self.fleet.F
        self.z_m = self.z
        for _ in range(self.steps):
            self.zhalf_m = prox(self.z_m - gamma * F(self.z_m), gamma)
            self.z_m = prox(self.z_m - gamma * F(self.zhalf_m), gamma)
        self.z = self.z + self.up.mean(self.z_m - self.z, k)
