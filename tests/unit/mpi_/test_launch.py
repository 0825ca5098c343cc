"""Starting ranks, refusing to start them, and the end of a rank."""

import json
import os
import shutil
import signal
import subprocess
import sys
import types

import pytest

from mpimasha import __main__
from mpimasha.errors import LaunchError, UserError
from mpimasha.mpi import environment, launch, launcher, postbox, supervisor
from mpimasha.mpi.relay import Relay
from mpimasha.solver import observers

BANNER = b"""
===================================================================================
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 2899 RUNNING AT host
=   EXIT CODE: 9
===================================================================================
YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)
This typically refers to a problem with your application.
Please see the FAQ page for debugging suggestions
"""

pytestmark = pytest.mark.skipif(bool(environment.launched_ranks()), reason="pretends to be, or not to be, launched")


# -- the world ---------------------------------------------------------------------------------


def test_one_process_does_not_start_mpi():
    """It would take shared memory and descriptors, and a library that works."""
    script = ("import sys; from mpimasha import __main__; code = __main__.main(['list', 'problems']); "
              "MPI = sys.modules.get('mpi4py.MPI'); sys.exit(code or MPI is not None and MPI.Is_initialized())")
    stale = {"PMI_SIZE": "4", "PMI_RANK": "0", "PMI_FD": "9", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "0"}
    for left_over in ({}, stale):
        done = subprocess.run([sys.executable, "-c", script], env=launch.job_environment() | left_over,
                              capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_program_that_started_mpi_itself_gets_its_world(comm):
    assert launch.world() is not None


def test_ranks_that_do_not_see_each_other_are_an_error(comm, pretend_rank):
    pretend_rank(4)
    with pytest.raises(LaunchError, match=r"^4 ranks were started, but each is alone: "
                                          r".*(MPICH|Open MPI|Intel\(R\) MPI)"):
        launch.world()


def test_srun_without_the_right_plugin_is_an_error(comm, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "16")
    with pytest.raises(LaunchError, match=r"^16 ranks were started.*srun --mpi=pmi2"):
        launch.world()


def test_without_mpi_one_process_is_a_world(monkeypatch, pretend_rank):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert launch.world() is None
    pretend_rank(2)
    with pytest.raises(LaunchError, match="^2 ranks were started, but MPI cannot be loaded"):
        launch.world()


@pytest.mark.parametrize("users", [None, "2"])
def test_sums_of_intel_mpi_are_the_same_each_time_unless_the_user_chose(monkeypatch, users):
    monkeypatch.delenv("I_MPI_CBWR", raising=False)
    if users is not None:
        monkeypatch.setenv("I_MPI_CBWR", users)
    assert launch.job_environment()["I_MPI_CBWR"] == (users or "1")


# -- the launcher -------------------------------------------------------------------------------


def program(folder, name, says):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / name).chmod(0o755)
    return str(folder / name)


def test_the_launcher_is_that_of_the_library_not_the_first_on_path(tmp_path, monkeypatch):
    program(tmp_path / "a", "mpiexec", "HYDRA build details:")
    theirs = program(tmp_path / "b", "mpiexec", "Our launcher, 4.1.4")
    monkeypatch.setenv("PATH", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))
    monkeypatch.setattr(launcher, "_FAMILIES", (("MPICH", "HYDRA"), ("Our MPI", "Our launcher")))
    monkeypatch.setattr(launcher, "_library", lambda: "Our MPI v4.1.4, package: Debian")
    assert launch.find_launcher() == theirs


@pytest.mark.parametrize("library, sentence", [
    ("CRAY MPI 8", "does not know the launcher of CRAY MPI 8: name it with --launcher"),
    ("MPICH Version:      4.2\nMPICH Device: ch4", "no mpiexec of MPICH Version: 4.2 was found"),
])
def test_without_a_launcher_of_its_own_the_user_has_to_name_one(monkeypatch, library, sentence):
    monkeypatch.setattr(launcher, "_library", lambda: library)
    monkeypatch.setattr(launcher, "_candidates", list)
    with pytest.raises(LaunchError, match=sentence):
        launch.find_launcher()


