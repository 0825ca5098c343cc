"""Reading LIBSVM (svmlight) files by ranges of bytes: each line goes to whoever owns its first byte.

A line is "label index:value index:value ...", with indices from 1 (from 0 on request) that increase; a "qid:..."
behind the label and all behind a # are skipped, as are lines without a label.
"""

import os
from contextlib import contextmanager

import numpy as np

from mpimasha.data.sparse_rows import SparseRows
from mpimasha.errors import UserError
from mpimasha.kernels.readers import svmlight as kernels

SUFFIXES = (".svm", ".libsvm", ".svmlight", ".txt")
MOST_FEATURES = 2**27  # more are a slip: 1 GB for each vector of that many
_BLOCK = 2**23  # bytes parsed at a time: what a rank holds besides its result
_LOOK = 2**12  # bytes looked at for the end of a line


def size(path):
    """Bytes of the file."""
    with _open(path) as file:
        return os.fstat(file).st_size


def byte_range(worker, workers, size):
    """The bytes in which the lines of one worker start; whatever the ranks, sizes differ by at most one."""
    return worker * size // workers, (worker + 1) * size // workers


def read(path, start, stop, features=MOST_FEATURES, base=1):
    """The samples whose lines start in the bytes [start, stop) of a file.

    Parameters
    ----------
    path : str
    start, stop : int
    features : int
        Columns of the matrix; more are refused.
    base : {0, 1}
        The number of the first column in the file.

    Returns
    -------
    X : SparseRows
        Of `features` columns.
    y : (N,) float64

    Raises
    ------
    UserError
        The file cannot be read, or a line is not in the format: with the numbers of line and column, from 1.
    """
    with _open(path) as file:
        start, stop = _line_start(file, start), _line_start(file, stop)
        parts = [_parsed(np.empty(0, np.uint8), path, start, features, base)]
        while start < stop:
            end = min(_line_start(file, start + _BLOCK), stop)
            parts.append(_parsed(_bytes(file, start, end, path), path, start, features, base))
            start = end
    return SparseRows.joined([X for X, _ in parts], features), np.concatenate([y for _, y in parts])


@contextmanager
def _open(path):
    """A file descriptor; what goes wrong while it is open is the user's to know."""
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            yield file
        finally:
            os.close(file)
    except FileNotFoundError:
        raise UserError(f"problem.data = {path!r} does not exist: give the path of a LIBSVM file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"problem.data = {path!r} cannot be read ({error}): give the path of a LIBSVM file") from None


def _line_start(file, at):
    """The first byte from `at` on with which a line starts, or the end of the file."""
    if at == 0:
        return 0
    at -= 1  # `at` is a start if a newline stands before it
    look = _LOOK
    while True:
        text = os.pread(file, look, at)
        newline = text.find(b"\n")
        if newline >= 0:
            return at + newline + 1
        if not text:
            return at
        at += len(text)
        look = min(2 * look, _BLOCK)


def _bytes(file, start, stop, path):
    text, filled = np.empty(stop - start, np.uint8), 0
    while filled < len(text):
        got = os.preadv(file, [text[filled:]], start + filled)
        if got == 0:
            raise UserError(f"problem.data = {path!r} ends at byte {start + filled}, but was longer a moment ago: let "
                            f"nothing write to it while it is read")
        filled += got
    return text


def _parsed(text, path, start, features, base):
    """(X, y) of whole lines that start at byte `start`."""
    newlines, nonzeros = kernels.count(text)
    rows = newlines + 1
    y, indptr = np.empty(rows), np.empty(rows + 1, np.int64)
    indices, values = np.empty(nonzeros, np.uint32), np.empty(nonzeros)
    long = np.empty((rows + nonzeros, 3), np.int64)
    rows, nonzeros, longs, fault, at = kernels.parse(text, base, features, y, indptr, indices, values, long)
    for place, begin, end in long[:longs].tolist():
        value = float(text[begin:end].tobytes())
        if abs(value) > kernels.LARGEST and begin < at:
            fault, at = kernels.TOO_LARGE, begin
        if place < 0:
            y[-1 - place] = value
        else:
            values[place] = value
    if fault != kernels.SOUND:
        raise UserError(_complaint(path, start + at, fault, _token(text, at), features, base))
    return SparseRows(values[:nonzeros], indices[:nonzeros], indptr[:rows + 1], features), y[:rows]


_REMEDIES = {
    kernels.NO_LABEL: "is no label: start the line with one number",
    kernels.NO_INDEX: "is not index:value: write a whole number, a colon and a number",
    kernels.INDEX_BELOW: "has the index 0: count from 1, or set problem.zero_based = true",
    kernels.INDEX_BEYOND: "has an index beyond the last of {features} columns, {last}: {remedy}",
    kernels.NO_ORDER: "has an index not above the one before: indices must increase along the line",
    kernels.NO_VALUE: "is no number: write one like -1, 0.5 or 2e-3 behind the colon",
    kernels.TOO_LARGE: f"is not finite, or beyond {kernels.LARGEST:g}: remove that line",
}


def _complaint(path, at, fault, token, features, base):
    """The sentence on the character at byte `at` of the file."""
    line, column = _position(path, at)
    remedy = "more do not fit in memory" if features == MOST_FEATURES else "correct problem.features or the line"
    return f"problem.data = {path!r}, line {line}, column {column}: {token!r} " \
           + _REMEDIES[fault].format(features=features, last=features - 1 + base, remedy=remedy)


def _position(path, at):
    """(line, column) of a byte of the file, from 1; reads all that lies before it."""
    line, line_start, place = 1, 0, 0
    with _open(path) as file:
        while place < at:
            text = os.pread(file, min(_BLOCK, at - place), place)
            if not text:
                break
            line += text.count(b"\n")
            line_start = place + text.rfind(b"\n") + 1 if b"\n" in text else line_start
            place += len(text)
    return line, at - line_start + 1


def _token(text, at):
    """What stands at `at` up to a blank, as a sentence can hold it."""
    words = text[at:at + 40].tobytes().decode("ascii", "replace").split("\n", 1)[0].split()
    return words[0] if words else ""
