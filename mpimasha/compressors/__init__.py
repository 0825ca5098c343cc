"""Compressors by name, and from the text NAME[:ARG][,key=value...]."""

import typing

from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.names import fits, kinds, nearest

COMPRESSORS = {c.name: c for c in (Identity, RandK, TopK, PermK, QSGD)}


def parse(text, key="compressor.up"):
    """The compressor that a text such as "randk:0.05,sampling=uniform" describes.

    Returns
    -------
    (Compressor, dict)
        The compressor, and the keys in the text that are not its own: ``wire``.

    Raises
    ------
    UserError
        Unknown name or key, a value that is no number, an argument too many.
    """
    head, *options = str(text).split(",")
    name, colon, argument = head.partition(":")
    if name not in COMPRESSORS:
        raise UserError(f"{key} = {text!r} names no compressor{nearest(name, COMPRESSORS)}")
    hints = {k: v for k, v in typing.get_type_hints(COMPRESSORS[name].__init__).items() if k != "return"}
    pairs = [(next(iter(hints), None), argument)] if colon else []
    pairs += [(option, value) for option, _, value in (option.partition("=") for option in options)]
    given = {}
    for option, value in pairs:
        if option is None:
            raise UserError(f"{key} = {text!r}: {name} takes no argument, write {name!r}")
        if option not in (*hints, "wire"):
            raise UserError(f"{key} = {text!r} has the unknown key {option!r}{nearest(option, [*hints, 'wire'])}")
        if option in given:
            raise UserError(f"{key} = {text!r} gives {option} twice: keep one")
        given[option] = _value(value, hints.get(option, str), f"{key} = {text!r}: {option}")
    other = {"wire": given.pop("wire")} if "wire" in given else {}
    try:
        return COMPRESSORS[name](**given), other
    except UserError as error:
        raise UserError(f"{key} = {text!r}: {error}") from None


def _value(text, kind, what):
    """`text` as a value of `kind`."""
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind is str and text.isidentifier():
        return text
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        if fits(value, kind):
            return value
    raise UserError(f"{what} = {text!r} has the wrong type: use {kinds(kind)}")
