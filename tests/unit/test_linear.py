"""Formulas are evaluated in place as NumPy would on copies; state declares, assignment copies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpimasha import state
from mpimasha.channels.memory import ErrorFeedback
from mpimasha.linear import Linear
from mpimasha.methods.masha1 import Masha1
from mpimasha.methods.masha2 import Masha2
from mpimasha.problems.base import Problem
from mpimasha.problems.proximal import Balls
from mpimasha.solver.run import Run
from mpimasha.state import PerWorker, Shared

N = 7
COEFFICIENT = st.integers(-4, 4).map(float)  # with integer vectors nothing is rounded, in any order


def vectors(count, dtype=np.float64, seed=0):
    return list(np.random.default_rng(seed).integers(-9, 10, (count, N)).astype(dtype))


def formula(coefficients, arrays):
    return sum((c * Linear.of(v) for c, v in zip(coefficients[1:], arrays[1:])), coefficients[0] * Linear.of(arrays[0]))


# -- formulas --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_formula_is_written_as_numpy_computes_it_wherever_its_own_term_stands(data):
    pool = vectors(5)
    which = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))  # terms may repeat
    coefficients = data.draw(st.lists(COEFFICIENT, min_size=len(which), max_size=len(which)))
    target = data.draw(st.integers(0, 4))
    expected = sum(c * pool[i] for c, i in zip(coefficients, which))
    others = {i: pool[i].copy() for i in range(5) if i != target}
    formula(coefficients, [pool[i] for i in which]).write(pool[target])
    np.testing.assert_array_equal(pool[target], expected)
    for i, before in others.items():
        np.testing.assert_array_equal(pool[i], before)


@pytest.mark.parametrize("terms", (1, 2, 3, 4))
@pytest.mark.parametrize("own", (0, 1, 2, 3))
def test_the_own_term_may_stand_anywhere(terms, own):
    arrays, coefficients = vectors(terms), [2.0, -1.0, 3.0, 0.5][:terms]
    out = arrays[own] if own < terms else np.empty(N)
    expected = sum(c * v for c, v in zip(coefficients, [v.copy() for v in arrays]))
    formula(coefficients, arrays).write(out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("terms", (1, 2, 3, 4))
def test_a_few_entries_of_a_formula_can_be_gathered(terms):
    arrays, index = vectors(terms), np.array([6, 0, 3], np.uint32)
    coefficients, out = [2.0, -1.0, 3.0, 0.5][:terms], np.zeros(3)
    formula(coefficients, arrays).gather(index, 4.0, out)
    np.testing.assert_array_equal(out, 4.0 * sum(c * v for c, v in zip(coefficients, arrays))[index])


def test_sums_differences_and_nested_scales_are_one_formula():
    u, v, w = (Linear.of(x) for x in vectors(3))
    (a, b, c), out = vectors(3), np.zeros(N)
    (2.0 * (u - 3 * (v - np.float64(0.5) * w))).write(out)
    np.testing.assert_array_equal(out, 2 * (a - 3 * (b - 0.5 * c)))
    (u - u).write(out)
    np.testing.assert_array_equal(out, np.zeros(N))


def test_a_formula_is_lazy_and_reads_its_vectors_when_written():
    x, out = vectors(1)[0], np.zeros(N)
    later = 2 * Linear.of(x)
    x += 1
    later.write(out)
    np.testing.assert_array_equal(out, 2 * x)


@pytest.mark.parametrize("source, target", [(np.float32, np.float64), (np.float64, np.float32)])
def test_a_formula_may_be_written_to_another_type_rounded_once(source, target):
    rng = np.random.default_rng(0)
    x, y, out = rng.standard_normal(N).astype(source), rng.standard_normal(N).astype(source), np.zeros(N, target)
    (0.1 * Linear.of(x) + 0.7 * Linear.of(y)).write(out)
    np.testing.assert_array_equal(out, (0.1 * x.astype(float) + 0.7 * y.astype(float)).astype(target))


# -- state -----------------------------------------------------------------------------------------


class Toy:
    z, w = Shared(), Shared()
    G = PerWorker()
    H = PerWorker()


class Child(Toy):
    extra = Shared()


def toy(cls=Toy, workers=3):
    instance = cls()
    state.allocate(instance, workers, N, np.dtype(np.float64))
    rng = np.random.default_rng(1)
    for array in state.buffers(instance).values():
        array[:] = rng.integers(-9, 10, array.shape)
    return instance, {name: array.copy() for name, array in state.buffers(instance).items()}


def test_state_has_the_declared_shapes_and_starts_at_zero():
    t = Toy()
    state.allocate(t, 3, N, np.dtype(np.float32))
    assert {k: (v.shape, v.dtype) for k, v in state.buffers(t).items()} == {
        "z": ((N,), np.float32), "w": ((N,), np.float32), "G": ((3, N), np.float32), "H": ((3, N), np.float32)}
    assert not any(array.any() for array in state.buffers(t).values())


def test_assignment_copies_values_and_not_references():
    t, old = toy()
    t.z = t.w
    np.testing.assert_array_equal(state.buffers(t)["z"], old["w"])
    t.w = 2 * t.w
    np.testing.assert_array_equal(state.buffers(t)["z"], old["w"])
    start = np.ones(N)
    t.z = start
    start[:] = 5
    np.testing.assert_array_equal(state.buffers(t)["z"], np.ones(N))


def test_buffers_are_the_arrays_themselves_before_and_after_assignment():
    t, _ = toy()
    arrays = dict(state.buffers(t))
    t.z = t.z - 0.5 * t.w
    t.G = t.G + t.H
    assert all(state.buffers(t)[name] is array for name, array in arrays.items())


@pytest.mark.parametrize("expression", (
    lambda z, w: 0.5 * z + 2 * w, lambda z, w: w - z, lambda z, w: 2 * (w - 3 * z) + z, lambda z, w: 1.0 * z,
    lambda z, w: -1.0 * z, lambda z, w: z - z, lambda z, w: z + z + z - w))
def test_shared_state_may_be_assigned_a_formula_of_itself(expression):
    t, old = toy()
    t.z = expression(t.z, t.w)
    np.testing.assert_array_equal(state.buffers(t)["z"], expression(old["z"], old["w"]))
    np.testing.assert_array_equal(state.buffers(t)["w"], old["w"])


def test_per_worker_state_is_assigned_row_by_row():
    t, old = toy()
    t.G = 2 * t.H - t.G
    np.testing.assert_array_equal(state.buffers(t)["G"], 2 * old["H"] - old["G"])
    t.G = t.G
    np.testing.assert_array_equal(state.buffers(t)["G"], 2 * old["H"] - old["G"])


def test_a_prox_is_applied_after_the_formula_in_place():
    t, old = toy()
    prox = Balls([(slice(0, 3), 2.0)])
    t.z = prox(t.z - 0.5 * t.w, 0.1)
    expected = old["z"] - 0.5 * old["w"]
    expected[:3] *= min(1, 2.0 / np.linalg.norm(expected[:3]))
    np.testing.assert_allclose(state.buffers(t)["z"], expected, rtol=1e-15)


def test_two_instances_share_nothing():
    (one, old), (other, _) = toy(), toy()
    other.z = 0 * other.z
    other.G = 0 * other.G
    for name, array in state.buffers(one).items():
        np.testing.assert_array_equal(array, old[name])


def test_declarations_are_inherited_and_seen_by_name():
    assert list(state.declared(Child)) == ["z", "w", "G", "H", "extra"]
    assert state.declared(Masha2) == state.declared(Masha1) and "Fw_m" in state.declared(Masha2)
    assert list(state.declared(ErrorFeedback)) == ["e"]


def test_one_declaration_under_two_names_is_refused_or_makes_two_states():
    try:
        class Chained:
            z = w = Shared()
    except (TypeError, RuntimeError):
        return
    t = Chained()
    state.allocate(t, 1, N, np.dtype(float))
    t.z, t.w = np.ones(N), np.zeros(N)
    np.testing.assert_array_equal(state.buffers(t)["z"], np.ones(N))


# -- operators in formulas -------------------------------------------------------------------------


class Scaled(Problem):
    """F_m(z) = (m + 1) z."""

    name, workers, n, L, mu = "scaled", 3, N, 3.0, 1.0

    def operator(self, worker):
        return lambda z, out: np.multiply(z, worker + 1.0, out=out)


def operators():
    return Run(Scaled(), Masha1(gamma=0.1)).fleet


def test_an_operator_in_a_formula_is_a_row_for_each_worker_and_counted_when_read():
    t, old = toy()
    fleet = operators()
    before = dict(fleet.ledger.operator_calls)
    values = 2 * fleet.F(t.z) - t.G
    assert fleet.ledger.operator_calls == before
    t.H = values
    assert fleet.ledger.operator_calls == {m: before.get(m, 0) + 1 for m in range(3)}
    np.testing.assert_array_equal(state.buffers(t)["H"], [2 * (m + 1) * old["z"] - old["G"][m] for m in range(3)])


def test_two_operators_may_stand_in_one_formula():
    t, old = toy()
    F = operators().F
    t.H = F(t.z) - F(t.w)
    np.testing.assert_array_equal(state.buffers(t)["H"], [(m + 1) * (old["z"] - old["w"]) for m in range(3)])


def test_an_operator_at_a_formula_is_refused_or_right():
    t, old = toy()
    F = operators().F
    try:
        t.H = F(2 * t.z)
    except (TypeError, ValueError):
        return
    np.testing.assert_array_equal(state.buffers(t)["H"], [(m + 1) * 2 * old["z"] for m in range(3)])
