"""The methods and compressors in plain NumPy, a loop over the workers each: what the package is checked against.

Written from the pseudo-code of the theory, without the package's arithmetic.  What is random is an argument:
`compress(m, k, x)` gives what the message of worker m in exchange k stands for, `coin(k)` the coin of round k.
"""

import numpy as np


def mean(vectors):
    return sum(vectors) / len(vectors)


def no_prox(x, gamma):
    return x


def ball(part, radius):
    """The projection of the coordinates `part` onto the ball of this radius."""

    def prox(x, gamma):
        x = x.copy()
        x[part] *= min(1.0, radius / np.linalg.norm(x[part]))
        return x

    return prox


# -- methods -------------------------------------------------------------------------------------


def extragradient(F, z, gamma, rounds, prox=no_prox):
    """EG from z after `rounds` rounds; F is the list of the workers' operators."""
    for _ in range(rounds):
        zhalf = prox(z - gamma * mean([F_m(z) for F_m in F]), gamma)
        z = prox(z - gamma * mean([F_m(zhalf) for F_m in F]), gamma)
    return z


def optimistic(F, z, gamma, rounds, prox=no_prox):
    """OG: z+ = prox(z - gamma (2 F(z) - F(z_prev))), z_prev = z at the start."""
    z_prev = z
    for _ in range(rounds):
        Fz, F_prev = mean([F_m(z) for F_m in F]), mean([F_m(z_prev) for F_m in F])
        z_prev, z = z, prox(z - gamma * (2 * Fz - F_prev), gamma)
    return z


def masha1(F, z, gamma, tau, rounds, compress, coin, reference="new", prox=no_prox, wire=np.float64,
           down=lambda k, x: x):
    """(z, w) of MASHA1 after `rounds` rounds; what a dense exchange sends and returns has the type `wire`."""
    workers, w = range(len(F)), z
    for k in range(rounds):
        Fw_m = [F[m](w).astype(wire).astype(float) for m in workers]
        Fw = mean(Fw_m).astype(wire).astype(float)
        zbar = tau * z + (1 - tau) * w
        zhalf = prox(zbar - gamma * Fw, gamma)
        g = down(k, mean([compress(m, k, F[m](zhalf) - Fw_m[m]) for m in workers]))
        z_prev, z = z, prox(zbar - gamma * (Fw + g), gamma)
        if coin(k):
            w = z if reference == "new" else z_prev
    return z, w


def masha1_with_compressed_refresh(F, z, gamma, tau, rounds, compress, refresh, coin):
    """(z, w): h_m = F_m(w0) at the start; at the coin h_m += C(F_m(w+) - h_m) in the place of h_m = F_m(w+)."""
    workers, w = range(len(F)), z
    h = [F[m](w) for m in workers]
    for k in range(rounds):
        zbar = tau * z + (1 - tau) * w
        zhalf = zbar - gamma * mean(h)
        g = mean([compress(m, k, F[m](zhalf) - h[m]) for m in workers])
        z = zbar - gamma * (mean(h) + g)
        if coin(k):
            w = z
            h = [h[m] + refresh(m, k + 1, F[m](w) - h[m]) for m in workers]
    return z, w


def masha2(F, z, gamma, tau, rounds, compress, coin, reference="new", down=lambda k, x: x):
    """(z, w) of MASHA2 after `rounds` rounds; `compress` and `down` are contractive."""
    workers, w = range(len(F)), z
    e, e_serv = [np.zeros_like(z) for _ in workers], np.zeros_like(z)
    for k in range(rounds):
        Fw = mean([F[m](w) for m in workers])
        zbar = tau * z + (1 - tau) * w
        zhalf = zbar - gamma * Fw
        wanted = [gamma * (F[m](zhalf) - F[m](w)) + e[m] for m in workers]
        sent = [compress(m, k, wanted[m]) for m in workers]
        e = [wanted[m] - sent[m] for m in workers]
        s = down(k, mean(sent) + e_serv)
        e_serv = mean(sent) + e_serv - s
        z_prev, z = z, zbar - gamma * Fw - s
        if coin(k):
            w = z if reference == "new" else z_prev
    return z, w


# -- compressors, given their draws --------------------------------------------------------------


def identity(m, k, x):
    return x


def keep(x, index, scale=1.0):
    """x on the coordinates `index`, times `scale`; 0 elsewhere."""
    kept = np.zeros_like(x)
    kept[index] = scale * x[index]
    return kept


def topk(x, count):
    """The `count` largest magnitudes, ties to the lowest index."""
    return keep(x, np.argsort(-np.abs(x), kind="stable")[:count])


def qsgd(x, levels, uniform, bucket):
    """|x|_2 sign(x_i) floor(s |x_i| / |x|_2 + u_i) / s, bucket by bucket."""
    quantised = np.zeros_like(x)
    for start in range(0, len(x), bucket):
        part = slice(start, start + bucket)
        norm = np.linalg.norm(x[part])
        if norm > 0:
            level = np.floor(levels * np.abs(x[part]) / norm + uniform[part])
            quantised[part] = norm * np.sign(x[part]) * level / levels
    return quantised


# -- operators -----------------------------------------------------------------------------------


def bilinear(A, a, b, lam):
    """F_m(x, y) = (A y + lam x + a, -A'x + lam y + b)."""
    J = np.block([[lam * np.eye(len(a)), A], [-A.T, lam * np.eye(len(b))]])
    return lambda z: J @ z + np.concatenate([a, b])


def logistic_regression(X, y, weight, lam, beta):
    """F_m of robust logistic regression, `weight` = M/N."""
    d = X.shape[1]

    def F(z):
        w, r = z[:d], z[d:]
        c = -y / (1 + np.exp(y * ((X + r) @ w)))
        return np.concatenate([weight * (X + r).T @ c + lam * w, beta * r - weight * c.sum() * w])

    return F


def square_regression(X, y, weight, lam, beta):
    """F_m of robust least squares, `weight` = M/N."""
    d = X.shape[1]

    def F(z):
        w, r = z[:d], z[d:]
        c = (X + r) @ w - y
        return np.concatenate([weight * (X + r).T @ c + lam * w, beta * r - weight * c.sum() * w])

    return F
