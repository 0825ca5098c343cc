"""What the environment of a launcher or batch system means."""

import os
import subprocess
import sys

import pytest

from mpimasha.mpi import ancestors, environment

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


PMI = {"PMI_SIZE": "6", "PMI_RANK": "4"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"}
STEP = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_TASK_PID": "7"}


@pytest.fixture
def started_by(monkeypatch):
    """``started_by(*names)``: the ancestors of this process."""
    def pretend(*names):
        monkeypatch.setattr(environment.ancestors, "names", lambda: names)

    pretend("bash", "sshd")
    return pretend


@pytest.mark.parametrize("told, ranks, rank", [
    (PMI, 6, 4), (OPEN_MPI, 2, 0), (STEP, 8, 5), (STEP | PMI, 6, 4),  # mpiexec over srun
    ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None, None),  # a batch script is not a rank
    ({"MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"}, None, None),
    ({"PMI_SIZE": ""}, None, None),
    ({}, None, None),
])
def test_launched_ranks_are_those_the_launcher_announces(variables, started_by, told, ranks, rank):
    variables |= told
    started_by("python", "hydra_pmi_proxy", "bash")
    assert (environment.launched_ranks(), environment.launched_rank()) == (ranks, rank)


@pytest.mark.parametrize("told, ranks", [
    (PMI, None), (PMI | {"PMI_FD": "99999"}, None), (PMI | {"PMI_FD": "0"}, None), (PMI | {"PMI_FD": "x"}, None),
    (OPEN_MPI | {"PMIX_SERVER_TMPDIR": "/gone/with/the/job"}, None), (PMI | OPEN_MPI, None), (PMI | STEP, 8),
    (PMI | {environment.POSTBOX: "/gone/with/the/job"}, None),
])
def test_what_another_job_left_over_is_no_launcher(variables, started_by, told, ranks):
    variables |= told
    assert environment.launched_ranks() == ranks
    assert environment.perhaps_launched() == (ranks is not None) and not environment.launched_by_open_mpi()


def test_a_rank_whose_launcher_cannot_be_seen_knows_it_by_what_it_was_given(variables, started_by, tmp_path,
                                                                            pretend_rank):
    pretend_rank(3, 2)  # as in a container
    assert (environment.launched_ranks(), environment.launched_rank()) == (3, 2)
    del variables["PMI_SIZE"]
    variables |= OPEN_MPI | {"PMIX_SERVER_TMPDIR": str(tmp_path)}
    assert environment.launched_ranks() == 2 and environment.launched_by_open_mpi()


@pytest.mark.parametrize("told", [{"PMI_PORT": "host:1"}, {"PALS_RANKID": "0"}, {"MV2_COMM_WORLD_RANK": "0"}])
def test_where_a_launcher_does_not_say_how_many_mpi_is_asked(variables, started_by, told):
    assert not environment.perhaps_launched()
    variables |= told
    assert environment.launched_ranks() is None and environment.perhaps_launched()


def test_a_shell_that_srun_started_is_no_rank_but_a_program_is(variables, started_by, pretend_rank):
    variables |= STEP | {"SLURM_PTY_PORT": "4711", "SLURM_TASK_PID": str(os.getpid())}  # srun --pty mpimasha
    assert environment.launched_ranks() == 8
    variables["SLURM_TASK_PID"] = str(os.getppid())  # srun --pty bash
    assert environment.launched_ranks() is None
    pretend_rank(8)  # its socket is the shell's
    assert environment.launched_ranks() is None
    started_by("hydra_pmi_proxy", "mpiexec", "bash")
    assert environment.launched_ranks() == 8


def test_ancestors_are_those_of_proc():
    own = f"import sys; sys.path[:] = {sys.path}; from mpimasha.mpi import ancestors; print(ancestors.names())"
    done = subprocess.run(["sh", "-c", '"$0" -c "$1"; true', sys.executable, own], capture_output=True, text=True)
    assert done.stdout.startswith("['sh', ") and ancestors.names(2**30) == []


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
