"""A method: mpimasha run bilinear --plugin jobs/plugins/method.py --method reflected --set problem.kappa=10"""

import mpimasha as mm


class Reflected(mm.Method):
    """z+ = prox(z - gamma F(2 z - z_prev)) (Malitsky 2015), whose workers send Q_m(F_m - h_m) and learn h_m."""

    name, memory = "reflected", mm.Shift
    z, z_prev, zhalf = mm.Shared(), mm.Shared(), mm.Shared()

    def __init__(self, up: mm.Compressor | None = None, gamma: float | str = "0.1/L"):
        super().__init__(up, gamma)

    def start(self):
        self.z = self.z0
        self.z_prev = self.z0

    def step(self, k):
        F, prox, gamma = self.fleet.F, self.prox, self.gamma
        self.zhalf = 2 * self.z - self.z_prev
        g = self.up.mean(F(self.zhalf), k)
        self.z_prev = self.z
        self.z = prox(self.z - gamma * g, gamma)
