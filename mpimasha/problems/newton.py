"""Newton's method, for problems small enough to solve to rounding."""

import numpy as np


def solve(F, jacobian, z, steps=100):
    """Damped Newton for a smooth strongly monotone F, until |F| falls no more (rounding)."""
    value = F(z)
    near = 1e-16 * (value @ value)  # where Newton converges quadratically, a failing full step is rounding
    for _ in range(steps):
        direction, step = np.linalg.solve(jacobian(z), value), 1.0
        shortest = 1.0 if value @ value <= near else 1e-8
        while step >= shortest:
            trial = z - step * direction
            new = F(trial)
            if new @ new < value @ value:
                break
            step /= 2
        else:
            return z
        z, value = trial, new
    return z
