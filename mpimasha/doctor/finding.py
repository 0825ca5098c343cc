"""A finding: one line of the report; and how it writes sizes, times and lists."""

from dataclasses import dataclass

from mpimasha.show.tables import number

OK, NOTE, PROBLEM = "ok", "note", "problem"
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_TIMES = ((1, "s"), (1e-3, "ms"), (0, "us"))
_SHOWN = 3  # names of hosts or files in one sentence


@dataclass(frozen=True)
class Finding:
    """What was found, and for a problem always, for a note mostly, what to do about it.

    Attributes
    ----------
    section, name : str
    level : {"ok", "note", "problem"}
        A note costs time or a convenience; with a problem a run fails, or wastes most of its time.
    value, advice : str
    """

    section: str
    name: str
    level: str
    value: str
    advice: str = ""


def size(count, unit="B"):
    """A number of bytes, or of another unit, in three digits."""
    scale, prefix = next(((scale, prefix) for scale, prefix in _PREFIXES if count >= scale), (1, ""))
    return f"{number(count / scale) if prefix else round(count)} {prefix}{unit}"


def time(seconds):
    unit, name = next((unit, name) for unit, name in _TIMES if seconds >= unit)
    return f"{number(seconds / (unit or 1e-6))} {name}"


def several(count, noun):
    """1 rank, 2 ranks."""
    return f"{count} {noun}{'s' * (count != 1)}"


def listed(names):
    """a, b, c and 5 more."""
    names = [str(name) for name in names]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
