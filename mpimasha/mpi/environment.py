"""What a launcher or a batch system tells a process through its environment.

Only the standard library is imported here: `prepare` has to run before NumPy, Numba and MPI are loaded.
"""

import os
import re
import stat

from mpimasha.mpi import ancestors

POSTBOX = "MPIMASHA_POSTBOX"  # set by `launch.spawn` for the ranks it starts: see postbox.py
TERMINAL = "MPIMASHA_TERMINAL"  # set likewise where the output of the job goes to a terminal

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

# Launchers that say nothing of how many they started, or in a variable we do not know: MPI has to be asked.
_UNKNOWN = ("MV2_COMM_WORLD_RANK", "PALS_RANKID", "ALPS_APP_PE", "FLUX_TASK_RANK", "PMI_PORT", "PMI_CONTROL_PORT")
_MPIEXEC = r"mpiexec|mpirun|hydra_|pmi_proxy|prte|prun|orte|aprun|pals|jsrun|flux-"  # names of their processes

LAUNCHER_PREFIXES = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "HYDI_", "MPI_LOCAL", "HYDRA_BSTRAP_",
                     "I_MPI_HYDRA_UUID", "I_MPI_INFO_", POSTBOX)
_TUNING = ("_MCA_", "_ALLOW_RUN_AS_ROOT")  # under the same prefixes, but the user's


def prepare():
    """One thread per core that the batch system gave this rank, unless the user chose otherwise."""
    for name in _THREADS:
        os.environ.setdefault(name, os.environ.get("SLURM_CPUS_PER_TASK", "1"))


def launched_ranks():
    """How many ranks the launcher started, or None when no launcher says so.

    Variables that another job left over, in a shell or in what one of its ranks started, do not count.
    """
    launcher = _launcher()
    return None if launcher is None else int(os.environ[launcher[0]])


def launched_rank():
    """Which of them this process is, known before MPI starts; None when no launcher started it."""
    launcher = _launcher()
    told = "" if launcher is None else os.environ.get(launcher[1], "")
    return int(told) if told.isdigit() else None


def launched_by_open_mpi():
    """Whether the launcher is Open MPI's."""
    launcher = _launcher()
    return launcher is not None and launcher[0] == "OMPI_COMM_WORLD_SIZE"


def perhaps_launched():
    """Whether this may be one of several ranks: only MPI knows where a launcher does not say how many it started."""
    ranks = launched_ranks()
    return ranks is None and any(name in os.environ for name in _UNKNOWN) or (ranks or 1) > 1


def in_shell_of_srun():
    """Whether this was typed in a shell that ``srun --pty`` started: the shell is a task of the step, this is none."""
    return "SLURM_PTY_PORT" in os.environ and os.environ.get("SLURM_TASK_PID") != str(os.getpid())


# -- who started us ----------------------------------------------------------------------------


def _launcher():
    """The variables (size, rank) of the launcher that started this process, or None."""
    return next((names for names, started in _LAUNCHERS.items()
                 if os.environ.get(names[0], "").isdigit() and started()), None)


def _started_by_pmi():
    told = os.environ.get("PMI_FD", "") if not in_shell_of_srun() else ""  # else the shell's
    return (told.isdigit() and _is_socket(int(told)) or "PMI_PORT" in os.environ or "PMI_CONTROL_PORT" in os.environ
            or _started_by_mpiexec())


def _started_by_open_mpi():
    return os.path.isdir(os.environ.get("PMIX_SERVER_TMPDIR", "")) or _started_by_mpiexec()


def _started_by_mpiexec():
    return (os.path.isdir(os.environ.get(POSTBOX, ""))
            or any(re.match(_MPIEXEC, name) for name in ancestors.names()))


def _started_by_srun():
    return not in_shell_of_srun()


def _is_socket(descriptor):
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except (OSError, OverflowError):
        return False


# MPICH and Intel MPI, Open MPI, srun.  A batch script has SLURM_NTASKS too, but only a job step has the last.
_LAUNCHERS = {("PMI_SIZE", "PMI_RANK"): _started_by_pmi,
              ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"): _started_by_open_mpi,
              ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"): _started_by_srun}


def clean_environment(env=None):
    """A copy of `env` (default ``os.environ``) in which a fresh MPI job can be started."""
    env = os.environ if env is None else env
    return {name: value for name, value in env.items()
            if not name.startswith(LAUNCHER_PREFIXES) or any(word in name for word in _TUNING)}
