"""One experiment, solved into its folder; and what is said of it."""

import json
import logging
import sys
from pathlib import Path

from mpimasha.experiment import results
from mpimasha.mpi import library
from mpimasha.solver import observers
from mpimasha.solver.checkpoint import Checkpoints, Saving, identity
from mpimasha.solver.run import Result, solve
from mpimasha.solver.stop import CONVERGED, DIVERGED, ROUNDS, SECONDS, STOPPED

DONE, EXIT_DIVERGED, EXIT_STOPPED = 0, 4, 8  # 1 and 2, failure and bad input, are launch.guard's
_CODES = {DIVERGED: EXIT_DIVERGED, SECONDS: EXIT_STOPPED, STOPPED: EXIT_STOPPED}
_ENDS = {CONVERGED: "reached its target", ROUNDS: "reached its limit of rounds",
         SECONDS: "reached its limit of seconds", STOPPED: "was stopped early", DIVERGED: "DIVERGED"}
_log = logging.getLogger("mpimasha")


def execute(options, prepared, comm, notice):
    """`mpimasha run`, and `resume` of such a run; collective."""
    (experiment, problem), = prepared
    resume, result = options.command == "resume", None
    where = Path(options.run) if resume else folder(options, comm, f"{problem.name}-{experiment.method_class.name}")
    if resume and not options.settings:
        result = ended(where, comm, (CONVERGED, ROUNDS, DIVERGED))
    if result is None:
        _log.info(caption(prepared, comm))
        result = solve_into(where, experiment, problem, comm, notice, resume)
    else:
        _log.info("nothing to do: the run has ended; to go on, set another limit, as in --set stop.rounds=1000000")
    if comm.rank == 0:
        say(options, summary(result))
        if result.status in (SECONDS, STOPPED):
            say(options, f"go on with: mpimasha resume {where}")
        if options.json:
            sys.stdout.write(json.dumps(observers.finite(result.summary)) + "\n")
    return _CODES.get(result.status, DONE)


def solve_into(where, experiment, problem, comm, notice, resume=False, quiet=False):
    """Solve with observers that write to the folder `where` and, unless `quiet`, to the terminal; the `Result`."""
    hosts = comm.gather_objects(results.where())
    watching = []
    if comm.rank == 0:
        watching = [results.RunDirectory(where, experiment, hosts, resume), observers.Rows(where / "rows.jsonl")]
        watching += [] if quiet else [observers.Progress(experiment.stop, experiment.label), _Header()]
    result = solve(problem, experiment.method(), comm=comm, seed=experiment.seed, wire=experiment.wire,
                   stop=experiment.stop, transport=experiment.transport, every=experiment.every, observers=watching,
                   saving=Saving(Checkpoints(where, identity(experiment.document)), experiment.checkpoint, resume),
                   notice=notice, on_error="raise")  # `launch.guard` ends the job
    result.summary["out"] = str(where)  # rank 0 knows; now the others do
    return result


def ended(where, comm, states):
    """The `Result` of a run that ended in one of `states`, without its arrays but on rank 0; else None; collective."""
    found = comm.together(lambda: results.read(where) if comm.rank == 0 else None)
    status, told = comm.broadcast_object((found.status, found.summary) if found else (None, None))
    if status not in states:
        return None
    return found or Result(status, [], None, None, None, told)


class _Header(observers.Observer):
    """Says, before round 1, what is about to run and on which theorem its step size rests."""

    def start(self, run):
        method, constants = run.method, run.constants
        tau = "" if method.parameters["tau"] is None else f", tau = {method.tau:.4g}"
        L = constants.known("L")
        over_L = "" if L is None else f" = {method.gamma * L:.3g}/L"
        _log.info("%s, %s: gamma = %.4g%s%s", method.name, method.compressors, method.gamma, over_L, tau)
        if method.basis:
            _log.info("%s%s", "step size of " if method.from_theory else "", method.basis)
        if constants.estimated:
            _log.info("%s estimated by Lanczos' method at the start", " and ".join(constants.estimated))
        _log.debug("L = %s, L_rms = %s, mu = %s", *map(constants.known, ("L", "L_rms", "mu")))


def summary(result):
    """The end of a run, for a human."""
    s = result.summary
    names = {"relative_error": "relative error", "residual": "residual", "gap": "gap", "gap_average": "gap of average"}
    measured = [(name, s[key]) for key, name in names.items() if s[key] is not None]
    lines = [("", f"{s['method']} {_ENDS[result.status]} after {s['rounds']} rounds")]
    lines += [(name, f"{value:.3e}") for name, value in measured]
    lines += [(name.replace("_", " "), f"{s[name]:.4f}") for name in ("accuracy", "robust_accuracy") if name in s]
    lines += [("uplink", f"{s['uplink_bits_per_worker'] / 1e6:.4g} Mbit per worker"),
              ("downlink", f"{s['downlink_bits_per_worker'] / 1e6:.4g} Mbit per worker"),
              ("handed to MPI", f"{s['wire_bytes_per_rank'] / 1e6:.4g} MB per rank"),
              *_times(s), ("results", s["out"])]
    return "\n".join(f"{name:<16}{value}" if name else value for name, value in lines)


def _times(s):
    parts = {"operators": "seconds_compute", "compression": "seconds_compress", "communication": "seconds_communicate"}
    if s["ranks"] == 1:
        told = ", ".join(f"{s[key]:.2f} {name}" for name, key in parts.items())
        return [("time", f"{s['seconds']:.2f} s: {told}")]
    spread = [(f"  {name}", " / ".join(f"{s[key + end]:.2f}" for end in ("_min", "_mean", ""))) for name, key in
              parts.items()]
    return [("time", f"{s['seconds']:.2f} s; least / mean / most of the {s['ranks']} ranks:"), *spread]


def caption(prepared, comm):
    """Problem, workers, ranks and wire in a line."""
    experiment, problem = prepared[0]
    ranks = f"{comm.size} rank{'s' * (comm.size > 1)}"
    return f"{problem.name}, n = {problem.n}, {problem.workers} workers on {ranks} ({library.name(comm)}), " \
           f"{experiment.wire or problem.dtype.name} on the wire"


def folder(options, comm, name):
    """The folder to write to: rank 0's choice, known to all."""
    return Path(comm.broadcast_object(results.default_folder(name) if options.out is None else options.out))


def say(options, text):
    """To standard output, unless the user wants silence."""
    if not options.quiet:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
