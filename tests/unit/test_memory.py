"""Error feedback forgets nothing: x + e = sent + e+, and an unbiased compressor enters as Q/q."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha import state
from mpimasha.compressors.base import message
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.linear import Linear
from mpimasha.memory import ErrorFeedback, Plain
from mpimasha.randomness import Stream

WIRES = (np.float32, np.float64)
OWNED = range(2, 5)  # workers 2, 3 and 4 of 6
ROUNDS = 600 if numba.config.DISABLE_JIT else 3000


def bound(memory, compressor, n, wire=np.float64, dtype=np.float64):
    return memory.bind(compressor.bind(n, 6, wire, Stream(0, "test")), OWNED, np.dtype(dtype))


def send(memory, i, x, k):
    """What reaches the server for `x`, times the memory's scale."""
    sent, out = message(memory.compressor.fields()), np.zeros(len(x))
    memory.encode(i, Linear.of(x), sent, k)
    memory.compressor.decode(sent, OWNED[i], k, memory.scale, out)
    return out


def kept(memory):
    return state.buffers(memory)["e"]


VECTORS = hnp.arrays(np.float64, (6, 9), elements=st.floats(-1e6, 1e6))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("compressor", (TopK(4), Identity()), ids=str)
@settings(deadline=None, max_examples=60)
@given(rounds=VECTORS)
def test_what_is_not_sent_stays_in_e_exactly(compressor, wire, rounds):
    memory = bound(ErrorFeedback(), compressor, 9, wire)
    for k, x in enumerate(rounds):
        wanted = x + kept(memory)[1]
        sent = send(memory, 1, x, k)
        np.testing.assert_array_equal(sent + kept(memory)[1], wanted)
        np.testing.assert_array_equal(sent, sent.astype(wire))  # the rounding of the wire stays in e


def test_a_float64_wire_leaves_nothing_of_what_was_sent_and_float32_its_rounding():
    x = np.array([1 / 3, -7.0, 1e-3, 2.5e5 + 0.1, 0.0])
    for wire in WIRES:
        memory = bound(ErrorFeedback(), TopK(3), 5, wire)
        sent = send(memory, 0, x, 0)
        np.testing.assert_array_equal(np.flatnonzero(sent), [0, 1, 3])
        np.testing.assert_array_equal(kept(memory)[0], np.where(sent != 0, x - x.astype(wire), x))


@pytest.mark.parametrize("compressor", (TopK(2), RandK(3), PermK(), QSGD(3)), ids=str)
def test_over_many_rounds_the_sum_of_what_was_sent_is_the_sum_of_what_was_asked_less_e(compressor):
    memory, asked = bound(ErrorFeedback(), compressor, 9), np.random.default_rng(0).standard_normal((60, 9))
    sent = sum(send(memory, 0, x, k) for k, x in enumerate(asked))
    size = np.abs(asked).sum() * memory.compressor.q if memory.compressor.q else np.abs(asked).sum()
    np.testing.assert_allclose(sent + kept(memory)[0], asked.sum(axis=0), rtol=0, atol=1e-14 * size)
    assert np.abs(kept(memory)[0]).max() > 1e-3


@pytest.mark.parametrize("compressor", (RandK(3), RandK(5, "uniform"), PermK(), QSGD(2), QSGD(1, bucket=3)), ids=str)
def test_an_unbiased_compressor_enters_divided_by_q_and_contracts(compressor):
    n, x = 9, np.random.default_rng(3).standard_normal(9)
    memory, plain = bound(ErrorFeedback(), compressor, n), bound(Plain(), compressor, n)
    q = memory.compressor.q
    assert memory.scale == 1 / q
    left = np.zeros(ROUNDS)
    for k in range(ROUNDS):
        kept(memory)[:] = 0
        np.testing.assert_allclose(send(memory, 0, x, k) * q, send(plain, 0, x, k), rtol=1e-15)
        left[k] = kept(memory)[0] @ kept(memory)[0]
    error = left.std(ddof=1) / math.sqrt(ROUNDS)
    assert left.mean() <= (1 - 1 / q) * (x @ x) + 5 * error + 1e-12  # E|Q(x)/q - x|^2 <= (1 - 1/q)|x|^2


def test_a_contractive_compressor_enters_as_it_is():
    for compressor in (TopK(2), Identity()):
        assert bound(ErrorFeedback(), compressor, 5).scale == 1.0


def test_workers_remember_apart_and_draw_as_themselves():
    memory, alone = bound(ErrorFeedback(), RandK(2), 6), bound(ErrorFeedback(), RandK(2), 6)
    x = np.arange(1.0, 7.0)
    for k in range(3):
        before = kept(memory).copy()
        send(memory, 2, x, k)
        np.testing.assert_array_equal(kept(memory)[:2], before[:2])
        send(memory, 0, -x, k)
    for k in range(3):
        send(alone, 2, x, k)
    np.testing.assert_array_equal(kept(memory)[2], kept(alone)[2])


def test_the_formula_of_x_may_be_a_difference_and_x_is_not_changed():
    u, v = np.arange(6.0), np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    memory = bound(ErrorFeedback(), TopK(2), 6)
    kept(memory)[0] = [8.0, 0, 0, 0, 0, -1.0]
    sent = message(memory.compressor.fields())
    memory.encode(0, 0.5 * (Linear.of(u) - Linear.of(v)), sent, 0)
    wanted = 0.5 * (u - v) + [8.0, 0, 0, 0, 0, -1.0]
    assert sorted(zip(sent.index.tolist(), sent.values.tolist())) == [(0, 6.5), (5, -3.0)]
    np.testing.assert_array_equal(kept(memory)[0], np.where([1, 0, 0, 0, 0, 1], 0.0, wanted))
    np.testing.assert_array_equal(u, np.arange(6.0))


def test_a_float32_run_conserves_in_float32():
    memory = bound(ErrorFeedback(), TopK(2), 5, np.float32, np.float32)
    x = np.random.default_rng(0).standard_normal(5).astype(np.float32)
    for k in range(4):
        wanted = (x + kept(memory)[0]).copy()
        assert kept(memory).dtype == np.float32
        np.testing.assert_array_equal(send(memory, 0, x, k).astype(np.float32) + kept(memory)[0], wanted)


@pytest.mark.parametrize("compressor", (RandK(2), TopK(2), QSGD(2), Identity()), ids=str)
def test_plain_sends_the_compressors_own_message_and_remembers_nothing(compressor):
    memory, x = bound(Plain(), compressor, 6), np.random.default_rng(0).standard_normal(6)
    assert memory.scale == 1.0 and not state.buffers(memory)
    expected = message(memory.compressor.fields())
    memory.compressor.encode(Linear.of(x), expected, OWNED[1], 7)
    sent = message(memory.compressor.fields())
    memory.encode(1, Linear.of(x), sent, 7)
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(sent, name), array)
