"""Variables of one worker lie behind the shared ones, pass a channel as they are, and are neither sent nor billed."""

from types import SimpleNamespace

import numpy as np
import pytest

from mpimasha import state
from mpimasha.channels.channel import Channel
from mpimasha.channels.memory import Contracted, ErrorFeedback, Plain, Shift
from mpimasha.compressors.absmax import AbsMax
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.fleet.draw import Draw
from mpimasha.fleet.parts import Parts
from mpimasha.ledger import Ledger
from mpimasha.linear import Linear
from mpimasha.mpi.communicator import Communicator
from mpimasha.state import PerWorker, Scalar, Shared

N, SIZES = 6, (3, 0, 2)
PARTS = Parts(N, SIZES)


class Kept:
    z, a, x, h = Shared(), Scalar(), PerWorker(), PerWorker(np.float64)


def kept(parts=PARTS, dtype=np.float64, fill=True):
    """States of random values."""
    it, rng = Kept(), np.random.default_rng(0)
    state.allocate(it, len(SIZES), N, np.dtype(dtype), parts)
    for array in state.buffers(it).values():
        array[:] = rng.standard_normal(array.shape) if fill else 0
    return it


def local(it, name, i):
    """The array of the i-th worker's local part."""
    return getattr(it, name).local(i, PARTS).terms[0][1]


# -- where they lie --------------------------------------------------------------------------------


def test_the_shared_part_comes_first_then_that_of_each_worker():
    assert PARTS.size == 11 and PARTS.largest == 3 and PARTS.shared == slice(0, 6)
    covered = np.zeros(PARTS.size, int)
    for part in (PARTS.shared, *PARTS.local):
        covered[part] += 1
    assert (covered == 1).all()
    assert [part.stop - part.start for part in PARTS.local] == list(SIZES)


def test_parts_without_local_ones_are_false():
    assert PARTS and not Parts(N, (0, 0)) and Parts(N, (0, 0)).size == N


@pytest.mark.parametrize("parts", (None, Parts(N, (0, 0, 0))))
def test_states_without_local_parts_are_what_they_were(parts):
    it = kept(parts)
    assert {name: array.shape for name, array in state.buffers(it).items()} == \
        {"z": (N,), "a": (1,), "x": (3, N), "h": (3, N)}
    assert it.x.row(1).terms[0][1] is not None and it.x.local(1, PARTS) is None


def test_states_have_room_for_local_parts_of_their_own_type():
    it = kept(dtype=np.float32)
    shapes = {name: (array.shape, array.dtype.name) for name, array in state.buffers(it).items()}
    assert shapes == {"z": ((11,), "float32"), "a": ((1,), "float64"), "x": ((3, N), "float32"),
                      "x.local": ((5,), "float32"), "h": ((3, N), "float64"), "h.local": ((5,), "float64")}


# -- formulas and assignments ------------------------------------------------------------------------


def test_a_formula_of_shared_states_and_workers_states_has_a_local_part_for_each():
    it = kept()
    formula = 2.0 * it.z - it.x + 0.5 * it.h
    z = state.buffers(it)["z"]
    for i, part in enumerate(PARTS.local):
        out = np.empty(SIZES[i])
        formula.row(i)
        formula.local(i, PARTS).write(out)
        np.testing.assert_allclose(out, 2 * z[part] - local(it, "x", i) + 0.5 * local(it, "h", i), rtol=1e-14)


def test_the_local_parts_of_two_workers_share_no_memory():
    it = kept()
    before = local(it, "x", 2).copy()
    local(it, "x", 0)[:] = 7.0
    np.testing.assert_array_equal(local(it, "x", 2), before)


def test_assigning_a_formula_writes_shared_and_local_parts():
    it = kept()
    expected = {name: array.copy() for name, array in state.buffers(it).items()}
    it.x = it.z - 3.0 * it.x
    for i, part in enumerate(PARTS.local):
        np.testing.assert_allclose(state.buffers(it)["x"][i], expected["z"][:N] - 3 * expected["x"][i], rtol=1e-14)
        own = slice(part.start - N, part.stop - N)
        np.testing.assert_allclose(local(it, "x", i), expected["z"][part] - 3 * expected["x.local"][own], rtol=1e-14)
    it.z = 2.0 * it.z
    np.testing.assert_array_equal(state.buffers(it)["z"], 2 * expected["z"])


def test_a_point_of_the_shared_space_has_local_parts_0():
    it = kept()
    it.z = np.arange(1.0, N + 1)
    np.testing.assert_array_equal(state.buffers(it)["z"], [1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0])


def test_vectors_without_local_parts_have_none():
    it = kept(None)
    assert (it.z.row(0) + it.x.row(0)).terms and (1.0 * it.x).local(0, PARTS) is None


# -- through a channel -------------------------------------------------------------------------------


def opened(compressor, memory, parts=PARTS, wire="float64", senders=None):
    """(channel, ledger) of three workers on one rank."""
    fleet = SimpleNamespace(n=N, workers=3, owned=range(3), dtype=np.dtype(float), parts=parts)
    ledger = Ledger()
    channel = Channel(compressor, memory, "uplink", fleet=fleet, comm=Communicator(), ledger=ledger,
                      wire=np.dtype(wire), seed=0, senders=senders)
    return channel, ledger


