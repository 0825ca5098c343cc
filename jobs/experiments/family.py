"""The table of docs/family.rst: all methods and many compressors on one bilinear problem, five seeds each.

    python jobs/experiments/family.py --out docs/family.txt

Problem A: x, y in R^50, 10 workers, kappa 100, heterogeneity 0.5, values of 32 bits; Mbit of a worker to a relative
error of 1e-10.  Each seed draws other matrices and other messages.  Steps: "adaptive", "safe" and "theory" as the
package finds them; a number was the best of a geometric grid on a seed of its own (the fewest uplink bits to 1e-5, or
the lowest error where none gets there); tau stays as the package chooses it unless the table says otherwise.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from mpimasha.experiment import config
from mpimasha.show import tables
from mpimasha.solver.run import solve
from mpimasha.solver.stop import Stop

SEEDS, PILOT = range(5), 100
TARGET, TUNED_AT, ROUNDS, TRIED = 1e-10, 1e-5, 30_000, 10_000
GRID = [1.4142**i for i in range(1, -16, -1)]  # of gamma L, from the longest on
LEAST = 4  # steps of the grid that are tried after the best so far

UNBIASED = ("randk:5", "permk", "qsgd:4", "natural", "absmax:1", "absmax:3")
CHEAP = {"compressor.refresh": "absmax:3,nearest", "method.tau": 0.5}
SAMPLES = {"problem.samples": 10}  # the matrices of a worker, of which a batch takes one

CELLS = [  # method, compressor, other keys; gamma is tuned unless it is among them
    ("eg", None, {}), ("og", None, {}), ("sgda", None, {}), ("local_eg", None, {}),
    *(("qsgda", c, {}) for c in ("qsgd:4", "absmax:1")), ("ef_sgda", "topk:5", {}),
    *(("diana_sgda", c, {}) for c in ("qsgd:4", "absmax:1")),
    *(("ceg", c, {}) for c in UNBIASED), ("ceg_ef", "topk:5", {}), ("ceg_ef", "absmax:3,nearest", {}),
    *(("diana_eg", c, {}) for c in ("qsgd:4", "absmax:1", "absmax:3")),
    *(("masha1", c, {}) for c in UNBIASED),
    ("masha1", "absmax:1", CHEAP), ("masha1", "permk+natural", CHEAP),
    ("masha1", "absmax:1", {"compressor.refresh": "absmax:1,nearest", "method.tau": 0.3}),
    ("masha1", "absmax:1", CHEAP | {"method.gamma": "adaptive"}),
    ("masha1", "qsgd:4", {"compressor.down": "qsgd:4"}),
    *(("masha2", c, {}) for c in ("topk:5", "absmax:1,nearest", "sign", "topk:10+natural")),
    ("masha2", "absmax:1,nearest", CHEAP),
    ("pp_masha1", "qsgd:4", {}), ("pp_masha2", "topk:5", {}),
    ("vr_masha1", "qsgd:4", SAMPLES), ("vr_masha2", "topk:5", SAMPLES),
    *(("optimistic_masha", c, {}) for c in ("permk", "randk:5", "qsgd:4", "absmax:1")),
    *(("three_pillars", c, {}) for c in ("permk", "absmax:1")),
    *(("masha_diana", c, {"method.gamma": "safe"}) for c in ("randk:5", "permk")), ("masha_diana", "randk:5", {}),
    ("diana_og", None, {"method.gamma": "adaptive"}), ("diana_og", None, {"method.gamma": "safe"}),
    ("diana_og", "absmax:7", {"method.gamma": "theory"}),
    *(("diana_og", c, {}) for c in UNBIASED),
    *(("diana_og", c, {"method.gamma": "adaptive"}) for c in ("randk:5", "permk", "qsgd:4")),
    ("diana_og", "absmax:1", {"method.gamma": "adaptive", "compressor.down": "absmax:2"}),
    ("diana_og", "absmax:1", {"method.gamma": "adaptive", "method.participation": 0.5}),
]


def run(cell, seed, gamma, target, rounds=ROUNDS):
    """One run; what the table needs of it."""
    method, compressor, keys = cell
    document = {"workers": 10, "wire": "float32", "seed": seed, "problem": {"name": "bilinear", "seed": seed}}
    wishes = {"method.name": method} | ({"compressor.up": compressor} if compressor else {}) | keys
    if gamma is not None:
        wishes["method.gamma"] = f"{gamma:.6g}/L"
    config.override_all(document, wishes.items())
    e = config.experiment(document)
    result = solve(e.problem(), e.method(), seed=e.seed, wire=e.wire, stop=Stop(rounds=rounds, relative_error=target))
    errors = [row["relative_error"] for row in result.rows]
    return {"status": result.status, "rounds": result.rounds, "floor": np.median(errors[-len(errors) // 4:]),
            "up": tables.mbit(result.rows, "uplink_bits", target), "tau": result.tau,
            "down": tables.mbit(result.rows, "downlink_bits", target), "gamma_L": result.gamma_L,
            "compressor": result.compressor, "calls": result.operator_calls}


def tuned(cell):
    """The gamma L of the grid that a run on the pilot's seed likes best; None if it is given."""
    if "method.gamma" in cell[2]:
        return None
    best, key, since = GRID[-1], (2, np.inf), 0
    for gamma in GRID:
        found = run(cell, PILOT, gamma, TUNED_AT, TRIED)
        if found["status"] == "diverged":
            continue
        now = (0, found["up"]) if found["up"] is not None else (1, found["floor"])
        best, key, since = (gamma, now, 0) if now < key else (best, key, since + 1)
        if since == LEAST:
            break
    return best


def row(cell):
    gamma = tuned(cell)
    found = [run(cell, seed, gamma, TARGET) for seed in SEEDS]
    arrived = [f for f in found if f["status"] == "converged"]
    method, _, keys = cell
    step = keys.get("method.gamma") or f"{gamma:.3g}/L"
    extra = [f"{key.partition('.')[2]} = {value}" for key, value in keys.items()
             if key in ("method.participation", "problem.samples")]
    end = f"{len(arrived)} of {len(found)}"
    if len(arrived) < len(found):
        diverged = sum(f["status"] == "diverged" for f in found)
        late = [f["floor"] for f in found if f["status"] == "rounds"]
        end += f", {diverged} diverged" if diverged else ""
        end += f", at {np.median(late):.0e} after {ROUNDS} rounds" if late else ""
    tau = found[0]["tau"]
    return [method, ", ".join([found[0]["compressor"], *extra]), step, "-" if tau is None else f"{tau:.3g}",
            *(spread([f[key] for f in arrived]) for key in ("up", "down")),
            *(f"{np.mean([f[key] for f in arrived]):.0f}" if arrived else "-" for key in ("rounds", "calls")), end]


def spread(values):
    return f"{np.mean(values):.3g} +- {np.std(values, ddof=1):.1g}" if len(values) > 1 else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="also write the table to this file")
    parser.add_argument("-j", dest="jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", default="", help="methods whose name contains this")
    options = parser.parse_args()
    cells = [cell for cell in CELLS if options.only in cell[0]]
    header = ["method", "compressor (up / down / refresh)", "gamma", "tau", "Mbit up", "Mbit down", "rounds", "calls",
              "reached 1e-10"]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = []
        for cell, line in zip(cells, pool.map(row, cells)):
            rows.append(line)
            sys.stderr.write("  ".join(line) + "\n")
    table = tables.text(header, rows) + "\n"
    sys.stdout.write(table)
    if options.out:
        Path(options.out).write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
