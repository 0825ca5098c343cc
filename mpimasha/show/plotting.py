"""Figures: an error, or an accuracy, against what it cost."""

import importlib.util
import os
from contextlib import contextmanager

from mpimasha.errors import UserError
from mpimasha.files import replace_atomically
from mpimasha.show import curves, labels
from mpimasha.solver.measure import ERRORS

# Okabe and Ito's palette: distinguishable with every common form of colour blindness.  Styles tell lines apart in grey,
# and let a line be seen below another.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", (0, (5, 1.5)), (0, (7, 1.5, 1.2, 1.5)), (0, (1.2, 1.2)))
_WIDTHS, _HEIGHT = {1: 3.4, 2: 7.0}, 2.5  # inches: of a page's columns, and of a panel
_MOST_DIRECT = 9  # lines that are named beside themselves
_SPREAD = 12  # from this ratio of the costs on, their axis is logarithmic
_ROOM = 100.0  # how far an error may rise above its start and still be drawn
_NAMES = {"accuracy": "accuracy", "robust_accuracy": "robust accuracy, validation part"}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
_LOOK = {"font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8.5, "figure.titlesize": 9, "xtick.labelsize": 7.5,
         "ytick.labelsize": 7.5, "legend.fontsize": 7.5, "axes.linewidth": 0.6, "lines.linewidth": 1.3,
         "xtick.major.width": 0.6, "ytick.major.width": 0.6, "mathtext.fontset": "dejavusans",
         "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "mpimasha", "path.simplify": True}
FORMATS = {".png": {"dpi": 300, "metadata": {"Software": None}}, ".pdf": {"metadata": {"CreationDate": None}},
           ".svg": {"metadata": {"Date": None}}}


def available():
    return importlib.util.find_spec("matplotlib") is not None


def comparison(results, path, title):
    """The error against what was sent up, and against both directions.

    Parameters
    ----------
    results : dict
        label -> list of Result, one a seed.
    path : Path
        Of the PNG.
    """
    draw(results, [path], x=("up", "both"), title=title)


def training(results, path, title, level):
    """Robust accuracy against MB up and down, rounds and seconds.

    Parameters
    ----------
    results : dict
        label -> list of Result.
    path : Path
        Of the PNG.
    level : float
        A line at this accuracy.
    """
    draw(results, [path], y="robust_accuracy", x=("both", "rounds", "seconds"), title=title, level=level)


def draw(results, paths, *, y="error", x=("up", "both"), columns=2, title=None, level=None, scale="auto"):
    """Draw one panel for each cost, and write the figure to every path, in the format of its name.

    A line is the median over the seeds, the band reaches from the least to the most (`curves.curve`); a cross ends the
    line of a label one of whose runs diverged.  Lines have their names beside them where they are few and there is
    room, else in a legend.  The same results give the same bytes.

    Parameters
    ----------
    results : dict
        label -> list of Result, one a seed.
    paths : sequence of Path or binary file
        Names ending in .png, .pdf or .svg; a file gets SVG.
    y : str
        "error" for that by which the runs are judged, or the key of a row.
    x : sequence of {"up", "both", "rounds", "calls", "seconds"}
    columns : {1, 2}
        Of the page: 3.4 or 7 inches wide; panels stand below or beside each other.
    title : str, optional
    level : float, optional
        A line across.
    scale : {"auto", "linear", "log"}
        Of the costs; "auto" is logarithmic if they are far apart.

    Raises
    ------
    UserError
        Nothing to draw, or matplotlib cannot draw it.
    """
    with _drawing():
        figure = _figure(results, y, x, columns, title, level, scale)
        for path in paths:
            ending = getattr(path, "suffix", ".svg")
            options = {"format": ending[1:], **FORMATS[ending]}
            if hasattr(path, "write"):
                figure.savefig(path, **options)
            else:
                replace_atomically(path, lambda file: figure.savefig(file, **options))


@contextmanager
def _drawing():
    """Matplotlib's own defaults and our look, whatever the user's matplotlibrc says; its faults are one sentence."""
    try:
        matplotlib = _matplotlib()
        defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key}
        with matplotlib.rc_context(defaults | _LOOK):
            yield
    except (UserError, OSError):  # of files
        raise
    except Exception as error:  # matplotlib and its fonts raise what they like
        said = " ".join(str(error).split())[:200]
        raise UserError(f"the figure cannot be drawn ({type(error).__name__}: {said}): mend or reinstall matplotlib, "
                        f"then draw it with mpimasha plot") from None


def _matplotlib():
    """The module; a backend for screens or notebooks is not asked for, nor missed."""
    asked = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except OSError as error:
        raise ImportError(error) from None
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked
    return matplotlib


def _as_typed(text):
    """`text` without mathematics."""
    return text.replace("$", r"\$")


