"""What the environment of a launcher or batch system means."""

import os
import subprocess
import sys

import pytest

from mpimasha.mpi import environment

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@pytest.fixture
def variables(monkeypatch):
    """An environment of its own: what a test sets is all there is."""
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})
    return os.environ


def test_a_rank_gets_one_thread_unless_told_otherwise(variables):
    environment.prepare()
    assert [variables[name] for name in THREADS] == ["1"] * 4


def test_a_rank_gets_the_cores_slurm_gave_it_but_the_user_comes_first(variables):
    variables |= {"SLURM_CPUS_PER_TASK": "6", "OMP_NUM_THREADS": "3"}
    environment.prepare()
    assert [variables[name] for name in THREADS] == ["3", "6", "6", "6"]


@pytest.mark.parametrize("told, ranks, rank", [
    ({"PMI_SIZE": "4", "PMI_RANK": "3"}, 4, 3),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"}, 2, 0),
    ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}, 8, 5),  # srun
    ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "PMI_SIZE": "6", "PMI_RANK": "4"}, 6, 4),  # mpiexec over srun
    ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None, None),  # a batch script is not a rank
    ({"MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"}, None, None),
    ({"PMI_SIZE": ""}, None, None),
    ({}, None, None),
])
def test_launched_ranks_are_those_the_launcher_announces(variables, told, ranks, rank):
    variables |= told
    assert (environment.launched_ranks(), environment.launched_rank()) == (ranks, rank)


def test_a_fresh_job_inherits_the_users_settings_but_no_launcher(variables):
    kept = {"HOME": "/home/me", "SLURM_JOB_ID": "7", "OMPI_MCA_btl": "tcp", "PRTE_MCA_rmaps_base_verbose": "1",
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "HYDRA_HOST_FILE": "hosts",
            "I_MPI_FABRICS": "shm"}
    launcher = {"PMI_SIZE": "4", "PMI_FD": "9", "PMIX_NAMESPACE": "x", "OMPI_COMM_WORLD_RANK": "1",
                "PRTE_LAUNCHED": "1", "HYDI_CONTROL_FD": "7", "MPI_LOCALRANKID": "1",
                "HYDRA_BSTRAP_UPSTREAM_FD": "8", "I_MPI_HYDRA_UUID": "x", "I_MPI_INFO_NP": "4",
                environment.POSTBOX: "folder"}
    assert environment.clean_environment(kept | launcher) == kept
    variables |= kept | launcher
    fresh = environment.clean_environment()
    assert kept.items() <= fresh.items() and not launcher.keys() & fresh.keys()


def test_importing_the_package_loads_neither_numpy_nor_mpi():
    """Threads are chosen before NumPy is loaded, and `mpimasha --help` should not wait for Numba."""
    script = ("import sys, mpimasha.mpi.environment, mpimasha.mpi.launch; from mpimasha import UserError; "
              "print(sorted({'numpy', 'numba', 'mpi4py', 'kernels'} & set(sys.modules)))")
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path}, capture_output=True,
                          text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_kernels_are_loaded_under_one_name_only():
    import mpimasha.kernels

    assert "kernels" not in sys.modules
    assert mpimasha.kernels.__name__ == "mpimasha.kernels"
