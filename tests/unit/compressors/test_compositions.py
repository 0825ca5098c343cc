"""A sparsifier, then a quantiser of what it keeps: constants multiply, bits add, draws are independent."""

import math

import numpy as np
import pytest
from draws import ROUNDS, bound, buffer_bits, check_below, check_mean, draws, transmitted
from hypothesis import given, settings
from hypothesis import strategies as st

import mpimasha as mm
from mpimasha.compressors import parse
from mpimasha.compressors.base import ANY, COMMON_MASK, INDEPENDENT, PARTITION
from mpimasha.errors import UserError

WIRES = (np.float32, np.float64)
UNBIASED = [("randk:4+natural", 10, 3), ("randk:4+absmax:2", 10, 3), ("randk:3,sampling=uniform+qsgd:2", 7, 2),
            ("randk:9,indices=true+absmax:1,bucket=2", 20, 2), ("randk:10,sampling=block+natural", 21, 2),
            ("permk+natural", 7, 3), ("permk+absmax:3", 2, 5), ("permk+identity", 6, 3), ("randk:1+natural", 1, 1)]
CONTRACTIVE = [("topk:4+natural", 10, 3), ("topk:4+absmax:2", 10, 3), ("topk:4+absmax:2,nearest", 10, 3),
               ("topk:3+sign", 9, 2), ("topk:3+float:16", 9, 2), ("randk:4+sign", 10, 2),
               ("permk+absmax:1,nearest", 7, 3), ("permk+sign", 2, 5), ("randk:10,sampling=block+float:16", 21, 2),
               ("topk:5+qsgd:2", 9, 2)]


def made(text):
    return parse(text)[0]


def vector(n):
    """Unequal entries of both signs, none so small that it is hardly ever rounded up."""
    rng = np.random.default_rng(n)
    return rng.uniform(0.5, 2.0, n) * rng.choice([-1, 1], n)


