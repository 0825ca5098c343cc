"""A transformer encoder that classifies images."""

import math

import numpy as np

from mpimasha.errors import UserError
from mpimasha.kernels.networks.activations import add_bias, gelu, gelu_backward, sum_rows
from mpimasha.kernels.networks.attention import softmax, softmax_backward
from mpimasha.kernels.networks.cross_entropy import cross_entropy
from mpimasha.kernels.networks.layernorm import add_normalise, normalise, normalise_backward
from mpimasha.networks.base import Network
from mpimasha.networks.products import product, product_over_rows, product_transposed
from mpimasha.networks.transformer_arrays import Parameters, Work


class Transformer(Network):
    """Pre-LN transformer encoder with learned positions, GELU, and the mean of the tokens as what is classified.

    An image is cut into T = (side / patch)^2 square patches, in row-major order, each a token of patch^2 numbers:

        x = tokens We + be + pos [+ shift]
        in each block:  q | k | v = LN(x) Wqkv + bqkv,  x += concat_heads(softmax(q k' / sqrt(w)) v) Wo + bo
                        x += gelu(LN(x) W1 + b1) W2 + b2
        logits = mean_tokens(LN(x)) Wh + bh

    with heads of w = width / heads contiguous columns.  theta is We, be, pos, then of each block the gain and offset of
    its first LN, Wqkv, bqkv, Wo, bo, gain and offset of its second LN, W1, b1, W2, b2, then gain and offset of the last
    LN, Wh, bh; each matrix (in, out), and pos (T, width), row by row.

    Parameters
    ----------
    side : int
        Pixels of an image are side x side.
    patch : int
        Divides `side`.
    width : int
        Numbers in an embedded token.
    heads : int
        Divides `width`.
    layers : int
        Blocks.
    hidden : int
        Width of the hidden layer in a block.
    classes : int
    dtype : float32 or float64
    tied : bool
        The blocks share the parameters of one (Lan et al., "ALBERT", ICLR 2020), which theta holds once.
    """

    def __init__(self, side, patch, width, heads, layers, hidden, classes, dtype=np.float32, tied=False):
        sizes = (side, patch, width, heads, layers, hidden, classes)
        self.side, self.patch, self.width, self.heads, self.layers, self.hidden, self.classes = map(int, sizes)
        self.dtype, self.tied = np.dtype(dtype), bool(tied)
        if min(sizes) < 1:
            raise UserError(f"a transformer has the sizes {sizes}: use positive ones")
        if self.side % self.patch or self.width % self.heads:
            raise UserError(f"a transformer has side {side}, patch {patch}, width {width}, heads {heads}: use a patch "
                            "that divides the side and heads that divide the width")
        if self.dtype not in (np.float32, np.float64):
            raise UserError(f"a transformer has the dtype {self.dtype}: use float32 or float64")
        self.tokens = (self.side // self.patch) ** 2
        self.inputs, self.embedding = self.side**2, self.tokens * self.width
        self.n = Parameters.count(self)
        self._parameters = self._gradients = Parameters(self, np.empty(self.n, self.dtype))
        self._scale = 1 / math.sqrt(self.width // self.heads)
        self._work = Work(self)

    def start(self, generator):
        """Normal weights of variance 1 / in, those of Wo and W2 less by 2 layers; positions of deviation 0.02."""
        parameters = Parameters(self, np.zeros(self.n, self.dtype))
        for part in parameters.parts:
            for name, values in part.items():
                if name.startswith("gain"):
                    values[:] = 1
                elif name == "pos":
                    values[:] = 0.02 * generator.standard_normal(values.shape)
                elif name.startswith("W"):
                    branches = 2 * self.layers if name in ("Wo", "W2") else 1
                    values[:] = generator.standard_normal(values.shape) / math.sqrt(len(values) * branches)
        return parameters.vector

    def logits(self, theta, X, shift=None):
        self._forward(theta, X, shift)
        return self._work.logits

    def gradient(self, theta, X, y, scale=1.0, weights=None, inputs=None, shift=None, shifts=None):
        self._forward(theta, X, shift)
        work, into = self._work, None
        loss = cross_entropy(work.logits, work.logits, y, scale)  # from here on they are their own gradient
        if weights is not None:
            if self._gradients.vector is not weights:
                self._gradients = Parameters(self, weights)
            into = self._gradients
        if weights is not None or inputs is not None or shifts is not None:
            self._last_backward(into)
            self._blocks_backward(into)
            self._first_backward(into, inputs, shifts)
        return loss

    def _patches(self, images):
        """View (b, row of patches, column of patches, row in the patch, column in the patch)."""
        count = self.side // self.patch
        return images.reshape(len(images), count, self.patch, count, self.patch).swapaxes(2, 3)

    def _forward(self, theta, X, shift):
        if self._parameters.vector is not theta:
            self._parameters = Parameters(self, theta)
        if self._work.samples != len(X):
            self._work.use(len(X))
        first, last, work = self._parameters.first, self._parameters.last, self._work
        patches = self._patches(X)
        work.patches.reshape(patches.shape)[:] = patches
        product(work.patches, first.We, work.x)
        np.add(first.pos, first.be, work.positions)
        add_bias(work.embedded, work.positions.reshape(-1))
        if shift is not None:
            np.add(work.embedded, shift, work.embedded)
        branch = ()  # what is still to be added to x: the output of a branch and its bias
        for block, own in zip(self._parameters.blocks, work.blocks):
            self._normalise(branch, block.gain1, block.offset1, own.normal1, own.inverse1, own.out1)
            self._attend(block, own)
            product(own.attended, block.Wo, work.branch)
            self._normalise((work.branch, block.bo), block.gain2, block.offset2, own.normal2, own.inverse2, own.out2)
            product(own.out2, block.W1, own.hidden)
            gelu(own.hidden, block.b1, own.slope)
            product(own.hidden, block.W2, work.branch)
            branch = work.branch, block.b2
        self._normalise(branch, last.gain, last.offset, work.normal, work.inverse, work.branch)
        np.matmul(work.mean, work.normalised, work.pooled[:, None])
        np.dot(work.pooled, last.Wh, work.logits)
        add_bias(work.logits, last.bh)

    def _normalise(self, branch, *arrays):
        if branch:
            add_normalise(self._work.x, *branch, *arrays)
        else:
            normalise(self._work.x, *arrays)

    def _attend(self, block, own):
        product(own.out1, block.Wqkv, own.projected)
        add_bias(own.projected, block.bqkv)
        own.keys[:], own.values[:] = own.k.swapaxes(2, 3), own.v.swapaxes(2, 3)
        np.matmul(own.q, own.keys, own.weights)
        softmax(own.rows, self._scale)
        np.matmul(own.weights, own.v, own.by_head)

    def _last_backward(self, into):
        """From the gradient of the logits to that of the last block's output, in `work.x`."""
        last, work = self._parameters.last, self._work
        if into:
            np.dot(work.pooled.T, work.logits, into.last.Wh)
            sum_rows(into.last.bh, work.logits)
        np.dot(work.logits, last.Wh.T, work.pooled)
        work.normalised[:] = np.multiply(work.pooled, 1 / self.tokens, work.pooled)[:, None]
        work.x[:] = 0
        self._normalise_backward(work.normal, work.inverse, last.gain, into and (into.last.gain, into.last.offset))

    def _blocks_backward(self, into):
        """From the gradient of the last block's output to that of the embedded samples, both in `work.x`."""
        blocks, work = self._parameters.blocks, self._work
        for k in reversed(range(self.layers)):
            if not into or not self.tied or k == self.layers - 1:
                self._block_backward(blocks[k], work.blocks[k], into and into.blocks[k])
            else:  # the sum over the blocks
                self._block_backward(blocks[k], work.blocks[k], work.addend.blocks[k])
                into.of_blocks += work.addend.of_blocks

    def _block_backward(self, block, own, into):
        work = self._work
        product_transposed(work.x, block.W2, work.hidden, work.scratch)
        if into:
            product_over_rows(own.hidden, work.x, into.W2, work.scratch)
            sum_rows(into.b2, work.x)
            gelu_backward(work.hidden, own.slope, into.b1)
            product_over_rows(own.out2, work.hidden, into.W1, work.scratch)
        else:
            np.multiply(work.hidden, own.slope, work.hidden)
        product_transposed(work.hidden, block.W1, work.branch, work.scratch)
        self._normalise_backward(own.normal2, own.inverse2, block.gain2, into and (into.gain2, into.offset2))
        product_transposed(work.x, block.Wo, work.attended, work.scratch)
        if into:
            product_over_rows(own.attended, work.x, into.Wo, work.scratch)
            sum_rows(into.bo, work.x)
        self._attend_backward(own)
        if into:
            product_over_rows(own.out1, work.projected, into.Wqkv, work.scratch)
            sum_rows(into.bqkv, work.projected)
        product_transposed(work.projected, block.Wqkv, work.branch, work.scratch)
        self._normalise_backward(own.normal1, own.inverse1, block.gain1, into and (into.gain1, into.offset1))

    def _normalise_backward(self, normal, inverse, gain, into):
        """Add to `work.x` what `work.branch`, the gradient of a normalised x, gives."""
        normalise_backward(self._work.branch, normal, inverse, gain, self._work.x, *into or (None, None))

    def _attend_backward(self, own):
        work = self._work
        np.matmul(work.by_head, own.values, work.weights)
        np.matmul(own.weights.swapaxes(2, 3), work.by_head, work.v)
        softmax_backward(work.rows, own.rows, self._scale)
        np.matmul(work.weights, own.k, work.q)
        np.matmul(work.weights.swapaxes(2, 3), own.q, work.k)

    def _first_backward(self, into, inputs, shifts):
        first, work = self._parameters.first, self._work
        if into:
            product_over_rows(work.patches, work.x, into.first.We, work.scratch)
            sum_rows(into.first.pos.reshape(-1), work.embedded)
            np.add.reduce(into.first.pos, 0, out=into.first.be)
        if shifts is not None:
            shifts[:] = work.embedded
        if inputs is not None:
            product_transposed(work.x, first.We, work.patches, work.scratch)
            patches = self._patches(inputs)
            patches[:] = work.patches.reshape(patches.shape)
