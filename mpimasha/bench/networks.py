"""The hand-written networks against PyTorch on one thread: time, and gradients."""

import statistics
import time

import numpy as np

from mpimasha.bench.pytorch import Twin, one_thread
from mpimasha.errors import UserError
from mpimasha.names import nearest
from mpimasha.networks.mlp import MLP
from mpimasha.networks.transformer import Transformer
from mpimasha.show.tables import text

BATCH = 64
WIDTHS = (64, 64, 32, 10)
TARGETS = {"mlp_small": 2.0, "transformer_d32": 1.2, "transformer_d64": 1.2, "transformer_d128l4": 1.0}
TRANSFORMERS = {
    "transformer_d32": dict(side=8, patch=2, width=32, heads=4, layers=2, hidden=64, classes=10),
    "transformer_d64": dict(side=8, patch=2, width=64, heads=4, layers=2, hidden=128, classes=10),
    "transformer_d128l4": dict(side=8, patch=2, width=128, heads=8, layers=4, hidden=256, classes=10),
}
SECONDS = 4.0  # a row, for both sides
TURN, CALLS = 0.01, 3  # seconds, and calls at least, until the other side has its turn


def rows(only=None):
    """Times of one gradient in parameters and samples, batch 64, float32, one thread; the two sides take turns.

    NumPy's BLAS must have been limited to one thread before: OPENBLAS_NUM_THREADS=1.

    Parameters
    ----------
    only : list of str, optional
        Names of the rows, if not all are wanted.

    Returns
    -------
    list of dict
        name; value, PyTorch's time over ours, the median of the turns; target, what it should be at least; ok; ours_us
        and torch_us.
    """
    for name in only or ():
        if name not in TARGETS:
            raise UserError(f"{name!r} is no row of the networks' benchmark{nearest(name, TARGETS)}")
    return [_row(name) for name in only or TARGETS]


def table(rows):
    """`rows` for the terminal."""
    header = ["network", "ours, us", "PyTorch, us", "ratio", "target", ""]
    return text(header, [[row["name"], f"{row['ours_us']:.0f}", f"{row['torch_us']:.0f}", f"{row['value']:.2f}x",
                          f"{row['target']:.1f}x", "" if row["ok"] else "missed"] for row in rows])


def gradients():
    """Our gradients against PyTorch's, batch 64.

    Returns
    -------
    list of dict
        name, dtype, and |g - g_torch|_inf / |g_torch|_inf for the weights, the inputs and, of the transformers, the
        shifts of the embedded samples.
    """
    return [errors(name, dtype) for name in TARGETS for dtype in ("float64", "float32")]


class Case:
    """A network with random parameters, a random batch, and its twin in PyTorch."""

    def __init__(self, name, dtype):
        self.network = Transformer(**TRANSFORMERS[name], dtype=dtype) if name in TRANSFORMERS else MLP(WIDTHS, dtype)
        generator, network = np.random.default_rng(1), self.network
        self.theta = network.start(generator)
        self.theta += (0.1 * generator.standard_normal(network.n)).astype(dtype)  # so that no bias is zero
        self.X = generator.standard_normal((BATCH, network.inputs)).astype(dtype)
        self.y = generator.integers(0, network.classes, BATCH)
        self.weights, self.inputs = np.empty_like(self.theta), np.empty_like(self.X)
        self.twin = Twin(network, self.theta, self.X, self.y)

    def gradient(self, **more):
        """Gradient of the mean loss, into `weights` and `inputs`."""
        self.network.gradient(self.theta, self.X, self.y, 1 / BATCH, self.weights, self.inputs, **more)


def _row(name):
    case = Case(name, np.float32)
    with one_thread():
        ours, theirs = _alternate(case.gradient, case.twin.gradient)
    value, target = statistics.median(t / o for o, t in zip(ours, theirs)), TARGETS[name]
    return {"name": name, "value": value, "target": target, "ok": value >= target,
            "ours_us": 1e6 * statistics.median(ours), "torch_us": 1e6 * statistics.median(theirs)}


def _alternate(one, other):
    """Seconds a call, (list, list): of every turn the median."""
    times = [], []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or not times[1]:
        for function, medians in zip((one, other), times):
            medians.append(_turn(function))
    return tuple(medians[1:] or medians for medians in times)  # the first calls compile and allocate


def _turn(function):
    now = time.perf_counter()
    times, end = [], now + TURN
    while now < end or len(times) < CALLS:
        start = now
        function()
        now = time.perf_counter()
        times.append(now - start)
    return statistics.median(times)


def errors(name, dtype):
    """One row of `gradients`."""
    case = Case(name, np.dtype(dtype))
    shifts = np.empty((BATCH, case.network.embedding), dtype)
    case.gradient(**({"shifts": shifts} if shifts.size else {}))
    pairs = zip(("weights", "inputs", "shifts"), (case.weights, case.inputs, shifts), case.twin.arrays())
    return {"name": name, "dtype": dtype} | {key: _distance(*pair) for key, *pair in pairs if pair[0].size}


def _distance(ours, theirs):
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))