def _figure(results, y, x, columns, title, level, scale):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    name = curves.measure([result for several in results.values() for result in several], y)
    figure = Figure(figsize=(_WIDTHS[columns], _HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)  # knows how large a text is
    shape = (1, len(x)) if columns == 2 else (len(x), 1)
    axes = figure.subplots(*shape, sharey=True, squeeze=False).ravel()
    lines = [_panel(axis, results, cost, name, level, scale) for axis, cost in zip(axes, x)]
    if not any(lines):
        raise UserError(f"no run has a {name.replace('_', ' ')} to draw: choose another --y")
    for axis in axes if columns == 1 else axes[:1]:
        axis.set_ylabel(ERRORS.get(name) or _NAMES.get(name, name))
    if title:
        figure.suptitle(_as_typed(title), wrap=True)
    height = _HEIGHT * shape[0] + (0.25 if title else 0)
    figure.set_size_inches(_WIDTHS[columns], height)
    if not _named_directly(figure, axes, lines):
        columns_of_names = max(1, int(_WIDTHS[columns] / _width_of_names(figure, lines[0])))
        rows = -(-len(lines[0]) // columns_of_names)
        figure.set_size_inches(_WIDTHS[columns], height + 0.16 * rows + 0.1)
        legend = figure.legend(lines[0], ["name"] * len(lines[0]), frameon=False, loc="outside lower center",
                               ncols=columns_of_names, handlelength=2.2, columnspacing=1.2)
        for text, line in zip(legend.get_texts(), lines[0]):  # one that begins with _ would be left out
            text.set_text(line.get_label())
    return figure


def _panel(axis, results, cost, name, level, scale):
    """Draw one panel; its lines."""
    drawn = [(i, label, several, curves.curve(several, cost, name))
             for i, (label, several) in enumerate(results.items())]
    drawn = [entry for entry in drawn if entry[3] is not None]
    unit, prefix = _unit(cost, name, [found[0][-1] for *_, found in drawn])
    lines = []
    for i, label, several, (costs, middle, least, most) in drawn:
        look = {"color": _COLOURS[i % len(_COLOURS)], "ls": _STYLES[i % len(_STYLES)]}
        line, = axis.plot(costs / unit, middle, label=_as_typed(label), **look)
        if len(several) > 1:
            axis.fill_between(costs / unit, least, most, alpha=0.18, lw=0, color=look["color"])
        if any(result.status == "diverged" for result in several):
            axis.plot(costs[-1] / unit, middle[-1], "x", color=look["color"], ms=4)
        lines.append(line)
    if level is not None:
        axis.axhline(level, color="0.5", lw=0.7, ls=":")
    axis.set_xlabel(prefix)
    axis.grid(alpha=0.25, lw=0.4)
    axis.spines[["top", "right"]].set_visible(False)
    ends = [found[0][-1] for *_, found in drawn]
    if scale == "log" or scale == "auto" and ends and max(ends) > _SPREAD * min(ends):
        axis.set_xscale("log")
        if name in ERRORS:
            axis.set_xlim(left=min(_departure(*found[:2]) for *_, found in drawn) / unit / 2)
    else:
        axis.set_xlim(left=0)
    if name in ERRORS:
        axis.set_yscale("log")
        starts = [curves.value(several[0].rows[0], name) or 0 for _, _, several, _ in drawn]
        if any(starts) and max(found[3].max() for *_, found in drawn) > _ROOM * max(starts):
            axis.set_ylim(top=_ROOM * max(starts))
    return lines


def _departure(costs, middle):
    """The cost at which a tenth of the error is gone: before, there is nothing to see."""
    gone = costs[middle < 0.9 * middle[0]]
    return gone[0] if gone.size else costs[-1]


def _unit(cost, name, ends):
    """(what to divide by, the name of the axis)."""
    text = curves.COSTS[cost][1]
    if cost not in ("up", "both"):
        return 1, text
    bits, word = (1, "bit") if name in ERRORS else (8, "B")  # networks are trained by the megabyte
    unit, prefix = next(((u, p) for u, p in _PREFIXES if max(ends, default=0) >= bits * u), (1, ""))
    return bits * unit, f"{text}, {prefix}{word}"


def _named_directly(figure, axes, lines):
    """Whether every line of every panel got its name beside it."""
    if max(map(len, lines)) > _MOST_DIRECT:
        return False
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    before = [len(axis.texts) for axis in axes]
    if all(labels.place(axis, own, renderer) for axis, own in zip(axes, lines)):
        return True
    for axis, count in zip(axes, before):
        for text in axis.texts[count:]:
            text.remove()
    return False


def _width_of_names(figure, lines):
    """Inches of one entry of a legend."""
    return 0.45 + 0.058 * max(len(line.get_label()) for line in lines)
