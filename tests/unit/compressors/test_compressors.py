"""Compressors: what is more than test_shipped_parts_pass_the_kit: exact formulas, formats, bills and texts.

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

from mpimasha.compressors import parse, topk
from mpimasha.compressors.base import message
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
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


def bound(compressor, n, workers=3, wire=np.float64):
    return compressor.bind(n, workers, wire, Stream(0, "test"))


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


def check_mean(samples, expected):
    """The mean of independent samples is `expected` within 5.5 standard errors; no sample varies: within rounding."""
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - expected) <= SIGMAS * error + ROUNDING * np.abs(expected)).all()


# -- moments ---------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("v, wire", [(32, np.float32), (64, np.float64)])
@pytest.mark.parametrize("n", (1, 2, 7, 8, 100, 1000, 1025))
def test_the_bits_are_those_of_the_table(n, v, wire):
    log_n, workers = math.ceil(math.log2(n)), 4

    def bits(compressor):
        return bound(compressor, n, workers, wire).bits

    assert bits(Identity()) == v * n
    assert bits(PermK()) == v * n / workers
    for k in {1, max(1, n // 20), n}:
        assert bits(RandK(k)) == k * v
        assert bits(RandK(k, "uniform")) == k * v
        assert bits(RandK(k, indices=True)) == k * v + k * log_n
        assert bits(TopK(k)) == k * (v + log_n)
    for s, bucket in itertools.product((1, 2, 3, 4, 7, 8, 255, 32767), (0, 1, 10, 512)):
        buckets = math.ceil(n / (bucket or n))
        assert bits(QSGD(s, bucket)) == buckets * v + n * (1 + math.ceil(math.log2(s + 1)))


@pytest.mark.parametrize("fraction, n, count", [(0.05, 100, 5), (0.05, 7, 1), (0.3, 10, 3), (0.999, 10, 10), (1, 9, 1),
                                                (9, 9, 9), (2.0, 9, 2)])
def test_a_fraction_below_one_or_a_count_says_how_many_are_kept(fraction, n, count):
    assert bound(RandK(fraction), n).count == bound(TopK(fraction), n).count == count


def test_indices_reach_beyond_32_bits():
    n = 2**40
    q = bound(RandK(50, indices=True), n)
    index = q._draw(0, 0, np.zeros(50, q.index_dtype))
    assert q.index_bits == 40 and 2**32 < index.max() < n
    assert q.fields()["index"][0] == np.uint64
    assert bound(RandK(3, indices=True), 2**32 - 1).fields()["index"][0] == np.uint32


# -- streams ---------------------------------------------------------------------------------------


def test_purposes_workers_rounds_and_seeds_have_streams_of_their_own():
    keys = [int(Stream(seed, purpose)(worker, k)) for seed in (0, 1, 2**63) for purpose in ("uplink", "refresh", "coin")
            for worker in (COMMON - 1, COMMON, 0, 1) for k in (0, 1, 10**6)]
    assert len(set(keys)) == len(keys)


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


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("n", (64, 70))
def test_topk_adds_many_messages_block_by_block_to_the_same_bits(monkeypatch, wire, n):
    monkeypatch.setattr(topk, "BLOCK", 4)
    q, rng = bound(TopK(n // 4), n, 5, wire), np.random.default_rng(n)
    sent = [message(q.fields()) for _ in range(5)]
    for worker, m in enumerate(sent):
        q.encode(Linear.of(rng.standard_normal(n)), m, worker, 0)
    start, calls = rng.standard_normal(n).astype(wire), []
    together, alone = start.copy(), start.copy()
    monkeypatch.setattr(q, "decode", lambda *arguments: calls.append(arguments))
    q.decode_all(sent, 0, 0.3, together)
    assert not calls  # all of them in blocks
    for m in sent:
        for i, value in zip(m.index, m.values):
            alone[i] = float(alone[i]) + 0.3 * float(value)
    np.testing.assert_array_equal(together, alone)
