"""What can be said on the command line."""

import argparse
import math

import mpimasha
from mpimasha import names
from mpimasha.commands import plot as plot_command
from mpimasha.commands import report as report_command
from mpimasha.commands.evaluate import PARTS
from mpimasha.commands.listing import LISTS
from mpimasha.commands.tune import COSTS
from mpimasha.errors import UserError
from mpimasha.experiment import config


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (see {self.prog} --help)")


def parse(argv):
    """The options of a command line; raises UserError where argparse would exit."""
    return parser().parse_args(argv)


def parser():
    """All commands and their options."""
    parser = _Parser(prog="mpimasha", description="Distributed variational inequalities with compressed communication.")
    parser.add_argument("--version", action="version", version=f"mpimasha {mpimasha.__version__}")
    commands = parser.add_subparsers(dest="command", required=True,
                                     metavar="{run,compare,tune,resume,submit,plot,report,evaluate,bench,"
                                             "doctor,list}")
    run = commands.add_parser("run", help="solve one problem by one method")
    run.add_argument("experiment", metavar="EXPERIMENT.toml|PROBLEM", help="a file, or a problem with its defaults")
    compare = commands.add_parser("compare", help="run every [[compare]] block and put them in a table")
    compare.add_argument("experiment", metavar="EXPERIMENT.toml", help="a file with [[compare]] blocks")
    compare.add_argument("--share", type=_share, metavar="K/N", help="every N-th run from the K-th on, for one task of "
                         "a job array; all shares have the same --out")
    tune = commands.add_parser("tune", help="find gamma and tau by pilot runs, and write the experiment with them")
    tune.add_argument("experiment", metavar="EXPERIMENT.toml|PROBLEM", help="a comparison if it has "
                      "[[compare]]")
    tune.add_argument("--seeds", type=_whole, default=3, metavar="N", help="pilot runs of each choice (default 3)")
    tune.add_argument("--by", choices=list(COSTS), default="up", help="what to spend least of (default up, bits)")
    tune.add_argument("--to", type=float, metavar="ERROR", help="relative error of the pilot runs (default the target)")
    tune.add_argument("--rounds", type=_whole, metavar="N", help="limit of a pilot run (default the experiment's)")
    tune.add_argument("--ratio", type=float, default=1.41, metavar="R", help="of the grid (default 1.41)")
    tune.add_argument("--out", metavar="FILE.toml", help="default EXPERIMENT-tuned.toml")
    resume = commands.add_parser("resume", help="go on with a run that was stopped, from its newest checkpoint")
    resume.add_argument("run", metavar="RUN_DIR", help="the folder of the run, or of the comparison")
    resume.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
                        help="another limit, as in stop.rounds=20000: keys of stop, observe, checkpoint, transport")
    for command in (compare, resume):
        command.add_argument("--farm", action="store_true", help="whole runs to each rank, one after the other, in "
                             "place of all ranks to each run: for many seeds")
    submit = commands.add_parser("submit", help="send a run to SLURM, as a job that comes back until the run is done")
    submit.add_argument("experiment", metavar="EXPERIMENT.toml|PROBLEM", help="a comparison if it has [[compare]]")
    _add_job_options(submit)
    submit.set_defaults(ranks=None, launcher=None)
    plot = commands.add_parser("plot", help="figures of runs that have ended: PNG, PDF or SVG")
    report = commands.add_parser("report", help="one HTML page about runs that have ended")
    for command, module in ((plot, plot_command), (report, report_command)):
        module.add_arguments(command)
        command.set_defaults(ranks=None, launcher=None, quiet=False)
    evaluate = commands.add_parser("evaluate", help="judge trained networks on the part of the data kept for the end")
    evaluate.add_argument("run", metavar="RUN_DIR", help="the folder of a run, or one with runs below it")
    evaluate.add_argument("--attack", default="pgd:20", metavar="A", help="as in pgd:20,eps=0.15 (default pgd:20)")
    evaluate.add_argument("--part", choices=PARTS, default="test", help="of the data (default test)")
    evaluate.add_argument("--seed", type=_whole, default=0, help="of the attack's random start")
    bench = commands.add_parser("bench", help="how fast this machine is, against what should be reached")
    bench.add_argument("what", choices=["kernels", "networks"],
                       help="kernels: against NumPy, PyTorch and memcpy; networks: gradients, against PyTorch")
    bench.add_argument("--only", action="append", metavar="ROW", help="one row; may be repeated")
    bench.set_defaults(ranks=None, launcher=None)
    for command in (resume, evaluate, bench):
        command.add_argument("--json", action="store_true", help="end with one line of JSON on standard output")
    for command in (resume, evaluate):
        command.add_argument("-n", dest="ranks", type=int, metavar="N", help="start N ranks")
        command.add_argument("--launcher", metavar="COMMAND", help="another launcher")
    examine = commands.add_parser("doctor", help="whether installation, machine and launch will work")
    examine.add_argument("experiment", metavar="EXPERIMENT.toml|PROBLEM", nargs="?", help="what it would need")
    for command in (run, compare, tune, examine):
        _add_launch_options(command)
    for command in (run, compare, tune, examine, submit):
        _add_experiment_options(command)
    for command in (run, compare):
        _add_run_options(command)
    for command in (tune, resume):
        _add_loudness(command)
    for command in (run, compare, tune, resume, evaluate):
        command.add_argument("--stall-after", type=_seconds, metavar="SECONDS", help="end the job when a rank has "
                             "waited that long for others (default 300; 0, the default under a debugger: never)")
    listing = commands.add_parser("list", help="what there is: problems, methods, compressors, transports")
    listing.add_argument("what", nargs="?", choices=list(LISTS), help="only these")
    listing.set_defaults(ranks=None, launcher=None)
    for command in (run, compare, tune, resume, submit, evaluate, examine, listing):
        command.add_argument("--plugin", action="append", default=[], metavar="FILE.py", help="a problem, method or "
                             "compressor of your own (docs/extending.rst); may be repeated")
    return parser


