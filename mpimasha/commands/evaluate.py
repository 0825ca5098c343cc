"""Judging trained networks at the end: accuracy, clean and under attack, on the part that was kept for it."""

import json
import sys
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mpimasha.errors import UserError
from mpimasha.experiment import config
from mpimasha.experiment.results import is_comparison, write_json
from mpimasha.files import writing
from mpimasha.names import shown
from mpimasha.networks import attacks
from mpimasha.show import intervals, tables
from mpimasha.solver.run import check_seed

PARTS = ("test", "validation")
_RESULT = "evaluation.json"


def execute(options, comm):
    """`mpimasha evaluate`: the networks of a run, or of all runs below a folder; collective."""
    check_seed(options.seed)
    runs, problems, found = comm.together(lambda: _runs(Path(options.run))), {}, {}
    judged = comm.together(lambda: [_rebuilt(run, problems, options.attack) for run in runs])
    for (label, problem, attack, z), run in zip(judged, runs):
        accuracy, robust = problem.examine(z, options.part, attack, options.seed, comm)
        verdict = {"label": label, "run": str(run), "part": options.part, "attack": options.attack,
                   "radius": attack.ball.radius, "seed": options.seed, "accuracy": accuracy,
                   "robust_accuracy": robust}
        found.setdefault(label, []).append(verdict)
        comm.together(lambda: _write(run, verdict) if comm.rank == 0 else None)
    if comm.rank == 0:
        sys.stdout.write(_table(found, options) + "\n")
        if options.json:
            sys.stdout.write(json.dumps({"rows": [verdict for several in found.values() for verdict in several]})
                             + "\n")
    return 0


def _runs(folder):
    """The run directories in `folder`: itself, or those below it."""
    found = sorted(path.parent for path in folder.glob("**/manifest.json")) if folder.is_dir() else []
    found = [run for run in found if not is_comparison(run)]
    if not found:
        raise UserError(f"{str(folder)!r} is no run directory and holds none: give the folder of `mpimasha run` or "
                        f"`mpimasha compare`, with its manifest.json")
    return found


def _rebuilt(run, problems, text):
    """(label, problem, attack, z) of a run directory; the label begins with that of the problem, if it has one."""
    try:
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        with np.load(run / "final.npz") as arrays:
            z = arrays["z"]
        experiment = config.experiment(manifest["experiment"], manifest["label"])
        label = ": ".join(filter(None, (manifest.get("on"), experiment.label)))
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise UserError(f"run directory {str(run)!r} cannot be read ({error}): has the run ended?") from None
    key = experiment.problem_class, repr(sorted(experiment.problem_options.items()))
    if key not in problems:
        problems[key] = experiment.problem()
    problem = problems[key]
    if not problem.scored:
        raise UserError(f"run directory {str(run)!r} solved {problem.name}, which is no network: evaluate is for "
                        f"adversarial_mlp and adversarial_transformer")
    if z.shape != (problem.n,):
        raise UserError(f"run directory {str(run)!r} holds z of shape {shown(z.shape)}, and {problem.name} needs "
                        f"({problem.n},): it belongs to another experiment")
    return label, problem, attacks.parse(text, problem.ball), z.astype(problem.dtype)


def _write(run, verdict):
    with writing(run):
        write_json(run / _RESULT, verdict)


def _table(found, options):
    rows = [[label, str(len(several)), *(intervals.shown([verdict[key] for verdict in several])
                                         for key in ("accuracy", "robust_accuracy"))]
            for label, several in found.items()]
    return f"{options.part} part, attack {options.attack}\n\n" \
        + tables.text(["method", "seeds", "accuracy", "robust"], rows)
