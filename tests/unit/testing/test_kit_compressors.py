"""The kit's checks name the fault of a wrong compressor: mistakes of public code, and those of a first attempt."""

import re

import numba
import numpy as np
import pytest

from mpimasha.compressors.base import Compressor
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.kernels import sparse
from mpimasha.testing import check_contractive, check_unbiased, check_wire

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of exchanges, of the same checks")


def says(check, compressor, *words, **options):
    """The check fails with one sentence that holds each of `words` (regular expressions)."""
    with pytest.raises(AssertionError) as caught:
        check(compressor, **{"wires": ["float64"]} | ({"draws": 800} if check is check_unbiased else {}) | options)
    sentence = str(caught.value)
    assert sentence.startswith(type(compressor).__name__) and "\n" not in sentence
    missing = [word for word in words if not re.search(word, sentence)]
    assert not missing, f"{missing} not in: {sentence}"


class Dense(RandK):
    """Sends whole vectors, made by `make` from the value of the formula."""

    def fields(self):
        return {"values": (self.wire, self.n)}

    @property
    def bits(self):
        return self.n * self.value_bits

    def encode(self, x, message, worker, k):
        x.write(message.values)
        self.make(message.values, worker, k)

    def decode(self, message, worker, k, scale, out):
        out += scale * message.values


# -- moments ---------------------------------------------------------------------------------------


class Replaced(RandK):
    """Sampling with replacement, scaled by n/k; a repeated index overwrites."""

    def _draw(self, worker, k, index):
        index[:] = np.random.default_rng([int(self.stream(worker, k))]).integers(0, self.n, self.count)
        return index

    def decode(self, message, worker, k, scale, out):
        out[self._draw(worker, k, self._index)] = scale * message.values


class ReplacedAdding(Replaced):
    """With replacement, repeated indices add up: unbiased, but q is n/k + (k-1)/k."""

    decode = RandK.decode


class Unscaled(RandK):
    def encode(self, x, message, worker, k):
        x.gather(self._draw(worker, k, self._index), 1.0, message.values)


class WrongScale(RandK):
    def encode(self, x, message, worker, k):
        x.gather(self._draw(worker, k, self._index), self.n / (self.count + 1), message.values)


class Zeroing(Dense):
    """Zeroes one coordinate instead of keeping k, with the scale of keeping k."""

    def make(self, values, worker, k):
        values *= self.n / self.count
        values[int(self.stream.uniform(worker, k) * self.n)] = 0


class Skipping(RandK):
    """The last coordinate is never drawn: an index range that is one too short."""

    def _draw(self, worker, k, index):
        index[:] = np.random.default_rng([int(self.stream(worker, k))]).permutation(self.n - 1)[:self.count]
        return index


class FixedMask(RandK):
    def _draw(self, worker, k, index):
        return super()._draw(worker, 0, index)


class FixedBlocks(PermK):
    """The permutation is fresh, but worker m always has the m-th block of it."""

    def _owned(self, worker, k):
        super()._owned(worker, k)
        return self._perm[worker::self.workers]


class Tilted(Dense):
    """Noise, and two coordinates mixed, at right angles to x."""

    def make(self, values, worker, k):
        values += np.random.default_rng([int(self.stream(worker, k))]).uniform(-1, 1, self.n)
        values[5], values[6] = values[5] + 0.5 * values[6], values[6] - 0.5 * values[5]


class HugeValues(Dense):
    def make(self, values, worker, k):
        values *= np.inf


class ClaimsQ(RandK):
    def __init__(self, k, q):
        super().__init__(k)
        self.claimed = q

    def prepare(self):
        super().prepare()
        self.q = self.claimed


def test_sampling_with_replacement_scaled_by_n_over_k_is_named():
    says(check_unbiased, Replaced(6), "coordinates repeat", "with replacement", r"n/k = 3\.833")


def test_sampling_with_replacement_is_named_where_it_is_unbiased():
    says(check_unbiased, ReplacedAdding(4), r"E\|Q\(x\)\|\^2 = 6\.\d+ \|x\|\^2 exceeds q = 5.75", "with replacement")


def test_a_missing_scale_is_named():
    says(check_unbiased, Unscaled(3), r"0\.13\d* = k/n of x", "3 of n = 23", "is the factor n/k missing")
    says(check_unbiased, Unscaled(7, "uniform"), "7 of n = 23", "is the factor n/k missing", wires=["float32"])


