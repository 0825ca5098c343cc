"""Step sizes: what the user wrote, and what the theorems need.

docs/theory.rst states the theorems; each method says which one it uses.
"""

import re

import numpy as np

from mpimasha.compressors.base import ANY, COMMON_MASK, INDEPENDENT, PARTITION
from mpimasha.errors import UserError
from mpimasha.names import fits, plain, shown

_OVER_L = re.compile(r"\s*([0-9.eE+-]+)\s*/\s*L\s*")


def moments(compressor, workers):
    """(A, B) with E|mean Q_m(v_m)|^2 <= A |mean v_m|^2 + B mean|v_m|^2, by how the draws depend on each other.

    independent     A = 1, B = (q - 1)/M
    PermK           A = 0, B = q/M, which is 1 unless another compressor follows
    one mask        A = q, B = 0
    in any way      A = 0, B = q
    """
    q = compressor.q
    known = {INDEPENDENT: (1.0, (q - 1) / workers), PARTITION: (0.0, q / workers), COMMON_MASK: (q, 0.0),
             ANY: (0.0, q)}
    if compressor.dependence not in known:
        raise UserError(f"method.gamma = 'theory' knows no bound for {compressor}, whose draws are "
                        f"{compressor.dependence!r}: give a number")
    return known[compressor.dependence]


def second_moment(compressor, constants, down=None):
    """C with E|Q_serv(mean Q_m(F_m(u) - F_m(v)))|^2 <= C^2 |u - v|^2, for unbiased compressors.

    C^2 = q_serv (A L^2 + B L_rms^2); PermK also has B (L^2 + similarity^2), the smaller counts.
    """
    A, B = moments(compressor, constants.workers)
    square = (A * needed(constants.L, "L")**2 if A else 0.0) + (B * needed(constants.L_rms, "L_m")**2 if B else 0.0)
    if compressor.dependence == PARTITION and constants.similarity_rms is not None:
        square = min(square, B * (needed(constants.L, "L")**2 + constants.similarity_rms**2))
    return np.sqrt(square * (1.0 if down is None else down.q))


def anchor_probability(compressor, down=None, refresh=None):
    """p = 1 - tau = min(bits of a round / bits of a refresh, 2/3): a refresh then costs what the rounds before it do.

    Uplink bits; both directions if the downlink is compressed. A refresh goes up by its own compressor, if it has
    one, and down dense.
    """
    dense = compressor.value_bits * compressor.n
    messages, renewal = compressor.bits, dense if refresh is None else refresh.bits
    if down is not None:
        messages, renewal = messages + down.bits, renewal + dense
    return min(messages / renewal, 2 / 3)


def contraction(compressor):
    """delta with E|C(v) - v|^2 <= (1 - 1/delta)|v|^2; an unbiased compressor enters as C = Q/q."""
    delta = compressor.contraction if compressor.contractive else compressor.q
    if delta is None:
        raise UserError(f"method.gamma = 'theory' needs a contraction, and none is known for {compressor}: give a "
                        f"number")
    return delta


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
