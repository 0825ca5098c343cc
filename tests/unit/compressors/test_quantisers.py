"""Natural, absmax and sign: their constants; and of all quantisers the bills and what crosses the wire."""

import math

import numpy as np
import pytest
from draws import bound, buffer_bits, check_below, check_mean, draws, transmitted, vectors
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import mpimasha as mm
from mpimasha.compressors import COMPRESSORS, parse
from mpimasha.errors import UserError

WIRES = (np.float32, np.float64)
SMALLEST = {np.float32: 2.0**-126, np.float64: 2.0**-1022}
LARGEST_POWER = {np.float32: 2.0**127, np.float64: 2.0**1023}


# -- natural ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
def test_natural_rounds_to_the_powers_around_with_the_right_mean(wire):
    x = np.array([1.0, -2.0, 0.0, 3.0, 1.25, -0.7, 1e-5, 5e20, -1.9999999, 1.0000001, 2.0**127, -(2.0**-126)])
    samples = draws(bound(mm.Natural(), x.size, wire=wire), x)
    fraction, exponent = np.frexp(np.abs(x))  # |x| = fraction 2^exponent, fraction in [1/2, 1)
    low, high = np.ldexp(0.5, exponent) * (x != 0), np.ldexp(1.0, exponent)
    assert ((np.abs(samples) == low) | (np.abs(samples) == high)).all()
    assert ((samples == x) | (np.sign(samples) == np.sign(x))).all()
    assert (samples[:, fraction == 0.5] == x[fraction == 0.5]).all() and (samples[:, 2] == 0).all()
    often = ~np.isin(x, (-1.9999999, 1.0000001))  # those are too seldom rounded to the far power
    check_mean(samples[:, often], x[often], rounding=2.0**-32)


@pytest.mark.parametrize("wire", WIRES)
def test_q_and_delta_of_natural_are_attained_at_four_thirds_and_nowhere_exceeded(wire):
    q = bound(mm.Natural(), 4, wire=wire)
    assert q.q == 9 / 8 and q.contraction == 8 / 7
    for f in np.linspace(0, 1, 40, endpoint=False):
        assert 1 + f * (1 - f) / (1 + f) ** 2 <= 9 / 8 + 1e-15
    x = np.array([4 / 3, -8 / 3, 2.0**40 / 3, 1 / 3])
    samples = draws(q, x)
    check_mean((samples**2).sum(axis=1) / (x @ x), 9 / 8, rounding=1e-9)
    check_mean(((samples - x) ** 2).sum(axis=1) / (x @ x), 1 / 8, rounding=1e-9)


@pytest.mark.parametrize("wire", WIRES)
def test_natural_is_unbiased_below_the_smallest_power_and_clamped_above_the_largest(wire):
    p, top = SMALLEST[wire], LARGEST_POWER[wire]
    x = np.array([0.3 * p, -0.75 * p, 0.01 * p, 1.75 * p, 1.5 * top, -1.99 * top, 0.75 * top])
    samples = draws(bound(mm.Natural(), 7, wire=wire), x)
    assert set(np.unique(samples[:, :3] / p)) <= {-1.0, 0.0, 1.0}
    assert (samples[:, 4] == top).all() and (samples[:, 5] == -top).all()
    check_mean(samples[:, :4] / p, x[:4] / p, rounding=1e-9)
    check_mean(samples[:, 6] / top, 0.75, rounding=1e-9)


def test_natural_clamps_what_only_float64_can_hold():
    out = transmitted(bound(mm.Natural(), 4, wire=np.float32), [1e39, -1e300, 1e-300, -0.0])
    assert out.tolist() == [2.0**127, -(2.0**127), 0.0, 0.0]


# -- absmax ----------------------------------------------------------------------------------------


def second_moment(x, levels):
    """E|Q(x)|^2/|x|^2 of random rounding to multiples of max|x|/S, in plain NumPy."""
    step = np.abs(x).max() / levels
    up = np.abs(x) / step - np.floor(np.abs(x) / step)
    return (x @ x + step**2 * (up @ (1 - up))) / (x @ x)


def nearest_error(x, levels):
    step = np.abs(x).max() / levels
    return np.sum((x - step * np.floor(x / step + 0.5)) ** 2) / (x @ x)


