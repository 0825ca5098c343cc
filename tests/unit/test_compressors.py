"""Compressors: unbiased or contractive with the declared constant, billed as declared, drawn independently.

The check functions below are also run on the mistakes found in public code, to show that each of them can fail.
Streams are fixed, so nothing here is flaky.
"""

import itertools
import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.compressors import parse
from mpimasha.compressors.base import message
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.kernels import sparse
from mpimasha.linear import Linear
from mpimasha.randomness import COMMON, Stream

ROUNDS = 600 if numba.config.DISABLE_JIT else 3000
SIGMAS = 5.5
ROUNDING = 2.0**-22  # two roundings of float32, the narrower wire
WIRES = (np.float32, np.float64)
UNBIASED = [  # (compressor, n, workers); most k do not divide n, most M neither
    pytest.param(*case, id=f"{case[0]}-n={case[1]}-M={case[2]}") for case in (
        (Identity(), 7, 3), (RandK(3), 7, 3), (RandK(4), 8, 3), (RandK(1), 5, 2), (RandK(6), 6, 2), (RandK(0.3), 10, 2),
        (RandK(3, sampling="uniform"), 7, 3), (RandK(3, indices=True), 7, 3), (PermK(), 7, 3), (PermK(), 6, 3),
        (PermK(), 4, 3), (PermK(), 3, 7), (PermK(), 5, 1), (QSGD(1), 7, 2), (QSGD(2, bucket=3), 7, 2),
        (QSGD(4), 9, 2), (QSGD(15, bucket=4), 8, 2), (QSGD(1, bucket=1), 3, 2))
]


def bound(compressor, n, workers=3, wire=np.float64, seed=0):
    return compressor.bind(n, workers, wire, Stream(seed, "test"))


def transmitted(q, x, worker=0, k=0):
    """What the message of `x` stands for."""
    sent, out = message(q.fields()), np.zeros(q.n)
    q.encode(Linear.of(x), sent, worker, k)
    q.decode(sent, worker, k, 1.0, out)
    return out


def draws(q, x, worker=0, rounds=ROUNDS):
    return np.array([transmitted(q, x, worker, k) for k in range(rounds)])


def spread(n):
    """Unequal entries of both signs, one of them 0, all of them float32 numbers."""
    rng = np.random.default_rng([n, 1])
    x = rng.uniform(0.5, 2.0, n) * rng.choice([-1, 1], n)
    x[n // 2] = 0.0
    return x.astype(np.float32).astype(np.float64)


# -- the check functions ---------------------------------------------------------------------------


def check_mean(samples, expected, rounding=ROUNDING):
    """The mean of independent samples is `expected` within 5.5 standard errors; no sample varies: within rounding."""
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - expected) <= SIGMAS * error + rounding * np.abs(expected)).all()


def check_second_moment(samples, x, q, equality):
    """E|Q(x)|^2 <= q |x|^2, or = where the definition says so."""
    squares, bound_ = (samples**2).sum(axis=1), q * x @ x
    if equality:
        check_mean(squares, bound_)
    else:
        assert squares.mean() - SIGMAS * squares.std(ddof=1) / math.sqrt(len(squares)) <= bound_ * (1 + ROUNDING)


def check_bill(q, expected):
    """The bill is the table's, and nothing travels unbilled but the padding of an index and of the last word."""
    assert q.bits == expected
    fields = q.fields()
    travelling = sum(8 * dtype.itemsize * count for dtype, count in fields.values())
    if "index" in fields:
        dtype, count = fields["index"]
        travelling -= count * (8 * dtype.itemsize - math.ceil(math.log2(q.n)))
    if "words" in fields:
        assert 0 <= travelling - q.bits < 32
    elif isinstance(q, PermK):
        assert 0 <= travelling - q.bits < 8 * q.wire.itemsize
    else:
        assert travelling == q.bits


def check_index_type(q):
    dtype, _ = q.fields()["index"]
    assert int(dtype.type(q.n - 1)) == q.n - 1