def test_a_wrong_scale_is_named():
    says(check_unbiased, WrongScale(3), r"0\.7[45]\d* of x", r"times 5\.75 and not n/k = 7\.667")


def test_zeroing_one_coordinate_instead_of_keeping_k_is_named():
    says(check_unbiased, Zeroing(3), "22 of n = 23", "one zeroed where k should be kept", "n/k = 1.045")


def test_a_coordinate_that_is_never_sent_is_named():
    says(check_unbiased, Skipping(5), "coordinate 22 is never sent")


def test_blocks_fixed_per_worker_are_named_where_the_workers_do_not_divide_the_dimension():
    says(check_unbiased, FixedBlocks(), "fixed per worker", "8, 8, 7 of n = 23", "M = 3 does not divide n")
    check_unbiased(FixedBlocks(), n=24, draws=300, wires=["float64"])


def test_a_bias_of_another_kind_is_named_with_its_numbers():
    says(check_unbiased, Tilted(3), r"the mean of Q\(x\)_([56]) is \S+ and not x_\1 = \S+, \d\.\d+ times what chance")


def test_what_is_not_finite_is_named():
    says(check_unbiased, HugeValues(3), "not finite")


@pytest.mark.parametrize("q, words", [
    (1.0, ["exceeds q = 1 by the factor 7.[67]", "n/k = 7.667"]), (7.0, ["exceeds q = 7 by the factor 1.1"]),
    (3 / 23, ["at least 1", "k/n for n/k"]), (None, ["q = None"]), (np.inf, ["q = inf"])])
def test_a_q_that_is_too_small_or_none_is_named(q, words):
    says(check_unbiased, ClaimsQ(3, q), *words)


def test_a_q_that_is_not_the_best_is_accepted_unless_asked_for():
    check_unbiased(ClaimsQ(3, 23.0), draws=300, wires=["float64"])
    says(check_unbiased, ClaimsQ(3, 23.0), "not attained", r"factor 2\.\d", attained=True)
    check_unbiased(RandK(3), draws=300, wires=["float64"], attained=True)


def test_what_claims_nothing_is_refused():
    says(check_unbiased, TopK(3), "does not claim to be unbiased")
    class Nothing(Compressor):
        pass
    says(check_contractive, Nothing(), "neither contractive nor unbiased")


# -- draws -----------------------------------------------------------------------------------------


class SharedDraw(RandK):
    """All workers draw the same indices while q/M is claimed."""

    def _draw(self, worker, k, index):
        return super()._draw(0, k, index)


class SharedSometimes(RandK):
    """In half of the exchanges."""

    def _draw(self, worker, k, index):
        return super()._draw(worker * (k % 2), k, index)


