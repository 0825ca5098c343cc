"""Declared state: what a method or a memory keeps from round to round.

A class declares ``z = Shared()`` or ``Fw_m = PerWorker()``; `allocate` gives each
declaration its buffer, reading it gives a `Linear` for use in formulas, and
assigning a formula evaluates it into the buffer: ``self.z = self.z - gamma * self.F``.
Assignment copies values, never references.  Because state is declared, a checkpoint
needs to know nothing of the method it saves.
"""

import numpy as np

from mpimasha.linear import Linear


class Rows:
    """One vector a worker: the rows of an (m_local, n) array."""

    __slots__ = ("array", "_rows")

    def __init__(self, array):
        self.array = array
        self._rows = list(array)  # the views are made once, not in every round

    def row(self, i, term=0):
        return self._rows[i]


class _State:
    def __init__(self, dtype=None):
        self.dtype = dtype  # of the buffer; None for the problem's

    def __set_name__(self, owner, name):
        if hasattr(self, "name"):
            raise TypeError(f"{self.name} and {name} share one declaration: each state needs its own")
        self.name = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        return self.of(instance, "_linear")

    def of(self, instance, kind):
        """What `instance` keeps under this name; AttributeError before `allocate`, as for any attribute not set."""
        try:
            return instance.__dict__[kind][self.name]
        except KeyError:
            raise AttributeError(f"{type(instance).__name__}.{self.name} exists after allocate") from None


class Shared(_State):
    """A vector of shape (n,) that is the same, bit for bit, on every rank."""

    def buffer(self, workers, n, dtype):
        return np.zeros(n, self.dtype or dtype)

    def vector(self, buffer):
        return buffer

    def __set__(self, instance, value):
        buffer = instance.__dict__["_buffers"][self.name]
        if isinstance(value, np.ndarray):
            buffer[:] = value
        else:
            value.write(buffer)


class Scalar(Shared):
    """A number that is the same on every rank, such as a step size that adapts; it reads as a float."""

    def buffer(self, workers, n, dtype):
        return np.zeros(1)

    def __get__(self, instance, owner=None):
        return self if instance is None else float(self.of(instance, "_buffers")[0])

    def __set__(self, instance, value):
        instance.__dict__["_buffers"][self.name][0] = value


class PerWorker(_State):
    """An array of shape (m_local, n): one row for each worker this rank owns."""

    def buffer(self, workers, n, dtype):
        return np.zeros((workers, n), self.dtype or dtype)

    def vector(self, buffer):
        return Rows(buffer)

    def __set__(self, instance, value):
        (_, rows), = instance.__dict__["_linear"][self.name].terms
        for i in range(len(rows.array)):
            value.row(i).write(rows.row(i))


def declared(cls):
    """{name: declaration} of a class, base classes first."""
    return {k: v for base in reversed(cls.__mro__) for k, v in vars(base).items() if isinstance(v, _State)}


def allocate(instance, workers, n, dtype):
    """Give every declared state of `instance` a buffer of zeros (m_local = `workers`)."""
    declarations = declared(type(instance))
    buffers = {k: s.buffer(workers, n, dtype) for k, s in declarations.items()}
    instance.__dict__["_buffers"] = buffers
    instance.__dict__["_linear"] = {k: Linear.of(s.vector(buffers[k])) for k, s in declarations.items()}


def buffers(instance):
    """{name: array} of the declared state: the arrays themselves, not copies."""
    return instance.__dict__["_buffers"]
