"""Whether all ranks ask for the same run, before any of them acts on its own answer."""

import hashlib

import numpy as np

from mpimasha.errors import UserError
from mpimasha.names import plain, shown

_SIZE = 8  # bytes of a digest
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type, np.dtype)


def check(comm, **arguments):
    """Raise a `UserError` on all ranks of a `Communicator` if an argument is not the same on each; one collective."""
    if comm.size == 1:
        return
    own = np.frombuffer(b"".join(map(_digest, arguments.values())), np.uint8)
    received = np.empty(comm.size * len(own), np.uint8)
    with comm.billed_to("set-up"):
        comm.allgather_bytes(own, received, [len(own)] * comm.size, [r * len(own) for r in range(comm.size)])
    digests = received.reshape(comm.size, len(arguments), _SIZE)
    differs = (digests != digests[0]).any(axis=2)  # (ranks, arguments), from rank 0
    if differs.any():
        which = int(differs.any(axis=0).argmax())
        name, rank = list(arguments)[which], int(differs[:, which].argmax())
        texts = comm.gather_objects(_text(arguments[name]))
        what = f"is {texts[rank]} on rank {rank} and {texts[0]} on rank 0" if texts[rank] != texts[0] else \
            f"is not the same on ranks 0 and {rank}"
        raise UserError(f"{name} {what}: call solve with the same on all ranks")


def of_solve(problem, method, wire, saving, notice, **others):
    """What `solve` is given, in parts that a sentence can name."""
    name = getattr(method, "name", None)
    return {"problem.name": getattr(problem, "name", None), "problem.n": getattr(problem, "n", None),
            "problem.workers": getattr(problem, "workers", None), "problem.dtype": getattr(problem, "dtype", None),
            "problem": _identity(problem), "method": name, f"a parameter of method {name}": method,
            "wire": _wire(wire, problem), **others, "whether there is a notice": notice is not None,
            "saving": None if saving is None else (saving.resume, saving.timed, saving.next_round)}


def _text(value):
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return type(value).__name__ if type(value).__repr__ is object.__repr__ else shown(value)


def _identity(problem):
    try:
        return problem.identity()
    except Exception:  # one's own problem need not have any, and one that is not loaded may not know it yet
        return None


def _wire(wire, problem):
    try:
        return np.dtype(wire or problem.dtype).name
    except (AttributeError, TypeError):  # for `Run` to refuse
        return wire


def _digest(value):
    digest = hashlib.blake2b(digest_size=_SIZE)
    _take_in(digest, value, ())
    return digest.digest()


def _take_in(digest, value, above):
    """What a value is: numbers, texts, arrays, containers and attributes; of anything else its type."""
    value = plain(value) if isinstance(value, np.generic) else value
    if isinstance(value, _PLAIN):
        digest.update(f"{value!r};".encode(errors="surrogatepass"))
        return
    digest.update(f"{type(value).__qualname__}:".encode())
    if any(value is other for other in above):
        return
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
        return
    if isinstance(value, dict):
        parts = [part for item in value.items() for part in item]
    else:
        parts = value if isinstance(value, (list, tuple)) else [vars(value)] if hasattr(value, "__dict__") else []
    for part in parts:
        _take_in(digest, part, (*above, value))
    digest.update(b".")
