"""Helping a user who mistyped a name or gave a value of the wrong kind."""

import numbers
import types
import typing
from difflib import get_close_matches

from mpimasha.errors import UserError

_ACCEPTED = {int: numbers.Integral, float: numbers.Real}  # NumPy's numbers too
_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false",
          list: "a list"}


def nearest(name, known):
    """": did you mean 'randk'?", or the list of all known names."""
    known = [str(k) for k in known]
    match = get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f": did you mean {match[0]!r}?" if match else f": use {', '.join(known)}"


def fits(value, hint):
    """Whether `value` is of the annotated kind; 1e4 is a whole number, which is a number; true and false are none."""
    kinds = _parts(hint)
    if isinstance(value, bool):
        return bool in kinds
    value = meant(value, hint)
    return object in kinds or isinstance(value, tuple(_ACCEPTED.get(kind, kind) for kind in kinds))


def meant(value, hint):
    """`value`, or 10000 for 1e4 where the annotated kind is that of whole numbers."""
    kinds = _parts(hint)
    if int not in kinds or float in kinds or isinstance(value, (bool, numbers.Integral)):
        return value
    return int(value) if isinstance(value, numbers.Real) and float(value).is_integer() else value


def plain(number):
    """A Python number for one of NumPy's."""
    return number.item() if hasattr(number, "item") else number


def check_kinds(cls, prefix, **values):
    """Refuse a parameter that is not of the kind the constructor of `cls` is annotated with.

    Returns
    -------
    list
        Those that are meant to be whole numbers, as such, in order.
    """
    hints = typing.get_type_hints(cls.__init__)
    for name, value in values.items():
        if not fits(value, hints[name]):
            raise UserError(f"{prefix}{name} = {shown(value)} has the wrong type: use {kinds(hints[name])}")
    return [meant(value, int) for name, value in values.items() if int in _parts(hints[name])]


def kinds(hint):
    """The annotated kinds in words."""
    return " or ".join(text for kind, text in _KINDS.items() if kind in _parts(hint))


def shown(value):
    """`value` as a sentence can hold it: a number of thousands of digits has no text."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _parts(hint):
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
