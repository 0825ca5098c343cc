"""What a launcher or a batch system tells a process through its environment.

Only the standard library is imported here: `prepare` has to run before NumPy, Numba and MPI are loaded.
"""

import os

POSTBOX = "MPIMASHA_POSTBOX"  # set by `launch.spawn` for the ranks it starts: see postbox.py
TERMINAL = "MPIMASHA_TERMINAL"  # set likewise where the output of the job goes to a terminal

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

# MPICH and Intel MPI, Open MPI, srun.  A batch script has SLURM_NTASKS too, but only a job step has the last.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")

LAUNCHER_PREFIXES = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "HYDI_", "MPI_LOCAL", "HYDRA_BSTRAP_",
                     "I_MPI_HYDRA_UUID", "I_MPI_INFO_", POSTBOX)
_TUNING = ("_MCA_", "_ALLOW_RUN_AS_ROOT")  # under the same prefixes, but the user's


def prepare():
    """One thread per core that the batch system gave this rank, unless the user chose otherwise."""
    for name in _THREADS:
        os.environ.setdefault(name, os.environ.get("SLURM_CPUS_PER_TASK", "1"))


def launched_ranks():
    """How many ranks the launcher started, or None when no launcher says so."""
    return _first_number(_SIZES)


def launched_rank():
    """Which of them this process is, known before MPI starts; None when no launcher started it."""
    return None if launched_ranks() is None else _first_number(_RANKS)


def clean_environment(env=None):
    """A copy of `env` (default ``os.environ``) in which a fresh MPI job can be started."""
    env = os.environ if env is None else env
    return {name: value for name, value in env.items()
            if not name.startswith(LAUNCHER_PREFIXES) or any(word in name for word in _TUNING)}


def _first_number(names):
    for name in names:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return None
