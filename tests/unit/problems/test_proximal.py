"""Proximal operators against their definition: p = prox(x) solves min_p gamma h(p) + |p - x|^2 / 2.

The projections onto the simplex are compared with exact rational arithmetic over all supports.
"""

import itertools
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from mpimasha.errors import UserError
from mpimasha.problems.proximal import L1, Balls, Box, Product, Simplex, Zero

DTYPES = (np.float32, np.float64)
GAMMA = 0.7
N = 6
PROJECTIONS = {
    "box": Box(-0.5, 2.0),
    "box of arrays": Box(np.linspace(-2, 0, N), np.array([-2, -1, 0, 3, np.inf, np.inf])),
    "simplex": Simplex(),
    "balls": Balls([(slice(0, 2), 0.5), (slice(2, 5), 2.0)]),
    "product": Product([(slice(0, 2), Simplex()), (slice(2, 4), Box(0.0, 1.0))]),
}
PROXES = PROJECTIONS | {
    "l1": L1(0.8),
    "l1 of weight 0": L1(0),
    "product with l1": Product([(slice(0, 2), Simplex()), (slice(2, 4), Box(0.0, 1.0)), (slice(5, 6), L1(2.0))]),
}
every_prox = pytest.mark.parametrize("prox", PROXES.values(), ids=PROXES)


def applied(prox, x, gamma=GAMMA):
    p = np.array(x)
    assert prox.apply(p, gamma) is None
    return p


def samples(count, n=N, seed=0):
    rng = np.random.default_rng(seed)
    for scale in np.resize([0.1, 1.0, 10.0], count):
        yield scale * rng.standard_normal(n) + rng.choice([0.0, scale])


# -- what every proximal operator is ---------------------------------------------------------------


@every_prox
def test_a_prox_is_firmly_nonexpansive(prox):
    points = list(samples(30))
    for a, b in itertools.combinations(points, 2):
        d = applied(prox, a) - applied(prox, b)
        assert d @ d <= d @ (a - b) + 1e-14 * (a - b) @ (a - b)


@pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=PROJECTIONS)
def test_a_projection_does_not_move_its_own_points(projection):
    for x in samples(30):
        p = applied(projection, x)
        np.testing.assert_allclose(applied(projection, p), p, rtol=0, atol=4e-16 * max(1, np.abs(p).max()))


@every_prox
@pytest.mark.parametrize("place", range(5))
def test_not_a_number_stays_visible(prox, place):
    for dtype in DTYPES:
        x = np.arange(N).astype(dtype)
        x[place] = np.nan
        assert np.isnan(applied(prox, x)[place])


@every_prox
def test_a_prox_rounds_once_to_single_precision_and_works_in_place(prox):
    for x in samples(9):
        x = x.astype(np.float32)
        p = applied(prox, x)
        assert p.dtype == np.float32
        np.testing.assert_allclose(p, applied(prox, x.astype(np.float64)), rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize("prox", [Box(0.0, 0.5), Box(np.zeros(3000), np.ones(3000)), Simplex(), L1(0.8),
                                  Balls([(slice(0, 2000), 0.5)]), Product([(slice(0, 2000), Simplex())])],
                         ids=["box", "box of arrays", "simplex", "l1", "balls", "product"])
def test_a_prox_allocates_no_vector(prox):
    x = np.linspace(-1, 3, 3000)  # 24 kB
    prox.apply(x.copy(), GAMMA)  # compiled by now
    tracemalloc.start()
    try:
        prox.apply(x, GAMMA)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4000


def test_zero_and_the_coordinates_no_part_names_are_left_alone():
    x = next(samples(1))
    np.testing.assert_array_equal(applied(Zero(), x), x)
    assert applied(PROXES["product with l1"], x)[4] == x[4]


def test_a_product_applies_each_prox_to_its_part_with_the_same_gamma():
    for x in samples(6):
        p = applied(PROXES["product with l1"], x, 0.3)
        np.testing.assert_array_equal(p[:2], applied(Simplex(), x[:2]))
        np.testing.assert_array_equal(p[2:4], np.minimum(np.maximum(x[2:4], 0), 1))
        np.testing.assert_array_equal(p[5:], np.sign(x[5:]) * np.maximum(np.abs(x[5:]) - 0.6, 0))


# -- box and l1 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("box", "box of arrays"))
def test_a_box_takes_the_nearest_point_of_each_interval(name):
    box = PROXES[name]
    lower, upper = np.broadcast_to(box.lower, N), np.broadcast_to(box.upper, N)
    for x in samples(20):
        for xi, pi, low, high in zip(x, applied(box, x), lower, upper):
            assert low <= pi <= high
            assert abs(xi - pi) == max(low - xi, xi - high, 0)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(0, 1e3), st.floats(1e-6, 1e3))
def test_l1_minimises_its_definition(x, weight, gamma):
    p = applied(L1(weight), [x], gamma)[0]
    assert (p == 0 and abs(x) <= gamma * weight) or abs(x - p - gamma * weight * np.sign(p)) <= 1e-15 * abs(x)