def test_launching_needs_mpi(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(LaunchError, match="leave -n out to simulate the workers in one process"):
        launch.spawn(2, [])


def test_a_named_launcher_keeps_its_options(tmp_path, monkeypatch):
    path = program(tmp_path / "bin", "mpiexec", "")
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))  # beside this Python, whatever PATH says
    assert launcher.launcher_words("mpiexec -bind-to 'core 1'") == [path, "-bind-to", "core 1"]


@pytest.mark.parametrize("name", ["no-such-launcher -x", ""])
def test_a_launcher_that_is_not_there_is_an_error(name):
    with pytest.raises(LaunchError, match="names no program"):
        launch.spawn(2, [], launcher=name)


@pytest.mark.parametrize("variable", launcher.LIBRARY_CHOICES)
def test_a_variable_that_chooses_the_wrong_library_is_to_be_unset(monkeypatch, pretend_rank, variable):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setenv(variable, "openmpi")
    with pytest.raises(LaunchError, match=f"cannot be loaded .*: unset {variable}, or name a library that is here, or "
                                          "leave -n out"):
        launch.spawn(2, [])
    pretend_rank(2)
    with pytest.raises(LaunchError, match=f"cannot be loaded .*: unset {variable}, .*, or start one process$"):
        launch.world()


@pytest.mark.parametrize("told, srun, words", [
    ({}, False, []), ({"SLURM_JOB_ID": "7"}, True, []), ({"SLURM_JOB_ID": "7"}, False, ["-launcher", "fork"]),
    ({"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1"}, False, ["-launcher", "fork"]),
    ({"SLURM_JOB_ID": "7", "HYDRA_LAUNCHER": "ssh"}, False, []),
    ({"SLURM_JOB_ID": "7", "SLURM_PTY_PORT": "1", "SLURM_TASK_PID": "2"}, True, ["-launcher", "fork"]),
    ({"SLURM_JOB_ID": "7", "SLURM_PTY_PORT": "1", "SLURM_TASK_PID": "2", "SLURM_JOB_NUM_NODES": "2"}, True, [])])
@pytest.mark.parametrize("family", ["HYDRA build details:", "Intel(R) MPI Library", "Our launcher"])
def test_hydra_forks_where_srun_would_start_nothing(tmp_path, monkeypatch, told, srun, words, family):
    path = program(tmp_path / "mpi", "mpiexec", family)
    monkeypatch.setattr(launcher.shutil, "which", lambda name: "/usr/bin/srun" if srun else None)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert launcher.words_for_slurm(path) == (words if family != "Our launcher" else [])


def test_several_nodes_cannot_be_reached_without_srun(tmp_path, monkeypatch):
    path = program(tmp_path / "mpi", "mpiexec", "HYDRA build details:")
    monkeypatch.setattr(launcher.shutil, "which", lambda name: None)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    with pytest.raises(LaunchError, match="^-n needs srun to start ranks on the 2 nodes of this job"):
        launcher.words_for_slurm(path)


@pytest.mark.launches
@pytest.mark.skipif(shutil.which("srun") is not None, reason="has an srun")
def test_a_container_inside_a_job_of_slurms_starts_its_ranks(run_cli):
    job = {"SLURM_JOB_ID": "7", "SLURM_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1", "SLURM_NNODES": "1",
           "SLURM_NTASKS": "4", "SLURM_TASKS_PER_NODE": "4"}
    ended = run_cli(["run", "bilinear", "-q", "--workers", "2", "--set", "stop.rounds=5"], ranks=2, env=job, timeout=30)
    assert (ended.returncode, ended.timed_out) == (0, False), ended.stderr


