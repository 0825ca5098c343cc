"""The code blocks of README.rst and docs/*.rst: what there is, and how it is run.

A literal block is of one kind: ``python`` and ``toml`` say so, a ``session`` begins with ``>>>``, ``commands`` has
lines that begin with a program (or ``$``, and then what the program says follows), ``text`` is everything else: tables,
formulas, output.  A block with a ``:name:`` is a file of that name.
"""

import re
import shlex
from dataclasses import dataclass
from doctest import OutputChecker
from pathlib import Path

import docutils.frontend
import docutils.nodes
import docutils.parsers.rst
import docutils.utils

ROOT = Path(__file__).parents[1]
PROGRAMS = ("mpimasha", "mpirun", "mpiexec", "srun", "sbatch", "python", "python3", "pytest", "pip", "apt-get", "cat",
            "ls")
_NUMBER = r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]\d+)?"
_PATTERNS = {"any": ".*?", "blank": r"\s+", "number": f"({_NUMBER})"}


@dataclass(frozen=True)
class Block:
    """A literal block: where it stands, its text, its kind."""

    page: str
    line: int
    kind: str
    text: str
    name: str | None = None

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def commands(self):
        """[(words, what the page says the command prints, or None)] of a block of commands."""
        found, said = [], None
        for line in re.sub(r"\\\n\s*", "", self.text).splitlines():
            prompt, command = line.startswith("$ "), line.removeprefix("$ ")
            if prompt or said is None and command.split(" ")[0] in PROGRAMS:
                said = [] if prompt else None
                found += [(words, said) for words in _apart(command)]
            elif said is not None:
                said.append(line)
        return [(words, None if said is None else "\n".join(said)) for words, said in found]


def _apart(command):
    """The commands of a line: those after ``&&`` are others."""
    words = shlex.split(command, comments=True)
    while "&&" in words:
        yield words[:words.index("&&")]
        words = words[words.index("&&") + 1:]
    yield words


def pages():
    """README.rst and the pages of docs/, by name."""
    return {path.name: path for path in [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]}


def blocks(path):
    """The `Block` of a page, in order."""
    settings = docutils.frontend.get_default_settings(docutils.parsers.rst.Parser)
    settings.report_level, settings.halt_level = 5, 5
    document = docutils.utils.new_document(str(path), settings)
    docutils.parsers.rst.Parser().parse(path.read_text(), document)
    kinds = docutils.nodes.literal_block, docutils.nodes.doctest_block
    found = document.findall(lambda node: isinstance(node, kinds))
    return [Block(path.name, node.line or 0, _kind(node), node.astext(), next(iter(node["names"]), None))
            for node in found if not isinstance(node.parent, docutils.nodes.system_message)  # Sphinx's directives
            and "include" not in node.attributes.get("source", "")]


def _kind(node):
    for language in ("python", "toml"):
        if language in node["classes"]:
            return language
    lines = node.astext().splitlines()
    if isinstance(node, docutils.nodes.doctest_block):
        return "session"
    return "commands" if any(line.removeprefix("$ ").split(" ")[0] in PROGRAMS for line in lines) else "text"


class Checker(OutputChecker):
    """Of doctest, with `same`."""

    def check_output(self, want, got, optionflags):
        return same(want, got)


def same(said, printed):
    """Whether a page says what was printed.

    ``...`` stands for anything, and blanks do not count.  Another type of CPU may change last digits, and so the number
    of rounds: a number may be off by 10 %, one with an exponent by a factor of 2.
    """
    tokens = list(re.finditer(rf"(?P<any>\.\.\.)|(?P<blank>\s+)|(?P<number>{_NUMBER})|.", said.strip()))
    pattern = "".join(_PATTERNS.get(token.lastgroup, re.escape(token[0])) for token in tokens)
    match = re.fullmatch(pattern, printed.strip(), re.DOTALL)
    numbers = [token[0] for token in tokens if token.lastgroup == "number"]
    return match is not None and all(map(_near, numbers, match.groups()))


def _near(a, b):
    return abs(float(a) - float(b)) <= (0.5 if "e" in a else 0.1) * max(abs(float(a)), abs(float(b)))