MEMORIES = {
    "plain": (Plain, RandK(2)), "identity": (Plain, Identity()), "contracted": (Contracted, RandK(2)),
    "error feedback": (ErrorFeedback, TopK(2)), "error feedback, unbiased": (ErrorFeedback, RandK(2)),
    "shift": (Shift, AbsMax(1)),
}


@pytest.mark.parametrize("wire", ("float64", "float32"))
@pytest.mark.parametrize("memory, compressor", MEMORIES.values(), ids=MEMORIES)
def test_local_parts_come_back_bit_for_bit_and_the_shared_mean_and_bits_are_those_without(memory, compressor, wire):
    (channel, ledger), (bare, other) = opened(compressor, memory(), wire=wire), \
        opened(compressor, memory(), Parts(N, (0, 0, 0)), wire)
    it, alone, rng = kept(), kept(None), np.random.default_rng(1)
    for k in range(4):
        state.buffers(alone)["x"][:] = state.buffers(it)["x"][:] = rng.standard_normal((3, N))
        state.buffers(it)["x.local"][:] = rng.standard_normal(5)
        whole = channel.mean(it.x, k).terms[0][1]
        assert whole[N:].tobytes() == state.buffers(it)["x.local"].tobytes()
        assert whole[:N].tobytes() == bare.mean(alone.x, k).terms[0][1].tobytes()
    assert ledger.uplink_bits == other.uplink_bits > 0 and ledger.downlink_bits == other.downlink_bits > 0


@pytest.mark.parametrize("name", ("sent", "added", "lost"))
@pytest.mark.parametrize("memory, compressor", ((Plain, RandK(2)), (Contracted, TopK(2)), (Plain, Identity())))
def test_of_a_local_part_all_crosses_and_nothing_is_lost(memory, compressor, name):
    (channel, _), it = opened(compressor, memory(), wire="float32"), kept()
    before = state.buffers(it)["h.local"].copy()
    x = 2.0 * it.x - it.z
    wanted = [2 * local(it, "x", i) - state.buffers(it)["z"][part] for i, part in enumerate(PARTS.local)]
    channel.mean(x, 0, **{name: it.h})
    wanted = np.concatenate(wanted)
    expected = {"sent": wanted, "added": before + wanted, "lost": 0 * wanted}[name]
    np.testing.assert_allclose(state.buffers(it)["h.local"], expected, rtol=0, atol=1e-14)


def test_the_change_of_a_reference_may_contain_that_reference():
    """h += x - h, as in a compressed refresh: afterwards the local part of h is x."""
    (channel, _), it = opened(TopK(2), Contracted()), kept()
    channel.mean(it.x - it.h, 0, added=it.h)
    np.testing.assert_allclose(state.buffers(it)["h.local"], state.buffers(it)["x.local"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("compressor", (TopK(2), RandK(2), Identity()), ids=str)
def test_what_is_lost_of_a_change_is_counted_from_the_reference_before_it(compressor):
    """h += C(x - h) and lost = x - h - C(x - h) with the h of before: together x = h + lost afterwards."""
    (channel, _), it, lost = opened(compressor, Contracted(), wire="float32"), kept(), kept()
    x = {name: array.copy() for name, array in state.buffers(it).items()}
    channel.mean(it.x - it.h, 0, added=it.h, lost=lost.h)
    for name in ("", ".local"):
        got = state.buffers(it)[f"h{name}"] + state.buffers(lost)[f"h{name}"]
        np.testing.assert_allclose(got, x[f"x{name}"], rtol=0, atol=1e-14)


def test_a_memory_begins_from_the_shared_part_and_returns_the_local_one():
    channel, _ = opened(RandK(2), Shift())
    first, _ = opened(Identity(), Plain())
    it = kept()
    mean = channel.begin(it.x, first).terms[0][1]
    np.testing.assert_allclose(mean[:N], state.buffers(it)["x"].mean(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(mean[N:], state.buffers(it)["x.local"])
    np.testing.assert_array_equal(state.buffers(channel.memory)["h"], state.buffers(it)["x"])
    np.testing.assert_allclose(state.buffers(channel.memory)["H"], mean[:N], rtol=1e-14)
    again = channel.mean(it.x, 0).terms[0][1]  # what is learnt is known
    np.testing.assert_allclose(again, mean, rtol=0, atol=1e-14)


def test_a_worker_that_sends_nothing_contributes_nothing_from_an_earlier_round():
    (channel, _), it = opened(Identity(), Plain(), senders=1), kept()
    for k, who in enumerate((0, 2)):
        whole = channel.mean(it.x, k, Draw(np.array([who]))).terms[0][1]
    np.testing.assert_array_equal(whole[PARTS.local[2]], local(it, "x", 2))
    np.testing.assert_array_equal(whole[PARTS.local[0]], np.zeros(3))


def test_linear_of_a_slice():
    it = kept()
    z = state.buffers(it)["z"]
    out = np.empty(5)
    (it.z - 2.0 * Linear.of(z[::-1].copy())).part(slice(6, 11)).write(out)
    np.testing.assert_allclose(out, z[6:] - 2 * z[::-1][6:], rtol=1e-14)
