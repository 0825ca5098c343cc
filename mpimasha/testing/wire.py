"""A message is all that the server needs, is what `fields` says, and is billed."""

import copy

import numpy as np

from mpimasha.channels.transports.base import byte_buffer, lay_out, message_bytes
from mpimasha.compressors.base import message
from mpimasha.errors import UserError
from mpimasha.linear import Linear
from mpimasha.randomness import generator
from mpimasha.solver.run import WIRES
from mpimasha.testing.bill import check_bill
from mpimasha.testing.draws import bound, called, decoded, rounding, samples, transmitted

DIMENSIONS = (1, 2, 8, 65, 1025)  # besides the one asked for


def check_wire(compressor, n=23, workers=3, exchanges=10, wires=WIRES):
    """Messages travel as a transport sends them, mean there what they mean here, and cost what is declared.

    Messages of all workers are encoded into one byte buffer, as by `transports.base.lay_out`; the bytes alone reach
    another bound copy, the server.  The bill is compared with the buffer and with the information found in it: every
    value that is not 0 at its width, and log2 of the number of index sets where indices travel.

    Parameters
    ----------
    compressor : Compressor
        Not bound.
    n : int
        Dimension; `DIMENSIONS` are tried besides, those excepted that `bind` refuses with a UserError.
    workers : int
        M.
    exchanges : int
        How many, for each dimension.
    wires : sequence of dtype
        Types of a value on the wire.

    Raises
    ------
    AssertionError
        One sentence: what the server decodes otherwise, what `fields` leaves out, an index type that is too narrow,
        bits that are too few or too many, a NaN that gets lost.
    """
    name = called(compressor)
    for wire in wires:
        for dimension in dict.fromkeys((n, *DIMENSIONS)):
            try:
                q = bound(compressor, dimension, workers, wire)
            except UserError:
                if dimension == n:
                    raise
                continue
            _check_fields(f"{name} with n = {dimension}", q)
            _check_messages(f"{name} with n = {dimension}, wire {wire}", compressor, q, exchanges)
        q = bound(compressor, n, workers, wire)
        _check_decode(name, q)
        _check_copies(name, compressor, q)
        _check_formula(name, q)
        check_bill(name, compressor, q)
        _check_not_finite(name, q)


def _check_fields(name, q):
    fields = q.fields()
    for field, (dtype, count) in fields.items():
        if not isinstance(dtype, np.dtype) or dtype.hasobject:
            raise AssertionError(f"{name}: fields() gives {field!r} the type {dtype!r}: use a np.dtype of numbers")
        if not isinstance(count, (int, np.integer)) or count < 0:
            raise AssertionError(f"{name}: fields() gives {field!r} the count {count!r}: use a whole number")
    if q.fields() != fields:
        raise AssertionError(f"{name}: fields() says {q.fields()} and before {fields}: sizes must be fixed")


# -- the journey -----------------------------------------------------------------------------------


def _check_messages(name, compressor, q, exchanges):
    """What the server reads from the bytes is what the worker reads from its message, bit for bit."""
    X = generator(2, "test", q.n).standard_normal((exchanges, q.workers, q.n))
    X[0] = 0.0
    sent = [(k, *_post(name, q, X[k], k, fill)) for k in range(exchanges) for fill in (0, 255)]
    server = bound(compressor, q.n, q.workers, q.wire)
    for k, raw, own in reversed(sent):
        received = np.frombuffer(bytearray(raw), np.uint8)
        for m, post in enumerate(lay_out(received, q.fields(), q.workers)):
            there = decoded(server, post, m, k)
            if there.tobytes() != own[m].tobytes():
                i = np.flatnonzero(there != own[m])[0]
                raise AssertionError(f"{name}: the server decodes another vector than worker {m} in exchange {k}, "
                                     f"{there[i]:.6g} for {own[m][i]:.6g} at coordinate {i}: decode uses what is not "
                                     f"in the message")
    for (k, _, own), (_, _, again) in zip(sent[::2], sent[1::2]):
        if any(a.tobytes() != b.tobytes() for a, b in zip(own, again)):
            raise AssertionError(f"{name}: exchange {k} decodes to another vector when the buffer held something else "
                                 f"before: encode leaves a part of its message unfilled")
    if any(v.any() for v in sent[0][2]):
        raise AssertionError(f"{name}: the zero vector decodes to {max(np.abs(v).max() for v in sent[0][2]):.4g}")


