"""The command line: what was asked for, and the runs that follow from it."""

import logging
import os
import sys
from contextlib import nullcontext

from mpimasha import doctor
from mpimasha.bench import command as bench
from mpimasha.channels.server import check_server
from mpimasha.channels.transports import choose
from mpimasha.commands import arguments, compare, evaluate, plot, report, run, submit, tune
from mpimasha.commands.listing import listing
from mpimasha.errors import UserError
from mpimasha.experiment import config, matrix, plugins, results
from mpimasha.mpi import batch, debugger
from mpimasha.mpi.communicator import Communicator
from mpimasha.mpi.watch import watched
from mpimasha.names import nearest
from mpimasha.problems import PROBLEMS
from mpimasha.randomness import Stream
from mpimasha.solver.checkpoint import CHANGEABLE
from mpimasha.solver.measure import check_targets
from mpimasha.solver.notice import Notice
from mpimasha.solver.stop import SLURM

parse = arguments.parse
_STALL_AFTER = 300.0
_OF_SEVERAL = ("compare", "problems", "seeds")  # keys of a document that describe more runs than one
_log = logging.getLogger("mpimasha")
_SHORT = {"method": "method.name", "compressor": "compressor.up", "server_compressor": "compressor.down",
          "workers": "workers", "wire": "wire", "transport": "transport.name", "seed": "seed"}


def validate(options, ranks):
    """Everything but the run itself; raises UserError for whatever the user got wrong."""
    _load_plugins(options)
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
    for sentence in comm.together(lambda: _load_plugins(options)):
        _log.warning(sentence)
    plugins.check_same(comm)
    if options.command in _WITHOUT_EXPERIMENT:
        return _WITHOUT_EXPERIMENT[options.command](options, comm)
    if options.command == "submit":
        return comm.together(lambda: _submit(options, comm))
    with Notice().by_signals(comm) if options.command in _RUNS else nullcontext() as notice:
        prepared = comm.together(lambda: _prepared(options, comm.size))
        if _farms(options):
            comm.together(lambda: _load(prepared, Communicator()))
        else:
            _load(prepared, comm)
        if options.command == "doctor":
            return doctor.examine(options, prepared, comm)
        document, label = comm.together(lambda: _document(options))
        if options.command == "tune":
            return tune.execute(options, document, comm, notice)
        if _is_comparison(options, document, label):
            return compare.execute(options, prepared, comm, notice, document)
        left_out = [key for key in _OF_SEVERAL if key in document]
        if left_out:
            _log.warning(f"{options.experiment}: one run is made, without its {' and '.join(left_out)}; "
                         f"`mpimasha compare` makes them all")
        return run.execute(options, prepared, comm, notice)


def _load_plugins(options):
    """Load the files of --plugin, and those that the run to go on with, or to judge, was made with."""
    evaluates = options.command == "evaluate"
    recorded = results.plugins_of(options.run, below=evaluates) if evaluates or options.command == "resume" else []
    return plugins.load(getattr(options, "plugin", []), recorded)


def _farms(options):
    """Whether every rank runs whole runs by itself."""
    return getattr(options, "farm", False) or options.command == "tune"


def _list(options, comm):
    if comm.rank == 0:
        sys.stdout.write(listing(options.what))
    return run.DONE


def _submit(options, comm):
    """Check what is to be run as its own ranks would, and send it."""
    if comm.size > 1:
        raise UserError(f"submit was asked of {comm.size} ranks: start it without mpirun or srun")
    _prepared(options, submit.ranks(options))
    document, _ = _document(options)
    words = [f"--{short.replace('_', '-')}={getattr(options, short)}" for short in _SHORT
             if getattr(options, short) is not None] + [f"--set={setting}" for setting in options.settings]
    words += [f"--plugin={os.path.abspath(path)}" for path in options.plugin]
    if "seconds" not in document.get("stop", {}):
        words.append(f"--set=stop.seconds={SLURM}")
    submit.execute(options, "compare" if _is_comparison(options, document, None) else "run", words)
    return run.DONE


