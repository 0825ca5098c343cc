"""The kit names what is wrong with a message: its size, its bill, what it holds."""

import numba
import numpy as np
import pytest
from faulty import Dense, says

from mpimasha.compressors.base import Compressor
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.kernels import sparse
from mpimasha.testing import check_wire

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of exchanges, of the same checks")


class Unbilled(RandK):
    """Indices travel and are not billed."""

    bits = property(lambda self: self.count * self.value_bits)


class UnbilledTop(TopK):
    bits = property(lambda self: self.count * self.value_bits)


class HalfBilled(Identity):
    """Billed at 32 bits a value, whatever travels."""

    bits = property(lambda self: 32 * self.n)


class UnbilledNorms(QSGD):
    bits = property(lambda self: self.n * self._width)


class UnbilledLevels(QSGD):
    bits = property(lambda self: self.value_bits)


class Overbilled(RandK):
    bits = property(lambda self: self.n * self.value_bits)


class OtherIndices(TopK):
    """Indices travel in a type of their own."""

    def size(self, x):
        return np.nan_to_num(np.abs(x), nan=np.inf)

    def __init__(self, k, dtype):
        super().__init__(k)
        self.dtype = np.dtype(dtype)

    def fields(self):
        return {"values": (self.wire, self.count), "index": (self.dtype, self.count)}

    def encode(self, x, message, worker, k):
        dense = np.zeros(self.n)
        x.write(dense)
        index = np.argsort(-self.size(dense), kind="stable")[:self.count]
        message.index[:], message.values[:] = index, dense[index]

    def decode(self, message, worker, k, scale, out):
        sparse.scatter_add(out, message.index.astype(np.uint32), message.values, scale)


class LosesNaN(OtherIndices):
    """NaN sorts as if it were the smallest."""

    bits = property(lambda self: self.count * (self.value_bits + self.index_bits))

    def size(self, x):
        return np.abs(x)


class Telepathic(RandK):
    """decode uses the indices that encode left behind."""

    def encode(self, x, message, worker, k):
        self.seen = self._draw(worker, k, self._index).copy()
        x.gather(self.seen, self.n / self.count, message.values)

    def decode(self, message, worker, k, scale, out):
        sparse.scatter_add(out, getattr(self, "seen", np.arange(self.count, dtype=np.uint32)), message.values, scale)


class Hidden(Identity):
    """A part of the message that fields() does not list."""

    def encode(self, x, message, worker, k):
        x.write(message.values)
        message.norm = 1.0


class Replacing(Identity):
    """A new array in place of the buffer's."""

    def encode(self, x, message, worker, k):
        x.write(message.values)
        message.values = 1.0 * message.values


class Unfilled(PermK):
    """The padding of a message is read but not written."""

    def encode(self, x, message, worker, k):
        index = self._owned(worker, k)
        x.gather(index, float(self.workers), message.values[:len(index)])

    def decode(self, message, worker, k, scale, out):
        super().decode(message, worker, k, scale, out)
        out[0] += scale * message.values[-1] * (len(self._owned(worker, k)) < len(message.values))


class Overwriting(Identity):
    def decode(self, message, worker, k, scale, out):
        out[:] = scale * message.values


class Unweighted(Identity):
    def decode(self, message, worker, k, scale, out):
        out += message.values


class DoubleOnly(Identity):
    def decode(self, message, worker, k, scale, out):
        np.add(out, scale * message.values.astype(float), out=out, casting="safe")


class Consuming(Identity):
    def decode(self, message, worker, k, scale, out):
        super().decode(message, worker, k, scale, out)
        message.values[:] = 0


class Spoiling(Identity):
    """encode works in the vector it is given."""

    def encode(self, x, message, worker, k):
        x.terms[0][1][:] *= 0.5
        x.write(message.values)


class FirstTerm(Identity):
    """Reads a formula as if it were an array."""

    def encode(self, x, message, worker, k):
        message.values[:] = x.terms[0][1]


class SharedCache(RandK):
    """The last draw is kept in what all bound copies share, those of other streams too."""

    def __init__(self, k):
        super().__init__(k)
        self.cache = {}

    def _draw(self, worker, k, index):
        if self.cache.get("of") != (worker, k):
            self.cache.update({"of": (worker, k), "index": super()._draw(worker, k, index).copy()})
        return self.cache["index"]