def test_without_a_temporary_folder_nothing_is_launched(tmp_path, monkeypatch):
    monkeypatch.setattr(launch.tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(LaunchError, match=r"^-n needs a temporary folder, .*No such file.*: point TMPDIR to a folder"):
        launch.spawn(2, [], launcher="true")


def test_ranks_start_no_ranks(pretend_rank):
    pretend_rank(3)
    with pytest.raises(LaunchError, match="^-n 2 was asked of one of 3 ranks"):
        launch.spawn(2, [])


# -- the end of a rank ----------------------------------------------------------------------------


def failing(error):
    def run():
        raise error
    return run


def test_guard_returns_the_code_of_a_run():
    assert launch.guard(lambda: 4, None) == 4


def test_a_users_mistake_is_one_sentence(capsys):
    assert launch.guard(failing(UserError("no such method")), None) == 2
    assert capsys.readouterr().err == "mpimasha: error: no such method\n"


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(0), SystemExit(3)])
def test_anything_else_is_a_failure_with_rank_and_traceback(capsys, error):
    assert launch.guard(failing(error), None) == 1
    said = capsys.readouterr().err
    assert said.startswith("mpimasha: rank 0 of 1 on ") and "failed:\nTraceback" in said
    assert type(error).__name__ in said.splitlines()[-1]


def test_an_interrupt_is_not_a_traceback(capsys):
    assert launch.guard(failing(KeyboardInterrupt()), None) == 130
    assert capsys.readouterr().err.endswith("was interrupted\n")


def test_a_spawned_rank_leaves_its_code_in_the_box(tmp_path, monkeypatch):
    monkeypatch.setenv(environment.POSTBOX, str(tmp_path))
    assert launch.guard(lambda: 8, None) == 0
    assert postbox.PostBox(tmp_path).code() == 8


@pytest.mark.parametrize("returned", [0, 2, 4, 8])
def test_a_job_that_broke_off_never_ends_with_the_code_of_an_orderly_end(tmp_path, capsys, returned):
    box = postbox.PostBox(tmp_path)
    box.register()
    box.report(code=-4)  # signal 4, and the launcher's exit code may be just that
    assert supervisor.outcome(returned, box, [], 4) == 132
    assert "was killed by signal 4 (SIGILL)" in capsys.readouterr().err


@pytest.mark.parametrize("returned", [1, 9, 137, -15])
@pytest.mark.parametrize("ending, code", [({"code": -9}, 137), ({"code": 5}, 5), ({"code": 4}, 1), ({"code": 0}, 1),
                                          ({"text": "a traceback", "code": 1}, 1),
                                          ({"text": "interrupted", "code": 130}, 130)])
def test_the_exit_code_is_the_ranks_whatever_the_launcher_makes_of_it(tmp_path, returned, ending, code):
    box = postbox.PostBox(tmp_path)
    box.register()
    box.report(**ending)
    assert supervisor.outcome(returned, box, [], 4) == code


@pytest.mark.parametrize("returned", [0, 2, 4, 8])
def test_a_job_that_ends_without_a_word_of_its_ranks_ends_with_no_orderly_code(tmp_path, capsys, returned):
    box = postbox.PostBox(tmp_path)
    box.register()
    assert supervisor.outcome(returned, box, [], 4) == 1
    assert "the job ended before its ranks did" in capsys.readouterr().err


@pytest.mark.parametrize("seen, said", [(0, ""), (1, "mpimasha: after 30 s only 1 of 2 ranks have started, and they "
                                                     "wait for the others\n"), (2, "")])
def test_ranks_that_do_not_start_are_missed(tmp_path, capsys, seen, said):
    for rank in range(seen):
        (tmp_path / f"pid.host.{rank}").write_text("0")
    supervisor._say_who_is_missing(postbox.PostBox(tmp_path), 2)  # none at all: the box is out of their sight
    assert capsys.readouterr().err == said


# -- the post box -----------------------------------------------------------------------------------


def test_only_the_first_death_counts(tmp_path, pretend_rank):
    box = postbox.PostBox(tmp_path)
    assert (box.first(), box.code(), box.seen(), box.pids()) == (None, None, 0, [])
    for rank, code in ((2, -9), (0, -15)):
        pretend_rank(4, rank)
        box.report(code=code)
    assert (box.first()["rank"], box.first()["code"]) == (2, -9)
    box.register()
    assert box.seen() == 1 and box.pids() == [os.getpid()]


