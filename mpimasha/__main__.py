"""``mpimasha ...`` and ``python -m mpimasha ...``: one process, one rank of many, or what starts them."""

import codecs
import faulthandler
import os
import sys
from contextlib import nullcontext

from mpimasha.errors import LaunchError, UserError
from mpimasha.mpi import environment, launch, patience, postbox
from mpimasha.solver import notice

_INTERRUPTED, _BROKEN_PIPE = 130, 141  # 128 + signal, as shells have it
_PLAIN = {"±": "+-", "×": "x", "→": "->"}  # where the terminal has no such character
_SAVING = (["run"], ["compare"], ["resume"])  # commands that can be stopped early


def main(argv=None):
    """Run the command line `argv` (default ``sys.argv[1:]``) and return its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    _open_streams()
    environment.prepare()
    box = postbox.PostBox.of_this_rank()
    if box is not None:
        postbox.watch(box)
    if argv[:1] in _SAVING and environment.launched_ranks():
        notice.remember()
    _show_progress_and_crashes()
    try:
        code = _code(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
        return _BROKEN_PIPE


def _open_streams():
    """Put /dev/null where a stream is closed (``>&-``): a file opened later would else take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))


def _show_progress_and_crashes():
    codecs.register_error("mpimasha", _spelt)
    if hasattr(sys.stdout, "reconfigure"):  # ranks write into a pipe, and lines should come out whole and at once
        sys.stdout.reconfigure(line_buffering=True, write_through=False, errors="mpimasha")
    if not faulthandler.is_enabled():
        faulthandler.enable(sys.__stderr__ or sys.stderr)


def _spelt(error):
    """What stands for characters that an encoding does not have."""
    text = error.object[error.start:error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


def _code(argv):
    try:
        if (environment.launched_ranks() or 1) > 1:
            with patience.of_a_rank() if _to_the_doctor(argv) else nullcontext():
                comm = _world(argv)  # before all else: who fails before MPI starts leaves the others waiting in it
                return launch.guard(lambda: _as_rank(argv, comm), comm)
        return _as_process(argv)
    except SystemExit as end:  # --help, --version
        return end.code or 0
    except UserError as error:
        if not environment.launched_rank():  # once, however many ranks there are
            sys.stderr.write(f"mpimasha: error: {error}\n")
        return launch.leave(2)


def _to_the_doctor(argv):
    return argv[:1] == ["doctor"]


def _world(argv):
    """MPI's communicator; None where ranks were started wrongly and the doctor is asked why."""
    if not _to_the_doctor(argv):
        return launch.join()
    try:
        return launch.world()
    except LaunchError:
        return None


def _as_process(argv):
    from mpimasha.commands import cli

    options = cli.parse(argv)
    if options.ranks not in (None, 1):
        cli.validate(options, options.ranks)
        if not _to_the_doctor(argv):
            return launch.spawn(options.ranks, argv, options.launcher)
        try:
            with patience.with_a_launcher():
                return launch.spawn(options.ranks, argv, options.launcher)
        except LaunchError:
            pass  # a finding: this process examines itself, and reports it
    comm = launch.world()
    return launch.guard(lambda: cli.execute(options, comm), comm)


def _as_rank(argv, comm):
    from mpimasha.commands import cli

    try:
        options = cli.parse(argv)
    except SystemExit as end:
        return end.code or 0
    if options.ranks is not None:
        launch.refuse_in_job(options.ranks)
    return cli.execute(options, comm)


if __name__ == "__main__":
    sys.exit(main())
