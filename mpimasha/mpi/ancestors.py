"""The processes that this one descends from, by name."""

import os
from pathlib import Path

_PROC = Path("/proc")


def names(pid=None):
    """Names of the ancestors of `pid` (default this process), the nearest first; none where there is no /proc."""
    found, parent = [], _name_and_parent(os.getpid() if pid is None else pid)[1]
    while parent > 0:
        name, parent = _name_and_parent(parent)
        found += [name] if name else []
    return found


def _name_and_parent(pid):
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None, 0
    name, _, rest = text.partition("(")[2].rpartition(")")
    return name, int(rest.split()[1])