def test_a_box_that_is_gone_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setenv(environment.POSTBOX, str(tmp_path / "gone"))
    assert postbox.PostBox.of_this_rank() is None
    box = postbox.PostBox(tmp_path / "gone")
    box.report(code=1)
    assert box.leave(0) is False


@pytest.mark.parametrize("told, reports", [("rank", True), ("both", False)])
def test_a_rank_that_the_launcher_ended_is_not_the_one_that_died_first(tmp_path, told, reports):
    """Open MPI sends SIGTERM to the whole group of each rank when another one is dead."""
    script = ("import sys, time; from mpimasha.mpi import postbox; box = postbox.PostBox(sys.argv[1]); "
              "postbox.watch(box); print('ready', flush=True); time.sleep(30)")
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=launch.job_environment(),
                          stdout=subprocess.PIPE, process_group=0) as watcher:
        assert watcher.stdout.readline() == b"ready\n"
        box = postbox.PostBox(tmp_path)
        if told == "both":
            os.killpg(watcher.pid, signal.SIGTERM)
        else:
            os.kill(box.pids()[0], signal.SIGTERM)
    assert watcher.returncode == -signal.SIGTERM
    assert (box.first() is not None) is reports


# -- the relay ----------------------------------------------------------------------------------------


def relayed(pieces, better):
    (source, feed), (result, sink) = os.pipe(), os.pipe()
    relay = Relay(source, sink, lambda: better)
    for piece in pieces:
        os.write(feed, piece)
    os.close(feed)
    relay.join(10)
    os.close(sink)
    with open(result, "rb") as file:
        return file.read()


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_launchers_banner_is_dropped_when_there_is_a_better_sentence(size):
    text = b"=== results ===\nrow\n" + BANNER + b"[mpiexec@host] Sending Ctrl-C\nThe end"
    pieces = [text[i:i + size] for i in range(0, len(text), size)]
    assert relayed(pieces, better=True) == b"=== results ===\nrow\nThe end"
    assert relayed(pieces, better=False) == text


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_open_mpis_blocks_are_dropped_when_there_is_a_better_sentence(size):
    rule = b"-" * 74 + b"\n"
    abort = (rule + b"MPI_ABORT was invoked on rank 2 in communicator MPI_COMM_WORLD\n\nNOTE: it kills all\n" + rule
             + rule + b"prterun has exited due to process rank 2 calling\n\"abort\".\n" + rule + b"\0")
    table, other = b"a  b\n" + rule + b"mpi 1\n" + rule, rule + b"There are not enough slots available\n" + rule
    text = table + abort + other + b"The end\n" + rule
    pieces = [text[i:i + size] for i in range(0, len(text), size)]
    assert relayed(pieces, better=True) == table + other + b"The end\n" + rule
    assert relayed(pieces, better=False) == text


def test_an_mpi_error_is_never_dropped():
    error = b"Abort(672237839) on node 0 (rank 0 in comm 0): Fatal error in internal_Allreduce: Other MPI error\n"
    abort = b"Abort(1) on node 2 (rank 2 in comm 0): application called MPI_Abort(MPI_COMM_WORLD, 1) - process 2\n"
    assert relayed([error, abort], better=True) == error


def test_a_progress_bar_is_passed_on_before_its_line_ends():
    (source, feed), (result, sink) = os.pipe(), os.pipe()
    Relay(source, sink, lambda: False)
    for bar in (b"\r 10 %", b"\r 20 %", b"\n" + b"-" * 74 + b"\n\r 30 %"):
        os.write(feed, bar)
        assert b"".join(os.read(result, 1) for _ in bar) == bar
    os.close(feed)


@pytest.mark.parametrize("told, bar", [({}, True), ({"SLURM_STEP_NUM_TASKS": "2"}, False),
                                       ({"SLURM_STEP_NUM_TASKS": "2", environment.TERMINAL: "1"}, True)])
def test_a_rank_draws_a_bar_only_for_a_terminal_of_the_users(monkeypatch, told, bar):
    """Open MPI gives its ranks terminals even where the job writes to a file."""
    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(isatty=lambda: True))
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert observers.Progress(None, "run")._bar is bar


