"""Figures of a comparison."""

import importlib.util

import numpy as np

from mpimasha.files import replace_atomically
from mpimasha.measure import ERRORS, error, kind
from mpimasha.tables import megabytes

# Okabe and Ito's palette: distinguishable with every common form of colour blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_IN_A_LINE = 4  # names in the legend, which lies below both panels
_STYLES = ("-", "--", "-.", ":")


def available():
    return importlib.util.find_spec("matplotlib") is not None


def comparison(results, path, title):
    """The error against Mbit up, and against Mbit in both directions, one curve a method.

    The error is the relative error, or the gap or the residual where it is not known.

    Parameters
    ----------
    results : dict
        label -> Result.
    path : Path
        Of the PNG.
    """
    from matplotlib.figure import Figure
    results = {label if len(several) == 1 else f"{label}, seed {result.summary['seed']}": result
               for label, several in results.items() for result in several}
    measured = kind(next(iter(results.values())).rows)
    lines = -(-len(results) // _IN_A_LINE)
    figure = Figure(figsize=(9.5, 3.7 + 0.22 * lines), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    panels = (("uplink, Mbit per worker", lambda r: r["uplink_bits"]),
              ("uplink + downlink, Mbit per worker", lambda r: r["uplink_bits"] + r["downlink_bits"]))
    for axis, (label, cost) in zip(axes, panels):
        for i, (name, result) in enumerate(results.items()):
            rows = [r for r in result.rows if error(r, measured) and r["round"] > 0]
            axis.plot([cost(r) / 1e6 for r in rows], [error(r, measured) for r in rows], lw=1.6, label=name,
                      color=_COLOURS[i % len(_COLOURS)], ls=_STYLES[i % len(_STYLES)])
        axis.set_yscale("log")
        axis.set_xlim(left=0)
        axis.set_xlabel(label)
        axis.grid(alpha=0.25, lw=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(ERRORS[measured])
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=_IN_A_LINE)
    figure.suptitle(title, fontsize=11)
    replace_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


def training(results, path, title, level):
    """Robust accuracy against MB up and down, rounds and seconds: the mean over seeds and their range.

    Parameters
    ----------
    results : dict
        label -> list of Result.
    path : Path
        Of the PNG.
    level : float
        A line at this accuracy.
    """
    from matplotlib.figure import Figure
    lines = -(-len(results) // _IN_A_LINE)
    figure = Figure(figsize=(11, 3.7 + 0.22 * lines), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    panels = (("MB per worker, up and down", megabytes), ("rounds", lambda row: row["round"]),
              ("seconds of stepping", lambda row: row["seconds"]))
    for axis, (label, cost) in zip(axes, panels):
        for i, (name, several) in enumerate(results.items()):
            rows = [[row for row in result.rows if cost(row) > 0] for result in several]
            rows = [seed[:min(map(len, rows))] for seed in rows]  # a diverged seed ends early
            x = np.mean([[cost(row) for row in seed] for seed in rows], axis=0)
            y = np.array([[row["robust_accuracy"] for row in seed] for seed in rows])
            look = {"color": _COLOURS[i % len(_COLOURS)], "ls": _STYLES[i // len(_COLOURS) % len(_STYLES)]}
            axis.plot(x, y.mean(axis=0), lw=1.6, label=name, **look)
            axis.fill_between(x, y.min(axis=0), y.max(axis=0), alpha=0.15, lw=0, color=look["color"])
        axis.axhline(level, color="0.5", lw=0.8, ls=":")
        axis.set_xlabel(label)
        axis.grid(alpha=0.25, lw=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_xscale("log")
    axes[1].set_xlim(left=0)
    axes[2].set_xlim(left=0)
    axes[0].set_ylabel("robust accuracy, validation part")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=_IN_A_LINE)
    figure.suptitle(title, fontsize=11)
    replace_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))
