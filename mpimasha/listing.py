"""What there is: problems, methods, compressors, transports."""

from mpimasha.compressors import COMPRESSORS
from mpimasha.methods import METHODS
from mpimasha.problems import PROBLEMS
from mpimasha.transports import TRANSPORTS

LISTS = {"problems": PROBLEMS, "methods": METHODS, "compressors": COMPRESSORS, "transports": TRANSPORTS}


def listing(what=None):
    """Names and first sentences; of methods the theorem too."""
    blocks = []
    for kind in [what] if what else LISTS:
        lines = [kind]
        for name, cls in LISTS[kind].items():
            lines.append(f"  {name:<18} {(cls.__doc__ or '').strip().splitlines()[0]}")
            if getattr(cls, "theorem", None):
                lines.append(f"  {'':<18} {cls.theorem}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