# -- moments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("compressor, n, workers", UNBIASED)
def test_the_mean_over_rounds_is_the_vector_and_the_second_moment_is_q(compressor, n, workers, wire):
    assert compressor.unbiased
    q, x = bound(compressor, n, workers, wire), spread(n)
    samples = draws(q, x, worker=workers - 1)
    check_mean(samples, x)
    check_second_moment(samples, x, q.q, equality=compressor.name in ("identity", "randk", "permk"))


def worst_cases(n):
    rng = np.random.default_rng(0)
    yield "one entry", np.eye(n)[0]
    yield "constant", np.ones(n)
    yield "one large", np.concatenate([[1.0], np.full(n - 1, 0.1)])
    yield "geometric", 0.5 ** np.arange(n)
    yield "gaussian", rng.standard_normal(n)
    for levels in (1, 2, 4):  # a half step each: the largest variance a coordinate can have
        yield f"half of 1/{levels}", np.concatenate([np.full(n - 1, 0.5 / levels),
                                                     [math.sqrt(max(0.0, 1 - (n - 1) * 0.25 / levels**2))]])


@pytest.mark.parametrize("compressor", (QSGD(1), QSGD(2), QSGD(4), QSGD(4, bucket=5), QSGD(60)), ids=str)
def test_the_second_moment_of_qsgd_is_its_formula_and_below_q(compressor):
    n = 12
    q = bound(compressor, n)
    s, b = compressor.levels, min(compressor.bucket, n)
    assert q.q == pytest.approx(1 + min(b / s**2, math.sqrt(b) / s), rel=1e-15)
    for _, x in worst_cases(n):
        step = np.concatenate([np.full(len(p), np.linalg.norm(p) / s) for p in np.split(x, range(b, n, b))])
        level = np.abs(x) / np.where(step > 0, step, 1.0)
        fraction = level - np.floor(level)
        exact = x @ x + step**2 @ (fraction * (1 - fraction))
        assert exact <= q.q * (x @ x) * (1 + 1e-12)
        squares = (draws(q, x, rounds=ROUNDS // 3)**2).sum(axis=1)
        check_mean(squares, exact)


@pytest.mark.parametrize("sampling", ("stratified", "uniform"))
@pytest.mark.parametrize("n, k", [(7, 3), (12, 5), (8, 4), (9, 8)])
def test_randk_keeps_exactly_k_and_each_coordinate_equally_often(n, k, sampling):
    q = bound(RandK(k, sampling=sampling), n)
    kept = draws(q, np.ones(n)) != 0
    assert (kept.sum(axis=1) == k).all()
    assert q.q == n / k
    check_mean(kept.astype(float), np.full(n, k / n))


def test_q_of_randk_is_attained_in_every_draw_of_a_constant_magnitude():
    x = np.array([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])
    q = bound(RandK(3), 7)
    for k in range(20):
        assert np.sum(transmitted(q, x, k=k)**2) == pytest.approx(q.q * x @ x, rel=1e-15)


@pytest.mark.parametrize("n, workers", [(7, 3), (6, 3), (3, 7), (1, 2), (8, 1)])
def test_permk_gives_every_coordinate_to_one_worker_and_equal_vectors_come_back_exactly(n, workers):
    q, x = bound(PermK(), n, workers), spread(n)
    for k in range(30):
        parts = np.array([transmitted(q, x, m, k) for m in range(workers)])
        assert (np.count_nonzero(parts, axis=0) == (x != 0)).all()
        np.testing.assert_array_max_ulp(parts.sum(axis=0) / workers, x, maxulp=1)


@pytest.mark.parametrize("n, workers", [(7, 3), (6, 3), (3, 5), (4, 2)])
def test_permk_loses_jointly_only_the_disagreement_of_the_workers(n, workers):
    q, v = bound(PermK(), n, workers), np.random.default_rng(1).standard_normal((workers, n))
    means = np.mean([draws(q, v[m], m) for m in range(workers)], axis=0)
    check_mean(means, v.mean(axis=0))
    errors = ((means - v.mean(axis=0))**2).sum(axis=1)
    check_mean(errors, (v**2).sum(axis=1).mean() - (v.mean(axis=0)**2).sum())


# -- contraction -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(x=hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-9, 9).map(float)), data=st.data())
def test_topk_keeps_the_largest_with_ties_to_the_lowest_index_and_contracts_in_every_draw(x, data):
    n = len(x)
    k = data.draw(st.integers(1, n))
    q = bound(TopK(k), n)
    sent = transmitted(q, x)
    expected = np.zeros(n)
    largest = sorted(range(n), key=lambda i: (-abs(x[i]), i))[:k]
    expected[largest] = x[largest]
    np.testing.assert_array_equal(sent, expected)
    assert n * np.sum((x - sent)**2) <= (n - k) * np.sum(x**2)  # integers: no rounding
    assert q.contraction == n / k and q.q is None


def test_the_contraction_of_topk_is_attained_by_a_constant_magnitude():
    x = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    q = bound(TopK(2), 5)
    assert 5 * np.sum((x - transmitted(q, x))**2) == 5 * (1 - 1 / q.contraction) * (x @ x)


# -- the wire --------------------------------------------------------------------------------------


def decoded(q, sent, n, workers):
    """The vector of a message by its declared format, in plain NumPy; None where a shared seed is needed."""
    out = np.zeros(n)
    if isinstance(q, Identity):
        out[:] = sent.values
    elif hasattr(sent, "index"):
        for i, value in zip(sent.index.tolist(), sent.values.tolist()):
            out[i] += value
    elif isinstance(q, QSGD):
        width, b = 1 + math.ceil(math.log2(q.levels + 1)), min(q.bucket or n, n)
        stream = int.from_bytes(sent.words.astype("<u4").tobytes(), "little")
        for i in range(n):
            code = (stream >> (i * width)) & (2**width - 1)
            level, negative = code & (2 ** (width - 1) - 1), code >> (width - 1)
            out[i] = (-1)**negative * float(sent.norms[i // b]) * (level / q.levels)
    else:
        return None
    return out


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("compressor, n, workers", UNBIASED + [pytest.param(TopK(3), 7, 2, id="topk")])
def test_decoding_adds_scale_times_what_the_declared_format_says(compressor, n, workers, wire):
    q, x = bound(compressor, n, workers, wire), spread(n) / 3
    rng = np.random.default_rng(0)
    for k in range(5):
        sent, start = message(q.fields()), rng.standard_normal(n)
        for array in vars(sent).values():  # what an earlier round left behind
            array[:] = rng.integers(0, 100, array.size)
        q.encode(Linear.of(x), sent, 1, k)
        assert all(getattr(sent, name).dtype == dtype and getattr(sent, name).size == count
                   for name, (dtype, count) in q.fields().items())
        expected, out = decoded(q, sent, n, workers), start.copy()
        q.decode(sent, 1, k, 0.75, out)
        if expected is None:
            kept = out != start
            factor = workers if isinstance(q, PermK) else n / q.count
            assert set(np.flatnonzero(kept)) <= set(np.flatnonzero(x))
            expected = np.where(kept, (factor * x).astype(wire).astype(float), 0.0)
        np.testing.assert_array_equal(out, start + 0.75 * expected)
        bytes_ = {name: array.tobytes() for name, array in vars(sent).items()}
        fresh = message(q.fields())
        q.encode(Linear.of(x), fresh, 1, k)
        assert bytes_ == {name: array.tobytes() for name, array in vars(fresh).items()}


@pytest.mark.parametrize("sampling", ("stratified", "uniform"))
def test_indices_that_travel_are_those_that_the_seed_implies(sampling):
    x = spread(11)
    with_, without = (bound(RandK(4, sampling, indices), 11) for indices in (True, False))
    for worker, k in itertools.product(range(3), range(10)):
        np.testing.assert_array_equal(transmitted(with_, x, worker, k), transmitted(without, x, worker, k))


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("compressor", (Identity(), RandK(3), RandK(3, "block"), TopK(3), PermK(), QSGD(4),
                                        *(parse(t)[0] for t in ("natural", "absmax:3", "sign", "rank", "float:16"))),
                         ids=str)
def test_a_formula_is_compressed_like_its_value(compressor, dtype):
    rng = np.random.default_rng(0)
    u, v, w = rng.integers(-50, 50, (3, 9)).astype(dtype)  # integers: no rounding in any order
    value = (2.0 * u - v + 3.0 * w).astype(float)
    q = bound(compressor, 9)
    direct = transmitted(q, value, 1, 4)
    sent, out = message(q.fields()), np.zeros(9)
    q.encode(2.0 * Linear.of(u) - Linear.of(v) + 3.0 * Linear.of(w), sent, 1, 4)
    q.decode(sent, 1, 4, 1.0, out)
    np.testing.assert_array_equal(out, direct)


@pytest.mark.parametrize("v, wire", [(32, np.float32), (64, np.float64)])
@pytest.mark.parametrize("n", (1, 2, 7, 8, 100, 1000, 1025))
def test_the_bits_are_those_of_the_table(n, v, wire):
    log_n, workers = math.ceil(math.log2(n)), 4

    def bits(compressor):
        return bound(compressor, n, workers, wire)

    check_bill(bits(Identity()), v * n)
    check_bill(bits(PermK()), v * n / workers)
    for k in {1, max(1, n // 20), n}:
        check_bill(bits(RandK(k)), k * v)
        check_bill(bits(RandK(k, "uniform")), k * v)
        check_bill(bits(RandK(k, indices=True)), k * v + k * log_n)
        check_bill(bits(TopK(k)), k * (v + log_n))
    for s, bucket in itertools.product((1, 2, 3, 4, 7, 8, 255, 32767), (0, 1, 10, 512)):
        buckets = math.ceil(n / (bucket or n))
        check_bill(bits(QSGD(s, bucket)), buckets * v + n * (1 + math.ceil(math.log2(s + 1))))


@pytest.mark.parametrize("fraction, n, count", [(0.05, 100, 5), (0.05, 7, 1), (0.3, 10, 3), (0.999, 10, 10), (1, 9, 1),
                                                (9, 9, 9), (2.0, 9, 2)])
def test_a_fraction_below_one_or_a_count_says_how_many_are_kept(fraction, n, count):
    assert bound(RandK(fraction), n).count == bound(TopK(fraction), n).count == count


def test_indices_reach_beyond_32_bits():
    n = 2**40
    q = bound(RandK(50, indices=True), n)
    index = q._draw(0, 0, np.zeros(50, q.index_dtype))
    assert q.index_bits == 40 and 2**32 < index.max() < n
    check_index_type(q)
    check_index_type(bound(RandK(3, indices=True), 2**32 - 1))


# -- independence and determinism ------------------------------------------------------------------


def check_mean_of_workers(samples, v, q):
    """E|mean Q_m(v) - v|^2 = (q - 1)/M |v|^2: only if the workers draw independently."""
    errors = ((samples.mean(axis=0) - v)**2).sum(axis=1)
    check_mean(errors, (q - 1) / len(samples) * (v @ v))


@pytest.mark.parametrize("compressor", (RandK(3), RandK(3, "uniform"), RandK(2, indices=True)), ids=str)
def test_the_error_of_the_mean_falls_like_one_over_the_workers(compressor):
    q, v = bound(compressor, 8, 4), spread(8)
    check_mean_of_workers(np.array([draws(q, v, m) for m in range(4)]), v, q.q)


@pytest.mark.parametrize("compressor", (RandK(3), RandK(3, "uniform"), PermK(), QSGD(1)), ids=str)
def test_errors_of_two_rounds_and_of_two_workers_are_uncorrelated(compressor):
    x, n = spread(6), 6
    q = bound(compressor, n, 3)
    errors = [draws(q, x, m) - x for m in range(3)]
    for lag in (1, 2):
        check_mean(errors[0][lag:] * errors[0][:-lag], np.zeros(n), rounding=0)
    if compressor.dependence == "independent":
        for one, other in itertools.combinations(errors, 2):
            check_mean(one * other, np.zeros(n), rounding=0)


@pytest.mark.parametrize("compressor", (RandK(3), RandK(3, "uniform"), PermK(), QSGD(2)), ids=str)
def test_a_draw_depends_on_seed_worker_and_round_and_on_nothing_else(compressor):
    x = spread(24)
    q = bound(compressor, 24, 4)
    table = {(m, k): transmitted(q, x, m, k) for m in range(4) for k in range(4)}
    other = bound(compressor, 24, 4)
    for m, k in reversed(table):
        np.testing.assert_array_equal(transmitted(other, x, m, k), table[m, k])
    assert len({v.tobytes() for v in table.values()}) == len(table)
    seeded = bound(compressor, 24, 4, seed=1)
    assert sum((transmitted(seeded, x, m, k) != table[m, k]).any() for m, k in table) == len(table)


def test_purposes_workers_rounds_and_seeds_have_streams_of_their_own():
    keys = [int(Stream(seed, purpose)(worker, k)) for seed in (0, 1, 2**63) for purpose in ("uplink", "refresh", "coin")
            for worker in (COMMON - 1, COMMON, 0, 1) for k in (0, 1, 10**6)]
    assert len(set(keys)) == len(keys)


def test_binding_makes_a_copy_that_shares_no_scratch():
    others = (parse(text)[0] for text in ("randk:3,sampling=block", "natural", "absmax:2", "sign", "rank", "float:16"))
    for compressor in (RandK(3, "uniform"), PermK(), TopK(3), QSGD(2), *others):
        one, other = bound(compressor, 9), bound(compressor, 11)
        assert one.n == 9 and other.n == 11 and not hasattr(compressor, "n")
        first = transmitted(one, spread(9), 0, 5)
        transmitted(other, spread(11), 0, 5)
        np.testing.assert_array_equal(transmitted(one, spread(9), 0, 5), first)


# -- mistakes found in public code: each is caught by a check above --------------------------------


class Replaced(RandK):
    """Sampling with replacement, scaled by n/k; a repeated index overwrites."""

    adds = False

    def _index_of(self, worker, k):
        return np.random.default_rng([worker, k]).integers(0, self.n, self.count).astype(np.uint32)

    def encode(self, x, message, worker, k):
        x.gather(self._index_of(worker, k), self.n / self.count, message.values)

    def decode(self, message, worker, k, scale, out):
        index = self._index_of(worker, k)
        if self.adds:
            sparse.scatter_add(out, index, message.values, scale)
        else:
            out[index] = scale * message.values


class ReplacedAdding(Replaced):
    """With replacement, repeated indices add up: unbiased, but q is n/k + (k-1)/k."""

    adds = True


class Unscaled(RandK):
    """No scale."""

    def encode(self, x, message, worker, k):
        x.gather(self._draw(worker, k, self._index), 1.0, message.values)


class Zeroing(RandK):
    """Zeroes one coordinate instead of keeping k, with the scale of keeping k."""

    def fields(self):
        return {"values": (self.wire, self.n)}

    def encode(self, x, message, worker, k):
        x.write(message.values)
        message.values *= self.n / self.count
        message.values[int(self.stream.uniform(worker, k) * self.n)] = 0

    def decode(self, message, worker, k, scale, out):
        out += scale * message.values


class FixedBlocks(PermK):
    """The permutation is fresh, but worker m always has the m-th block of it."""

    def _owned(self, worker, k):
        super()._owned(worker, k)
        return self._perm[worker::self.workers]


class Unbilled(RandK):
    """Indices travel and are not billed."""

    bits = property(lambda self: self.count * self.value_bits)


class FloatIndices(TopK):
    """Indices travel as float32, which has no 2^24 + 1."""

    def fields(self):
        return {"values": (self.wire, self.count), "index": (np.dtype(np.float32), self.count)}


class SharedDraw(RandK):
    """All workers draw the same indices while q/M is claimed."""

    def _draw(self, worker, k, index):
        return super()._draw(0, k, index)


@pytest.mark.parametrize("wrong", (Replaced(6), Unscaled(3), Zeroing(3)), ids=lambda c: type(c).__name__)
def test_a_biased_randk_is_caught(wrong):
    x = spread(7)
    samples = draws(bound(wrong, 7), x)
    with pytest.raises(AssertionError):
        check_mean(samples, x)


def test_sampling_with_replacement_is_caught_even_where_it_is_unbiased():
    x = spread(7)
    q = bound(ReplacedAdding(3), 7)
    samples = draws(q, x)
    check_mean(samples, x)
    with pytest.raises(AssertionError):
        check_second_moment(samples, x, q.q, equality=True)


def test_blocks_fixed_per_worker_are_caught_where_the_workers_do_not_divide_the_dimension():
    x = spread(4)
    samples = draws(bound(FixedBlocks(), 4, 3), x)
    with pytest.raises(AssertionError):
        check_mean(samples, x)
    check_mean(draws(bound(FixedBlocks(), 6, 3), spread(6)), spread(6))


def test_unbilled_indices_are_caught():
    q = bound(Unbilled(3, indices=True), 100)
    with pytest.raises(AssertionError):
        check_bill(q, q.bits)


def test_indices_in_floating_point_are_caught():
    with pytest.raises(AssertionError):
        check_index_type(bound(FloatIndices(3), 2**24 + 2))
    check_index_type(bound(TopK(3), 2**24 + 2))


def test_one_draw_for_all_workers_is_caught():
    q, v = bound(SharedDraw(3), 8, 4), spread(8)
    with pytest.raises(AssertionError):
        check_mean_of_workers(np.array([draws(q, v, m) for m in range(4)]), v, q.q)


# -- text ------------------------------------------------------------------------------------------


COMPRESSOR = st.one_of(
    st.builds(RandK, st.one_of(st.integers(1, 10**9), st.floats(1e-6, 0.999)),
              st.sampled_from(["stratified", "uniform"]), st.booleans()),
    st.builds(TopK, st.one_of(st.integers(1, 10**9), st.floats(1e-6, 0.999))),
    st.builds(QSGD, st.integers(1, 2**15 - 1), st.integers(0, 10**6)), st.just(PermK()), st.just(Identity()))


@settings(deadline=None)
@given(compressor=COMPRESSOR)
def test_the_name_of_a_compressor_describes_it_completely(compressor):
    again, other = parse(str(compressor))
    assert type(again) is type(compressor) and not other
    assert vars(again) == vars(compressor)


@pytest.mark.parametrize("text, expected", [
    ("identity", Identity()), ("permk", PermK()), ("randk", RandK(0.05)), ("randk:20", RandK(20)),
    ("randk:0.1,sampling=uniform,indices=true", RandK(0.1, "uniform", True)), ("randk:3,indices=false", RandK(3)),
    ("topk", TopK(0.05)), ("topk:k=3", None), ("topk:20", TopK(20)), ("qsgd:8,bucket=0", QSGD(8, 0)),
    ("qsgd", QSGD(4, 512))])
def test_a_text_gives_the_compressor_it_describes(text, expected):
    if expected is None:
        with pytest.raises(UserError, match="k=3"):
            parse(text)
        return
    assert type(parse(text)[0]) is type(expected) and vars(parse(text)[0]) == vars(expected)


def test_the_wire_in_a_text_is_handed_on():
    compressor, other = parse("randk:0.1,wire=float32")
    assert vars(compressor) == vars(RandK(0.1)) and other == {"wire": "float32"}
