"""The command line: what was asked for, and the runs that follow from it."""

import json
import logging
import sys
from functools import partial
from pathlib import Path

from mpimasha import arguments, config, debugger, doctor, evaluation, observers, plotting, results, tables
from mpimasha.bench import command as bench
from mpimasha.checkpoint import Checkpoints, Saving, identity
from mpimasha.communicator import Communicator
from mpimasha.errors import UserError
from mpimasha.files import writing
from mpimasha.listing import listing
from mpimasha.measure import ERRORS, check_targets
from mpimasha.names import nearest
from mpimasha.problems import PROBLEMS
from mpimasha.randomness import Stream
from mpimasha.run import solve
from mpimasha.server import check_server
from mpimasha.stop import DIVERGED, SECONDS
from mpimasha.transports import choose
from mpimasha.watch import watched

DONE, EXIT_DIVERGED, EXIT_STOPPED = 0, 4, 8  # 1 and 2, failure and bad input, are launch.guard's
parse = arguments.parse
_STALL_AFTER = 300.0
_log = logging.getLogger("mpimasha")
_SHORT = {"method": "method.name", "compressor": "compressor.up", "server_compressor": "compressor.down",
          "workers": "workers", "wire": "wire", "transport": "transport.name", "seed": "seed"}


def validate(options, ranks):
    """Everything but the run itself; raises UserError for whatever the user got wrong."""
    if options.command in _WITHOUT_EXPERIMENT:
        return
    if ranks < 1:
        raise UserError(f"-n {ranks} starts no rank: use at least 1")
    _prepared(options, ranks)


def execute(options, comm):
    """Run the command on the ranks of `comm`; the code returned is the same on all of them."""
    with watched(comm, _patience(options)) as comm:
        return _execute(options, Communicator(comm))


def _patience(options):
    """Seconds that a rank may wait for others; 0 where a command has no such option."""
    seconds = getattr(options, "stall_after", 0)
    return seconds if seconds is not None else 0 if debugger.present() else _STALL_AFTER


def _execute(options, comm):
    _configure_log(options, comm)
    if options.command in _WITHOUT_EXPERIMENT:
        return _WITHOUT_EXPERIMENT[options.command](options, comm)
    prepared = comm.together(lambda: _prepared(options, comm.size))
    _load(prepared, comm)
    if options.command == "doctor":
        return doctor.examine(options, prepared, comm)
    return (_compare if options.command == "compare" else _run)(options, prepared, comm)


def _list(options, comm):
    if comm.rank == 0:
        sys.stdout.write(listing(options.what))
    return DONE


_WITHOUT_EXPERIMENT = {"list": _list, "evaluate": evaluation.execute, "bench": bench.execute}


# -- run and compare ---------------------------------------------------------------------


def _prepared(options, ranks):
    """[(experiment, problem)]: read, checked, problems built (one for all blocks that share it)."""
    experiments, built, pairs = _experiments(options), {}, []
    for experiment in experiments:
        key = (experiment.problem_class, repr(sorted(experiment.problem_options.items())))
        if key not in built:
            built[key] = experiment.problem()
        problem, method = built[key], experiment.method()
        if ranks > problem.workers:
            raise UserError(f"{ranks} ranks for workers = {problem.workers}: use at most as many ranks as workers")
        if problem.n is not None:
            _check_fit(experiment, problem, method)
        pairs.append((experiment, problem))
    if options.command in ("run", "compare"):
        results.check_folder(results.default_folder("new") if options.out is None else options.out)
    return pairs


def _load(prepared, comm):
    """Let every problem read its data, and check against those whose n follows from them."""
    unchecked = [pair for pair in prepared if pair[1].n is None]
    for _, problem in prepared:
        problem.load(comm)
    comm.together(lambda: [_check_fit(e, problem, e.method()) for e, problem in unchecked])


def _check_fit(experiment, problem, method):
    """Whether method, compressor, transport and stop fit the problem."""
    method.check_problem(problem)
    wire = experiment.wire or problem.dtype
    bound = {}
    for role, compressor in method.roles.items():
        try:
            bound[role] = compressor and compressor.bind(problem.n, problem.workers, wire, Stream(0, "test"))
        except UserError as error:
            raise UserError(f"compressor.{role} = '{compressor}': {error}") from None
    if bound["down"] is not None:
        check_server(bound["down"])
    choose(experiment.transport, bound["up"])
    check_targets(problem, experiment.stop.targets, _solvable(problem))


