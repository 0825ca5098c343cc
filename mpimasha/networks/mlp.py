"""Fully connected layers with GELU between them."""

import math

import numpy as np

from mpimasha.errors import UserError
from mpimasha.kernels.networks.activations import add_bias, gelu, gelu_backward, sum_rows
from mpimasha.kernels.networks.cross_entropy import cross_entropy
from mpimasha.networks.base import Network


class MLP(Network):
    """Multilayer perceptron: x_0 = x, x_k = gelu(x_{k-1} W_k + b_k), logits = x_{L-1} W_L + b_L.

    theta is W_1, b_1, ..., W_L, b_L, each W (in, out) row by row.

    Parameters
    ----------
    widths : sequence of int
        Numbers in a sample, in each hidden layer, in the logits: at least two.
    dtype : float32 or float64
    """

    def __init__(self, widths, dtype=np.float32):
        self.widths = tuple(int(width) for width in widths)
        self.dtype = np.dtype(dtype)
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise UserError(f"an MLP has the widths {self.widths}: use at least two positive ones, samples and logits")
        if self.dtype not in (np.float32, np.float64):
            raise UserError(f"an MLP has the dtype {self.dtype}: use float32 or float64")
        self.inputs, self.classes = self.widths[0], self.widths[-1]
        self.n = sum((fan + 1) * width for fan, width in zip(self.widths, self.widths[1:]))
        self._parameters = self._gradients = _Layers(self.widths, np.empty(self.n, self.dtype))
        self._work = _Work(self.widths, 0, self.dtype)

    def start(self, generator):
        """Normal weights of variance 2 / in, in the last layer 1 / in; biases zero."""
        layers = _Layers(self.widths, np.zeros(self.n, self.dtype))
        for weight in layers.weights:
            gain = 1 if weight is layers.weights[-1] else 2
            weight[:] = math.sqrt(gain / len(weight)) * generator.standard_normal(weight.shape)
        return layers.vector

    def logits(self, theta, X, shift=None):
        _refuse(shift)
        return self._forward(theta, X)

    def gradient(self, theta, X, y, scale=1.0, weights=None, inputs=None, shift=None, shifts=None):
        _refuse(shift, shifts)
        delta = self._forward(theta, X)
        loss = cross_entropy(delta, delta, y, scale)
        if weights is not None:
            self._into_weights(X, delta, weights, inputs)
        elif inputs is not None:
            self._into_inputs(delta, inputs)
        return loss

    def _forward(self, theta, X):
        if self._parameters.vector is not theta:
            self._parameters = _Layers(self.widths, theta)
        if self._work.rows != len(X):
            self._work.use(len(X))
        layers, work, x = self._parameters, self._work, X
        for k, slope in enumerate(work.slopes):
            x = np.dot(x, layers.weights[k], work.values[k])
            gelu(x, layers.biases[k], slope)
        logits = np.dot(x, layers.weights[-1], work.values[-1])
        add_bias(logits, layers.biases[-1])
        return logits

    def _into_weights(self, X, delta, weights, inputs):
        """Backward through the layers, delta (b, out) being the gradient of a layer's output without its GELU."""
        if self._gradients.vector is not weights:
            self._gradients = _Layers(self.widths, weights)
        layers, into, work = self._parameters, self._gradients, self._work
        sum_rows(into.biases[-1], delta)
        for k in range(len(work.slopes), 0, -1):
            x = work.values[k - 1]
            np.dot(x.T, delta, into.weights[k])
            delta = np.dot(delta, layers.weights[k].T, x)  # x_k has been used: its gradient takes its place
            gelu_backward(delta, work.slopes[k - 1], into.biases[k - 1])
        np.dot(X.T, delta, into.weights[0])
        if inputs is not None:
            np.dot(delta, layers.weights[0].T, inputs)

    def _into_inputs(self, delta, inputs):
        layers, work = self._parameters, self._work
        for k in range(len(work.slopes), 0, -1):
            delta = np.dot(delta, layers.weights[k].T, work.values[k - 1])
            np.multiply(delta, work.slopes[k - 1], delta)
        np.dot(delta, layers.weights[0].T, inputs)


class _Layers:
    """The matrices (in, out) and biases (out,) of one vector, as views."""

    def __init__(self, widths, vector):
        self.vector, self.weights, self.biases = vector, [], []
        start = 0
        for fan, width in zip(widths, widths[1:]):
            middle = start + fan * width
            self.weights.append(vector[start:middle].reshape(fan, width))
            self.biases.append(vector[middle:middle + width])
            start = middle + width


class _Work:
    """Outputs of all layers and slopes of the hidden ones, (b, out) each: the leading rows of larger arrays."""

    def __init__(self, widths, rows, dtype):
        self.widths, self.dtype, self.capacity = widths, dtype, -1
        self.use(rows)

    def use(self, rows):
        if rows > self.capacity:
            self.capacity = rows
            self._values = [np.empty((rows, width), self.dtype) for width in self.widths[1:]]
            self._slopes = [np.empty((rows, width), self.dtype) for width in self.widths[1:-1]]
        self.rows = rows
        self.values = [array[:rows] for array in self._values]
        self.slopes = [array[:rows] for array in self._slopes]


def _refuse(*shifts):
    if any(shift is not None for shift in shifts):
        raise ValueError("an MLP has no embedding to shift")