def largest(ratio, b, near):
    """The largest ratio(x) that a search finds, from random vectors and from around (1, near, ..., near)."""
    rng = np.random.default_rng(b)
    starts = [*rng.uniform(0, 1, (6, b - 1)), *near * rng.uniform(0.9, 1.1, (3, b - 1))]
    return max(-minimize(lambda x: -ratio(np.append(x, 1.0)), start, method="Nelder-Mead",
                         options={"maxiter": 100 * b, "fatol": 1e-12}).fun for start in starts)


def worst_entry(b, levels):
    """The t for which (1, t, ..., t) has the largest second moment."""
    return (math.sqrt(1 + (b - 1) / levels**2) - 1) * levels / (b - 1) if b > 1 else 0.0


@pytest.mark.parametrize("levels", (1, 2, 7))
@pytest.mark.parametrize("b", (2, 3, 5))
def test_no_search_finds_a_vector_beyond_the_constants_of_absmax(b, levels):
    q = bound(mm.AbsMax(levels, bucket=0), b).q
    found = largest(lambda x: second_moment(x, levels), b, worst_entry(b, levels))
    assert 0.98 * (q - 1) <= found - 1 <= (q - 1) * (1 + 1e-12)
    lost = 1 - 1 / bound(mm.AbsMax(levels, 0, nearest=True), b).contraction
    found = largest(lambda x: nearest_error(x, levels), b, 0.5 / levels)
    assert 0.9 * lost <= found <= lost * (1 + 1e-12)


@pytest.mark.parametrize("levels", (1, 2, 7, 100))
@pytest.mark.parametrize("b", (1, 2, 12, 512))
def test_the_constants_of_absmax_are_attained(b, levels):
    q = bound(mm.AbsMax(levels, bucket=b), 1024)
    assert q.q == pytest.approx((1 + math.sqrt(1 + (b - 1) / levels**2)) / 2, rel=1e-15)
    assert second_moment(np.array([1.0] + [worst_entry(b, levels)] * (b - 1)), levels) == pytest.approx(q.q, rel=1e-12)
    near = bound(mm.AbsMax(levels, b, nearest=True), 1024)
    assert 1 - 1 / near.contraction == pytest.approx((b - 1) / (4 * levels**2 + b - 1), rel=1e-12, abs=1e-15)
    x = np.array([1.0] + [0.5 / levels] * (b - 1))
    assert nearest_error(x, levels) == pytest.approx(1 - 1 / near.contraction, rel=1e-12)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("text, n", [("absmax:1", 6), ("absmax:3", 9), ("absmax:2,bucket=4", 10),
                                     ("absmax:1,bucket=1", 3), ("absmax:100", 5), ("absmax:1", 1)])
def test_absmax_is_unbiased_and_its_second_moment_is_its_formula(text, n, wire):
    q, x = bound(parse(text)[0], n, wire=wire), np.random.default_rng(n).uniform(0.5, 2.0, n) * (-1) ** np.arange(n)
    samples = draws(q, x)
    check_mean(samples, x, rounding=2.0**-22)
    parts = np.split(x, range(q.bucket, n, q.bucket))
    expected = sum(second_moment(part, q.levels) * (part @ part) for part in parts)
    check_mean((samples**2).sum(axis=1), expected, rounding=2.0**-20)
    assert expected <= q.q * (x @ x)


@pytest.mark.parametrize("wire", WIRES)
@settings(deadline=None, max_examples=50)
@given(x=vectors(most=12), levels=st.integers(1, 9), bucket=st.integers(0, 5))
def test_absmax_to_the_nearest_level_contracts_as_declared(wire, x, levels, bucket):
    q = bound(mm.AbsMax(levels, bucket, nearest=True), x.size, wire=wire)
    lost = np.sum((transmitted(q, x) - x) ** 2)
    assert lost <= (1 - 1 / q.contraction + 2.0**-21) * (x @ x)  # c is rounded up by 2^-23 at most
    assert not q.unbiased and q.contractive and q.q is None


