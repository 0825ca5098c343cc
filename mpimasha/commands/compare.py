"""The runs of a comparison, one after the other or farmed out, and the tables and figures of what they found."""

import json
import logging
import sys
from functools import partial
from pathlib import Path

from mpimasha.commands.plot import file_name
from mpimasha.commands.run import DONE, EXIT_DIVERGED, EXIT_STOPPED, caption, folder, say, solve_into
from mpimasha.errors import UserError
from mpimasha.experiment import farm, results
from mpimasha.files import replace_atomically, writing
from mpimasha.mpi.communicator import Communicator
from mpimasha.show import plotting, tables
from mpimasha.solver import observers
from mpimasha.solver.measure import ERRORS
from mpimasha.solver.stop import CONVERGED, DIVERGED, ROUNDS, SECONDS, STOPPED

_FINAL = (CONVERGED, ROUNDS, SECONDS, DIVERGED)  # a run's own limit of seconds is part of the comparison
_FILES = ("manifest.json", "table.txt", "table.md", "runs.csv", "comparison.png", "figure.png", "report.html")
_NEW, _BEGUN, _ENDED = "new", "begun", "ended"
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
        comm.together(lambda: _announce(options, where, document) if comm.rank == 0 else None)
    runs = list(zip(prepared, _folders(prepared, where)))
    states = comm.together(lambda: [_state(own, e) for (e, _), own in runs] if comm.rank == 0 else None)
    states = comm.broadcast_object(states)
    if _ENDED in states:
        _log.info("%d of %d runs ended before, kept", states.count(_ENDED), len(runs))
    todo = [(i, state == _BEGUN) for i, state in enumerate(states) if state != _ENDED and _ours(options, i)]
    if not _run_all(options, todo, runs, comm, notice):
        if comm.rank == 0:
            ended = sum(_state(own, experiment) == _ENDED for (experiment, _), own in runs)
            say(options, f"stopped early, when {ended} of {len(runs)} runs had ended; go on with: mpimasha resume "
                         f"{where}")
        return EXIT_STOPPED
    ended = comm.together(lambda: [results.read(own) for _, own in runs] if comm.rank == 0 else None)
    words = comm.broadcast_object(ended and [result and result.status for result in ended])
    if None in words:
        if comm.rank == 0:
            say(options, f"{words.count(None)} of {len(runs)} runs are left to other shares; when they have ended: "
                         f"mpimasha resume {where}")
    else:
        comm.together(lambda: _conclude(options, runs, ended, where, comm) if comm.rank == 0 else None)
    return EXIT_DIVERGED if DIVERGED in words else DONE


def _announce(options, where, document):
    """Write the manifest; of several shares each does, if it is the same."""
    if options.command != "resume" and results.is_comparison(where) and results.document_of(where)[0] != document:
        raise UserError(f"--out {str(where)!r} holds another comparison: give the shares of this one a new folder")
    results.announce(where, document, options.command == "resume" or results.is_comparison(where))


def _state(own, experiment):
    """Whether a run has begun, and whether it has ended by the limits it has now."""
    if not (own / "manifest.json").exists():
        return _NEW
    same = results.document_of(own)[0].get("stop", {}) == experiment.document.get("stop", {})
    result = results.read(own) if same else None
    return _ENDED if result and result.status in _FINAL else _BEGUN


def _ours(options, i):
    """Whether the i-th run belongs to this share."""
    share, shares = getattr(options, "share", None) or (1, 1)
    return i % shares == share - 1


