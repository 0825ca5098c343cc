"""An experiment: read from TOML and the command line, checked, turned into objects.

Every key is checked against what the code accepts: the parameters of a problem or a
method are those of its class, so a new class needs no change here.
"""

import inspect
import tomllib
import typing
from dataclasses import dataclass, fields
from pathlib import Path

from mpimasha import compressors, names
from mpimasha.channels.transports import TRANSPORTS
from mpimasha.errors import UserError
from mpimasha.methods import METHODS
from mpimasha.methods.practice import Practice
from mpimasha.names import nearest
from mpimasha.problems import PROBLEMS
from mpimasha.solver.checkpoint import span
from mpimasha.solver.run import check_seed, check_wire
from mpimasha.solver.stop import Stop, check_every

_PLAIN = {"workers": int, "seed": int, "wire": str}
_TABLES = ("problem", "method", "compressor", "transport", "stop", "observe", "checkpoint")
_DEFAULT = {"problem": "bilinear", "method": "diana_og"}
_NOT_IN_FILE = {"self", "up", "down", "refresh", "refresh_down", "workers"}  # parameters that other keys set
_ROLES = ("up", "down", "refresh", "refresh_down")
_SPAN = "10min"  # between checkpoints
_PRACTICE = {field.name: field.type for field in fields(Practice)}  # options of any method that is trained with


@dataclass(frozen=True)
class Experiment:
    """One run, checked; `problem` and `method` build what it describes."""

    label: str
    on: str  # label of the problem, in a comparison on several
    document: dict  # as the user wrote it, overrides included: the manifest's copy
    problem_class: type
    problem_options: dict
    method_class: type
    method_options: dict
    practice: dict
    seed: int
    wire: str | None
    transport: str
    stop: Stop
    every: int | str
    milestone: float
    checkpoint: int | str
    place: int = 0  # among the runs of its comparison

    def problem(self):
        return self.problem_class(**self.problem_options)

    def method(self):
        method = self.method_class(**self.method_options)
        return method.practised(**self.practice) if self.practice else method


def read(path):
    """The TOML document at `path` as a dict."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"experiment file {str(path)!r} does not exist: give the path of a .toml file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"experiment file {str(path)!r} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise UserError(f"experiment file {str(path)!r} is not valid TOML: {error}") from None


def override(document, key, value):
    """Set a dotted key; a new `name` drops the other keys of its table, which belonged to the old one."""
    if "." not in key:
        document[key] = value
        return
    table, _, leaf = key.partition(".")
    if table not in _TABLES:
        raise UserError(f"unknown key {key}{nearest(table, _TABLES)}")
    section = document.setdefault(table, {})
    if not isinstance(section, dict):
        raise UserError(f"{table} = {section!r} is not a table: write [{table}]")
    if leaf == "name" and section.get("name", _DEFAULT.get(table)) != value:
        section.clear()
        if table == "method":
            document.pop("compressor", None)
    section[leaf] = value


def forget(document, wishes):
    """Remove the dotted keys of (key, value) pairs."""
    for key, _ in wishes:
        table, _, leaf = key.partition(".")
        document.get(table, {}).pop(leaf, None)


def override_all(document, wishes):
    """Apply (key, value) pairs, names first because a new name clears its table."""
    for key, value in sorted(wishes, key=lambda wish: not wish[0].endswith(".name")):
        override(document, key, value)


def overridden(document, wishes):
    """A copy of `document` with {dotted key: value} applied."""
    copied = {key: dict(value) if isinstance(value, dict) else value for key, value in document.items()}
    override_all(copied, wishes.items())
    return copied


def experiment(document, label=None, on=""):
    """Check a document without [[compare]] and [[problems]] blocks and return its `Experiment`."""
    _known_at_the_top(document)
    for key, kind in _PLAIN.items():
        if key in document:
            _typed(key, document[key], kind)
    _check_tables(document)
    problem = _one_of("problem", document, PROBLEMS)
    method = _one_of("method", document, METHODS)
    problem_options = _options("problem", document, problem, PROBLEMS)
    if "workers" in document:
        if "workers" not in inspect.signature(problem).parameters:
            raise UserError(f"workers = {document['workers']} cannot be set: the constructor of {problem.name} has no "
                            f"parameter of that name")
        problem_options["workers"] = names.meant(document["workers"], int)
    practice = {key: names.meant(value, _PRACTICE[key]) for key, value in document.get("method", {}).items()
                if key in _PRACTICE}
    method_options = _options("method", document, method, METHODS, without=_PRACTICE)
    chosen, wire = _compressors(document)
    for role, compressor in chosen.items():
        if role not in inspect.signature(method).parameters and compressor.name != "identity":
            able = " or ".join(name for name in ("diana_og", "masha1", "masha2")
                               if role in inspect.signature(METHODS[name]).parameters)
            raise UserError(f"compressor.{role} = '{compressor}' cannot be used with {method.name}, which has no such "
                            f"compressor: remove the key or use {able}")
        method_options |= {role: compressor} if role in inspect.signature(method).parameters else {}
    built = Experiment(label or method.name, on, document, problem, problem_options, method, method_options,
                       practice, check_seed(document.get("seed", 0)), check_wire(wire), _transport(document),
                       _stop(document), _every(document), _milestone(document), _checkpoint(document))
    built.method()  # its own checks of gamma, tau, compressor
    return built


def check_block(block, kind, own):
    """Refuse unknown keys of a block that changes a document."""
    _known(block, [*own, *_PLAIN, *_TABLES], f"{kind}.")
    _check_tables(block)


def _check_tables(document):
    for name in _TABLES:
        if not isinstance(document.get(name, {}), dict):
            raise UserError(f"{name} = {names.shown(document[name])} is not a table: write [{name}] and its keys below")


def flat(table):
    """{dotted key: value}."""
    found = {}
    for key, value in table.items():
        found |= {f"{key}.{leaf}": entry for leaf, entry in value.items()} if isinstance(value, dict) else {key: value}
    return found


def scalar(text):
    """The value of ``--set key=value``: TOML where it parses, else the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _known(table, known, prefix):
    for key in table:
        if key not in known:
            raise UserError(f"unknown key {prefix}{key}{nearest(key, known)}")