# -- sign ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
@settings(deadline=None, max_examples=50)
@given(x=vectors(most=70))
def test_sign_sends_the_mean_magnitude_and_loses_what_its_formula_says(wire, x):
    q = bound(mm.Sign(), x.size, wire=wire)
    out, mean = transmitted(q, x), math.fsum(np.abs(x)) / x.size
    np.testing.assert_allclose(np.abs(out), mean, rtol=2.0**-23)
    assert ((out >= 0) == (x >= 0)).all()
    assert q.contraction == x.size
    delta = x.size * (x @ x) / (mean * x.size) ** 2 if mean else 1.0  # of this vector
    assert delta <= x.size * (1 + 1e-12)
    assert np.sum((out - x) ** 2) <= (1 - 1 / delta + 1e-12) * (x @ x)  # rounding the scale: second order


def test_the_delta_of_sign_is_attained_by_one_entry():
    q, x = bound(mm.Sign(), 8), np.eye(8)[3]
    assert np.sum((transmitted(q, x) - x) ** 2) == 1 - 1 / q.contraction


def test_the_mean_magnitude_of_the_largest_numbers_is_finite():
    x = np.full(10, -1.7e308)
    np.testing.assert_allclose(transmitted(bound(mm.Sign(), 10), x), x, rtol=1e-14)


# -- all of them -----------------------------------------------------------------------------------


ALL = ("natural", "absmax:1", "absmax:3,bucket=5", "absmax:2,nearest", "sign", "rank:1", "float:16", "float:32",
       "randk:0.4,sampling=block", "natural32", "dither:8", "dither:4,bucket=6")


@pytest.mark.parametrize("v, wire", [(32, np.float32), (64, np.float64)])
@pytest.mark.parametrize("n", (1, 2, 7, 32, 100, 1000, 1025))
def test_the_bits_are_those_of_the_table_and_the_buffers_hold_no_more(n, v, wire):
    def check(text, expected, slack=0):
        q = bound(parse(text)[0], n, wire=wire)
        assert q.bits == expected
        assert buffer_bits(q) == expected + slack

    width = {32: 9, 64: 12}[v]
    check("natural", n * width, -n * width % 32)
    check("sign", v + n, -n % 32)
    check("natural32", 9 * n, -n % 8)
    for bits in (8, 4):
        check(f"dither:{bits}", v * math.ceil(n / 512) + bits * n, bits * n % 8)
    check("float:16", 16 * n)
    check("float:32", 32 * n)
    side = math.isqrt(n) + (math.isqrt(n) ** 2 < n)
    check("rank:1", v * (side + math.ceil(n / side)))
    for levels, per_word in {1: 20, 2: 13, 3: 11, 7: 8, 100: 4, 32767: 2}.items():
        words = 32 * math.ceil(n / per_word)
        check(f"absmax:{levels},bucket=0", v + words)
        check(f"absmax:{levels},bucket=0,nearest", v + words)
        check(f"absmax:{levels}", v * math.ceil(n / 512) + words)
        check(f"absmax:{levels},bucket=3", v * math.ceil(n / 3) + words)


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("text", [t for t in ALL if "randk" not in t])
def test_what_is_not_finite_is_seen_on_the_other_side(text, wire, bad):
    for n, place in ((1, 0), (9, 4), (40, 39)):
        x = np.ones(n)
        x[place] = bad
        assert not np.isfinite(transmitted(bound(parse(text)[0], n, wire=wire), x)[place])


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("n", (1, 9))
def test_zero_is_sent_as_zero(text, n, wire):
    out = transmitted(bound(parse(text)[0], n, wire=wire), np.zeros(n))
    assert (out == 0).all()


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("text", ALL)
def test_decoding_adds_scale_times_the_value(text, wire):
    x, start = np.random.default_rng(0).standard_normal((2, 13))
    q = bound(parse(text)[0], 13, wire=wire)
    value = transmitted(q, x, 1, 5)
    sent = mm.compressors.base.message(q.fields())
    q.encode(mm.linear.Linear.of(x), sent, 1, 5)
    for dtype in (np.float64, np.float32):
        for _ in range(2):  # decoding leaves the message as it is
            out = start.astype(dtype)
            q.decode(sent, 1, 5, -0.75, out)
            np.testing.assert_array_equal(out, (start.astype(dtype).astype(float) - 0.75 * value).astype(dtype))


