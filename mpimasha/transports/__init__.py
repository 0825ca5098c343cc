"""Transports by name."""

from mpimasha.errors import UserError
from mpimasha.transports.allgather import Allgather
from mpimasha.transports.dense import Allreduce, Dense
from mpimasha.transports.star import Star

TRANSPORTS = {t.name: t for t in (Allgather, Dense, Allreduce, Star)}


def choose(name, compressor):
    """The transport class for `name`; "auto" adds values that line up slice by slice, and gathers messages."""
    if name == "auto":
        return Dense if compressor.additive else Allgather
    if name not in TRANSPORTS:
        raise UserError(f"transport.name = {name!r} is unknown: use auto, {', '.join(TRANSPORTS)}")
    chosen = TRANSPORTS[name]
    if chosen.additive_only and not compressor.additive:
        raise UserError(f"transport.name = {name!r} adds up values that stand for the same coordinates and cannot "
                        f"carry {compressor}: use auto")
    return chosen
