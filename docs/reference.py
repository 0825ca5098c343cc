"""Parts of the pages that the code itself says: the options of a command, the keys of an experiment file.

``.. options:: run`` lists the options of ``mpimasha run``; ``.. keys:: problem`` the keys of every problem, with type,
default and what the docstring says of them.
"""

import argparse
import inspect
import re
import types
import typing

from docutils import nodes
from docutils.statemachine import StringList
from numpydoc.docscrape import NumpyDocString
from sphinx.util.docutils import SphinxDirective

from mpimasha.commands import arguments
from mpimasha.commands.listing import LISTS
from mpimasha.experiment import config
from mpimasha.methods.practice import Practice
from mpimasha.solver.stop import Stop

CLASSES = {"problem": LISTS["problems"], "method": LISTS["methods"], "compressor": LISTS["compressors"],
           "practice": {"": Practice}, "stop": {"": Stop}}
_TYPES = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "tuple": "list"}


def escaped(lines):
    """Docstrings write norms as they are written: |x| stands for itself."""
    return ["".join(part if part.startswith("``") else re.sub(r"(?<!\\)\|", r"\\|", part)
                    for part in re.split(r"(``.*?``)", line)) if ">>>" not in line else line for line in lines]


# -- commands ------------------------------------------------------------------------------------


def commands():
    """{name: parser} of the command line."""
    subparsers, = (action for action in arguments.parser()._actions if isinstance(action, argparse._SubParsersAction))
    return subparsers.choices


def options(command):
    """The lines of a definition list: what `command` takes."""
    lines = []
    for action in commands()[command]._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        names = ", ".join(f"``{name}{_value(action)}``" for name in action.option_strings) or f"``{_shown(action)}``"
        needed = " (required)" if action.option_strings and action.required else ""
        lines += [names + needed, f"    {_sentence(action)}", ""]
    return lines


def _value(action):
    return "" if action.nargs == 0 else f" {_shown(action)}"


def _shown(action):
    return action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper())


def _sentence(action):
    return action.help.replace("%%", "%")


# -- experiments ---------------------------------------------------------------------------------


def keys(table):
    """The lines that list the keys of each class a table may describe."""
    lines = []
    for name, cls in CLASSES[table].items():
        rows = [row for key, parameter in inspect.signature(cls).parameters.items()
                if (row := _row(table, cls, key, parameter))]
        if name:
            lines += [f".. rubric:: {name}", "", *escaped([inspect.getdoc(cls).splitlines()[0]]), ""]
        if rows:
            lines += [".. list-table::", "   :header-rows: 1", "   :widths: 18 20 16 46", ""]
            for row in [("key", "type", "default", "meaning"), *rows]:
                lines += [f"   {'-' if i else '* -'} {cell}".replace("   - ", "     - ") for i, cell in enumerate(row)]
            lines += [""]
    return lines


def _row(table, cls, key, parameter):
    if key in config._NOT_IN_FILE and table in ("problem", "method"):
        return None
    kinds = " or ".join(dict.fromkeys(_TYPES.get(kind.__name__, kind.__name__) for kind in _kinds(cls, key)))
    default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    default = "" if default is None else f"``{str(default).lower() if isinstance(default, bool) else default!r}``"
    return f"``{key}``", kinds, default, described(cls, key)


def _kinds(cls, key):
    hint = typing.get_type_hints(cls.__init__)[key]
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return [kind for kind in kinds if kind is not type(None)]


def described(cls, key):
    """What the docstring of `cls`, or of the class it has the parameter from, says of `key`, on one line."""
    for base in inspect.getmro(cls):
        if not base.__doc__ or base is object:
            continue
        for parameter in NumpyDocString(inspect.cleandoc(base.__doc__))["Parameters"]:
            choice = parameter.type if parameter.type.startswith("{") else ""
            said = f"{choice} {' '.join(parameter.desc)}".strip()
            if key in re.split(r",\s*", parameter.name) and said:
                return escaped([said])[0]
    return ""


# -- Sphinx --------------------------------------------------------------------------------------


class Listed(SphinxDirective):
    """Puts the lines of a function in the place of a directive."""

    required_arguments = 1
    lines = None

    def run(self):
        container = nodes.container()
        self.state.nested_parse(StringList(type(self).lines(self.arguments[0]), self.name), 0, container)
        return container.children


def setup(app):
    for name, function in (("options", options), ("keys", keys)):
        app.add_directive(name, type(name.title(), (Listed,), {"lines": staticmethod(function)}))
