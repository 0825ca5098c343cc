"""The methods and compressors in plain NumPy, a loop over the workers each: what the package is checked against.

Written from the pseudo-code of the theory, without the package's arithmetic.  What is random is an argument:
`compress(m, k, x)` gives what the message of worker m in exchange k stands for, `coin(k)` the coin of round k, and
`drawn(k)` = {m: F_m} those who take part in round k, with their operators on the batch of that round.
"""

import numpy as np


def mean(vectors):
    return sum(vectors) / len(vectors)


def everyone(F):
    return lambda k: dict(enumerate(F))


def crossing(wire):
    """What is left of a vector on the other side of the wire."""
    return lambda x: x.astype(wire).astype(float)


def no_prox(x, gamma):
    return x


def ball(part, radius):
    """The projection of the coordinates `part` onto the ball of this radius."""

    def prox(x, gamma):
        x = x.copy()
        x[part] *= min(1.0, radius / np.linalg.norm(x[part]))
        return x

    return prox


# -- memories: from v = {m: v_m} of those who take part in exchange k to an estimate of the mean -------------------


def exact(k, v):
    return mean(v.values())


def plain(compress):
    """mean Q_m(v_m); who takes part draws as its place among those who do."""
    return lambda k, v: mean([compress(place, k, v_m) for place, v_m in enumerate(v.values())])


def feedback(compress, gamma):
    """mean c_m / gamma with c_m = C_m(gamma v_m + e_m), e_m+ = gamma v_m + e_m - c_m."""
    e = {}

    def estimate(k, v):
        sent = []
        for place, (m, v_m) in enumerate(v.items()):
            wanted = gamma * v_m + e.get(m, 0)
            sent.append(compress(place, k, wanted))
            e[m] = wanted - sent[-1]
        return mean(sent) / gamma

    return estimate


def shift(compress, rate, start):
    """H + mean d_m with d_m = Q_m(v_m - h_m), h_m+ = h_m + a d_m; H is the mean of the h_m of all workers."""
    h = list(start)

    def estimate(k, v):
        H, d = mean(h), []
        for place, (m, v_m) in enumerate(v.items()):
            d.append(compress(place, k, v_m - h[m]))
            h[m] = h[m] + rate * d[-1]
        return H + mean(d)

    return estimate


# -- methods -------------------------------------------------------------------------------------


def descent(F, z, gamma, rounds, estimate=exact, prox=no_prox, drawn=None):
    """SGDA, QSGDA, EF-SGDA and DIANA-SGDA, by the memory `estimate`."""
    drawn = drawn or everyone(F)
    for k in range(rounds):
        z = prox(z - gamma * estimate(k, {m: F_m(z) for m, F_m in drawn(k).items()}), gamma)
    return z


def extragradient(F, z, gamma, rounds, prox=no_prox, estimate=exact, ahead=None):
    """EG from z, CEG and DIANA-EG; `ahead`: the memory of the first exchange, if it has one of its own."""
    ahead = ahead or estimate
    for k in range(rounds):
        zhalf = prox(z - gamma * ahead(2 * k, {m: F_m(z) for m, F_m in enumerate(F)}), gamma)
        z = prox(z - gamma * estimate(2 * k + 1, {m: F_m(zhalf) for m, F_m in enumerate(F)}), gamma)
    return z


def local_extragradient(F, z, gamma, rounds, steps, prox=no_prox):
    """The mean of where `steps` steps of EG on each worker's own operator lead."""
    for _ in range(rounds):
        z = mean([extragradient([F_m], z, gamma, steps, prox) for F_m in F])
    return z


def optimistic(F, z, gamma, rounds, prox=no_prox):
    """OG: z+ = prox(z - gamma (2 F(z) - F(z_prev))), z_prev = z at the start."""
    z_prev = z
    for _ in range(rounds):
        Fz, F_prev = mean([F_m(z) for F_m in F]), mean([F_m(z_prev) for F_m in F])
        z_prev, z = z, prox(z - gamma * (2 * Fz - F_prev), gamma)
    return z


def diana(F, z, gamma, rounds, compress, rate, tau=1.0, prox=no_prox, serve=None, serve_rate=None, wire=np.float64,
          drawn=None, follow=None):
    """(z, w) of MASHA-DIANA, which is DIANA-OG for tau = 1; `serve` compresses for the server."""
    drawn, x, w, h = drawn or everyone(F), z, z, [crossing(wire)(F_m(z)) for F_m in F]
    estimate, e = shift(compress, rate, h), mean(h)
    down = shift(serve, serve_rate, [e]) if serve else None
    for k in range(rounds):
        zbar = tau * z + (1 - tau) * w
        x_prev, x = x, prox(zbar - gamma * e, gamma)
        e_prev, e = e, estimate(k, {m: F_m(x) for m, F_m in drawn(k).items()})
        e = down(k, {0: e}) if down else e
        z = prox(zbar - gamma * e, gamma)
        w = tau * w + (1 - tau) * z
        gamma = follow(gamma, x - x_prev, e - e_prev) if follow else gamma
    return z, w


