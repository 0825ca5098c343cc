"""What there is: problems, methods, compressors, transports."""

from mpimasha.channels.transports import TRANSPORTS
from mpimasha.compressors import COMPRESSORS
from mpimasha.methods import METHODS
from mpimasha.problems import PROBLEMS
from mpimasha.show import tables

LISTS = {"problems": PROBLEMS, "methods": METHODS, "compressors": COMPRESSORS, "transports": TRANSPORTS}

_OPTIONS = ("down", "refresh", "batch", "participation")
_STANDING = """\
proved: the step size has a theorem in docs/theory.rst.  reconstructed: after a paper whose full text was not at hand.
observed: seen to work, or to stall, in runs.  Without a theorem method.gamma must be given, as a number or as "0.25/L";
diana_og, the method of a run that names none, finds its own step.  trains: takes the options of training (metric,
warm-up, ...: docs/networks.rst) and variables that belong to one worker."""


def listing(what=None):
    """Names and first sentences; of methods their theory."""
    blocks = [_methods() if kind == "methods" else _names(kind) for kind in ([what] if what else LISTS)]
    return "\n\n".join(blocks) + "\n"


def _names(kind):
    return "\n".join([kind] + [f"  {name:<18} {_sentence(cls)}" for name, cls in LISTS[kind].items()])


def _sentence(cls):
    return next(iter((cls.__doc__ or "").strip().splitlines()), "")


def _methods():
    """The table of methods, and below it the step size of each."""
    header = ["method", "memory", "compressors", *_OPTIONS, "prox", "trains", "standing"]
    rows = [[name, (cls.memory.name or cls.memory.__name__).replace("_", " "), cls.accepts,
             *(_yes(_takes(cls, key)) for key in _OPTIONS), _yes(cls.takes_prox), _yes(cls.trains), cls.standing]
            for name, cls in METHODS.items()]
    steps = [f"  {name:<18} {cls.theorem or 'no theorem: give method.gamma'}" for name, cls in METHODS.items()]
    return "\n".join(["methods", *(f"  {line}" for line in tables.text(header, rows).splitlines()), "", _STANDING, "",
                      "what the methods are", *_names("methods").splitlines()[1:], "", "gamma = \"theory\"", *steps])


def _takes(cls, key):
    """Whether an option means anything: a server of dense vectors alone has nothing to compress with."""
    return cls.takes(key) and not (key == "down" and cls.accepts == "identity")


def _yes(true):
    return "yes" if true else "-"
