"""What the batch system says of the job that this process belongs to."""

import math
import os
import subprocess

from mpimasha.errors import UserError


def job():
    """The number of this job of SLURM's; a `UserError` if it is none."""
    number = os.environ.get("SLURM_JOB_ID")
    if not number:
        raise UserError("stop.seconds = 'slurm' has no meaning outside a job of SLURM's: use a number of seconds, or 0 "
                        "for off")
    return number


def end():
    """When the job has to end, in seconds since the epoch; infinity where its time has no limit.

    Raises
    ------
    UserError
        If this is no job of SLURM's, or SLURM does not say.
    """
    told = os.environ.get("SLURM_JOB_END_TIME", "")  # newer versions tell
    return float(told) if told.isdigit() else _asked(job())


def _asked(number):
    command = ["squeue", "--noheader", "--jobs", number, "--format", "%e"]
    try:
        done = subprocess.run(command, env=os.environ | {"SLURM_TIME_FORMAT": "%s"}, capture_output=True, text=True,
                              timeout=60, check=True)
        told = done.stdout.split()[0]
        return math.inf if told in ("NONE", "N/A", "UNLIMITED") else float(int(told))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise UserError(f"stop.seconds = 'slurm', but squeue does not tell when job {number} ends ({error}): use a "
                        f"number of seconds") from None
