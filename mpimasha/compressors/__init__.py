"""Compressors by name, and from the text NAME[:ARG][,key=value...], or two of them as FIRST+SECOND."""

import inspect
import re
import typing

from mpimasha.compressors.absmax import AbsMax
from mpimasha.compressors.composition import Composition
from mpimasha.compressors.dither import Dither
from mpimasha.compressors.floats import Float
from mpimasha.compressors.identity import Identity
from mpimasha.compressors.natural import Natural
from mpimasha.compressors.natural32 import Natural32
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.rank import RankR
from mpimasha.compressors.sign import Sign
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.names import fits, kinds, meant, nearest

COMPRESSORS = {c.name: c for c in (Identity, RandK, TopK, PermK, QSGD, AbsMax, Dither, Natural, Natural32, Sign, RankR,
                                   Float)}


def parse(text, key="compressor.up"):
    """The compressor that a text such as "randk:0.05,sampling=uniform" or "topk:0.1+absmax:3,nearest" describes.

    A key without a value means true.

    Returns
    -------
    (Compressor, dict)
        The compressor, and the keys in the text that are not its own: ``wire``.

    Raises
    ------
    UserError
        Unknown name or key, a value that is no number, an argument too many, two parts that do not go together.
    """
    what = f"{key} = {text!r}"
    parts = re.split(r"\+(?!\d)", str(text))  # not the plus of 1e+16
    if len(parts) > 2:
        raise UserError(f"{what} has {len(parts)} parts: compose two, a sparsifier and a quantiser")
    given = [_given(part, what) for part in parts]
    wires = [options.pop("wire") for _, options in given if "wire" in options]
    if len(wires) > 1:
        raise UserError(f"{what} gives wire twice: keep one")
    try:
        made = [compressor(**options) for compressor, options in given]
        return made[0] if len(made) == 1 else Composition(*made), {"wire": wire for wire in wires}
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _given(part, what):
    """The class that `part` names and the parameters that it gives."""
    head, *options = part.split(",")
    name, colon, argument = head.partition(":")
    if name not in COMPRESSORS:
        raise UserError(f"{what} names no compressor{nearest(name, COMPRESSORS)}")
    annotated, parameters = typing.get_type_hints(COMPRESSORS[name].__init__), _parameters(COMPRESSORS[name])
    hints = {key: annotated.get(key, float) for key in parameters}
    pairs = [(next(iter(hints), None), argument)] if colon else []
    for option, equals, value in (option.partition("=") for option in options):
        pairs.append((option, value if equals or hints.get(option) is not bool else "true"))
    given = {}
    for option, value in pairs:
        if option is None:
            raise UserError(f"{what}: {name} takes no argument, write {name!r}")
        if option not in (*hints, "wire"):
            raise UserError(f"{what} has the unknown key {option!r}{nearest(option, [*hints, 'wire'])}")
        if option in given:
            raise UserError(f"{what} gives {option} twice: keep one")
        given[option] = _value(value, hints.get(option, str), f"{what}: {option}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in given:
            raise UserError(f"{what}: {name} needs {key}, as in '{name},{key}=...'")
    return COMPRESSORS[name], given


def _parameters(compressor):
    """What the constructor takes by name."""
    return {key: parameter for key, parameter in inspect.signature(compressor).parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD}


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
            return meant(value, kind)
    raise UserError(f"{what} = {text!r} has the wrong type: use {kinds(kind)}")