def test_l1_is_the_minimum_found_by_search():
    for x in samples(5):
        for xi, pi in zip(x, applied(L1(0.8), x, 0.7)):
            found = minimize_scalar(lambda p: 0.56 * abs(p) + (p - xi)**2 / 2, bounds=(-30, 30), method="bounded",
                                    options={"xatol": 1e-10})
            assert pi == pytest.approx(found.x, abs=1e-6)


# -- simplex ---------------------------------------------------------------------------------------


def exact(x):
    """The projection in rational numbers: of all supports, the one that satisfies the conditions of optimality."""
    x = [Fraction(float(v)) for v in x]
    for size in range(1, len(x) + 1):
        for support in itertools.combinations(range(len(x)), size):
            t = (sum(x[i] for i in support) - 1) / size
            if all(x[i] > t for i in support) and all(x[i] <= t for i in range(len(x)) if i not in support):
                return np.array([float(max(v - t, 0)) for v in x])
    raise AssertionError("every vector has a projection")


FLOATS = st.one_of(st.floats(-3, 3), st.floats(-1e-3, 1e-3), st.sampled_from([0.0, 0.25, 1.0, -1.0]),
                   st.floats(allow_nan=False, allow_infinity=False))
SINGLES = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.floats(-2, 2, width=32)


@settings(max_examples=400, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=6))
def test_the_projection_onto_the_simplex_is_the_exact_one(x):
    np.testing.assert_allclose(applied(Simplex(), np.array(x)), exact(x), rtol=0, atol=2e-15)


@settings(max_examples=100, deadline=None)
@given(st.lists(SINGLES, min_size=1, max_size=5))
def test_the_projection_in_single_precision_is_the_exact_one_rounded(x):
    p = applied(Simplex(), np.array(x, np.float32))
    np.testing.assert_allclose(p, exact(x), rtol=6.1e-8, atol=2e-15)  # half a unit in the last place


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", (1, 2, 3, 100, 2000))
@pytest.mark.parametrize("scale", (1e-3, 1.0, 1e6, 1e30))
def test_the_projection_satisfies_the_conditions_of_optimality(n, scale, dtype):
    rng = np.random.default_rng(n)
    x = (scale * rng.standard_normal(n)).astype(dtype)
    p = applied(Simplex(), x).astype(np.float64)
    eps = np.finfo(dtype).eps
    assert (p >= 0).all() and abs(p.sum() - 1) <= 4 * eps * np.sqrt(n)
    # <x - p, q - p> <= 0 at every vertex q = e_j; relative to the largest entry, which is active, nothing is large
    slope = x.astype(np.float64) - x.max() - p
    assert (slope - slope @ p).max() <= 10 * eps * np.sqrt(n)


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_entries_lose_nothing(dtype):
    big = np.finfo(dtype).max
    for x, p in (([big, -big, 0], [1, 0, 0]), ([big, big, -big], [0.5, 0.5, 0]), ([-big, -big], [0.5, 0.5]),
                 ([-big, 0.25, 0.5], [0, 0.375, 0.625]), ([2.0**20, 2.0**20 - 0.5, 0], [0.75, 0.25, 0])):
        np.testing.assert_array_equal(applied(Simplex(), np.array(x, dtype)), np.array(p, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("place", (0, 3, 6))
def test_a_simplex_turns_what_is_not_finite_into_not_a_number_everywhere(place, bad, dtype):
    x = np.linspace(-1, 1, 7).astype(dtype)
    x[place] = bad
    assert np.isnan(applied(Simplex(), x)).all()


def test_the_projection_depends_on_differences_alone_and_not_on_the_order():
    for x in samples(20, n=9):
        p, order = applied(Simplex(), x), np.random.default_rng(1).permutation(9)
        np.testing.assert_allclose(applied(Simplex(), x + 3.5), p, rtol=0, atol=5e-15)
        np.testing.assert_allclose(applied(Simplex(), x[order]), p[order], rtol=0, atol=1e-15)


def test_entries_that_leave_one_by_one_are_all_found():
    # the larger an entry, the later it leaves: excess = sum_j (x_j - x_k) - 1 grows by more than a factor k each time
    x, excess = [0.0, 0.0, -0.5 - 2.0**-50], 2.0**-49
    while x[-1] > -0.9:
        gap = 1.1 * excess
        excess += len(x) * gap
        x.append(x[-1] - gap)
    assert len(x) > 15
    np.testing.assert_allclose(applied(Simplex(), np.array(x)), [0.5, 0.5] + [0.0] * (len(x) - 2), rtol=0, atol=1e-15)


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lower, upper", [(1, 0), (np.zeros(3), -np.ones(3)), (np.nan, 1), (0, np.nan),
                                          (np.inf, np.inf), (-np.inf, -np.inf), ("a", 1), (None, 1),
                                          (np.zeros(2), np.ones(3)), (0, 10**400)])
def test_an_empty_box_is_refused(lower, upper):
    with pytest.raises(UserError, match="Box.*lower <= upper"):
        Box(lower, upper)


@pytest.mark.parametrize("weight", (-0.1, np.nan, np.inf, "1", None, True, 10**400))
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(UserError, match="L1.*at least 0"):
        L1(weight)
