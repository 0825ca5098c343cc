"""The runs of a comparison, one after the other, and the table and figure of what they found."""

import json
import logging
import sys
from functools import partial
from pathlib import Path

from mpimasha import observers, plotting, results, tables
from mpimasha.files import writing
from mpimasha.measure import ERRORS
from mpimasha.single import DONE, EXIT_DIVERGED, EXIT_STOPPED, caption, ended, folder, say, solve_into
from mpimasha.stop import CONVERGED, DIVERGED, ROUNDS, SECONDS, STOPPED

_FINAL = (CONVERGED, ROUNDS, SECONDS, DIVERGED)  # a run's own limit of seconds is part of the comparison
_log = logging.getLogger("mpimasha")


def execute(options, prepared, comm, notice, document):
    """`mpimasha compare`, and `resume` of a comparison, whose finished runs are kept; collective.

    Parameters
    ----------
    prepared : list of (Experiment, Problem)
    document : dict
        What the user wrote: the manifest's copy.
    """
    resume = options.command == "resume"
    where = Path(options.run) if resume else folder(options, comm, Path(options.experiment).stem)
    _log.info(caption(prepared, comm))
    if not resume or options.settings:
        comm.together(lambda: results.announce(where, document, resume) if comm.rank == 0 else None)
    found, folders = {}, _folders(prepared, where)
    for (experiment, problem), own in zip(prepared, folders):
        begun = resume and comm.gather_objects((own / "manifest.json").exists())[0]
        result = _ended(own, experiment, comm) if begun else None
        if result is None:
            result = solve_into(own, experiment, problem, comm, notice, begun)
        else:
            _log.info("%s, seed %s: ended before, kept", experiment.label, experiment.seed)
        if result.status == STOPPED:
            if comm.rank == 0:
                say(options, f"{experiment.label} was stopped early; go on with: mpimasha resume {where}")
            return EXIT_STOPPED
        found.setdefault(experiment.label, []).append(result)
    comm.together(lambda: _compared(options, prepared, found, where, comm) if comm.rank == 0 else None)
    return EXIT_DIVERGED if any(r.status == DIVERGED for several in found.values() for r in several) else DONE


def _ended(own, experiment, comm):
    """The `Result` of a run that has ended by the limits it has now; else None."""
    before = comm.together(lambda: results.document_of(own)[0].get("stop", {}))
    same = comm.gather_objects(before == experiment.document.get("stop", {}))[0]
    return ended(own, comm, _FINAL) if same else None


def _compared(options, prepared, found, where, comm):
    """Print, write and plot what was found: label -> list of Result."""
    title, (experiment, problem) = caption(prepared, comm), prepared[0]
    if problem.scored:
        table, footnote = tables.text(*tables.training(found, experiment.milestone)), _TRAINING
        draw = partial(plotting.training, found, title=title, level=experiment.milestone)
    else:
        single = {label if len(several) == 1 else f"{label}, seed {result.summary['seed']}": result
                  for label, several in found.items() for result in several}
        table, footnote = tables.text(*tables.comparison(single, _target(prepared))), _FOOTNOTE
        draw = partial(plotting.comparison, single, title=title)
    say(options, "\n" + table + "\n\n" + footnote)
    with writing(where):
        (where / "table.txt").write_text(table + "\n")
    _plot(options, draw, where)
    if options.json:
        rows = [observers.finite(result.summary) for several in found.values() for result in several]
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")


def _target(prepared):
    """The lowest level that a run aims at, of the measure the runs are judged by."""
    stops = [e.stop.resolved(problem, problem.solvable) for e, problem in prepared]
    targets = [getattr(stop, name) for name in ERRORS for stop in stops]
    return min(filter(None, targets), default=tables.MILESTONE)


_FOOTNOTE = ("up, down: Mbit per worker until the error first fell that low, first exchange and refreshes "
             "included.\nvs og: the bits of og over this method's, at the last level: uplink, and both directions; "
             "above 1x is fewer bits.")

_TRAINING = ("accuracy, robust: on the validation part after the last round, mean over seeds ± half the 95 % interval; "
             "robust\nis under PGD with 20 steps.  MB: up and down per worker, first exchange and refreshes included, "
             "to that robust accuracy\nas the rows saw it.  vs sgda: the MB of sgda over this method's; above 1x is "
             "fewer.")


def _plot(options, draw, where):
    if not plotting.available():
        say(options, "no plot: matplotlib is not installed (pip install 'mpimasha[plot]')")
        return
    with writing(where):
        draw(path=where / "comparison.png")
    say(options, f"plot: {where / 'comparison.png'}")


def _folders(prepared, where):
    """One for each run: of its label, and below it one a seed where there are several."""
    names, repeated = _names(prepared), len({experiment.seed for experiment, _ in prepared}) > 1
    return [where / names[experiment.label] / (f"seed-{experiment.seed}" if repeated else "")
            for experiment, _ in prepared]


def _names(prepared):
    """{label: name of a folder}, all different whatever the labels hold."""
    names, taken = {}, {"table.txt", "comparison.png", "manifest.json"}
    for number, (experiment, _) in enumerate(prepared, 1):
        if experiment.label in names:  # another seed
            continue
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in experiment.label).lstrip(".")[:100]
        names[experiment.label] = name if name and name not in taken else f"{name or 'run'}-{number}"
        taken.add(names[experiment.label])
    return names
