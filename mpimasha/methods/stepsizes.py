"""Step sizes: what the user wrote, and what the theorems need.

docs/theory.rst states the theorems; each method says which one it uses.
"""

import re

import numpy as np

from mpimasha.compressors.base import ANY, COMMON_MASK, INDEPENDENT, PARTITION
from mpimasha.errors import UserError
from mpimasha.fleet.draw import share
from mpimasha.names import fits, plain, shown

_OVER_L = re.compile(r"\s*([0-9.eE+-]+)\s*/\s*L\s*")


def moments(compressor, workers, noisy=False, q=None):
    """(A, B) with E|mean Q_m(v_m)|^2 <= A |mean v_m|^2 + B mean|v_m|^2, by how the draws depend on each other.

    The mean on the left is over the b = compressor.workers of the M = `workers` that take part, drawn uniformly
    without replacement; with c = (b - 1)/(M - 1), which is 1 if all do:

    independent     A = c M/b, B = (q - c)/b
    PermK           A = 0, B = q/b, which is 1 unless another compressor follows
    one mask        A = q c M/b, B = q (1 - c)/b
    in any way      A = 0, B = q

    `noisy`: the vectors are themselves unbiased estimates V_m of v_m, independent across workers, and the last mean
    is of E|V_m|^2.  Then c M/b becomes (b - 1)/b, and (q - c)/b becomes q/b.
    `q`: another than the compressor's.
    """
    q, b = compressor.q if q is None else q, compressor.workers
    c = (b - 1) / (workers - 1) if workers > 1 else 1.0
    whole = (b - 1) / b if noisy else c * workers / b
    known = {INDEPENDENT: (whole, (q if noisy else q - c) / b), PARTITION: (0.0, q / b),
             COMMON_MASK: (q * whole, q * (1.0 if noisy else 1 - c) / b), ANY: (0.0, q)}
    if compressor.dependence not in known:
        raise UserError(f"method.gamma = 'theory' knows no bound for {compressor}, whose draws are "
                        f"{compressor.dependence!r}: give a number")
    return known[compressor.dependence]


def noise(compressor, workers, q=None):
    """B' with E|mean Q_m(v_m) - mean v_m|^2 <= B' mean|v_m|^2; the mean on the left as in `moments`."""
    A, B = moments(compressor, workers, q=q)
    return B + max(0.0, A - 1)


def second_moment(compressor, constants, down=None, batch_rms=None):
    """C with E|Q_serv(mean Q_m(F_m(u) - F_m(v)))|^2 <= C^2 |u - v|^2, for unbiased compressors.

    C^2 = q_serv (A L^2 + B L_rms^2); PermK also has B (L^2 + similarity^2), the smaller counts.
    With batches L_rms is `batch_rms`, their constant.
    """
    A, B = moments(compressor, constants.workers, noisy=batch_rms is not None)
    rms = (lambda: batch_rms) if batch_rms is not None else lambda: needed(constants.L_rms, "L_m")
    square = (A * needed(constants.L, "L")**2 if A else 0.0) + (B * rms()**2 if B else 0.0)
    whole = batch_rms is None
    if compressor.dependence == PARTITION and whole and constants.similarity_rms is not None:
        square = min(square, B * (needed(constants.L, "L")**2 + constants.similarity_rms**2))
    return np.sqrt(square * (1.0 if down is None else down.q))


def batch_rms(constants, batch):
    """sqrt of the mean over the workers of Lb_m^2, E|F_{m,batch}(u) - F_{m,batch}(v)|^2 <= Lb_m^2 |u - v|^2.

    s of r components drawn without replacement: Lb_m^2 = (r-s)/(s(r-1)) Lhat_m^2 + (s-1)r/(s(r-1)) L_m^2.
    """
    squares = []
    for r, L, Lhat in zip(constants.components, needed(constants.L_m, "L_m"), needed(constants.Lhat_m, "Lhat_m")):
        s = share(batch, r)
        squares.append(L**2 if r == 1 else ((r - s) * Lhat**2 + (s - 1) * r * L**2) / (s * (r - 1)))
    return float(np.sqrt(np.mean(squares)))


def anchor_probability(compressor, down=None, refresh=None, part=1.0, most=2 / 3):
    """p = 1 - tau = min(bits of a round / bits of a refresh, `most`): a refresh then costs what the rounds before do.

    Uplink bits; both directions if the downlink is compressed. A refresh goes up by its own compressor, if it has
    one, and down dense.  `part`: of the workers that take part in a round.
    """
    dense = compressor.value_bits * compressor.n
    messages, renewal = part * compressor.bits, dense if refresh is None else refresh.bits
    if down is not None:
        messages, renewal = messages + down.bits, renewal + dense
    return min(messages / renewal, most)


def contraction(compressor):
    """delta with E|C(v) - v|^2 <= (1 - 1/delta)|v|^2; an unbiased compressor enters as C = Q/q."""
    delta = compressor.contraction if compressor.contractive else compressor.q
    if delta is None:
        raise UserError(f"method.gamma = 'theory' needs a contraction, and none is known for {compressor}: give a "
                        f"number")
    return delta


def check_gamma(gamma, rules=("theory",)):
    """Refuse anything but one of `rules`, a positive number, or "0.25/L"."""
    if isinstance(gamma, str) and (gamma in rules or _over_L(gamma) is not None):
        return gamma
    if fits(gamma, float) and 0 < plain(gamma) <= 1e300:
        return plain(gamma)
    raise UserError(f"method.gamma = {shown(gamma)} is no step size: use {', '.join(map(repr, rules))}, a number above "
                    f"0, or a text like '0.25/L'")


def check_tau(tau):
    if tau == "theory" or (fits(tau, float) and 0 <= tau < 1):
        return tau
    raise UserError(f"method.tau = {shown(tau)} is out of range: use 'theory' or a number from 0 up to but not "
                    f"including 1")


def resolve_gamma(gamma, constants, rules):
    """The number that `gamma` stands for.

    Parameters
    ----------
    rules : dict
        {name of a rule: function that computes its step size}.
    """
    if isinstance(gamma, str):
        return float(rules[gamma]()) if gamma in rules else _over_L(gamma) / needed(constants.L, "L")
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
