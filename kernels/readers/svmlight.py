"""Lines of "label index:value index:value ... # comment", parsed into the arrays of a CSR matrix."""

import numpy as np

from .._jit import kernel
from .decimals import LONG, NONE, digits_at, number

# what is wrong with a character, by the number that `parse` returns
SOUND, NO_LABEL, NO_INDEX, INDEX_BELOW, INDEX_BEYOND, NO_ORDER, NO_VALUE, TOO_LARGE = range(8)

LARGEST = 1e100  # can be squared and summed
_NEWLINE, _COLON, _HASH = 10, 58, 35
_QID = np.array([113, 105, 100, 58], np.uint8)  # "qid:"


@kernel
def count(text):
    """(newlines, colons): bounds of the lines, less one, and of the nonzeros that `parse` will find."""
    newlines = colons = 0
    for i in range(text.size):
        newlines += text[i] == _NEWLINE
        colons += text[i] == _COLON
    return newlines, colons


@kernel
def parse(text, base, features, labels, indptr, indices, values, long):
    """Fill the arrays with the samples of whole lines.

    Parameters
    ----------
    text : (size,) uint8
    base : int
        The number of the first column in the file: 0 or 1.
    features : int
        How many columns there may be.
    labels : (rows,) float64
    indptr : (rows + 1,) int64
    indices : (nonzeros,) uint32
        From 0.
    values : (nonzeros,) float64
    long : (rows + nonzeros, 3) int64
        Of each number left to the caller: where it goes (a nonzero, or -1 - row for a label), begin and end.

    Returns
    -------
    rows, nonzeros, longs : int
    fault, at : int
        What is wrong (SOUND: nothing), and with which character.
    """
    rows = nonzeros = longs = i = 0
    indptr[0] = 0
    while i < text.size:
        i = _blanks_end(text, i)
        if _line_ends(text, i):
            i = _next_line(text, i)
            continue
        value, end, found = number(text, i)
        fault = _number_fault(text, value, end, found, NO_LABEL)
        if fault != SOUND:
            return rows, nonzeros, longs, fault, i
        labels[rows] = value
        longs = _note(long, longs, found, -1 - rows, i, end)
        nonzeros, longs, fault, i = _features(text, end, base, features, indices, values, nonzeros, long, longs)
        if fault != SOUND:
            return rows, nonzeros, longs, fault, i
        rows += 1
        indptr[rows] = nonzeros
        i = _next_line(text, i)
    return rows, nonzeros, longs, SOUND, i


@kernel(inline=True)
def _features(text, i, base, features, indices, values, nonzeros, long, longs):
    """The pairs of one line; (nonzeros, longs, fault, where the pairs end or the fault is)."""
    i = _query_end(text, _blanks_end(text, i))
    previous = np.int64(-1)
    while not _line_ends(text, i):
        index, end = digits_at(text, i)
        if end == i or end == text.size or text[end] != _COLON:
            return nonzeros, longs, NO_INDEX, i
        index -= base
        if index < 0 or index >= features or index <= previous:
            return nonzeros, longs, INDEX_BELOW if index < 0 else INDEX_BEYOND if index >= features else NO_ORDER, i
        value, stop, found = number(text, end + 1)
        fault = _number_fault(text, value, stop, found, NO_VALUE)
        if fault != SOUND:
            return nonzeros, longs, fault, end + 1
        indices[nonzeros], values[nonzeros] = index, value
        longs = _note(long, longs, found, nonzeros, end + 1, stop)
        nonzeros += 1
        previous = index
        i = _blanks_end(text, stop)
    return nonzeros, longs, SOUND, i


@kernel(inline=True)
def _number_fault(text, value, end, found, kind):
    if found == NONE or not (_is_blank(text, end) or _line_ends(text, end)):
        return kind
    return TOO_LARGE if abs(value) > LARGEST else SOUND


@kernel(inline=True)
def _note(long, longs, found, place, begin, end):
    if found != LONG:
        return longs
    long[longs, 0], long[longs, 1], long[longs, 2] = place, begin, end
    return longs + 1


@kernel(inline=True)
def _query_end(text, i):
    """Behind a "qid:..." and the blanks that follow it; where there is none, i."""
    if i + _QID.size > text.size:
        return i
    for j in range(_QID.size):
        if text[i + j] != _QID[j]:
            return i
    while not (_is_blank(text, i) or _line_ends(text, i)):
        i += 1
    return _blanks_end(text, i)


@kernel(inline=True)
def _is_blank(text, i):
    # space, tab, vertical tab, form feed, carriage return
    return i < text.size and (text[i] == 32 or (9 <= text[i] <= 13 and text[i] != _NEWLINE))


@kernel(inline=True)
def _line_ends(text, i):
    return i >= text.size or text[i] == _NEWLINE or text[i] == _HASH


@kernel(inline=True)
def _blanks_end(text, i):
    while _is_blank(text, i):
        i += 1
    return i


@kernel(inline=True)
def _next_line(text, i):
    while i < text.size and text[i] != _NEWLINE:
        i += 1
    return i + 1