class Growing(Identity):
    """Says another size each time."""

    def fields(self):
        self.asked = getattr(self, "asked", 0) + 1
        return {"values": (self.wire, self.n + self.asked)}


class CoarseInSingle(Identity):
    def decode(self, message, worker, k, scale, out):
        values = message.values if out.dtype == np.float64 else message.values.round(2)
        out += scale * values.astype(out.dtype)


class Bits(Identity):
    bits = None

    def __init__(self, bits):
        self.bits = bits


class OffsetOfZero(Dense):
    def make(self, values, worker, k):
        values += 1e-3


class CleanedUp(Identity):
    def encode(self, x, message, worker, k):
        x.write(message.values)
        message.values[:] = np.nan_to_num(message.values, posinf=1.0)


class Fields(Identity):
    def __init__(self, *field):
        self.field = field

    def fields(self):
        return {"values": self.field}


def test_indices_that_are_not_billed_are_named():
    says(check_wire, Unbilled(3, indices=True), "indices travel in the message but are not billed", "bits = 192",
         r"at least 202\.\d+ needed", "3 x 5")
    says(check_wire, UnbilledTop(3), "not billed", "bits = 96", wires=["float32"])


def test_the_cost_of_a_set_of_indices_may_be_its_entropy():
    class Entropy(TopK):
        bits = property(lambda self: self.count * self.value_bits + 10.8)  # log2 of 1771 sets
    check_wire(Entropy(3), n=23, wires=["float64"])


def test_values_that_are_not_billed_are_named():
    says(check_wire, HalfBilled(), "bits = 736 is less", "at least 1472: 1472 of 'values'")
    says(check_wire, UnbilledLevels(4), "bits = 64 is less", "'words'")
    says(check_wire, UnbilledNorms(1, bucket=1), "bits = 46 is less", "of 'norms'")


def test_bits_beyond_the_buffer_are_named():
    says(check_wire, Overbilled(3), "bits = 1472 exceeds the 192 bits")


@pytest.mark.parametrize("dtype, first", [("float32", "index 16777217"), ("uint16", "index 65537"),
                                          ("uint8", "index 65537")])
def test_an_index_type_that_is_too_narrow_is_named(dtype, first):
    says(check_wire, OtherIndices(3, dtype), f"indices travel in 'index' as {dtype}", first, "self.index_dtype")


@pytest.mark.parametrize("dtype", ("uint32", "int64", "float64"))
def test_an_index_type_that_holds_the_indices_is_accepted(dtype):
    check_wire(OtherIndices(3, dtype), wires=["float64"])


@pytest.mark.parametrize("wrong, words", [
    (Telepathic(3), ["the server decodes another vector than worker", "not in the message"]),
    (Hidden(), ["adds message.norm", "list it in fields"]), (Replacing(), ["replaces message.values", "in place"]),
    (Unfilled(), ["held something else before", "unfilled"]), (Overwriting(), ["overwrites out"]),
    (Growing(), ["sizes must be fixed"]), (CoarseInSingle(), ["decode into a float32 vector gives"]),
    (Bits(None), ["bits = None is no cost"]), (Bits(0.0), ["bits = 0.0 is no cost"]), (Bits(np.nan), ["bits = nan"]),
    (Unweighted(), ["ignores scale"]), (DoubleOnly(), ["float32"]), (Consuming(), ["decode changes the message"]),
    (Spoiling(), ["encode changes the vector"]), (FirstTerm(), ["the formula 2u of float64", "x.gather"]),
    (LosesNaN(3, "uint32"), ["an entry of nan", "diverging"]),
    (OffsetOfZero(3), ["zero vector decodes to 0.001"]), (CleanedUp(), ["an entry of nan", "diverging"]),
    (Fields(np.float64, 23), ["'values' the type <class", "np.dtype"]),
    (Fields(np.dtype(object), 23), ["'values' the type dtype\\('O'\\)"]),
    (Fields(np.dtype(float), 2.5), ["'values' the count 2.5"]),
], ids=lambda value: type(value).__name__ if isinstance(value, Compressor) else "")
def test_a_fault_of_the_message_is_named(wrong, words):
    says(check_wire, wrong, *words)


def test_scratch_space_of_all_bound_copies_is_named():
    says(check_wire, SharedCache(3), "two bound copies share scratch space", "prepare")


def test_a_dimension_that_the_compressor_refuses_is_the_users_to_choose():
    with pytest.raises(UserError, match="n = 23"):
        check_wire(RandK(24))
