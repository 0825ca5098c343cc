"""What each failure looks like under the loaded MPI: the figures of docs/failures.rst.

``python tests/failure/table.py`` prints exit code, seconds and last sentence.  Seconds run from the failure to
the end of the job, the second that ranks wait in a stall included; for mistakes, found before the ranks start or
before their first round, from the command.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mpimasha.mpi import launch, launcher, library

VICTIM = [sys.executable, str(Path(__file__).parent / "victim.py"), "-n", "4"]
RUN = [sys.executable, "-m", "mpimasha", "run", "-n", "4", "bilinear"]
DEATHS = {"an exception": "raise", "sys.exit": "sys.exit", "os._exit(5)": "_exit5", "os._exit(0)": "_exit0",
          "SIGKILL": "SIGKILL", "SIGSEGV": "SIGSEGV", "a UserError of one rank alone": "lone-user-error",
          "an exception before MPI_Init": "early-raise", "os._exit(5) before MPI_Init": "early-_exit5",
          "SIGKILL before MPI_Init": "early-SIGKILL", "SIGSTOP": "SIGSTOP", "work elsewhere": "stall-away",
          "another collective": "stall-elsewhere", "work elsewhere, one thread": "stall-one-thread"}
SIGNALS = {"SIGINT to mpimasha": signal.SIGINT, "SIGTERM to mpimasha": signal.SIGTERM,
           "SIGHUP to mpimasha": signal.SIGHUP, "the reader of its output leaves": None}
MISTAKES = {"a mistake on the command line": ["--method", "none"],
            "more ranks than workers": ["--workers", "2"], "a folder nobody can make": ["--out", "/proc/run"]}


def started(command):
    return subprocess.Popen(command, env=launch.job_environment(), text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def death(how):
    job = started([*VICTIM, how])
    said = job.communicate(timeout=60)[1]
    return job.returncode, time.time() - float(re.search(r"failing at ([\d.]+)", said)[1]), said


def signalled(number):
    job = started([*VICTIM, "sleep"])
    job.stdout.readline()
    since = time.time()
    if number is None:
        job.stdout.close()
        said = job.stderr.read()
        job.wait(60)
    else:
        os.kill(job.pid, number)
        said = job.communicate(timeout=60)[1]
    return job.returncode, time.time() - since, said


def mistake(arguments):
    since, job = time.time(), started([*RUN, *arguments])
    said = job.communicate(timeout=60)[1]
    return job.returncode, time.time() - since, said


def main():
    print(library.name_of(launcher._library()))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for cases, play in ((DEATHS, death), (SIGNALS, signalled), (MISTAKES, mistake)):
            for name, how in cases.items():
                code, seconds, said = play(how)
                *_, last = ["", *(line for line in said.splitlines() if line.startswith("mpimasha:"))]
                print(f"{name:<34}{code:>4}{seconds:>8.2f}  {last}", flush=True)


if __name__ == "__main__":
    main()
