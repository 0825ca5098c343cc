"""What the kernels' benchmark compares: our kernels, and the same in NumPy, in PyTorch, or the pass that is the floor.

A family is a function that returns a list of cases, {side: function without arguments}: "ours" and its rivals.
"""

import itertools

import numpy as np

from mpimasha.bench.pytorch import load
from mpimasha.kernels import sparse, updates
from mpimasha.kernels._jit import kernel
from mpimasha.kernels.compress import dither, powers, sampling, topk
from mpimasha.kernels.hashing import stream_key

D, HARD, CACHED, SCATTERED = 10**7, 10**6, 10**5, 10**6  # coordinates
BUCKET, LINE, MESSAGES = 512, 8, 4
KEY = stream_key(0, 9, 0, 0)


@kernel(reduction=True)
def read_pass(x):
    """Nothing but reading: the sum, the fastest of the passes that were tried."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


def gaussian(n, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(n, dtype)


def copy_of(x):
    """memcpy, the floor of what reads a vector and writes something."""
    out = np.zeros_like(x)
    return lambda: np.copyto(out, x)


# -- TopK ------------------------------------------------------------------------------------------


def selection(x, k, warm=False, vector=topk.VECTOR):
    """Exact TopK, which knows the threshold of the call before if it is `warm`."""
    index, scratch, state = np.zeros(k, np.uint32), topk.scratch(x.size, k, x.dtype), np.zeros(1, np.uint64)

    def ours():
        if not warm:
            state[0] = 0
        topk.topk(x, index, *scratch, state, vector)

    return ours


def chosen(x, share, **options):
    """TopK of one vector on all sides."""
    k = max(1, round(share * x.size))
    sides = {"units": x.size, "ours": selection(x, k, **options), "floor": lambda: read_pass(x),
             "argpartition": lambda: np.argpartition(np.abs(x), x.size - k)[-k:]}
    return sides | {"torch": _torch_topk(x, k)} if load(needed=False) else sides


def _torch_topk(x, k):
    torch, _ = load()
    tensor = torch.from_numpy(x)
    return lambda: torch.topk(tensor.abs(), k, sorted=False)


def topk32(share=0.01, **options):
    return [chosen(gaussian(D), share, **options)]


def topk_portable():
    return topk32(vector=None)


def topk64():
    return [chosen(gaussian(D, np.float64), 0.01)]


def topk32_hard():
    generator, n = np.random.default_rng(0), HARD
    sparse_ = np.where(generator.random(n) < 5e-4, generator.standard_normal(n), 0.0)
    ascending = np.linspace(0.0, 1.0, n)
    inputs = (generator.standard_cauchy(n), sparse_, np.ones(n), ascending, ascending[::-1])
    return [chosen(x.astype(np.float32), 0.01) for x in inputs]


def topk32_cache():
    return [chosen(gaussian(CACHED), 0.01, warm=True)]


def topk_feedback():
    """e += delta and e -= delta in turn: the magnitudes stay what they are, as from one round to the next."""
    delta, k = gaussian(D), D // 100
    e, other = (gaussian(D, seed=1) - delta / 2 for _ in range(2))
    index, scratch, state = np.zeros(k, np.uint32), topk.scratch(D, k, e.dtype), np.zeros(1, np.uint64)
    signs, passes = itertools.cycle((1.0, -1.0)), itertools.cycle((np.add, np.subtract))

    def ours():
        topk.topk_feedback(e, next(signs), delta, 0.0, None, 0.0, None, index, *scratch, state, topk.VECTOR)

    return [{"ours": ours, "floor": lambda: next(passes)(other, delta, out=other)}]


# -- RandK -----------------------------------------------------------------------------------------


def randk_indices():
    generator, counts = np.random.default_rng(0), (D // 100, D // 100 - 9)  # the second does not divide D

    def case(k):
        index = np.zeros(k, np.uint32)
        return {"ours": lambda: sampling.stratified32(index, D, KEY),
                "library": lambda: generator.choice(D, k, replace=False), "units": k}

    return [case(k) for k in counts]


def randk_block():
    generator, x, k = np.random.default_rng(0), gaussian(D), D // 100 // LINE * LINE
    drawn, out, scale = np.zeros(k // LINE, np.uint32), np.zeros(k, np.float32), D / k

    def ours():
        sampling.stratified(drawn, D // LINE, KEY)
        sampling.gather_blocks(out, x, drawn, LINE, scale)

    def library():
        np.multiply(x[generator.choice(D, k, replace=False)], np.float32(scale), out=out)

    return [{"ours": ours, "library": library, "units": k}]


# -- quantisers ------------------------------------------------------------------------------------


def natural():
    x, generator = gaussian(D), np.random.default_rng(0)
    out = np.zeros_like(x)
    return [{"ours": lambda: powers.round_powers(out, x, KEY), "library": lambda: _powers(x, generator),
             "floor": copy_of(x)}]


def natural_wire():
    x, generator = gaussian(D), np.random.default_rng(0)
    exponents, signs, marks = np.zeros(D, np.uint8), np.zeros(-(-D // 8), np.uint8), np.zeros(powers.CHUNK, np.uint8)

    def library():
        bits = _powers(x, generator).view(np.uint32)
        return (bits >> 23).astype(np.uint8), np.packbits(bits >> 31 != 0, bitorder="little")

    return [{"ours": lambda: powers.encode_powers(exponents, signs, x, marks, KEY), "library": library,
             "floor": copy_of(x)}]


def _powers(x, generator):
    """The formula, array by array."""
    fraction, exponent = np.frexp(np.abs(x))
    up = generator.random(x.size, np.float32) < 2 * fraction - 1
    return np.copysign(np.where(x == 0, np.float32(0), np.ldexp(np.float32(0.5), exponent + up)), x)


def dithered(levels):
    x, generator = gaussian(D), np.random.default_rng(0)
    scales, codes = np.zeros(-(-D // BUCKET), np.float32), np.zeros(D if levels == 127 else D // 2, np.uint8)
    rows = x[:D // BUCKET * BUCKET].reshape(-1, BUCKET)

    def library():
        largest = np.abs(rows).max(axis=1, keepdims=True)
        found = np.floor(rows * (levels / largest) + generator.random(rows.shape, np.float32)).astype(np.int8)
        return found if levels == 127 else (found[:, ::2] & 15) | (found[:, 1::2] << 4)

    return [{"ours": lambda: dither.dither_encode(x, x.view(np.uint32), scales, codes, levels, BUCKET, KEY),
             "library": library, "floor": copy_of(x)}]


# -- updates ---------------------------------------------------------------------------------------


def update():
    """tau z + (1 - tau) w - gamma F."""
    z, w, F = (gaussian(D, seed=seed) for seed in range(3))
    out, term, tau, gamma = np.zeros_like(z), np.zeros_like(z), np.float32(0.9), np.float32(0.01)

    def library():
        np.multiply(z, tau, out=out)
        for factor, vector in ((1 - tau, w), (-gamma, F)):
            np.multiply(vector, factor, out=term)
            np.add(out, term, out=out)

    return [{"ours": lambda: updates.combine3(out, float(tau), z, float(1 - tau), w, float(-gamma), F),
             "library": library}]


def scatter():
    generator, n, k = np.random.default_rng(0), SCATTERED, SCATTERED // 100
    out, scale = np.zeros(n, np.float32), 1 / MESSAGES
    sent = [(np.sort(generator.choice(n, k, replace=False)).astype(np.uint32), gaussian(k)) for _ in range(MESSAGES)]

    def ours():
        for index, values in sent:
            sparse.scatter_add(out, index, values, scale)

    def library():
        for index, values in sent:
            np.add.at(out, index, np.float32(scale) * values)

    return [{"ours": ours, "library": library, "units": MESSAGES * k}]