def _experiments(options):
    if options.command == "resume":
        return [results.experiment_of(options.run)]
    wishes = [(key, getattr(options, short)) for short, key in _SHORT.items() if getattr(options, short) is not None]
    if options.experiment is None:
        if wishes or options.settings:
            raise UserError("the options given describe an experiment: name its file or its problem too")
        return []
    document = _document(options)
    for setting in options.settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--set {setting} has no value: write --set KEY=VALUE, as in --set stop.rounds=100")
        wishes.append((key, config.scalar(value)))
    config.override_all(document, wishes)
    if options.command == "compare" or (options.command == "doctor" and "compare" in document):
        return config.comparison(document)
    for key in ("compare", "seeds"):
        document.pop(key, None)
    return [config.experiment(document)]


def _document(options):
    name = options.experiment
    if name.endswith(".toml"):
        return config.read(name)
    if name in PROBLEMS:
        return {"problem": {"name": name}}
    raise UserError(f"{name!r} is neither an experiment file ending in .toml nor a problem{nearest(name, PROBLEMS)}")


def _run(options, prepared, comm):
    (experiment, problem), = prepared
    resume = options.command == "resume"
    folder = Path(options.run) if resume else _folder(options, comm, f"{problem.name}-{experiment.method_class.name}")
    _log.info(_caption(prepared, comm))
    result = _solve(experiment, problem, folder, comm, resume)
    if comm.rank == 0:
        _say(options, summary(result))
        if result.status == SECONDS:
            _say(options, f"go on with: mpimasha resume {folder}")
        if options.json:
            sys.stdout.write(json.dumps(observers.finite(result.summary)) + "\n")
    return {DIVERGED: EXIT_DIVERGED, SECONDS: EXIT_STOPPED}.get(result.status, DONE)


def _compare(options, prepared, comm):
    folder, folders = _folder(options, comm, Path(options.experiment).stem), _folder_names(prepared)
    found, repeated = {}, len({experiment.seed for experiment, _ in prepared}) > 1
    _log.info(_caption(prepared, comm))
    for experiment, problem in prepared:
        where = folder / folders[experiment.label]
        result = _solve(experiment, problem, where / f"seed-{experiment.seed}" if repeated else where, comm)
        found.setdefault(experiment.label, []).append(result)
    comm.together(lambda: _compared(options, prepared, found, folder, comm) if comm.rank == 0 else None)
    return EXIT_DIVERGED if any(r.status == DIVERGED for several in found.values() for r in several) else DONE


def _compared(options, prepared, found, folder, comm):
    """Print, write and plot what was found: label -> list of Result."""
    caption, (experiment, problem) = _caption(prepared, comm), prepared[0]
    if problem.scored:
        table, footnote = tables.text(*tables.training(found, experiment.milestone)), _TRAINING
        draw = partial(plotting.training, found, title=caption, level=experiment.milestone)
    else:
        single = {label if len(several) == 1 else f"{label}, seed {result.summary['seed']}": result
                  for label, several in found.items() for result in several}
        table, footnote = tables.text(*tables.comparison(single, _target(prepared))), _FOOTNOTE
        draw = partial(plotting.comparison, single, title=caption)
    _say(options, "\n" + table + "\n\n" + footnote)
    with writing(folder):
        (folder / "table.txt").write_text(table + "\n")
    _plot(options, draw, folder)
    if options.json:
        rows = [observers.finite(result.summary) for several in found.values() for result in several]
        sys.stdout.write(json.dumps({"rows": rows}) + "\n")


def _target(prepared):
    """The lowest level that a run aims at, of the measure the runs are judged by."""
    stops = [e.stop.resolved(problem, _solvable(problem)) for e, problem in prepared]
    targets = [getattr(stop, name) for name in ERRORS for stop in stops]
    return min(filter(None, targets), default=tables.MILESTONE)


def _solvable(problem):
    return problem.strongly_monotone or problem.solution() is not None


