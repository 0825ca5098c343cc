"""Step sizes by trial: pilot runs on a geometric grid, over several seeds."""

import json
import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mpimasha.commands.run import DONE, EXIT_STOPPED, say
from mpimasha.errors import UserError
from mpimasha.experiment import config, farm, matrix, toml
from mpimasha.files import replace_atomically, writing
from mpimasha.mpi.communicator import Communicator
from mpimasha.names import shown
from mpimasha.show import tables
from mpimasha.solver.measure import ERRORS, error, kind
from mpimasha.solver.run import solve
from mpimasha.solver.stop import CONVERGED, DIVERGED, STOPPED

COSTS = {"up": ("uplink_bits",), "both": ("uplink_bits", "downlink_bits"), "rounds": ("round",),
         "calls": ("operator_calls",), "seconds": ("seconds",)}
_WORDS = {"up": "bits up", "both": "bits up and down", "calls": "operator calls"}
_FIRST_SEED = 100  # of the pilot runs: not one of a study's own
_LONGEST, _SHORTEST = 4.0, 1e-4  # steps of the grid, times L; or themselves, where networks are trained
_WORSE = 3  # choices that may be worse than the best before a direction is given up
_SLACK = 3  # rounds that a choice may take, over those of the best so far
_log = logging.getLogger("mpimasha")


def check(options):
    """Refuse options that make no sense, before anything runs."""
    if not 1 <= options.seeds <= 1000:
        raise UserError(f"--seeds {options.seeds} is out of range: use 1 to 1000 pilot runs of each choice")
    if not 1.01 <= options.ratio <= 100:
        raise UserError(f"--ratio {options.ratio} is out of range: use a number from 1.01 to 100, as in 1.41")
    if options.rounds is not None and options.rounds < 1:
        raise UserError(f"--rounds {options.rounds} is out of range: use how many a pilot run may have, at least 1")
    if options.to is not None and not 0 < options.to < 1:
        raise UserError(f"--to {options.to} is out of range: use a relative error above 0 and below 1, as in 1e-5")
    out = _out(options)
    if out.exists() or not out.parent.is_dir():
        raise UserError(f"--out {shown(str(out))} {'exists' if out.exists() else 'is in no folder that exists'}: give "
                        f"another file, nothing is overwritten")


def execute(options, document, comm, notice):
    """`mpimasha tune`; every rank searches for whole blocks by itself; collective."""
    whole = document if "compare" in document else document | {"compare": [{}]}
    cells = comm.together(lambda: matrix.cells(whole))
    todo = [i for i in range(len(cells)) if "gamma" not in cells[i][3].get("method", {})]
    comm.together(lambda: _check_todo(todo))
    found, problems = {}, {}

    def work(i, notice):
        _, label, _, own = cells[i]
        experiment = config.experiment(own)
        key = experiment.problem_class, repr(sorted(experiment.problem_options.items()))
        if key not in problems:  # its data and its solution serve all blocks
            problems[key] = experiment.problem()
        search = _Search(own, problems[key], options, notice)
        try:
            return search.best(), search.stopped
        except UserError as fault:
            return f"{label}: {fault}", False

    def log(i, choice, rank):
        on, label, *_ = cells[i]
        found[i] = choice
        _log.info("[%d/%d] %s: %s", len(found), len(todo), ", ".join(filter(None, (on, label))), choice)

    if not farm.work_off(todo, work, comm, notice, log):
        return EXIT_STOPPED
    comm.together(lambda: _write(options, document, cells, found) if comm.rank == 0 else None)
    return DONE


def _check_todo(todo):
    if not todo:
        raise UserError("there is nothing to tune: every block gives its method.gamma; leave it out where it is to be "
                        "found")


def _out(options):
    return Path(options.out or f"{Path(options.experiment).stem}-tuned.toml")


@dataclass(frozen=True)
class Choice:
    """A step size, and what the pilot runs made of it.

    Attributes
    ----------
    gamma : float
        Times L, or itself if `bare`.
    tau : float or None
        None for that of the method.
    cost : tuple
        (0, mean cost) if every run reached the target, (1, largest last error) if not, (2,) if one diverged.
    rounds : int
        Most of a run.
    """

    gamma: float
    tau: float | None
    bare: bool
    cost: tuple
    rounds: int
    spent: str = ""

    @property
    def keys(self):
        step = {"method.gamma": float(f"{self.gamma:.4g}") if self.bare else f"{self.gamma:.4g}/L"}
        return step | ({} if self.tau is None else {"method.tau": float(f"{self.tau:.4g}")})

    def __str__(self):
        told = ", ".join(f"{key.partition('.')[2]} = {value}" for key, value in self.keys.items())
        return f"{told}: {self.spent}"


