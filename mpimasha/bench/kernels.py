"""The kernels against NumPy, PyTorch, memcpy and one read pass: thread CPU time, all sides in turn."""

import logging
import statistics
import time

from mpimasha.bench import candidates
from mpimasha.bench.pytorch import load, one_thread
from mpimasha.errors import UserError
from mpimasha.names import nearest
from mpimasha.show.tables import text

# family: (its cases, {rival: what the row should be: at least for a library, at most for a floor})
FAMILIES = {
    "topk32": (candidates.topk32, {"torch": 30, "argpartition": 25, "floor": 2.2}),
    "topk32_k01": (lambda: candidates.topk32(0.001), {"torch": 30, "argpartition": 25, "floor": 2.2}),
    "topk32_k10": (lambda: candidates.topk32(0.1), {"torch": 30, "argpartition": 25, "floor": 2.5}),
    "topk64": (candidates.topk64, {"torch": 20, "argpartition": 25, "floor": 2.2}),
    "topk32_hard": (candidates.topk32_hard, {"torch": 12, "argpartition": 20, "floor": 2.2}),
    "topk32_cache": (candidates.topk32_cache, {"floor": 4}),
    "topk_portable": (candidates.topk_portable, {"torch": 6, "argpartition": 6}),
    "topk_feedback": (candidates.topk_feedback, {"floor": 2}),
    "randk_indices": (candidates.randk_indices, {"library": 20, "floor": 0.65}),
    "randk_block": (candidates.randk_block, {"library": 15}),
    "natural": (candidates.natural, {"library": 15, "floor": 1.2}),
    "natural_wire": (candidates.natural_wire, {"library": 15, "floor": 1.2}),
    "dither8": (lambda: candidates.dithered(127), {"library": 15, "floor": 0.85}),
    "dither4": (lambda: candidates.dithered(7), {"library": 15, "floor": 0.75}),
    "update": (candidates.update, {"library": 1.8}),
    "scatter": (candidates.scatter, {"library": 2}),
}
TARGETS = {f"{family}.{rival}": target for family, (_, rivals) in FAMILIES.items() for rival, target in rivals.items()}
PASSES, TURNS, SECONDS = 3, 5, 0.003  # turns of all sides in a pass; of a turn, where a call is shorter
_log = logging.getLogger("mpimasha")


def rows(only=None):
    """Ratios of times; NumPy's BLAS and PyTorch take one thread, rows with PyTorch are left out where it is missing.

    Parameters
    ----------
    only : list of str, optional
        Names of rows, FAMILY.RIVAL, or of families, if not all are wanted.

    Returns
    -------
    list of dict
        name; value, the rival's time over ours, or ours over the floor's (of `randk_indices`: ns an index); target,
        what it should be at least, or of a floor at most; ok; ours_ns and rival_ns, for a coordinate (an index, an
        entry).  Of several inputs the worst.
    """
    wanted = _wanted(only)
    if not load(needed=False) and any(name.endswith(".torch") for name in wanted):
        if only and all(name.endswith(".torch") for name in wanted):
            load()
        _log.warning("rows against PyTorch are left out, it is not installed: pip install 'mpimasha[bench]'")
        wanted = [name for name in wanted if not name.endswith(".torch")]
    found = []
    for family in dict.fromkeys(name.partition(".")[0] for name in wanted):
        found += _family(family, [name.partition(".")[2] for name in wanted if name.startswith(f"{family}.")])
    return found


def measured(case, rivals):
    """{side: ns a coordinate} of one case of `candidates`, ours and the rivals: the median of the passes' medians."""
    units = case.get("units", candidates.D)
    sides = {side: function for side, function in case.items() if side in ("ours", *rivals)}
    with one_thread():
        calls = {side: _calls(function) for side, function in sides.items()}
        times = {side: [] for side in sides}
        for _ in range(PASSES):
            turns = [{side: _seconds(function, calls[side]) for side, function in sides.items()} for _ in range(TURNS)]
            for side in sides:
                times[side].append(statistics.median(turn[side] for turn in turns))
    return {side: 1e9 / units * statistics.median(seconds) for side, seconds in times.items()}


def table(rows):
    """`rows` for the terminal."""
    header = ["row", "ours, ns", "rival, ns", "value", "target", ""]
    return text(header, [[row["name"], f"{row['ours_ns']:.3f}", "" if row["rival_ns"] is None else
                          f"{row['rival_ns']:.3f}", f"{row['value']:.2f}",
                          f"{'<=' if _is_floor(row['name']) else '>='} {row['target']:g}",
                          "" if row["ok"] else "missed"] for row in rows])


def _wanted(only):
    for name in only or ():
        if name not in TARGETS and name not in FAMILIES:
            raise UserError(f"{name!r} is no row of the kernels' benchmark{nearest(name, [*TARGETS, *FAMILIES])}")
    return [name for name in TARGETS if not only or name in only or name.partition(".")[0] in only]


def _is_floor(name):
    return name.endswith(".floor")


def _family(family, rivals):
    cases = [measured(case, rivals) for case in FAMILIES[family][0]()]
    rows = []
    for rival in rivals:
        name = f"{family}.{rival}"
        made = [_row(name, rival, times) for times in cases]
        rows.append(max(made, key=lambda row: row["value"]) if _is_floor(name) else
                    min(made, key=lambda row: row["value"]))
    return rows


def _row(name, rival, times):
    ours, other = times["ours"], times.get(rival)
    value = ours if other is None else ours / other if _is_floor(name) else other / ours
    target = TARGETS[name]
    ok = value <= target if _is_floor(name) else value >= target
    return {"name": name, "value": value, "target": target, "ok": ok, "ours_ns": ours, "rival_ns": other}


def _calls(function):
    function()  # compiles, allocates
    return max(1, min(1000, round(SECONDS / max(_seconds(function, 1), 1e-9))))


def _seconds(function, calls):
    start = time.thread_time()
    for _ in range(calls):
        function()
    return (time.thread_time() - start) / calls