_FOOTNOTE = ("up, down: Mbit per worker until the error first fell that low, first exchange and refreshes "
             "included.\nvs og: the bits of og over this method's, at the last level: uplink, and both directions; "
             "above 1x is fewer bits.")

_TRAINING = ("accuracy, robust: on the validation part after the last round, mean over seeds ± half the 95 % interval; "
             "robust\nis under PGD with 20 steps.  MB: up and down per worker, first exchange and refreshes included, "
             "to that robust accuracy\nas the rows saw it.  vs sgda: the MB of sgda over this method's; above 1x is "
             "fewer.")


def _solve(experiment, problem, folder, comm, resume=False):
    where = comm.gather_objects(results.where())
    watching = []
    checkpoints = Checkpoints(folder, identity(experiment.document))
    if comm.rank == 0:
        watching = [results.RunDirectory(folder, experiment, where, resume), observers.Rows(folder / "rows.jsonl"),
                    observers.Progress(experiment.stop, experiment.label), _Header()]
    result = solve(problem, experiment.method(), comm=comm, seed=experiment.seed, wire=experiment.wire,
                   stop=experiment.stop, transport=experiment.transport, every=experiment.every, observers=watching,
                   saving=Saving(checkpoints, experiment.checkpoint, resume))
    result.summary["out"] = str(folder)  # rank 0 knows; now the others do
    return result


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
    s, end = result.summary, {"converged": "reached its target", "rounds": "reached its limit of rounds",
                              "seconds": "reached its limit of seconds", "diverged": "DIVERGED"}[result.status]
    names = {"relative_error": "relative error", "residual": "residual", "gap": "gap", "gap_average": "gap of average"}
    measured = [(name, s[key]) for key, name in names.items() if s[key] is not None]
    lines = [("", f"{s['method']} {end} after {s['rounds']} rounds")]
    lines += [(name, f"{value:.3e}") for name, value in measured]
    lines += [(name.replace("_", " "), f"{s[name]:.4f}") for name in ("accuracy", "robust_accuracy") if name in s]
    lines += [("uplink", f"{s['uplink_bits_per_worker'] / 1e6:.4g} Mbit per worker"),
              ("downlink", f"{s['downlink_bits_per_worker'] / 1e6:.4g} Mbit per worker"),
              ("handed to MPI", f"{s['wire_bytes_per_rank'] / 1e6:.4g} MB per rank"),
              ("time", f"{s['seconds']:.2f} s: {s['seconds_compute']:.2f} operators, {s['seconds_compress']:.2f} "
                       f"compression, {s['seconds_communicate']:.2f} communication"),
              ("results", s["out"])]
    return "\n".join(f"{name:<16}{value}" if name else value for name, value in lines)


def _caption(prepared, comm):
    experiment, problem = prepared[0]
    ranks = f"{comm.size} rank{'s' * (comm.size > 1)}"
    return f"{problem.name}, n = {problem.n}, {problem.workers} workers on {ranks} ({results.mpi_library(comm)}), " \
           f"{experiment.wire or problem.dtype.name} on the wire"


def _plot(options, draw, folder):
    if not plotting.available():
        _say(options, "no plot: matplotlib is not installed (pip install 'mpimasha[plot]')")
        return
    with writing(folder):
        draw(path=folder / "comparison.png")
    _say(options, f"plot: {folder / 'comparison.png'}")


def _folder(options, comm, name):
    """The run's folder: rank 0's choice, known to all."""
    return Path(comm.gather_objects(results.default_folder(name) if options.out is None else options.out)[0])


def _folder_names(prepared):
    """{label: name of a folder}, all different whatever the labels hold."""
    names, taken = {}, {"table.txt", "comparison.png"}
    for number, (experiment, _) in enumerate(prepared, 1):
        if experiment.label in names:  # another seed
            continue
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in experiment.label).lstrip(".")[:100]
        names[experiment.label] = name if name and name not in taken else f"{name or 'run'}-{number}"
        taken.add(names[experiment.label])
    return names


def _say(options, text):
    if not options.quiet:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _configure_log(options, comm):
    level = logging.WARNING if getattr(options, "quiet", False) else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _log.handlers[:] = [handler] if comm.rank == 0 else [logging.NullHandler()]
    _log.setLevel(logging.DEBUG if getattr(options, "verbose", False) else level)
    _log.propagate = False