def _whole(text):
    try:
        return int(text)
    except ValueError:
        value = names.meant(config.scalar(text), int)
    if not names.fits(value, int):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number: use one such as 1000, or 1e3")
    return value


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds: use one such as 300, or 0 for no end")
    return seconds


def _share(text):
    k, slash, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share: use K/N with K from 1 to N, as in 2/8")
    return int(k), int(n)


def _add_launch_options(command):
    add = command.add_argument
    add("-n", dest="ranks", type=int, metavar="N", help="start N ranks with the launcher of the loaded MPI")
    add("--launcher", metavar="COMMAND", help="another launcher, as in 'mpiexec -bind-to core'")
    add("--json", action="store_true", help="end with one line of JSON on standard output")


def _add_experiment_options(command):
    add = command.add_argument
    add("--method", metavar="M", help="method.name")
    add("--compressor", metavar="UP", help="compressor.up, as in randk:0.05 or topk:20")
    add("--server-compressor", metavar="DOWN", help="compressor.down, as in qsgd:4")
    add("--workers", type=_whole, metavar="M", help="number of workers, at least as many as ranks")
    add("--wire", metavar="W", help="float64 or float32: the type of values in messages")
    add("--transport", metavar="T", help="transport.name")
    add("--seed", type=_whole, help="of every random stream of the run")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="any key of the file, dotted")


def _add_job_options(command):
    add = command.add_argument
    add("--nodes", type=int, required=True, metavar="N", help="how many")
    add("--tasks-per-node", type=int, required=True, metavar="T", help="ranks on each node")
    add("--time", required=True, metavar="H:MM:SS", help="of each job; D-H:MM:SS for days")
    add("--cpus-per-task", type=int, default=1, metavar="C", help="cores, and threads, of each rank (default 1)")
    add("--mpi", default="pmi2", help="of srun: pmi2 for MPICH (default), pmix for most Open MPI")
    add("--sbatch", action="append", default=[], metavar="OPTION", help="another option of sbatch's, as in "
        "partition=long; may be repeated")
    add("--out", metavar="DIR", help="the run's folder (default runs/...); script and log go beside it")
    add("--dry-run", action="store_true", help="print the script; write and send nothing")


def _add_run_options(command):
    add = command.add_argument
    add("--out", metavar="DIR", help="the run's folder (default runs/...)")
    _add_loudness(command)


def _add_loudness(command):
    command.add_argument("-v", "--verbose", action="store_true", help="say L, L_rms and mu too")
    command.add_argument("-q", "--quiet", action="store_true",
                         help="say nothing but warnings and errors")
