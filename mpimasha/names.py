"""Helping a user who mistyped a name."""

from difflib import get_close_matches


def nearest(name, known):
    """": did you mean 'randk'?", or the list of all known names."""
    known = [str(k) for k in known]
    match = get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f": did you mean {match[0]!r}?" if match else f": use {', '.join(known)}"