def test_a_relay_notices_that_its_reader_left():
    (source, feed), (result, sink) = os.pipe(), os.pipe()
    relay = Relay(source, sink, lambda: False)
    os.close(result)
    os.write(feed, b"a line\n")
    os.close(feed)
    relay.join(10)
    assert relay.broken


# -- main ------------------------------------------------------------------------------------------------


@pytest.fixture
def command_line(monkeypatch):
    """A stand-in for `mpimasha.commands.cli`, and what was done with it."""
    done = []
    options = types.SimpleNamespace(ranks=None, launcher=None)

    def validate(options, ranks):
        done.append(("validate", ranks))
        if options.launcher == "invalid":
            raise UserError("no such method")

    def execute(options, comm):
        done.append("execute")
        return 4

    cli = types.SimpleNamespace(parse=lambda argv: options, validate=validate, execute=execute)
    monkeypatch.setitem(sys.modules, "mpimasha.commands.cli", cli)
    monkeypatch.setattr("mpimasha.commands.cli", cli, raising=False)
    monkeypatch.setattr(launch, "spawn", lambda *arguments: done.append(("spawn", *arguments)) or 7)
    return types.SimpleNamespace(options=options, cli=cli, done=done)


@pytest.mark.parametrize("ranks", [None, 1])
def test_one_rank_runs_here(command_line, ranks):
    command_line.options.ranks = ranks
    assert __main__.main(["run"]) == 4
    assert command_line.done == ["execute"]


def test_several_ranks_are_validated_then_launched(command_line):
    command_line.options.ranks, command_line.options.launcher = 3, "mpiexec -v"
    assert __main__.main(["run", "-n", "3"]) == 7
    assert command_line.done == [("validate", 3), ("spawn", 3, ["run", "-n", "3"], "mpiexec -v")]


def test_nothing_is_launched_for_a_mistake(command_line, capsys):
    command_line.options.ranks, command_line.options.launcher = 3, "invalid"
    assert __main__.main(["run", "-n", "3"]) == 2
    assert command_line.done == [("validate", 3)]
    assert capsys.readouterr().err == "mpimasha: error: no such method\n"


def test_ranks_that_were_launched_wrongly_say_so_once(command_line, comm, capsys, pretend_rank):
    for rank in (0, 1):
        pretend_rank(2, rank)
        assert __main__.main(["run"]) == 2
    assert capsys.readouterr().err.count("2 ranks were started, but each is alone") == 1
    assert command_line.done == []


def test_a_spawned_rank_ignores_n(command_line, monkeypatch, tmp_path):
    monkeypatch.setattr(postbox, "watch", lambda box: command_line.done.append("watch"))
    monkeypatch.setattr(launch, "world", lambda: None)
    monkeypatch.setenv("PMI_SIZE", "3")
    monkeypatch.setenv(environment.POSTBOX, str(tmp_path))
    command_line.options.ranks = 3
    assert __main__.main(["run", "-n", "3"]) == 0  # the 4 is in the box
    assert command_line.done == ["watch", "execute"]
    assert json.loads((tmp_path / "code").read_text()) == 4


@pytest.mark.parametrize("ranks", [1, 2])
def test_help_is_no_failure(command_line, monkeypatch, pretend_rank, ranks):
    monkeypatch.setattr(launch, "world", lambda: None)
    pretend_rank(ranks)
    command_line.cli.parse = lambda argv: failing(SystemExit(0))()
    assert __main__.main(["--help"]) == 0


def test_a_closed_pipe_is_no_traceback():
    script = ("import sys, types\n"
              "from mpimasha import __main__\n"
              "lines = lambda *_: [sys.stdout.write('line\\n') for _ in range(10**5)] and 0\n"
              "options = types.SimpleNamespace(ranks=None)\n"
              "cli = types.SimpleNamespace(parse=lambda argv: options, execute=lines)\n"
              "sys.modules['mpimasha.commands.cli'] = cli\n"
              "sys.exit(__main__.main())\n")
    with subprocess.Popen([sys.executable, "-c", script], env=launch.job_environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
