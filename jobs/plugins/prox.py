"""A prox, and a problem with it: mpimasha run sparse_blocks --plugin jobs/plugins/prox.py --set problem.weight=0.5"""

import numpy as np

import mpimasha as mm


class Blocks(mm.Proximal):
    """h(x) = weight (sum of the norms of blocks of x): the prox shortens a block by gamma weight, at most to 0."""

    def __init__(self, weight, size):
        self.weight, self.size = weight, size

    def apply(self, x, gamma):
        blocks = x.reshape(-1, self.size)  # a view: x changes in place
        norms = np.linalg.norm(blocks, axis=1, keepdims=True)
        blocks *= np.maximum(0, 1 - gamma * self.weight / np.maximum(norms, 1e-300))


class SparseBlocks(mm.Bilinear):
    """`bilinear` plus weight |.| of blocks of 5 coordinates of x and of y, most of which are 0 in the solution."""

    name = "sparse_blocks"

    def __init__(self, dim: int = 20, kappa: float = 10.0, weight: float = 0.5, workers: int = 5, seed: int = 0):
        super().__init__(dim, kappa, workers=workers, seed=seed)
        if dim % 5 or weight < 0:
            raise mm.UserError(f"problem.dim = {dim}, problem.weight = {weight}: use a multiple of 5, and at least 0")
        self.weight = weight
        self.prox = Blocks(weight, 5)      # a prox has no name on the command line: a problem brings it

    def solution(self):
        """That of `bilinear` is for h = 0; None lets it be found."""

    def gap(self, z):
        """Not computed."""

    def identity(self):
        return f"{self.name} {self.weight!r} {super().identity()}"