def masha(F, z, gamma, rounds, tau, estimate, coin, reference="new", prox=no_prox, down=None, refresh=None,
          wire=np.float64, drawn=None, follow=None, back=None):
    """(z, w) of MASHA1 with the memories `plain` of workers and server, of MASHA2 with `feedback`.

    What a dense exchange sends and returns has the type `wire`.  h_m is what crossed of F_m(w), or with `refresh` what
    the compressed changes add up to.  With `back`, how the server sends the changes of their mean, H lags behind it.
    """
    drawn, w, sent = drawn or everyone(F), z, crossing(wire)
    h = [sent(F_m(w)) for F_m in F]
    arrived = mean(h)
    for k in range(rounds):
        H = arrived if back else mean(h) if refresh else sent(mean(h))
        zbar = tau * z + (1 - tau) * w
        zhalf = prox(zbar - gamma * H, gamma)
        g = estimate(k, {m: F_m(zhalf) - F_m(w) + (F[m](w) - h[m]) for m, F_m in drawn(k).items()})
        g = down(k, {0: g}) if down else g
        z_prev, z = z, prox(zbar - gamma * (H + g), gamma)
        gamma = follow(gamma, zhalf - w, g) if follow else gamma
        if coin(k):
            w = z if reference == "new" else z_prev
            h = [h_m + refresh(m, k + 1, F_m(w) - h_m) if refresh else sent(F_m(w))
                 for m, (F_m, h_m) in enumerate(zip(F, h))]
            arrived = arrived + back(k + 1, mean(h) - arrived) if back else arrived
    return z, w


def optimistic_masha(F, z, gamma, rounds, tau, estimate, coin, prox=no_prox, wire=np.float64):
    """(z, w); f_m is what crossed of F_m(w_prev)."""
    z_prev, w, w_prev, sent = z, z, z, crossing(wire)
    for k in range(rounds):
        f = [sent(F_m(w_prev)) for F_m in F]
        g = estimate(k, {m: F_m(z) - f[m] + F_m(z) - F_m(z_prev) for m, F_m in enumerate(F)})
        z_prev, z = z, prox(tau * z + (1 - tau) * w - gamma * (sent(mean(f)) + g), gamma)
        w_prev, w = w, z if coin(k) else w
    return z, w


def three_pillars(F, z, gamma, rounds, tau, inner, L_0, estimate, coin, wire=np.float64):
    """z; worker 0 makes `inner` steps of EG towards the u with gamma F_0(u) + u = v, and sends u, F_0(u) and F_0(m)."""
    m, sent, s = z, crossing(wire), 1 / (np.sqrt(2) * (1 + gamma * L_0))
    for k in range(rounds):
        f = [sent(F_i(m)) for F_i in F]
        zbar = tau * z + (1 - tau) * m
        v = zbar - gamma * (sent(mean(f)) - f[0])
        u = zbar
        for _ in range(inner):
            ahead = u - s * (u - v + gamma * F[0](u))
            u = u - s * (ahead - v + gamma * F[0](ahead))
        u = sent(u)
        F0u = sent(F[0](u))
        z = v - gamma * F0u + gamma * estimate(k, {i: (f[i] - f[0]) - (F_i(u) - F0u) for i, F_i in enumerate(F)})
        if coin(k):
            m = u
    return z


# -- step sizes ----------------------------------------------------------------------------------


def following(factor, cap=np.inf):
    """gamma+ = min(1.5 gamma, cap, factor sqrt(mean |moved|^2 / mean |changed|^2)), means that forget 5 % a round."""
    squares = []

    def follow(gamma, moved, changed):
        squares.append((moved @ moved, changed @ changed))
        mean_moved, mean_changed = 0.95 ** np.arange(len(squares))[::-1] @ np.array(squares)
        return min(1.5 * gamma, cap, factor * np.sqrt(mean_moved / mean_changed))

    return follow


def safe_step(L, L_rms, q, workers, senders, w=0.0):
    """Of DIANA-OG with independent compressors; w = q_s - 1 of the server's."""
    a, c = senders / workers / q, (senders - 1) / (workers - 1)
    B = (q - c) / senders
    return 0.78 / np.sqrt(3 * L**2 + 6 * w * L**2 * (1 + w)**2 + 6 * (1 + w) * B * L_rms**2 / a**2)


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


def absmax(x, levels, uniform):
    """c floor(s x_i / c + u_i) / s with c = max |x_i|."""
    largest = np.abs(x).max()
    return largest * np.floor(levels * x / largest + uniform) / levels if largest else x


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
