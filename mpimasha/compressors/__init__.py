"""Compressors by name, and from the text NAME[:ARG][,key=value...]."""

import inspect

from mpimasha.compressors.identity import Identity
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.qsgd import QSGD
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.errors import UserError
from mpimasha.names import nearest

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
    name, _, argument = head.partition(":")
    if name not in COMPRESSORS:
        raise UserError(f"{key} = {text!r} names no compressor{nearest(name, COMPRESSORS)}")
    cls = COMPRESSORS[name]
    parameters = list(inspect.signature(cls).parameters)
    given, other = {}, {}
    if argument:
        if not parameters:
            raise UserError(f"{key} = {text!r}: {name} takes no argument, write {name!r}")
        given[parameters[0]] = _value(argument, key, text)
    for option in options:
        option, _, value = option.partition("=")
        if option == "wire":
            other[option] = value
        elif option in parameters:
            given[option] = _value(value, key, text)
        else:
            raise UserError(f"{key} = {text!r} has the unknown key {option!r}{nearest(option, [*parameters, 'wire'])}")
    try:
        return cls(**given), other
    except TypeError:
        raise UserError(f"{key} = {text!r} has a value of the wrong kind: write for example {_example(name)!r}") from None


def _value(text, key, whole):
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if not text.isidentifier():
        raise UserError(f"{key} = {whole!r}: {text!r} is neither a number nor a word")
    return text


def _example(name):
    return {"randk": "randk:0.05,sampling=uniform", "topk": "topk:0.05", "qsgd": "qsgd:4,bucket=512"}.get(name, name)
