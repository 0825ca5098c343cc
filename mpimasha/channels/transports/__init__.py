"""Transports by name."""

from mpimasha.channels.transports.allgather import Allgather
from mpimasha.channels.transports.dense import Allreduce, Dense
from mpimasha.channels.transports.star import Star
from mpimasha.errors import UserError

TRANSPORTS = {t.name: t for t in (Allgather, Dense, Allreduce, Star)}


def choose(name, compressor, partial=False):
    """The transport class for `name`; "auto" adds values that line up slice by slice, and gathers messages.

    `partial`: not all workers send in an exchange.
    """
    if name == "auto":
        return Dense if compressor.additive and not partial else Allgather
    if name not in TRANSPORTS:
        raise UserError(f"transport.name = {name!r} is unknown: use auto, {', '.join(TRANSPORTS)}")
    chosen = TRANSPORTS[name]
    if chosen.additive_only and not compressor.additive:
        raise UserError(f"transport.name = {name!r} adds up values that stand for the same coordinates and cannot "
                        f"carry {compressor}: use auto")
    if chosen.additive_only and partial:
        raise UserError(f"transport.name = {name!r} takes a value from every worker and cannot serve "
                        f"method.participation: use auto")
    return chosen
