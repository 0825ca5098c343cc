"""Decimal numbers: rounded to the very float64 that Python's float() gives, or left to it."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mpimasha.kernels.readers import decimals


def read(text, at=0):
    return decimals.number(np.frombuffer(text.encode(), np.uint8), at)


def agrees(text):
    """Whether the number is read whole, and exactly or not at all."""
    value, end, found = read(text)
    if end != len(text) or found == decimals.NONE:
        return False
    return found == decimals.LONG or np.float64(value).tobytes() == np.float64(float(text)).tobytes()


DIGITS = st.one_of(st.just(""), st.integers(0, 10**19).map(str), st.integers(0, 999).map("{:09d}".format))
TEXTS = st.tuples(st.sampled_from(["", "+", "-"]), DIGITS, st.sampled_from(["", "."]), DIGITS,
                  st.one_of(st.just(""), st.integers(-30, 30).map(lambda e: f"e{e}"),
                            st.integers(0, 330).map(lambda e: f"E-{e}")))


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_any_number_is_that_of_python(parts):
    sign, whole, point, fraction, power = parts
    text = sign + whole + point + (fraction if point else "") + power
    if any(c.isdigit() for c in whole + (fraction if point else "")):
        assert agrees(text)
    else:
        assert read(text)[2] == decimals.NONE


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["%r", "%.16g", "%.15e", "%.17g", "%.3f"]))
def test_what_programs_print_is_read_back(value, form):
    assert agrees(form % value)


@settings(max_examples=200, deadline=None)
@given(st.integers(2**52, 2**53 - 1), st.integers(1, 17))
def test_numbers_next_to_the_middle_of_two_floats_are_rounded_as_python_rounds(odd, places):
    middle = (2 * odd + 1) * 10**places // 2**(places + 2)  # some 17 digits, close to k + 1/2 units
    for digits in (middle - 1, middle, middle + 1):
        digits = str(digits)[:18]
        assert agrees(digits[:-min(places, len(digits) - 1)] + "." + digits[-min(places, len(digits) - 1):])


def hardest():
    """18 digits m with m/10^22 next to the middle of two floats: m 2^47 = K 5^22 + c, K odd, |c| small.

    m/10^22 lies in [2^-16, 2^-15), where K 2^-69 is such a middle, at a distance of c/5^22 = c 4e-16 half units.
    """
    modulus = 5**22
    for c in range(-8, 9):
        m = c * pow(2**47, -1, modulus) % modulus
        m += modulus * -(-(10**22 - m * 2**16) // (modulus * 2**16))  # the first in the binade
        while c and m * 2**15 < 10**22:
            if (m * 2**47 - c) // modulus % 2:
                yield f"{m}e-22"
            m += modulus


def test_the_hardest_numbers_are_rounded_as_python_rounds():
    texts = list(hardest())
    assert len(texts) > 40
    assert [text for text in texts if not agrees(text)] == []


def test_seventeen_digits_need_no_help():
    """As in files that were written with repr(): all is read here, nothing left to float()."""
    rng = np.random.default_rng(0)
    left = [text for text in map(repr, rng.standard_normal(500).tolist()) if read(text)[2] != decimals.EXACT]
    assert not left


@pytest.mark.parametrize("text", ["9007199254740993", "0.1", "-0.0", "1e22", "1e23", "123456789012345678", "4.35",
                                  "0.000000000000000000000000000001234", "100000000000000000000.5", "5e-324",
                                  "2.2250738585072011e-308", "1.7976931348623157e308", "9007199254740993e-3",
                                  "00001.50000", "1e+5", "1.e3", ".5", "1E05", "0e999999999999999999999"])
def test_numbers_that_have_fooled_others(text):
    assert agrees(text)


@pytest.mark.parametrize("text", ["", "+", "-", ".", "e5", "+.e3", "1e", "1e+", "nan", "inf", "-inf", "x", " 1"])
def test_what_is_no_number_is_none(text):
    assert read(text)[2] == decimals.NONE


@pytest.mark.parametrize("text, end", [("1x", 1), ("0x10", 1), ("1_0", 1), ("1.2.3", 3), ("1e5e5", 3), ("1 2", 1)])
def test_a_number_ends_where_its_characters_do(text, end):
    assert read(text)[1:] == (end, decimals.EXACT)


def test_whole_numbers_end_after_eighteen_digits():
    text = np.frombuffer(b"x1234567890123456789:", np.uint8)
    assert decimals.digits_at(text, 1) == (123456789012345678, 19)
    assert decimals.digits_at(text, 0) == (0, 0)
