"""The arrays a transformer works on: its parameters, as views of one vector, and its work space."""

import math
from types import SimpleNamespace

import numpy as np

from mpimasha.networks.products import Scratch


class Parameters:
    """The arrays of one vector, as views.

    Attributes
    ----------
    vector : (n,) array
    parts : list of dict
        The arrays by name, each once, in the order of theta.
    first, last : namespace
        Of what comes before the blocks, and after them.
    blocks : list of namespace
        Of each block; of tied ones the same.
    of_blocks : array
        The part of the vector that holds all blocks.
    """

    def __init__(self, network, vector):
        self.vector, self.parts, self._end = vector, [], 0
        shapes_first, shapes_block, shapes_last = _shapes(network)
        distinct = 1 if network.tied else network.layers
        self.first = self._part(shapes_first)
        begin = self._end
        self.blocks = [self._part(shapes_block) for _ in range(distinct)] * (network.layers // distinct)
        self.of_blocks = vector[begin:self._end]
        self.last = self._part(shapes_last)

    def _part(self, shapes):
        part = {}
        for name, shape in shapes.items():
            begin, self._end = self._end, self._end + math.prod(shape)
            part[name] = self.vector[begin:self._end].reshape(shape)
        self.parts.append(part)
        return SimpleNamespace(**part)

    @staticmethod
    def count(network):
        """Number of parameters."""
        first, block, last = (sum(map(math.prod, shapes.values())) for shapes in _shapes(network))
        return first + (1 if network.tied else network.layers) * block + last


def _shapes(network):
    """{name: shape}, in the order of theta, of what comes before the blocks, of a block, and of what comes after."""
    d, hidden, classes = network.width, network.hidden, network.classes
    first = {"We": (network.patch**2, d), "be": (d,), "pos": (network.tokens, d)}
    block = {"gain1": (d,), "offset1": (d,), "Wqkv": (d, 3 * d), "bqkv": (3 * d,), "Wo": (d, d), "bo": (d,),
             "gain2": (d,), "offset2": (d,), "W1": (d, hidden), "b1": (hidden,), "W2": (hidden, d), "b2": (d,)}
    last = {"gain": (d,), "offset": (d,), "Wh": (d, classes), "bh": (classes,)}
    return first, block, last


class Space:
    """Work space for b samples: the leading part of that for the most samples seen.

    It has the arrays of attention and of the hidden layer, and those named, of the shapes (b T, ...) `of_tokens` and
    (b, ...) `of_samples`.
    """

    def __init__(self, network, of_tokens, of_samples):
        d, T, heads = network.width, network.tokens, network.heads
        self._by_head = heads, d // heads
        of_tokens = {"projected": (3 * d,), "attended": (d,), "hidden": (network.hidden,)} | of_tokens
        of_samples = {"weights": (heads, T, T)} | of_samples
        self._rows = {name: (T, shape) for name, shape in of_tokens.items()}
        self._rows |= {name: (1, shape) for name, shape in of_samples.items()}
        self._dtype, self._largest = network.dtype, {}

    def use(self, samples):
        """Make the arrays those of so many samples."""
        for name, (rows, shape) in self._rows.items():
            if name not in self._largest or len(self._largest[name]) < samples * rows:
                self._largest[name] = np.empty((samples * rows, *shape), self._dtype)
            setattr(self, name, self._largest[name][:samples * rows])
        heads, T = self.weights.shape[1:3]
        self.rows = self.weights.reshape(samples, heads * T, T)
        self.by_head = self.attended.reshape(samples, T, *self._by_head).swapaxes(1, 2)
        self.q, self.k, self.v = self.projected.reshape(samples, T, 3, *self._by_head).transpose(2, 0, 3, 1, 4)


class BlockSpace(Space):
    """What the backward pass needs of one block."""

    def __init__(self, network):
        d, turned = (network.width,), (network.heads, network.width // network.heads, network.tokens)
        super().__init__(network, {"normal1": d, "inverse1": (), "out1": d, "normal2": d, "inverse2": (), "out2": d,
                                   "slope": (network.hidden,)}, {"keys": turned, "values": turned})


class Work(Space):
    """What all blocks use in turn, and what the layers around them need."""

    def __init__(self, network):
        d, T, area, classes = network.width, network.tokens, network.patch**2, network.classes
        super().__init__(network, {"patches": (area,), "x": (d,), "branch": (d,), "normal": (d,), "inverse": ()},
                         {"pooled": (d,), "logits": (classes,)})
        self.positions = np.empty((T, d), network.dtype)
        self.mean = np.full((1, T), 1 / T, network.dtype)
        self.scratch = Scratch(network.dtype)
        self.addend = Parameters(network, np.empty(network.n, network.dtype)) if network.tied else None
        self.blocks = [BlockSpace(network) for _ in range(network.layers)]
        self.use(0)

    def use(self, samples):
        super().use(samples)
        for block in self.blocks:
            block.use(samples)
        self.samples = samples
        tokens, width = self.positions.shape
        self.embedded = self.x.reshape(samples, tokens * width)
        self.normalised = self.branch.reshape(samples, tokens, width)
