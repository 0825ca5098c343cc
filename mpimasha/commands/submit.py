"""A run or comparison as a job of SLURM's that comes back until it is done: the script, and sending it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from mpimasha.errors import UserError
from mpimasha.experiment import results
from mpimasha.files import replace_atomically, writing
from mpimasha.mpi import launch
from mpimasha.names import shown

_LEAD = 120  # seconds before the end at which the script asks the ranks to stop, or a quarter of a shorter time

# The end of jobs/slurm/requeue.sbatch too.
BODY = r'''# A job that was here before goes on with what it began.
if [ -e "$out/manifest.json" ]; then set -- resume "$out"; fi
made() { find "$out" \( -name 'round-*' -o -name final.npz \) 2>/dev/null | sort || true; }
before=$(made)

# USR1 asks the ranks to stop with a checkpoint.  It interrupts `wait`, which is then due again.  No trap for TERM: a
# job that is cancelled must end here, or it would come back.
job='' waiting=yes
trap 'waiting=yes; [ -z "$job" ] || kill -USR1 "$job" || true' USR1
srun --mpi="$mpi" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 "${mpimasha[@]}" "$@" &
job=$!
while [ "$waiting" ]; do
    waiting='' code=0
    wait "$job" || code=$?
done

# Exit code 8: stopped early, resume me.  A job that got nowhere would only come back to get nowhere again.
if [ "$code" -eq 8 ] && [ "$(made)" = "$before" ]; then
    echo "mpimasha: no round was done in this job's time: not put back into the queue" >&2
elif [ "$code" -eq 8 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
'''

_SCRIPT = '''\
#!/bin/bash
# Written by `mpimasha submit`.  To send it once more: sbatch {script}
{options}
set -euo pipefail

out={out}
mpi={mpi}
mpimasha=({python} -P -m mpimasha)
set -- {command}

{body}'''


def ranks(options):
    """How many ranks the job will have; refuses numbers and a time that no job can have."""
    for name in ("nodes", "tasks_per_node", "cpus_per_task"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)} is out of range: use a whole number "
                            f"of at least 1")
    _seconds(options.time)
    if not re.fullmatch(r"\w+", options.mpi):
        raise UserError(f"--mpi {shown(options.mpi)} is no plugin of srun: use pmi2 for MPICH, pmix for most Open MPI")
    for option in options.sbatch:
        if not option.isprintable() or not option.strip("- "):
            raise UserError(f"--sbatch {shown(option)} is no option of sbatch: write --sbatch partition=long")
    return options.nodes * options.tasks_per_node


def execute(options, command, settings):
    """Write the script and send it, or print it; the experiment has been checked.

    Parameters
    ----------
    options : Namespace
    command : str
        "run" or "compare".
    settings : list of str
        What follows it on the command line, after the experiment.
    """
    out = Path(options.out or results.default_folder(Path(options.experiment).stem))
    paths = {suffix: out.with_name(out.name + suffix) for suffix in (".sbatch", ".toml", ".log")}
    source = Path(options.experiment) if options.experiment.endswith(".toml") else None
    _check_paths(paths.values())
    script = _script(options, out, paths, [command, str(paths[".toml"] if source else options.experiment), "--out",
                                           str(out), *settings])
    if options.dry_run:
        sys.stdout.write(script)
        return
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise UserError("sbatch is not on PATH: submit where SLURM is, or use --dry-run to see the script")
    texts = {paths[".sbatch"]: script.encode(errors="surrogateescape")}
    texts |= {paths[".toml"]: source.read_bytes()} if source else {}
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            replace_atomically(path, lambda file: file.write(text))
    sys.stdout.write(f"job {_sent(sbatch, paths['.sbatch'], texts)}\nresults         {out}\nscript          "
                     f"{paths['.sbatch']}\nlog             {paths['.log']}\n")


def _check_paths(paths):
    for path in paths:
        if not str(path.absolute()).isprintable():
            raise UserError(f"{str(path.absolute())!r} cannot stand in a script: give another folder with --out")
        if path.exists():
            raise UserError(f"{str(path)!r} exists: give another folder with --out, nothing is overwritten")


def _script(options, out, paths, command):
    lead = min(_LEAD, _seconds(options.time) // 4)
    log = str(paths[".log"]).replace("%", "%%")
    wanted = [f"job-name={shlex.quote(out.name)}", f"chdir={shlex.quote(os.getcwd())}", f"nodes={options.nodes}",
              f"ntasks-per-node={options.tasks_per_node}", f"cpus-per-task={options.cpus_per_task}",
              f"time={options.time}", "requeue", "open-mode=append", f"signal=B:USR1@{lead}",
              f"output={shlex.quote(log)}", *(option.lstrip("-") for option in options.sbatch)]
    return _SCRIPT.format(script=shlex.quote(str(paths[".sbatch"])), out=shlex.quote(str(out)), mpi=options.mpi,
                          options="\n".join(f"#SBATCH --{option}" for option in wanted),
                          python=shlex.quote(sys.executable), command=shlex.join(command), body=BODY)


def _sent(sbatch, script, texts):
    """The job's number; where there is none, what was written is removed."""
    done = subprocess.run([sbatch, "--parsable", str(script)], env=launch.job_environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    number = done.stdout.strip().partition(";")[0]
    if done.returncode or not number.isdigit():
        for path in texts:
            path.unlink(missing_ok=True)
        raise UserError(f"sbatch refuses the job: {' '.join((done.stderr or done.stdout).split())}")
    return number


def _seconds(time):
    match = re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,3}):([0-5]\d):([0-5]\d)", time)
    days, *rest = (int(group or 0) for group in match.groups()) if match else (0, 0, 0, 0)
    seconds = days * 86400 + sum(number * unit for number, unit in zip(rest, (3600, 60, 1)))
    if not seconds:
        raise UserError(f"--time {shown(time)} is no time a job may take: use H:MM:SS or D-H:MM:SS, as in 1:00:00")
    return seconds