def _run_all(options, todo, runs, comm, notice):
    """Run what is to be done, by all ranks together or each by one; whether none was stopped."""
    def work(task, notice, comm=comm, quiet=False):
        i, begun = task
        (experiment, problem), own = runs[i]
        result = solve_into(own, experiment, problem, comm, notice, begun, quiet)
        return f"{result.status} after {result.rounds} rounds, {result.seconds:.1f} s", result.status == STOPPED

    if options.farm:
        count = iter(range(1, len(todo) + 1))

        def log(task, word, rank):
            (e, _), _ = runs[task[0]]
            name = ", ".join(filter(None, (e.on, e.label, f"seed {e.seed}")))
            _log.info("[%d/%d] %s: %s (rank %d)", next(count), len(todo), name, word, rank)

        return farm.work_off(todo, partial(work, comm=Communicator(), quiet=True), comm, notice, log)
    return not any(work(task, notice)[1] for task in todo)


def _conclude(options, runs, ended, where, comm):
    """Print, write and plot what was found, problem by problem."""
    groups = {}
    for ((experiment, problem), own), result in zip(runs, ended):
        group = groups.setdefault(experiment.on, ([], {}))
        group[0].append((experiment, problem))
        group[1].setdefault(experiment.label, []).append(result)
    texts, sheets, figures, folders = [], [], [], _names(groups)
    for on, (prepared, found) in groups.items():
        title = ": ".join(filter(None, (on, caption(prepared, comm))))
        header, rows, note, draw = _judged(prepared, found, title)
        texts.append("\n".join([*([title, ""] if on else []), tables.text(header, rows)]))
        sheets.append("\n".join([*([f"**{title}**", ""] if on else []), tables.markdown(header, rows)]))
        figures.append((draw, where / folders[on]))
    records = tables.csv({on: found for on, (_, found) in groups.items()})
    files = {"table.txt": "\n\n".join(texts) + "\n", "table.md": "\n\n".join(sheets) + "\n", "runs.csv": records}
    try:
        with writing(where):
            for name, text in files.items():
                replace_atomically(where / name, lambda file: file.write(text.encode(errors="surrogateescape")))
    finally:  # on a full disk too
        say(options, "\n" + "\n\n".join(texts) + "\n\n" + note)
    _plot(options, figures)
    if options.json:
        rows = [observers.finite(result.summary) for result in ended]
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")


def _judged(prepared, found, title):
    """(header, rows, note, function that draws) of the runs on one problem."""
    experiment, problem = prepared[0]
    if problem.scored:
        return (*tables.training(found, experiment.milestone),
                partial(plotting.training, found, title=title, level=experiment.milestone))
    return *tables.comparison(found, _target(prepared)), partial(plotting.comparison, found, title=title)


def _target(prepared):
    """The lowest level that a run aims at, of the measure the runs are judged by."""
    stops = [e.stop.resolved(problem, problem.solvable) for e, problem in prepared]
    targets = [getattr(stop, name) for name in ERRORS for stop in stops]
    return min(filter(None, targets), default=tables.MILESTONE)


def _plot(options, figures):
    if not plotting.available():
        say(options, "no plot: matplotlib is not installed (pip install 'mpimasha[plot]')")
        return
    for draw, where in figures:
        try:
            with writing(where):
                draw(path=where / "comparison.png")
        except UserError as error:  # the results are there all the same
            _log.warning("no plot: %s", error)
        else:
            say(options, f"plot: {where / 'comparison.png'}")


def _folders(prepared, where):
    """One for each run: of its problem if that has a label, of its own label, and of its seed if there are several."""
    groups = {}
    for experiment, _ in prepared:
        groups.setdefault(experiment.on, {})[experiment.label] = None
    problems, labels = _names(groups), {on: _names(several) for on, several in groups.items()}
    repeated = len({experiment.seed for experiment, _ in prepared}) > 1
    return [where / problems[e.on] / labels[e.on][e.label] / (f"seed-{e.seed}" if repeated else "")
            for e, _ in prepared]


def _names(labels):
    """{label: name of a folder}, all different whatever the labels hold; the problem without a label needs none."""
    names, taken = {}, set(_FILES)
    for number, label in enumerate(labels, 1):
        name = file_name(label.lstrip(".")[:100])
        names[label] = name if (name or not label) and name not in taken else f"{name or 'run'}-{number}"
        taken.add(names[label])
    return names
