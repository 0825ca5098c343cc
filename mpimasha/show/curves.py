"""From the rows of several seeds to one curve and its band."""

import numpy as np

from mpimasha.solver.measure import ERRORS, error, kind

COSTS = {  # name: (keys of a row that are added, what it is called)
    "up": (("uplink_bits",), "uplink per worker"),
    "both": (("uplink_bits", "downlink_bits"), "uplink + downlink per worker"),
    "rounds": (("round",), "rounds"), "calls": (("operator_calls",), "operator calls of a worker"),
    "seconds": (("seconds",), "seconds of stepping"),
}
_POINTS = 160  # of a curve: more are not seen, and make files large
MEASURES = ("error", *ERRORS, "accuracy", "robust_accuracy")


def cost(row, name):
    return sum(row[key] for key in COSTS[name][0])


def measure(results, name):
    """The key of a row that "error" stands for: what the runs are judged by."""
    rows = next((result.rows for result in results if result.rows), [{}])
    if name != "error":
        return name
    return "robust_accuracy" if "robust_accuracy" in rows[-1] else kind(rows)


def value(row, name):
    return error(row, name) if name in ERRORS else row.get(name)


def curve(several, x, y):
    """(costs, median, least, most) over the seeds, up to where the first of them ended.

    Between two rows of a seed an error is interpolated on a logarithmic scale.  Seeds are compared at the same cost,
    not at the same error, so that a method which stalls is seen to.

    Parameters
    ----------
    several : list of Result
    x : str
        Of `COSTS`.
    y : str
        Key of a row.

    Returns
    -------
    tuple of arrays of one length, or None if there is nothing to draw.
    """
    seeds = [[(cost(row, x), value(row, y)) for row in result.rows] for result in several]
    seeds = [np.array([pair for pair in pairs if None not in pair and (y not in ERRORS or 0 < pair[1] < np.inf)
                       and (pair[0] > 0 or x == "rounds")], float).reshape(-1, 2) for pairs in seeds]
    if not all(map(len, seeds)):
        return None
    begin, end = max(pairs[0, 0] for pairs in seeds), min(pairs[-1, 0] for pairs in seeds)
    costs = np.unique(np.concatenate([pairs[:, 0] for pairs in seeds]))
    costs = costs[(begin <= costs) & (costs <= end)]
    if not costs.size:
        return None
    there, back = (np.log, np.exp) if y in ERRORS else (np.asarray, np.asarray)
    costs = costs[np.unique(np.linspace(0, costs.size - 1, _POINTS).astype(int))]
    values = np.array([back(np.interp(costs, pairs[:, 0], there(pairs[:, 1]))) for pairs in seeds])
    return costs, np.median(values, axis=0), values.min(axis=0), values.max(axis=0)
