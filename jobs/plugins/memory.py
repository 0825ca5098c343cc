"""A memory: mpimasha run bilinear --plugin jobs/plugins/memory.py --method ef21_eg --set problem.kappa=10"""

import mpimasha as mm


class EF21(mm.Memory):
    """c = C(x - g), g+ = g + c; the mean of x is estimated by that of the g (Richtarik, Sokolov, Fatkhullin 2021)."""

    name = "ef21"
    contracting = True                      # an unbiased Q is taken as C = Q/q; `scale` is that 1/q
    g, G = mm.PerWorker(), mm.Shared()      # declared, so they are allocated and saved in checkpoints

    def encode(self, i, x, message, worker, k):
        g = self.g.row(i)
        self.compressor.encode(x - g, message, worker, k)
        self.compressor.decode(message, worker, k, self.scale, g.terms[0][1])

    def recover(self, mean):
        self.G = self.G + mm.Linear.of(mean)
        self.G.write(mean)


class EF21Extragradient(mm.Extragradient):
    """EG whose workers send C_m(F_m - g_m) at both points."""

    name, memory = "ef21_eg", EF21          # a memory has no name on the command line: a method brings it
    accepts, standing, theorem = "contractive or unbiased", "observed", None

    def __init__(self, up: mm.Compressor | None = None, gamma: float | str = "0.1/L"):
        super().__init__(up, gamma)

    def default_compressor(self):
        return mm.TopK(0.2)

    def theory_factor(self, constants):
        return None                         # that of EG is for whole vectors
