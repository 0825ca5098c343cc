"""PyTorch, imported only when something is compared with it, and the networks as one writes them there."""

import contextlib
import itertools

import numpy as np

from mpimasha.errors import UserError
from mpimasha.networks.mlp import MLP


def load(needed=True):
    """torch and torch.nn.functional; None if they are missing and not `needed`."""
    try:
        import torch
    except ImportError:
        if not needed:
            return None
        raise UserError("the comparison is with PyTorch, which is not installed: "
                        "pip install 'mpimasha[bench]'") from None
    return torch, torch.nn.functional


@contextlib.contextmanager
def one_thread():
    """PyTorch, where there is one, on one thread inside, on as many as before afterwards."""
    found = load(needed=False)
    if not found:
        yield
        return
    torch, _ = found
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Twin:
    """A network with its parameters and a batch, as tensors.

    Parameters
    ----------
    network : MLP or Transformer
        Not a tied one.
    theta : (n,) array
    X : (b, inputs) array
    y : (b,) int64 array
    """

    def __init__(self, network, theta, X, y):
        self.torch, self.F = load()
        self.network, self.dtype = network, theta.dtype
        if isinstance(network, MLP):
            self.forward, self.parts = self._mlp, _mlp(network)
        else:
            self.forward, self.parts = self._transformer, _transformer(network)
        self.parameters, start = [], 0
        for shape, linear in self.parts:
            size = int(np.prod(shape))
            part = theta[start:start + size].reshape(shape)
            self.parameters.append(self._leaf(part.T if linear else part))  # PyTorch's linear layers are (out, in)
            start += size
        self.X, self.y = self._leaf(X), self.torch.from_numpy(y)

    def gradient(self):
        """Gradient of the mean loss in parameters and samples, tensors."""
        loss = self.F.cross_entropy(self.forward(), self.y)
        return self.torch.autograd.grad(loss, [*self.parameters, self.X])

    def arrays(self):
        """(weights (n,), inputs (b, inputs), shifts (b, embedding)): `gradient` in the layout of `Network`."""
        shift = self._leaf(np.zeros((len(self.y), self.network.embedding), self.dtype))
        loss = self.F.cross_entropy(self.forward(shift), self.y)
        found = self.torch.autograd.grad(loss, [*self.parameters, self.X, shift], materialize_grads=True)
        *parts, inputs, shifts = (gradient.numpy() for gradient in found)
        weights = [part.T if linear else part for part, (_, linear) in zip(parts, self.parts)]
        return np.concatenate([weight.ravel() for weight in weights]), inputs, shifts

    def _leaf(self, array):
        return self.torch.tensor(np.ascontiguousarray(array), requires_grad=True)

    def _mlp(self, shift=None):
        F, x = self.F, self.X
        for k in range(0, len(self.parameters), 2):
            if k:
                x = F.gelu(x, approximate="tanh")
            x = F.linear(x, *self.parameters[k:k + 2])
        return x

    def _transformer(self, shift=None):
        F, net, parameters = self.F, self.network, iter(self.parameters)
        b, across, d = len(self.X), net.side // net.patch, net.width

        def take(count):
            return itertools.islice(parameters, count)

        weight, bias, position = take(3)
        tokens = self.X.view(b, across, net.patch, across, net.patch).transpose(2, 3).reshape(b, across**2, -1)
        x = F.linear(tokens, weight, bias) + position
        if shift is not None:
            x = x + shift.view_as(x)
        for _ in range(net.layers):
            gain, offset, weight, bias = take(4)
            qkv = F.linear(F.layer_norm(x, (d,), gain, offset), weight, bias)
            q, k, v = qkv.view(b, -1, 3, net.heads, d // net.heads).permute(2, 0, 3, 1, 4)
            attention = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, -1, d)
            x = x + F.linear(attention, *take(2))
            hidden = F.linear(F.layer_norm(x, (d,), *take(2)), *take(2))
            x = x + F.linear(F.gelu(hidden, approximate="tanh"), *take(2))
        pooled = F.layer_norm(x, (d,), *take(2)).mean(1)
        return F.linear(pooled, *take(2))


def _mlp(net):
    """(shape in theta, whether the weight of a linear layer) of every parameter."""
    return [part for fan, width in zip(net.widths, net.widths[1:]) for part in _linear(fan, width)]


def _transformer(net):
    d, hidden, norm = net.width, net.hidden, [((net.width,), False)] * 2
    block = [*norm, *_linear(d, 3 * d), *_linear(d, d), *norm, *_linear(d, hidden), *_linear(hidden, d)]
    return [*_linear(net.patch**2, d), ((net.tokens, d), False), *block * net.layers, *norm, *_linear(d, net.classes)]


def _linear(fan, width):
    return [((fan, width), True), ((width,), False)]