def _post(name, q, X, k, fill):
    """(bytes of the buffer, what each worker decodes) after all workers have encoded into it."""
    fields, buffer = q.fields(), byte_buffer(q.workers * message_bytes(q.fields()))
    outbox, own = lay_out(buffer, fields, q.workers), []
    buffer[:] = fill
    for m, (post, x) in enumerate(zip(outbox, X)):
        arrays, before = dict(vars(post)), x.tobytes()
        q.encode(Linear.of(x), post, m, k)
        if x.tobytes() != before:
            raise AssertionError(f"{name}: encode changes the vector that it is given")
        for field, array in vars(post).items():
            if arrays.get(field) is not array:
                verb = "replaces" if field in arrays else "adds"
                raise AssertionError(f"{name}: encode {verb} message.{field}, which then does not travel: list it in "
                                     f"fields() and fill it in place")
        raw = buffer.tobytes()
        own.append(decoded(q, post, m, k))
        if buffer.tobytes() != raw:
            raise AssertionError(f"{name}: decode changes the message that it reads")
    return buffer.tobytes(), own


def _check_decode(name, q):
    """decode adds scale times the vector, in double and in single precision."""
    x = generator(3, "test", q.n).standard_normal(q.n)
    sent, start = message(q.fields()), np.arange(1.0, q.n + 1)
    for worker in range(q.workers):  # of few coordinates, some workers may own none
        q.encode(Linear.of(x), sent, worker, 0)
        v, out = decoded(q, sent, worker, 0), start.copy()
        if v.any():
            break
    q.decode(sent, worker, 0, 0.75, out)
    near = rounding(q.wire) * (np.abs(start) + np.abs(v))
    if not (np.abs(out - start - 0.75 * v) <= near).all():
        fault = "overwrites out" if (np.abs(out - 0.75 * v)[v != 0] <= near[v != 0]).all() else \
            "ignores scale" if (np.abs(out - start - v) <= near).all() else "does something else"
        raise AssertionError(f"{name}: decode must do out += scale * vector, but {fault}")
    single = np.zeros(q.n, np.float32)
    try:
        q.decode(sent, worker, 0, 1.0, single)
    except TypeError as error:
        raise AssertionError(f"{name}: decode cannot add to a vector in float32: {error}") from None
    if not np.allclose(single, v, rtol=1e-6, atol=1e-6 * np.abs(v).max()):
        i = int(np.abs(single - v).argmax())
        raise AssertionError(f"{name}: decode into a float32 vector gives {single[i]:.8g} for {v[i]:.8g}")


def _check_copies(name, compressor, q):
    """Two bound copies, as those of two channels, share no scratch space and no draws."""
    x, sent = generator(4, "test", q.n).standard_normal((2, q.n)), message(q.fields())
    k = 1_000_000  # an exchange that nobody has asked for before

    def copies(make):
        return [bound(make(compressor), q.n, q.workers, q.wire, seed) for seed in (0, 1)]

    expected = [transmitted(alone, v, 0, k).tobytes() for alone, v in zip(copies(copy.deepcopy), x)]
    one, other = copies(lambda shared: shared)
    one.encode(Linear.of(x[0]), sent, 0, k)
    found = [transmitted(other, x[1], 0, k).tobytes(), decoded(one, sent, 0, k).tobytes()]
    if found != expected[::-1]:
        raise AssertionError(f"{name}: two bound copies share scratch space, the use of one changes what the other "
                             f"sends or decodes: allocate it in prepare(), not in __init__")


def _check_formula(name, q):
    """A lazy formula is compressed like its value, up to the rounding of a factor that is taken inside or outside."""
    worker = 1 % q.workers
    for dtype in (np.float64, np.float32):
        u, v, w = generator(5, "test", q.n).integers(-50, 50, (3, q.n)).astype(dtype)  # the value itself is exact
        formulas = {"2u": 2.0 * Linear.of(u),
                    "2u - v + 3w": 2.0 * Linear.of(u) - Linear.of(v) + 3.0 * Linear.of(w)}
        for (text, formula), value in zip(formulas.items(), (2.0 * u, 2.0 * u - v + 3.0 * w)):
            sent = message(q.fields())
            q.encode(formula, sent, worker, 4)
            direct = transmitted(q, value.astype(dtype), worker, 4)
            if not np.abs(decoded(q, sent, worker, 4) - direct).max() <= rounding(q.wire) * np.abs(direct).max():
                raise AssertionError(f"{name}: the formula {text} of {np.dtype(dtype)} vectors is not compressed like "
                                     f"its value: read x by x.write(out) or x.gather(index, scale, out)")


def _check_not_finite(name, q):
    """What is not finite stays so: a run that diverges must not look like one that does not."""
    exchanges = range(max(50, int(30 * (q.q or 1))))
    for value in (np.nan, np.inf):
        for what, x in {"an entry": np.where(np.arange(q.n) == q.n // 2, value, 1.0),
                        "all entries": np.full(q.n, value)}.items():
            with np.errstate(all="ignore"):
                if all(np.isfinite(samples(q, x, m, exchanges)).all() for m in range(q.workers)):
                    raise AssertionError(f"{name}: {what} of {value} decoded to finite numbers in all "
                                         f"{len(exchanges)} exchanges: a diverging run would go unnoticed")