class TwiceEach(RandK):
    """Every draw is used in two exchanges."""

    def _draw(self, worker, k, index):
        return super()._draw(worker, k // 2, index)


class Remembering(RandK):
    """A generator of its own goes on from call to call."""

    def prepare(self):
        super().prepare()
        self.generator = np.random.default_rng(0)

    def encode(self, x, message, worker, k):
        self.last = self.generator.permutation(self.n)[:self.count]
        message.values[:] = 0
        x.gather(self.last, self.n / self.count, message.values)

    def decode(self, message, worker, k, scale, out):
        out[self.last] += scale * message.values


class FirstAsked(RandK):
    """The draw of an exchange is kept, whoever asked for it first."""

    def _draw(self, worker, k, index):
        self.kept = getattr(self, "kept", {})
        if k not in self.kept:
            self.kept[k] = super()._draw(worker, k, index).copy()
        return self.kept[k]


class Unseeded(RandK):
    """Keyed by worker and exchange, but not by the run's seed."""

    def _draw(self, worker, k, index):
        index[:] = np.random.default_rng([worker, k]).permutation(self.n)[:self.count]
        return index


class ClaimsDependence(RandK):
    def __init__(self, k, dependence):
        super().__init__(k)
        self.dependence = dependence


def test_workers_that_draw_alike_are_named():
    says(check_unbiased, SharedDraw(3), "all 3 workers draw alike", "'independent'")
    common = SharedDraw(3)
    common.dependence = "common"
    check_unbiased(common, draws=300, wires=["float64"])


def test_workers_that_draw_alike_at_times_are_named():
    says(check_unbiased, SharedSometimes(3), r"E\|mean Q_m\(v_m\) - mean v_m\|\^2", r"\(q - 1\)/M mean\|v_m\|\^2")
    says(check_unbiased, type("", (SharedSometimes, ClaimsQ), {"__name__": "Loose"})(3, 23.0), "workers 0 and 1",
         "correlated")


def test_exchanges_that_draw_alike_are_named():
    says(check_unbiased, TwiceEach(3), r"exchanges k and k \+ 1", "correlated")
    says(check_unbiased, FixedMask(3), "coordinate 0 is never sent|not keyed by the exchange")


def test_state_kept_between_calls_is_named():
    says(check_unbiased, Remembering(3), "state is kept between calls", "self.stream")
    says(check_unbiased, FirstAsked(3), "state is kept between calls|depends on the calls before")


def test_draws_that_ignore_the_seed_are_named():
    says(check_unbiased, Unseeded(3), "another seed gives the same draws", "self.stream")


@pytest.mark.parametrize("dependence, words", [
    ("partition", [r"dependence = 'partition'", r"q/M mean\|v_m\|\^2 - \|mean v_m\|\^2 = "]),
    ("common", [r"dependence = 'common'", r"\(q - 1\) \|mean v_m\|\^2"]),
    ("none", ["dependence = 'none' is unknown", "'independent'"])])
def test_a_dependence_that_the_draws_do_not_have_is_named(dependence, words):
    says(check_unbiased, ClaimsDependence(3, dependence), *words)


def test_any_dependence_may_be_declared():
    check_unbiased(ClaimsDependence(3, "any"), draws=300, wires=["float64"])


# -- contraction -----------------------------------------------------------------------------------


class ClaimsDelta(TopK):
    def __init__(self, k, delta):
        super().__init__(k)
        self.claimed = delta

    def prepare(self):
        super().prepare()
        self.contraction = self.claimed


class Smallest(TopK):
    """Keeps the k smallest."""

    def encode(self, x, message, worker, k):
        dense = np.zeros(self.n)
        x.write(dense)
        message.index[:] = np.argsort(np.abs(dense))[:self.count]
        message.values[:] = dense[message.index]


class Overshooting(ClaimsDelta):
    """The k largest, times 3: further from x than 0 is."""

    def __init__(self, delta):
        super().__init__(20, delta)

    def decode(self, message, worker, k, scale, out):
        super().decode(message, worker, k, 3 * scale, out)


class Rounding(Dense):
    """To multiples of max|x|/3: (n-1)/(n+35) of |x|^2 may be lost, at max and half steps; Gaussians lose far less."""

    contractive, unbiased = True, False

    def __init__(self, delta):
        super().__init__(3)
        self.contraction = delta

    def make(self, values, worker, k):
        step = np.abs(values).max() / 3 or 1.0
        values[:] = step * np.round(values / step)


def test_a_delta_that_is_too_small_is_named_with_the_one_needed():
    says(check_contractive, ClaimsDelta(3, 4.0), "contraction = 4", "of one magnitude", r"at least 7\.667")
    check_contractive(ClaimsDelta(3, 23 / 3), wires=["float64"])


@pytest.mark.parametrize("delta", (3 / 23, np.nan))
def test_a_delta_that_cannot_be_is_named(delta):
    says(check_contractive, ClaimsDelta(3, delta), f"contraction = {delta}", "at least 1")


def test_an_unknown_delta_is_one_without_bound():
    check_contractive(ClaimsDelta(3, None), wires=["float64"])
    says(check_contractive, Overshooting(None), "delta = inf|contraction = inf promises at most 1 - 1/delta = 1$")


def test_keeping_the_smallest_is_caught():
    says(check_contractive, Smallest(3), "E.C.x. - x.*contraction = 7.667 promises at most", "delta must be at least")


def test_an_error_that_only_an_adversarial_vector_shows_is_found():
    worst = (23 - 1) / (23 + 35)
    check_contractive(Rounding(1 / (1 - worst)), wires=["float64"])
    says(check_contractive, Rounding(1 / (1 - 0.8 * worst)), "found by a search", "at least 1.[3-6]")


def test_an_unbiased_compressor_is_checked_as_it_enters_error_feedback():
    says(check_contractive, ClaimsQ(3, 4.0), r"Q\(x\)/q", "q = 4")
    check_contractive(RandK(3), draws=200, wires=["float64"])


# -- the wire --------------------------------------------------------------------------------------


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