# -- constants -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("text, n, workers", UNBIASED)
def test_two_unbiased_parts_are_unbiased_with_the_product_of_their_q(text, n, workers, wire):
    q, x = bound(made(text), n, workers, wire), vector(n)
    first, second = (made(part) for part in text.split("+"))
    kept = {"randk": lambda: bound(first, n).count, "permk": lambda: -(-n // workers)}[first.name]()
    assert q.q == pytest.approx(bound(first, n, workers).q * bound(second, kept).q, rel=1e-15)
    assert q.unbiased and not q.contractive and q.contraction is None
    samples = draws(q, x, worker=workers - 1)
    check_mean(samples, x, rounding=2.0**-21)
    check_below((samples**2).sum(axis=1), q.q * (x @ x) * (1 + 2.0**-20))


def test_the_product_of_the_q_is_attained():
    q, x = bound(made("randk:3+natural"), 9), np.array([4, -2, 1, 8, 4, 4, 2, -1, 1]) * 4 / 9
    check_mean((draws(q, x) ** 2).sum(axis=1), q.q * (x @ x), rounding=1e-9)  # 3 x_i is 4/3 of a power of two


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("text, n, workers", CONTRACTIVE)
def test_any_other_two_contract_with_the_product_of_their_delta(text, n, workers, wire):
    q = bound(made(text), n, workers, wire)
    first, second = (made(part) for part in text.split("+"))
    kept = -(-n // workers) if first.name == "permk" else bound(first, n).count
    one, two = bound(first, n, workers), bound(second, kept)
    assert q.contraction == pytest.approx((one.contraction or one.q) * (two.q if two.unbiased else two.contraction))
    assert q.contractive and not q.unbiased and q.q is None
    for x in (vector(n), np.ones(n), np.eye(n)[n // 2] + 0.3 * np.eye(n)[0]):
        lost = ((draws(q, x, rounds=ROUNDS // 8) - x) ** 2).sum(axis=1)
        check_below(lost, (1 - 1 / q.contraction + 2.0**-20) * (x @ x))


@pytest.mark.parametrize("text", ("topk:4+float:32", "topk:4+absmax:1,nearest", "topk:4+sign"))
def test_what_topk_keeps_is_what_the_second_part_makes_of_it(text):
    x, q = vector(9), bound(made(text), 9)
    kept = np.sort(np.argsort(-np.abs(x), kind="stable")[:4])
    expected = np.zeros(9)
    expected[kept] = transmitted(bound(made(text.split("+")[1]), 4), x[kept])
    np.testing.assert_array_equal(transmitted(q, x), expected)


def test_an_unbiased_second_part_of_topk_is_divided_by_its_q():
    x, q = np.array([8.0, 0.1, -4.0, 2.0]), bound(made("topk:3+natural"), 4)
    np.testing.assert_allclose(transmitted(q, x), x * [1, 0, 1, 1] * 8 / 9, rtol=1e-15)
    assert q.contraction == pytest.approx(4 / 3 * 9 / 8)


def test_an_unbiased_first_part_is_not_scaled_where_the_second_is_biased():
    x, q = np.full(6, 2.0), bound(made("randk:2+float:16"), 6)
    for k in range(10):
        assert sorted(transmitted(q, x, k=k)) == [0, 0, 0, 0, 2, 2]


# -- draws -----------------------------------------------------------------------------------------


def test_the_second_part_draws_apart_from_the_first():
    x, q = np.array([4 / 3] * 8), bound(made("randk:4+natural"), 8)
    samples = draws(q, x)
    kept, up = samples != 0, samples == 4  # 2 * 4/3 becomes 2 or 4
    for i in range(8):
        others = np.arange(8) != i
        check_mean(up[kept[:, i], i].astype(float), 1 / 3)
        rows = kept[:, i]
        centred = (up[rows, i] - 1 / 3)[:, None] * (kept[rows][:, others] - kept[rows][:, others].mean(axis=0))
        check_mean(centred, np.zeros(7), rounding=0)


@pytest.mark.parametrize("text", ("randk:4+natural", "permk+absmax:2"))
def test_a_composed_draw_depends_on_seed_worker_and_round_only(text):
    x = vector(24)
    one, other = bound(made(text), 24, 4), bound(made(text), 24, 4)
    table = {(m, k): transmitted(one, x, m, k) for m in range(4) for k in range(4)}
    for m, k in reversed(table):
        np.testing.assert_array_equal(transmitted(other, x, m, k), table[m, k])
    assert len({v.tobytes() for v in table.values()}) == len(table)


def test_the_workers_of_a_composed_permk_share_out_the_coordinates():
    q, x = bound(made("permk+float:32"), 7, 3), np.ones(7)
    for k in range(20):
        parts = np.array([transmitted(q, x, m, k) for m in range(3)])
        assert (np.count_nonzero(parts, axis=0) == 1).all()


def test_binding_shares_no_scratch_and_leaves_the_original_alone():
    compressor = made("topk:3+natural")
    one, other = bound(compressor, 9), bound(compressor, 11)
    assert not hasattr(compressor.first, "n") and one.first.n == 9 and other.first.n == 11
    before = transmitted(one, vector(9), 0, 5)
    transmitted(other, vector(11), 0, 5)
    np.testing.assert_array_equal(transmitted(one, vector(9), 0, 5), before)


def test_dependence_is_that_of_the_first_part_and_a_common_mask_is_no_longer_all_there_is():
    assert made("randk+natural").dependence == INDEPENDENT
    assert made("permk+natural").dependence == PARTITION
    assert bound(made("permk+natural"), 9, 4).q == 4 * 9 / 8
    shared = mm.RandK(2, mask="shared")
    assert shared.dependence == COMMON_MASK and mm.Composition(shared, mm.Natural()).dependence == ANY
    assert shared.additive and not mm.Composition(shared, mm.Natural()).additive


# -- bits ------------------------------------------------------------------------------------------


def part_bits(text, n, v):
    """Of the second part alone, written out."""
    if n == 0:
        return 0
    if text == "natural":
        return {32: 9, 64: 12}[v] * n
    if text == "absmax:3":
        return v * math.ceil(n / 512) + 32 * math.ceil(n / 11)
    return {"sign": v + n, "float:16": 16 * n, "identity": v * n}[text]


@pytest.mark.parametrize("v, wire", [(32, np.float32), (64, np.float64)])
@pytest.mark.parametrize("second", ("natural", "absmax:3", "sign", "float:16", "identity"))
@pytest.mark.parametrize("n", (1, 7, 100, 1025))
def test_the_bits_are_those_of_the_indices_and_of_the_second_part(n, second, v, wire):
    k, index = max(1, n // 5), math.ceil(math.log2(n))
    for first, extra in ((f"randk:{k}", 0), (f"randk:{k},indices=true", k * index), (f"topk:{k}", k * index)):
        q = bound(made(f"{first}+{second}"), n, wire=wire)
        assert q.bits == part_bits(second, k, v) + extra
        padding = k * (32 - index) if extra or "index" in q.fields() else 0
        assert 0 <= buffer_bits(q) - padding - q.bits < 32
    for workers in (1, 3, 4, 2000):
        q = bound(made(f"permk+{second}"), n, workers, wire)
        sizes = [len(range(m, n, workers)) for m in range(workers)]
        assert q.bits == sum(part_bits(second, size, v) for size in sizes) / workers
        assert buffer_bits(q) >= part_bits(second, max(sizes), v) > buffer_bits(q) - 32


def test_the_bits_of_blocks_are_the_mean_over_the_draws():
    q = bound(made("randk:16,sampling=block+sign"), 61, wire=np.float32)  # 2 of 8 lines, the last of 5
    assert q.bits == 32 + (16 * 6 + 13 * 2) / 8


@pytest.mark.parametrize("text, n, workers", UNBIASED + CONTRACTIVE + [("randk:10,sampling=block", 21, 2)])
def test_a_message_has_the_same_bytes_whatever_was_there_before(text, n, workers):
    q, x = bound(made(text), n, workers), vector(n)
    for k in range(8):
        seen = set()
        for stale in (0, 0xA5):
            sent = mm.compressors.base.message(q.fields())
            for array in vars(sent).values():
                array.view(np.uint8)[:] = stale
            q.encode(mm.linear.Linear.of(x), sent, 0, k)
            seen.add(b"".join(array.tobytes() for _, array in sorted(vars(sent).items())))
        assert len(seen) == 1


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("text", ("randk:4+absmax:3", "topk:4+natural", "permk+sign"))
def test_a_formula_is_composed_like_its_value(text, dtype):
    u, v = np.random.default_rng(0).integers(-50, 50, (2, 9)).astype(dtype)  # integers: no rounding in any order
    q = bound(made(text), 9)
    sent, out = mm.compressors.base.message(q.fields()), np.zeros(9)
    q.encode(2.0 * mm.linear.Linear.of(u) - mm.linear.Linear.of(v), sent, 1, 4)
    q.decode(sent, 1, 4, 1.0, out)
    np.testing.assert_array_equal(out, transmitted(q, (2.0 * u - v).astype(float), 1, 4))


@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize("text", ("topk:2+natural", "topk:2+absmax:1", "permk+float:16"))
def test_what_is_not_finite_is_seen_in_a_composition(text, bad):
    x = np.ones(8)
    x[5] = bad
    outs = [transmitted(bound(made(text), 8, 2), x, m) for m in range(2)]
    assert not np.isfinite(sum(outs)[5])


# -- text ------------------------------------------------------------------------------------------


FIRST = st.one_of(st.builds(mm.RandK, st.one_of(st.integers(1, 10**9), st.floats(1e-6, 0.999), st.just(1e16)),
                            st.sampled_from(["stratified", "uniform", "block"])),
                  st.builds(mm.TopK, st.one_of(st.integers(1, 10**9), st.floats(1e-6, 0.999))), st.just(mm.PermK()))
SECOND = st.one_of(st.just(mm.Natural()), st.just(mm.Sign()), st.just(mm.Identity()),
                   st.builds(mm.QSGD, st.integers(1, 99)),
                   st.builds(mm.AbsMax, st.integers(1, 99), st.integers(0, 999), st.booleans()))


@settings(deadline=None)
@given(first=FIRST, second=SECOND, wire=st.sampled_from(["", ",wire=float32"]))
def test_the_name_of_a_composition_describes_it_completely(first, second, wire):
    composed = mm.Composition(first, second)
    again, other = parse(f"{composed}{wire}")
    assert type(again.first) is type(first) and vars(again.first) == vars(first)
    assert type(again.second) is type(second) and vars(again.second) == vars(second)
    assert other == ({"wire": "float32"} if wire else {}) and str(again) == str(composed)


def test_the_wire_may_stand_in_either_part():
    for text in ("randk:0.1,wire=float32+natural", "randk:0.1+natural,wire=float32"):
        assert parse(text)[1] == {"wire": "float32"}


@pytest.mark.parametrize("text, says", [
    ("natural+randk:3", "begin with randk"), ("absmax:3+natural", "begin with randk"),
    ("randk:3+topk:2", "second part"),
    ("randk:3+natural+sign", "3 parts"), ("randk:3,wire=float32+natural,wire=float64", "wire twice"),
    ("randk:3+", "no compressor"), ("+natural", "no compressor"), ("randk:3+naturl", "did you mean 'natural'"),
    ("randk:3+absmax:0", "32767"), ("randk:3+natural:2", "takes no argument")])
def test_parts_that_do_not_go_together_are_refused_in_one_sentence(text, says):
    with pytest.raises(UserError, match=says) as caught:
        parse(text)
    assert "\n" not in str(caught.value) and text in str(caught.value)
