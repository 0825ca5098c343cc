"""Which cases of a test run always, and which only with ``pytest -m slow``."""

import pytest


def fast(cases, *kept):
    """`cases` for `pytest.mark.parametrize`: those `kept` run always, the others are marked `slow`.

    A tuple holds the values of several parameters.  `kept` holds keys where `cases` is a dict or a sequence of
    strings, else places.
    """
    named = isinstance(cases, dict) or all(isinstance(case, str) for case in cases)
    assert not named or set(kept) <= {*cases}, f"{set(kept) - {*cases}} are no cases"
    return [case if (case if named else place) in kept else
            pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
            for place, case in enumerate(cases)]
