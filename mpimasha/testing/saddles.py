"""Signs of F = (grad_x g, -grad_y g), by finite differences."""

import numpy as np

from mpimasha.randomness import generator


def check_saddle(name, split, field, where):
    """The Jacobian of F and of every F_m: J_xy = -J_yx', J_xx and J_yy symmetric, on random directions."""
    rng = generator(8, "test", field.n)
    for z in where[:4]:
        for m in range(field.workers):
            F = f"F_{m}"
            d = rng.standard_normal((4, field.n))
            (x1, x2), (y1, y2) = (_only(d[:2], slice(0, split)), _only(d[2:], slice(split, None)))
            Jx1, Jx2, Jy1, Jy2 = (_along(field, m, z, v) for v in (x1, x2, y1, y2))
            noise = _noise(field, m, z) * np.sqrt(field.n) * np.linalg.norm(d, axis=1).max()
            near = noise + 1e-4 * max(np.linalg.norm(v) for v in (Jx1, Jx2, Jy1, Jy2))
            xy, yx = x1 @ Jy1, y1 @ Jx1
            if abs(xy + yx) > near:
                numbers = f"<u, J_xy v> = {xy:.4g} and <v, J_yx u> = {yx:.4g} must be opposite"
                if abs(xy - yx) <= near:
                    raise AssertionError(f"{name}: the {_wrong(x1, y1, Jx1, Jy1, near)} block of {F} has the wrong "
                                         f"sign: {numbers} for F = (grad_x g, -grad_y g)")
                raise AssertionError(f"{name}: {F} is no (grad_x g, -grad_y g): {numbers}, is a sign or a transpose "
                                     f"wrong?")
            for block, one, other in (("x", x2 @ Jx1, x1 @ Jx2), ("y", y2 @ Jy1, y1 @ Jy2)):
                if abs(one - other) > near:
                    raise AssertionError(f"{name}: the {block} block of {F} is no gradient in {block}: <u, J v> = "
                                         f"{one:.4g} and <v, J u> = {other:.4g} must be equal")


def check_gradient(name, split, field, g, where):
    """<F(z), (u, -v)> is the derivative of g along (u, v), block by block."""
    split = field.n if split is None else split
    rng, h = generator(9, "test", field.n), 1e-5
    for z in where[:4]:
        z, F = np.asarray(z, float), field(z)
        for block, part, sign in (("x", slice(0, split), 1.0), ("y", slice(split, None), -1.0)):
            d = _only(rng.standard_normal(field.n), part)
            values = [g((z + t * d)[:split], (z + t * d)[split:]) for t in (h, -h)]
            slope, given = (values[0] - values[1]) / (2 * h), sign * (F @ d)
            near = 1e-5 * (np.linalg.norm(F) * np.linalg.norm(d) + 1) + 1e-14 * max(map(abs, values)) / h \
                + 100 * np.finfo(field.dtype).eps * np.linalg.norm(F) * np.linalg.norm(d)
            if abs(slope - given) > near:
                slip = ": the sign is wrong" if abs(slope + given) <= near else ""
                raise AssertionError(f"{name}: the {block} block of F is not {'-' if sign < 0 else ''}grad_{block} g: "
                                     f"along a random direction g changes by {slope:.6g}, F says {given:.6g}{slip}")


def _wrong(x, y, Jx, Jy, near):
    """The block whose own part is not positive, else y: the sign that is easily forgotten."""
    return "x" if x @ Jx < -near <= y @ Jy else "y"


def _only(d, part):
    kept = np.zeros_like(d)
    kept[..., part] = d[..., part]
    return kept


def _step(field):
    return float(np.finfo(field.dtype).eps)**(1 / 3)


def _along(field, m, z, d):
    """The derivative of F_m at z along d, by central differences."""
    h = _step(field) * (1 + np.abs(z).max()) / np.abs(d).max() if d.any() else 1.0
    ahead, behind = (np.asarray(z + s * h * d, field.dtype) for s in (1, -1))
    return (field.of(m, ahead).astype(float) - field.of(m, behind)) / (2 * h)


def _noise(field, m, z):
    """What rounding does to a central difference."""
    return 10 * float(np.finfo(field.dtype).eps) * (1 + np.abs(field.of(m, z)).max()) / _step(field)
