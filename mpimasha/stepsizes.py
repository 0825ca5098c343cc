"""Step sizes: what the user wrote, and what the theorems need.

docs/theory.rst states the theorems; each method says which one it uses.
"""

import re

import numpy as np

from mpimasha.compressors.base import INDEPENDENT, PARTITION
from mpimasha.errors import UserError
from mpimasha.names import fits, plain, shown

_OVER_L = re.compile(r"\s*([0-9.eE+-]+)\s*/\s*L\s*")


def second_moment(compressor, constants):
    """C with E|mean Q_m(F_m(u) - F_m(v))|^2 <= C^2 |u - v|^2, for an unbiased compressor.

    independent draws    C^2 = L^2 + (q - 1)/M L_rms^2
    PermK                C^2 = min(L_rms^2, L^2 + similarity^2)
    """
    L, L_rms, M = constants.L, constants.L_rms, constants.workers
    if compressor.dependence == INDEPENDENT:
        needed(L, "L")
        if compressor.q == 1:
            return L
        return np.sqrt(L**2 + (compressor.q - 1) / M * needed(L_rms, "L_m")**2)
    if compressor.dependence == PARTITION:
        spread = constants.similarity_rms
        squares = [needed(L_rms, "L_m")**2] + ([L**2 + spread**2] if spread is not None else [])
        return np.sqrt(min(squares))
    raise UserError(f"method.gamma = 'theory' knows no bound for {compressor}, whose draws are "
                    f"{compressor.dependence!r}: give a number")


def anchor_probability(compressor):
    """1 - tau = min(1/beta, 2/3), beta = v n / E[bits of one uplink message]."""
    return min(compressor.bits / (compressor.value_bits * compressor.n), 2 / 3)


def check_gamma(gamma):
    """Refuse anything but "theory", a positive number, or "0.25/L"."""
    if gamma == "theory":
        return gamma
    if isinstance(gamma, str) and _over_L(gamma) is not None:
        return gamma
    if fits(gamma, float) and 0 < plain(gamma) <= 1e300:
        return plain(gamma)
    raise UserError(f"method.gamma = {shown(gamma)} is no step size: use 'theory', a number above 0, or a text like "
                    f"'0.25/L'")


def check_tau(tau):
    if tau == "theory" or (fits(tau, float) and 0 <= tau < 1):
        return tau
    raise UserError(f"method.tau = {shown(tau)} is out of range: use 'theory' or a number from 0 up to but not "
                    f"including 1")


def resolve_gamma(gamma, constants, theory):
    """The number that `gamma` stands for; `theory()` computes the theorem's."""
    if gamma == "theory":
        return float(theory())
    if isinstance(gamma, str):
        return _over_L(gamma) / needed(constants.L, "L")
    return float(gamma)


def needed(value, name):
    """`value`, or a sentence that says which constant is unknown."""
    if value is None:
        raise UserError(f"method.gamma needs {name}, which this problem does not know: give a number")
    return value


def _over_L(text):
    match = _OVER_L.fullmatch(text)
    try:
        value = float(match[1]) if match else 0.0
    except ValueError:
        return None
    return value if 0 < value < np.inf else None