_RUNS = ("run", "compare", "resume", "tune")
_WITHOUT_EXPERIMENT = {"list": _list, "evaluate": evaluate.execute, "bench": bench.execute,
                       "plot": plot.execute, "report": report.execute}


# -- experiments -------------------------------------------------------------------------


def _prepared(options, ranks):
    """[(experiment, problem)]: read, checked, problems built (one for all blocks that share it)."""
    experiments, built, pairs = _experiments(options), {}, []
    if options.command in _RUNS and any(experiment.stop.seconds == SLURM for experiment in experiments):
        batch.job()
    for experiment in experiments:
        key = (experiment.problem_class, repr(sorted(experiment.problem_options.items())))
        if key not in built:
            built[key] = experiment.problem()
        problem, method = built[key], experiment.method()
        if ranks > problem.workers and not _farms(options):
            raise UserError(f"{ranks} ranks for workers = {problem.workers}: use at most as many ranks as workers")
        if problem.n is not None:
            _check_fit(experiment, problem, method)
        pairs.append((experiment, problem))
    if options.command in ("run", "compare", "submit"):
        out, share = options.out, getattr(options, "share", None)
        if not (share and out is not None and results.is_comparison(out)):
            results.check_folder(results.default_folder("new") if out is None else out, shared=bool(share))
    if options.command == "tune":
        tune.check(options)
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
    check_targets(problem, experiment.stop.targets, problem.solvable)


def _experiments(options):
    """What the options describe, checked; a comparison is several."""
    document, label = _document(options)
    if document is None:
        return []
    if _is_comparison(options, document, label):
        return matrix.experiments(document)
    single_run = {key: value for key, value in document.items() if key not in _OF_SEVERAL}
    return [config.experiment(single_run, label)]


def _is_comparison(options, document, label):
    """Whether several runs are meant; refuses --farm where it is one."""
    if _farms(options) and options.command == "resume" and label is not None:
        raise UserError(f"--farm gives whole runs to the ranks, and {options.run!r} is one run: leave it out")
    if options.command == "resume":
        return label is None
    return options.command == "compare" or (options.command in ("doctor", "submit", "tune")
                                              and "compare" in document)


def _document(options):
    """(what the user wrote, overrides included; its label if it is that of a run to go on with)."""
    settings = [_setting(text) for text in options.settings]
    if options.command == "resume":
        document, label = results.document_of(options.run)
        for key, _ in settings:
            if key.partition(".")[0] not in CHANGEABLE:
                raise UserError(f"--set {key} would make it another run: resume takes the keys of "
                                f"{', '.join(CHANGEABLE)}; start a new run for others")
        if label is None:
            matrix.experiments(document)  # refuses a damaged one, before it is taken apart
        config.override_all(document, settings)
        for block in [*document.get("compare", []), *document.get("problems", [])]:
            config.forget(block, settings)
            config.forget(block.get("each", {}), settings)
        return document, label
    wishes = [(key, getattr(options, short)) for short, key in _SHORT.items() if getattr(options, short) is not None]
    wishes += settings
    if options.experiment is None:
        if wishes:
            raise UserError("the options given describe an experiment: name its file or its problem too")
        return None, None
    document = _named(options.experiment)
    config.override_all(document, wishes)
    return document, None


def _setting(text):
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--set {text} has no value: write --set KEY=VALUE, as in --set stop.rounds=100")
    return key, config.scalar(value)


def _named(name):
    if name.endswith(".toml"):
        return config.read(name)
    if name in PROBLEMS:
        return {"problem": {"name": name}}
    raise UserError(f"{name!r} is neither an experiment file ending in .toml nor a problem{nearest(name, PROBLEMS)}")


def _configure_log(options, comm):
    level = logging.WARNING if getattr(options, "quiet", False) else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _log.handlers[:] = [handler] if comm.rank == 0 else [logging.NullHandler()]
    _log.setLevel(logging.DEBUG if getattr(options, "verbose", False) else level)
    _log.propagate = False
