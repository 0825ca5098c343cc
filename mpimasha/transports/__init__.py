"""Transports by name."""

from mpimasha.errors import UserError
from mpimasha.transports.allgather import Allgather
from mpimasha.transports.dense import Dense

TRANSPORTS = {t.name: t for t in (Allgather, Dense)}


def choose(name, compressor):
    """The transport class for `name`; "auto" sends dense vectors by slices, messages by allgather."""
    dense = compressor.name == "identity"
    if name == "auto":
        return Dense if dense else Allgather
    if name not in TRANSPORTS:
        raise UserError(f"transport.name = {name!r} is unknown: use auto, {' or '.join(TRANSPORTS)}")
    if name == "dense" and not dense:
        raise UserError(f"transport.name = 'dense' averages whole vectors and cannot carry {compressor}: use auto")
    return TRANSPORTS[name]
