"""Error feedback forgets nothing: x + e = sent + e+, and an unbiased compressor enters as Q/q."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha import state
from mpimasha.channels.memory import ErrorFeedback, Plain, Shift
from mpimasha.channels.server import Server
from mpimasha.compressors.base import message
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.linear import Linear
from mpimasha.randomness import Stream

WIRES = (np.float32, np.float64)
OWNED = range(2, 5)  # workers 2, 3 and 4 of 6
ROUNDS = 600 if numba.config.DISABLE_JIT else 3000


def bound(memory, compressor, n, wire=np.float64, dtype=np.float64):
    return memory.bind(compressor.bind(n, 6, wire, Stream(0, "test")), len(OWNED), np.dtype(dtype))


def send(memory, i, x, k):
    """What reaches the server for `x`, times the memory's scale."""
    sent, out = message(memory.compressor.fields()), np.zeros(len(x))
    memory.encode(i, Linear.of(x), sent, OWNED[i], k)
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
    memory.encode(0, 0.5 * (Linear.of(u) - Linear.of(v)), sent, OWNED[0], 0)
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
    memory.encode(1, Linear.of(x), sent, OWNED[1], 7)
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(sent, name), array)


# -- shift ---------------------------------------------------------------------------------------


def shifted(compressor, n=9, wire=np.float64, dtype=np.float64):
    return bound(Shift(), compressor, n, wire, dtype)


def estimate(memory, vectors, k):
    """What the server makes of one vector a worker of `OWNED`."""
    total = np.zeros(vectors.shape[1])
    for i, x in enumerate(vectors):
        total += send(memory, i, x, k) / len(vectors)
    memory.recover(total)
    return total


@pytest.mark.parametrize("compressor", (RandK(3), QSGD(2), TopK(3), Identity(), PermK()), ids=str)
def test_H_stays_the_mean_of_the_h(compressor):
    memory, rng = shifted(compressor, wire=np.float32, dtype=np.float32), np.random.default_rng(0)
    for k in range(200):
        estimate(memory, rng.standard_normal((3, 9)), k)
        kept_h, kept_H = state.buffers(memory)["h"], state.buffers(memory)["H"]
        assert kept_h.dtype == kept_H.dtype == np.float64
        np.testing.assert_allclose(kept_H, kept_h.mean(axis=0), atol=1e-13)


@pytest.mark.parametrize("compressor", (RandK(3), QSGD(2), TopK(3), PermK()), ids=str)
def test_a_vector_that_stays_is_learned_and_then_known_exactly(compressor):
    memory, x = shifted(compressor), np.random.default_rng(1).standard_normal((3, 9))
    for k in range(ROUNDS):
        last = estimate(memory, x, k)
    np.testing.assert_allclose(state.buffers(memory)["h"], x, atol=1e-12)
    np.testing.assert_allclose(last, x.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("compressor", (RandK(3), QSGD(2)), ids=str)
def test_the_estimate_is_unbiased_for_any_h(compressor):
    memory, rng = shifted(compressor), np.random.default_rng(2)
    x, h = rng.standard_normal((2, 3, 9))
    estimates = []
    for k in range(ROUNDS):
        state.buffers(memory)["h"][:], state.buffers(memory)["H"][:] = h, h.mean(axis=0)
        estimates.append(estimate(memory, x, k))
    error = np.std(estimates, axis=0, ddof=1) / math.sqrt(ROUNDS)
    assert (np.abs(np.mean(estimates, axis=0) - x.mean(axis=0)) <= 5 * error + 1e-12).all()


def test_h_moves_by_the_rate_times_what_was_sent():
    memory, x = shifted(RandK(3)), np.random.default_rng(3).standard_normal(9)
    sent = send(memory, 0, x, 0)
    assert memory.rate == 3 / 9 and shifted(TopK(3)).rate == 1.0
    np.testing.assert_allclose(state.buffers(memory)["h"][0], sent / 3, rtol=1e-15)


# -- the server ----------------------------------------------------------------------------------


def server(compressor, memory, n=9, seed=0):
    return Server(compressor, memory, n=n, wire=np.float64, stream=Stream(seed, "downlink"), dtype=np.dtype(float))


def served(server, mean, k):
    out = np.array(mean)
    sent = server.message()
    server.compress(out, sent, k)
    server.restore(sent, k, out)
    return out


def test_the_server_feeds_its_error_back():
    at_server, means = server(TopK(2), ErrorFeedback()), np.random.default_rng(0).standard_normal((40, 9))
    sent = sum(served(at_server, x, k) for k, x in enumerate(means))
    np.testing.assert_allclose(sent + kept(at_server.memory)[0], means.sum(axis=0), atol=1e-13)


def test_the_server_with_a_shift_learns_a_mean_that_stays():
    at_server, mean = server(QSGD(2), Shift()), np.random.default_rng(1).standard_normal(9)
    for k in range(400):
        last = served(at_server, mean, k)
    np.testing.assert_allclose(last, mean, atol=1e-9)


def test_two_replicas_of_the_server_send_the_same_bits():
    means = np.random.default_rng(2).standard_normal((5, 9))
    for compressor in (QSGD(3), RandK(4)):
        one, other = (server(compressor, Plain()) for _ in range(2))
        for k, mean in enumerate(means):
            assert served(one, mean, k).tobytes() == served(other, mean, k).tobytes()


def test_a_server_cannot_share_coordinates_out():
    with pytest.raises(UserError, match="compressor.down = .*permk.*there is one server"):
        server(PermK(), Plain())