@pytest.mark.parametrize("text", ("natural", "absmax:2", "randk:8,sampling=block", "natural32", "dither:4",
                                  "randk:8,sampling=stratified32"))
def test_workers_and_rounds_draw_independently(text):
    x = np.random.default_rng(0).standard_normal(20)
    q = bound(parse(text)[0], 20, 2)
    errors = [draws(q, x, m) - x for m in range(2)]
    check_mean(errors[0] * errors[1], np.zeros(20))
    check_mean(errors[0][1:] * errors[0][:-1], np.zeros(20))


@pytest.mark.parametrize("text", ("natural", "absmax:2", "natural32", "dither:4"))
def test_coordinates_draw_independently(text):
    x = np.random.default_rng(0).standard_normal(7)
    errors = draws(bound(parse(text)[0], 7), x) - x
    pairs = errors[:, :, None] * errors[:, None, :]
    check_mean(pairs[:, ~np.eye(7, dtype=bool)], np.zeros(42))


def test_constants_are_upheld_by_random_vectors():
    for text in ("natural", "absmax:1", "absmax:3,bucket=5", "natural32", "dither:4,bucket=6"):
        q, x = bound(parse(text)[0], 12), np.random.default_rng(0).standard_normal(12)
        check_below((draws(q, x) ** 2).sum(axis=1), q.q * (x @ x))


@settings(deadline=None)
@given(compressor=st.one_of(
    st.builds(mm.AbsMax, st.integers(1, 2**15 - 1), st.integers(0, 10**6), st.booleans()), st.builds(mm.Natural),
    st.builds(mm.RankR, st.integers(1, 50), st.integers(0, 50)), st.builds(mm.Float, st.sampled_from([16, 32])),
    st.builds(mm.Float, st.just(16), st.booleans()),
    st.builds(mm.Sign), st.builds(mm.Natural32), st.builds(mm.Dither, st.sampled_from([8, 4]), st.integers(0, 10**6)),
    st.builds(mm.RandK, st.integers(1, 99), st.just("block"))))
def test_the_name_of_a_quantiser_describes_it_completely(compressor):
    again, other = parse(str(compressor))
    assert type(again) is type(compressor) and vars(again) == vars(compressor) and not other


@pytest.mark.parametrize("text, expected", [
    ("absmax:3,nearest", mm.AbsMax(3, nearest=True)), ("absmax:3,nearest=true", mm.AbsMax(3, nearest=True)),
    ("absmax:3,nearest=false", mm.AbsMax(3)), ("absmax", mm.AbsMax(1, 512)), ("absmax:2,bucket=0", mm.AbsMax(2, 0)),
    ("randk:9,indices", mm.RandK(9, indices=True)), ("rank:2,rows=7", mm.RankR(2, 7)), ("float", mm.Float(32))])
def test_a_text_gives_the_quantiser_it_describes(text, expected):
    found, _ = parse(text)
    assert type(found) is type(expected) and vars(found) == vars(expected)


@pytest.mark.parametrize("text, says", [
    ("natural:3", "takes no argument"), ("sign,3", "unknown key"), ("absmax:0", "32767"), ("absmax:32768", "32767"),
    ("absmax:1.5", "wrong type"), ("absmax:1,nearest=2", "wrong type"), ("absmax:1,bucket", "wrong type"),
    ("absmax:1,bucket=-1", "bucket = -1"), ("float:8", "float:16"), ("dither:5", "dither:8"), ("rank:0", "at least 1"),
    ("rank:1,rows=-1", "rows"),
    ("absmax:1,nearest,nearest", "twice"), ("randk:9,sampling=block,indices=true", "block"), ("absmx", "absmax"),
    ("randk:9,sampling=line", "block")])
def test_a_mistake_is_named(text, says):
    with pytest.raises(UserError, match=says) as caught:
        parse(text)
    assert "\n" not in str(caught.value) and "compressor.up" in str(caught.value)


def test_the_flags_say_which_theory_applies():
    made = [kind() for kind in COMPRESSORS.values()]
    assert {c.name for c in made if c.unbiased} == {"identity", "randk", "permk", "qsgd", "absmax", "dither", "natural",
                                                      "natural32"}
    assert {c.name for c in made if c.contractive} == {"identity", "topk", "natural", "natural32", "sign", "rank",
                                                          "float"}
