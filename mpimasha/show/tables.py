"""Tables for the terminal, and what a comparison shows."""

import io
import math
from csv import DictWriter

from mpimasha.show import intervals
from mpimasha.solver.measure import error, kind

MILESTONE = 1e-4  # relative error at which every comparison is read off, besides its target
_COMPARISON = ("up, down: Mbit per worker until the error first fell that low, first exchange and refreshes included.\n"
               "vs og: the bits of og over this method's, at the last level: uplink, and both directions; above 1x is "
               "fewer bits.")
_SEEDS = "\nMeans over the seeds ± half the 95 % interval; a dash where a seed did not get there."
_TRAINING = ("accuracy, robust: on the validation part after the last round, mean over seeds ± half the 95 % interval; "
             "robust\nis under PGD with 20 steps.  MB: up and down per worker, first exchange and refreshes included, "
             "to that robust accuracy\nas the rows saw it.  vs sgda: the MB of sgda over this method's; above 1x is "
             "fewer.")


def text(header, rows):
    """Columns aligned for a fixed-width font: words to the left, numbers to the right."""
    cells = [header, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    words = [not number for number in numeric_columns(header, rows)]
    lines = ["  ".join(c.ljust(w) if word else c.rjust(w) for c, w, word in zip(row, widths, words)).rstrip()
             for row in cells]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def numeric_columns(header, rows):
    """For each column whether it holds numbers, which stand to the right."""
    return [any(_numeric(row[i]) for row in rows) for i in range(len(header))]


def markdown(header, rows):
    """The same as a table of Markdown."""
    rule = ["--:" if number else ":--" for number in numeric_columns(header, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
                     for row in [header, rule, *rows])


def csv(groups):
    """All runs as comma-separated values, one a line, in full precision.

    Parameters
    ----------
    groups : dict
        Label of a problem -> label -> list of Result.
    """
    records = [{"on": on, "label": label, **result.summary} for on, found in groups.items()
               for label, several in found.items() for result in several]
    text = io.StringIO()
    writer = DictWriter(text, list(dict.fromkeys(key for record in records for key in record)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def comparison(results, target):
    """The table of a comparison.

    Parameters
    ----------
    results : dict
        label -> list of Result, one a seed, in order.
    target : float
        Error at which costs are read off, besides 1e-4 if that is above it.

    Returns
    -------
    (header, rows, note)
        Mbit are per worker, means over the seeds with 95 % intervals; a dash where a seed did not get there.  The note
        says what the columns are, in lines.
    """
    levels = [MILESTONE, target] if target < MILESTONE else [target]
    header = ["method", "compressor", "rounds", *(f"{way} {level:.0e}" for level in levels for way in ("up", "down")),
              "seconds", "vs og: up", "both"]
    og = next((several for several in results.values() if several[0].summary["method"] == "og"), None)
    rows = []
    for label, several in results.items():
        spent = [[mbit(result.rows, key, level) for result in several]
                 for level in levels for key in ("uplink_bits", "downlink_bits")]
        rounds, seconds = ([result.summary[key] for result in several] for key in ("rounds", "seconds"))
        rows.append([label + _unfinished(several), several[0].summary["compressor"], f"{mean(rounds):.0f}",
                     *map(_spread, spent), f"{mean(seconds):.1f}", *_ratios(og, spent[-2:], target)])
    return header, rows, _COMPARISON + _SEEDS * (max(map(len, results.values())) > 1)


def training(results, level):
    """The table of a comparison of trained networks.

    Parameters
    ----------
    results : dict
        label -> list of Result, one a seed.
    level : float
        Robust accuracy on the validation part at which MB are read off.

    Returns
    -------
    (header, rows, note)
        Accuracies after the last round, means with 95 % intervals; MB up and down per worker, the mean over seeds and
        its range, a dash if a seed never got there.  The note says what the columns are, in lines.
    """
    header = ["method", "seeds", "accuracy", "robust", "rounds", "MB", f"MB to {level:g}", "range",
              "vs sgda", "seconds"]
    base = next((megabytes_to(several, level) for several in results.values()
                 if several[0].summary["method"] == "sgda"), None)
    rows = []
    for label, several in results.items():
        last, spent = [result.rows[-1] for result in several], megabytes_to(several, level)
        diverged = sum(result.status == "diverged" for result in several)
        reached = [mb for mb in spent if mb is not None]
        ratio = f"{mean(base) / mean(spent):.1f}x" if base and None not in [*base, *spent] and mean(spent) else "-"
        accuracies = [intervals.shown([row[key] for row in last]) for key in ("accuracy", "robust_accuracy")]
        rows.append([label + (f" ({diverged} diverged)" if diverged else ""), str(len(several)), *accuracies,
                     str(max(row["round"] for row in last)), number(mean([megabytes(row) for row in last])),
                     number(mean(spent)) if len(reached) == len(spent) else f"- ({len(reached)} of {len(spent)})",
                     f"{number(min(reached))}-{number(max(reached))}" if reached else "-", ratio,
                     number(mean([result.summary["seconds"] for result in several]))])
    return header, rows, _TRAINING


def megabytes(row):
    """Up and down, per worker."""
    return (row["uplink_bits"] + row["downlink_bits"]) / 8e6


def megabytes_to(results, level):
    """For each result the MB of the first row with that robust accuracy, or None."""
    return [next((megabytes(row) for row in result.rows if row["robust_accuracy"] >= level), None)
            for result in results]


def mean(values):
    return math.fsum(values) / len(values) if None not in values else None


def mbit(rows, key, level):
    """Mbit of `key` when the error first fell to `level`, log-linear between two rows; None if it never did."""
    before, name = None, kind(rows)
    for row in rows:
        now = error(row, name)
        if now is None:
            continue
        if now <= level:
            if before is None or now <= 0:
                return row[key] / 1e6
            share = math.log(error(before, name) / level) / math.log(error(before, name) / now)
            return (before[key] + share * (row[key] - before[key])) / 1e6
        before = row
    return None


def _unfinished(several):
    """How the runs of one label ended, if not all at their target."""
    states = [result.status for result in several if not result.summary["converged"]]
    if len(several) == 1:
        return f" ({states[0]})" if states else ""
    return f" ({', '.join(f'{states.count(s)} {s}' for s in dict.fromkeys(states))})" if states else ""


def _spread(values):
    """Mean ± half the 95 % interval."""
    reached = [value for value in values if value is not None]
    if len(reached) < len(values):
        return f"- ({len(reached)} of {len(values)})" if reached else "-"
    middle, half = intervals.mean_and_interval(values)
    text = number(middle)
    if not half or half < 1e-12 * abs(middle):  # a method that draws nothing
        return text
    decimals = len(text.partition(".")[2]) if "e" not in text else 0
    return f"{text} ± {half:.{decimals}f}"


def _ratios(og, far, target):
    """og's Mbit to the target over this method's: uplink, and both directions."""
    base = [[mbit(result.rows, key, target) for result in og or []] for key in ("uplink_bits", "downlink_bits")]
    if og is None or any(None in values for values in [*base, *far]):
        return ["-", "-"]
    base, far = [mean(values) for values in base], [mean(values) for values in far]
    return [f"{base[0] / far[0]:.2f}x", f"{sum(base) / sum(far):.2f}x"]


def number(value):
    """Three significant digits, never in exponent form between 0.001 and 10,000; a dash for nothing."""
    if value is None:
        return "-"
    if value == 0 or not 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}"
    rounded = float(f"{value:.2e}")
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def _numeric(cell):
    return cell == "-" or cell.startswith("- (") or cell[:1].isdigit()