class _Search:
    """For the best gamma, and then tau, of one block."""

    def __init__(self, document, problem, options, notice):
        self.document, self.problem, self.options, self.notice = document, problem, options, notice
        self.stopped = False
        experiment = config.experiment(document)
        self.stop = replace(experiment.stop, relative_error=options.to) if options.to else experiment.stop
        self.limit = options.rounds or self.stop.resolved(problem, problem.solvable).rounds or problem.rounds
        self.tau = None
        self.tunes_tau = experiment.method_class.takes("tau") and "tau" not in document.get("method", {})

    def best(self):
        """The `Choice` that costs least; UserError if all diverged."""
        best = self._along(((gamma, None) for gamma in self._grid()), None)
        if best is None:
            raise UserError(f"every step down to {_SHORTEST:g}/L diverged")
        if self.tunes_tau and self.tau is not None:
            for direction in (2.0, 0.5):  # 1 - tau is the chance of a refresh
                best = self._along(self._around(best, direction), best)
        return best

    def _grid(self):
        count = int(np.log(_LONGEST / _SHORTEST) / np.log(self.options.ratio)) + 1
        return [_LONGEST * self.options.ratio**-i for i in range(count)]

    def _around(self, best, direction):
        """Other tau, each with the gamma of the best and its neighbours in the grid."""
        gamma, rate = best.gamma, 1 - (self.tau if best.tau is None else best.tau)
        while 1e-4 < rate * direction < 1:
            rate *= direction
            for step in (gamma, gamma * self.options.ratio, gamma / self.options.ratio):
                yield step, 1 - rate

    def _along(self, choices, best):
        """The best of `choices`, or of those before it is clear that they get worse, and `best`."""
        worse = 0
        for gamma, tau in choices:
            choice = self._try(gamma, tau, best)
            if self.stopped:
                break
            if best is None or choice.cost < best.cost:
                best, worse = choice if choice.cost[0] < 2 else best, 0
            elif choice.cost[0] < 2 or tau is not None:
                worse += 1
            if worse >= _WORSE:
                break
        return best

    def _try(self, gamma, tau, best):
        limit = self.limit if best is None or best.cost[0] else min(self.limit, _SLACK * best.rounds)
        choice = Choice(gamma, tau, self.problem.scored, (2,), 0)
        costs, errors, rounds = [], [], 0
        for seed in range(_FIRST_SEED, _FIRST_SEED + self.options.seeds):
            e = config.experiment(config.overridden(self.document, choice.keys | {"seed": seed}))
            result = solve(self.problem, e.method(), comm=Communicator(), seed=seed, wire=e.wire,
                           stop=replace(self.stop, rounds=limit), notice=self.notice)
            self.stopped |= result.status == STOPPED
            self.tau = result.summary["tau"] if tau is None else self.tau
            if self.stopped or result.status == DIVERGED:
                return choice
            rounds = max(rounds, result.rounds)
            errors.append(self._error(result))
            if result.status == CONVERGED:
                costs.append(self._cost(result))
        if len(costs) == len(errors):
            cost, spent = (0, float(np.mean(costs))), self._told(np.mean(costs))
        else:
            cost, spent = (1, max(errors)), f"{max(errors):.2g} left after {rounds} rounds"
        return replace(choice, cost=cost, rounds=rounds, spent=spent)

    def _error(self, result):
        """What is left at the end: the error, or where networks are trained what is missing of robust accuracy."""
        last = result.rows[-1]
        return 1 - last["robust_accuracy"] if self.problem.scored else error(last, kind(result.rows))

    def _cost(self, result):
        """Read off where the target was reached."""
        stop = self.stop.resolved(self.problem, self.problem.solvable)
        level = next(filter(None, (getattr(stop, name) for name in ERRORS)))
        keys = COSTS[self.options.by]
        read = [tables.mbit(result.rows, key, level) for key in keys]
        return 1e6 * sum(read) if None not in read else sum(result.rows[-1][key] for key in keys)

    def _told(self, cost):
        if self.options.by in ("up", "both"):
            return f"{cost / 1e6:.3g} M{_WORDS[self.options.by].replace('bits', 'bit')}"
        return f"{cost:.4g} {_WORDS.get(self.options.by, self.options.by)}"


def _write(options, document, cells, found):
    faults = [choice for choice in found.values() if isinstance(choice, str)]
    if faults:
        raise UserError(f"{faults[0]}; give another method.gamma or compressor")
    if "compare" in document:
        blocks = [_block(on, label, wishes | (found[i].keys if i in found else {}))
                  for i, (on, label, wishes, _) in enumerate(cells)]
        tuned = document | {"compare": blocks}
    else:
        tuned = config.overridden(document, found[0].keys)
    notes = [f"{found[i].spent}" if i in found else None for i in range(len(cells))]
    target = f"to {options.to:g}" if options.to else "to the target"
    head = (f"# mpimasha tune {options.experiment}: the fewest {_WORDS.get(options.by, options.by)} {target}, mean of "
            f"{options.seeds} pilot runs (seeds from {_FIRST_SEED} on),\n"
            f"# steps on a grid with ratio {options.ratio:g} from {_LONGEST:g}/L down.  "
            f"A choice with which one of them diverged was refused.\n\n")
    out = _out(options)
    with writing(out):
        text = head + toml.dumps(tuned, {"compare": notes})
        replace_atomically(out, lambda file: file.write(text.encode(errors="surrogateescape")))
    say(options, f"tuned: {out}")
    if options.json:
        rows = [{"on": cells[i][0], "label": cells[i][1], **choice.keys} for i, choice in sorted(found.items())]
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")


def _block(on, label, wishes):
    """A [[compare]] block that sets the dotted keys."""
    block = {"label": label} | ({"on": on} if on else {})
    for key, value in wishes.items():
        table, dot, leaf = key.partition(".")
        if dot:
            block.setdefault(table, {})[leaf] = value
        else:
            block[table] = value
    return block
