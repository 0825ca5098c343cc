"""Decimal numbers in a buffer of characters, rounded to the nearest float64."""

import numpy as np

from .._jit import kernel

NONE, EXACT, LONG = 0, 1, 2  # what `number` found

_MINUS, _PLUS, _POINT, _ZERO, _E, _SMALL_E = 45, 43, 46, 48, 69, 101
_DIGITS = 18  # significant ones that always fit int64
_POWERS = np.array([float(10**k) for k in range(23)])  # those that float64 holds exactly
_DOUBT = 2.0**-50  # of the tail's own roundings, which are below 2^-52 of it


@kernel(inline=True)
def number(text, at):
    """The number that begins at `at`: [+-]digits[.digits][e[+-]digits], with at least one digit before the e.

    Returns
    -------
    value : float
        Correctly rounded; 0.0 unless EXACT.
    end : int
        Where its characters end; where it stopped making sense, if NONE.
    found : int
        NONE: not a number.  EXACT: `value`.  LONG: a number that needs more care than is taken here.
    """
    negative, i = _sign(text, at)
    mantissa, digits, places, i, any_digit = _mantissa(text, i)
    if not any_digit:
        return 0.0, i, NONE
    power, i, sound = _exponent(text, i)
    if not sound:
        return 0.0, i, NONE
    value, exact = _scaled(mantissa, power - places)
    if digits > _DIGITS or not exact:
        return 0.0, i, LONG
    return -value if negative else value, i, EXACT


@kernel(inline=True)
def digits_at(text, at):
    """(whole number of the digits that begin at `at`, where they end); meant for up to 18 of them."""
    return _append(text, at, min(at + _DIGITS, text.size), np.int64(0))


@kernel(inline=True)
def _is_digit(character):
    return _ZERO <= character <= _ZERO + 9


@kernel(inline=True)
def _sign(text, i):
    if i < text.size and (text[i] == _MINUS or text[i] == _PLUS):
        return text[i] == _MINUS, i + 1
    return False, i


@kernel(inline=True)
def _mantissa(text, i):
    """(digits as a whole number, how many are significant, how many stand behind the point, end, any at all).

    The whole number has wrapped around where more than 18 digits are significant.
    """
    first, places, points = i, 0, 0
    begin = i = _zeros_end(text, i)
    value, i = _append(text, i, text.size, np.int64(0))
    digits = i - begin
    if i < text.size and text[i] == _POINT:
        points, point = 1, i + 1
        begin = _zeros_end(text, point) if digits == 0 else point
        value, i = _append(text, begin, text.size, value)
        digits += i - begin
        places = i - point
    return value, digits, places, i, i - first > points


@kernel(inline=True)
def _zeros_end(text, i):
    while i < text.size and text[i] == _ZERO:
        i += 1
    return i


@kernel(inline=True)
def _append(text, i, stop, value):
    while i < stop and _is_digit(text[i]):
        value = value * 10 + (np.int64(text[i]) - _ZERO)
        i += 1
    return value, i


@kernel(inline=True)
def _exponent(text, i):
    """(power of ten, end, whether it is one); no exponent is 0."""
    if i >= text.size or (text[i] != _E and text[i] != _SMALL_E):
        return np.int64(0), i, True
    negative, first = _sign(text, i + 1)
    power, i = np.int64(0), first
    while i < text.size and _is_digit(text[i]):
        power = min(power * 10 + (np.int64(text[i]) - _ZERO), np.int64(100_000))  # far beyond float64 either way
        i += 1
    return -power if negative else power, i, i > first


@kernel(inline=True)
def _scaled(mantissa, power):
    """(mantissa 10^power rounded to nearest, whether that is certain), for a mantissa of at most 18 digits."""
    if mantissa == 0:
        return 0.0, True
    value = np.float64(mantissa)
    if power == 0:
        return value, True
    if mantissa <= 2**53 and -22 <= power <= 22:  # both exact: one rounding
        return (value / _POWERS[-power] if power < 0 else value * _POWERS[power]), True
    if -22 <= power < 0:
        return _quotient(value, np.float64(mantissa - np.int64(value)), _POWERS[-power])
    return 0.0, False


@kernel
def _quotient(high, low, divisor):
    """((high + low) / divisor rounded to nearest, whether that is certain).

    q = fl(high / divisor) leaves the remainder high - q divisor, which float64 holds exactly; the quotient is
    q + tail with tail = (remainder + low) / divisor.  Where both ends of the tail's small doubt round alike, so does
    the quotient between them (Ziv's test).
    """
    q = high / divisor
    product, error = _product(q, divisor)
    tail = (((high - product) - error) + low) / divisor
    doubt = abs(tail) * _DOUBT
    upper, lower = q + (tail + doubt), q + (tail - doubt)
    return upper, upper == lower


@kernel
def _product(a, b):
    """(fl(a b), a b - fl(a b)), both exact (Dekker's product, Veltkamp's split)."""
    a_high, b_high = _leading_half(a), _leading_half(b)
    a_low, b_low = a - a_high, b - b_high
    product = a * b
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@kernel
def _leading_half(x):
    c = 134217729.0 * x  # 2^27 + 1
    return c - (c - x)
