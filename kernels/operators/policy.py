"""Policy evaluation: a walk through a Markov decision process, and the saddle operator of its Bellman error."""

from .._jit import kernel
from .saddle import add1, add4, dot1, dot4


@kernel
def walk(counts, start, behaviour, arrival, successor, luck):
    """Follow `behaviour` from the state `start` and count what happened.

    Parameters
    ----------
    counts : (S, A, B) int64
        counts[s, a, j] grows by one each time action a is taken in state s and leads to successor[s, a, j].
    start : int
    behaviour : (S, A)
        Probabilities of the actions.
    arrival : (S, A, B)
        Probabilities of the successors.
    successor : (S, A, B) int64
    luck : (T, 2)
        Uniform on [0, 1): what draws the action and the successor of each of the T transitions.
    """
    s = start
    for t in range(luck.shape[0]):
        a = _pick(behaviour[s], luck[t, 0])
        j = _pick(arrival[s, a], luck[t, 1])
        counts[s, a, j] += 1
        s = successor[s, a, j]


@kernel
def _pick(probabilities, u):
    # inversion; the last index takes what rounding leaves of 1
    i = 0
    while i < probabilities.size - 1 and u >= probabilities[i]:
        u -= probabilities[i]
        i += 1
    return i


@kernel
def policy_operator(out, A, C, b, ridge, z):
    """out = (ridge theta - A'u, A theta + C u - b) at z = (theta, u), in one pass over A and C.

    F = (grad_theta g, -grad_u g) of g = u'(b - A theta) - 1/2 u'C u + ridge/2 |theta|^2.

    Parameters
    ----------
    out, z : (2 d,) float32 or float64
        Must not overlap.
    A, C : (d, d), C-contiguous
    b : (d,)
    ridge : float
    """
    d = b.size
    theta, u, top, bottom = z[:d], z[d:], out[:d], out[d:]
    for j in range(d):
        top[j] = ridge * theta[j]
    whole = d - d % 4
    for i in range(0, whole, 4):
        r0, r1, r2, r3 = dot4(A, i, theta)
        s0, s1, s2, s3 = dot4(C, i, u)
        bottom[i] = r0 + s0 - b[i]
        bottom[i + 1] = r1 + s1 - b[i + 1]
        bottom[i + 2] = r2 + s2 - b[i + 2]
        bottom[i + 3] = r3 + s3 - b[i + 3]
        add4(top, A, i, -u[i], -u[i + 1], -u[i + 2], -u[i + 3])
    for i in range(whole, d):
        bottom[i] = dot1(A, i, theta) + dot1(C, i, u) - b[i]
        add1(top, A, i, -u[i])
