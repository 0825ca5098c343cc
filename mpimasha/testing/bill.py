"""The bits of a message against what its buffer holds."""

import math

import numpy as np

from mpimasha.channels.transports.base import message_bytes
from mpimasha.compressors.base import message
from mpimasha.errors import UserError
from mpimasha.linear import Linear
from mpimasha.randomness import generator
from mpimasha.testing.draws import bound, decoded, slack

_LARGE = (2**16 + 2, 2**24 + 2)  # beyond uint16, and beyond the whole numbers of float32
_EXCHANGES = 40


def check_bill(name, compressor, q):
    """`bits` is no less than the information in the fields and no more than the buffer; indices have a fit type."""
    fields, seen, indices = q.fields(), *_observed(q)
    for field in indices:
        _check_index_type(name, compressor, q, field)
    if not (q.bits is not None and 0 < q.bits < np.inf):
        raise AssertionError(f"{name}: bits = {q.bits} is no cost of a message")
    travelling = 8 * message_bytes(fields)
    if q.bits > travelling * (1 + 1e-12):
        raise AssertionError(f"{name}: bits = {q.bits:.6g} exceeds the {travelling} bits of the buffer that fields() "
                             f"describes")
    values = {field: _information(array) for field, array in seen.items() if field not in indices and array.size}
    sets = sum(math.log2(math.comb(q.n, fields[field][1])) for field in indices)
    rows = sum(values.values(), np.zeros(_EXCHANGES * q.workers))
    least = rows.mean() - slack(rows)  # where messages hold more or less at random
    if q.bits >= (least + sets) * (1 - 1e-12):
        return
    held = ", ".join(f"{v.mean():.4g} of {field!r}" for field, v in values.items())
    if q.bits >= least * (1 - 1e-12):
        k = fields[indices[0]][1]
        raise AssertionError(f"{name}: indices travel in the message but are not billed: bits = {q.bits:.6g}, at least "
                             f"{least + sets:.6g} needed, {held} and log2 of the {k}-subsets of n = {q.n} (in fixed "
                             f"width {k} x {q.index_bits})")
    raise AssertionError(f"{name}: bits = {q.bits:.6g} is less than what travels in a message on average, at least "
                         f"{least + sets:.6g}: {held}" + (f", {sets:.4g} of indices" if sets else ""))


def _observed(q):
    """({field: its contents in many messages, one a row}, the fields that hold the indices of what is sent)."""
    rng, seen, supports = generator(6, "test", q.n), {field: [] for field in q.fields()}, []
    for k in range(_EXCHANGES):
        for m in range(q.workers):
            sent = message(q.fields())
            q.encode(Linear.of(rng.standard_normal(q.n)), sent, m, k)
            supports.append(set(np.flatnonzero(decoded(q, sent, m, k)).tolist()))
            for field in seen:
                seen[field].append(getattr(sent, field).copy())
    indices = [field for field, rows in seen.items() if 0 < len(rows[0]) and any(supports)
               and all(set(row.tolist()) == support for row, support in zip(rows, supports))]
    return {field: np.array(rows) for field, rows in seen.items()}, indices


def _information(array):
    """Bits that each row of `array` holds, at least.

    Floating point: the entries that are not 0, at their width if the last bit of the fraction varies, else at the bits
    that vary.  Anything else: the entropy of the entries as counted, which is too small for few rows, never too large.
    """
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        words = array.view(f"u{array.dtype.itemsize}")[array != 0]
        varying = int(np.bitwise_or.reduce(words ^ words[0])) if words.size else 0
        width = 8 * array.dtype.itemsize if varying & 1 else varying.bit_count()
        return width * np.count_nonzero(array, axis=1).astype(float)
    _, counts = np.unique(array, return_counts=True)
    share = counts / array.size
    return np.full(len(array), -(share @ np.log2(share)) * array.shape[1])


def _check_index_type(name, compressor, q, field):
    for n in _LARGE:
        try:
            dtype = bound(compressor, n, q.workers, q.wire).fields()[field][0]
        except (UserError, MemoryError):
            continue
        with np.errstate(all="ignore"):
            held = int(np.array(n - 1).astype(dtype))
        if held != n - 1:
            raise AssertionError(f"{name}: indices travel in {field!r} as {dtype}, which cannot hold index {n - 1} of "
                                 f"n = {n}: use self.index_dtype")