def _known_at_the_top(document):
    known = [*_PLAIN, *_TABLES, "compare", "problems"]
    for key in document:
        homes = [table for table, registry in (("problem", PROBLEMS), ("method", METHODS))
                 if any(key in inspect.signature(cls).parameters for cls in registry.values())]
        homes += ["stop"] * (key in [field.name for field in fields(Stop)])
        if key not in known and homes:
            raise UserError(f"unknown key {key}: did you mean {' or '.join(f'{home}.{key}' for home in homes)}?")
    _known(document, known, "")


def _one_of(table, document, registry):
    name = document.get(table, {}).get("name", _DEFAULT[table])
    if not isinstance(name, str) or name not in registry:
        raise UserError(f"{table}.name = {name!r} is unknown{nearest(name, registry)}")
    return registry[name]


def _options(table, document, cls, registry, without=()):
    """The keys of a table that belong to `cls`, with the types its constructor is annotated with."""
    hints = typing.get_type_hints(cls.__init__)
    parameters = [name for name in inspect.signature(cls).parameters if name not in _NOT_IN_FILE]
    given = {key: value for key, value in document.get(table, {}).items() if key != "name" and key not in without}
    for key in given:
        others = [name for name, other in registry.items() if key in inspect.signature(other).parameters]
        if key not in parameters and key not in _NOT_IN_FILE and others:
            raise UserError(f"unknown key {table}.{key} of {cls.name}: it belongs to {', '.join(others)}")
    _known(given, parameters, f"{table}.")
    for key, value in given.items():
        _typed(f"{table}.{key}", value, hints.get(key, object))
    for key in parameters:
        parameter = inspect.signature(cls).parameters[key]
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD and key not in given:
            raise UserError(f"{table}.{key} is missing: {table}.name = {cls.name!r} needs it")
    return {key: names.meant(value, hints.get(key, object)) for key, value in given.items()}


def _typed(key, value, hint):
    if not names.fits(value, hint):
        raise UserError(f"{key} = {names.shown(value)} has the wrong type: use {names.kinds(hint)}")


def _compressors(document):
    """({up, down, refresh: Compressor}, wire or None); `wire` may stand in a compressor's text."""
    table, wire = document.get("compressor", {}), document.get("wire")
    _known(table, [*_ROLES, "mask"], "compressor.")
    texts = {role: table[role] for role in _ROLES if role in table}
    for role, text in texts.items():
        _typed(f"compressor.{role}", text, str)
    if "mask" in table:
        if "up" not in texts or texts["up"].partition(":")[0] != "randk":
            raise UserError(f"compressor.mask = {names.shown(table['mask'])} belongs to randk: set compressor.up to "
                            f"it, as in 'randk:0.05'")
        texts["up"] += f",mask={table['mask']}"
    chosen = {}
    for role, text in texts.items():
        chosen[role], other = compressors.parse(text, f"compressor.{role}")
        if other.get("wire") and wire and other["wire"] != wire:
            raise UserError(f"compressor.{role} = {text!r} says wire = {other['wire']!r} but wire = {wire!r}: keep one")
        wire = other.get("wire") or wire
    return chosen, wire


def _transport(document):
    table = document.get("transport", {})
    _known(table, ["name"], "transport.")
    name = table.get("name", "auto")
    if not isinstance(name, str) or name not in ["auto", *TRANSPORTS]:
        raise UserError(f"transport.name = {name!r} is unknown{nearest(name, ['auto', *TRANSPORTS])}")
    return name


def _stop(document):
    table = document.get("stop", {})
    _known(table, [field.name for field in fields(Stop)], "stop.")
    return Stop(**table)


def _every(document):
    table = document.get("observe", {})
    _known(table, ["every", "milestone"], "observe.")
    return check_every(table.get("every", "log"))


def _milestone(document):
    """The robust accuracy at which a comparison of trained networks is read off."""
    value = document.get("observe", {}).get("milestone", 0.5)
    _typed("observe.milestone", value, float)
    if not 0 < value < 1:
        raise UserError(f"observe.milestone = {names.shown(value)} is out of range: use a number above 0 and below 1")
    return float(value)


def _checkpoint(document):
    table = document.get("checkpoint", {})
    _known(table, ["every"], "checkpoint.")
    span(table.get("every", _SPAN))
    return names.meant(table.get("every", _SPAN), int)
