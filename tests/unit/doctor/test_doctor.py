"""The doctor's report, and that it looks, launches and ends as it says."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from findings import of_installation, of_machine, ranks

from mpimasha import __main__
from mpimasha.doctor import facts, finding, probe, report
from mpimasha.doctor.finding import NOTE, OK, PROBLEM, Finding
from mpimasha.mpi import environment
from mpimasha.mpi.communicator import Communicator

# -- the report ----------------------------------------------------------------------------------------------------

FINDINGS = [Finding("launch", "ranks", OK, "4 were started"),
            Finding("machine", "cores", PROBLEM, "one two three four " * 6, "five six seven eight " * 6),
            Finding("machine", "cache", NOTE, "cold")]


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_a_terminal_gets_lines_that_fit(width):
    lines = report.text(FINDINGS, width).splitlines()
    assert max(map(len, lines)) <= min(width, 120)
    assert lines[-1] == "1 note, 1 problem." and any(line.strip().startswith("-> five") for line in lines)
    assert " ".join(" ".join(lines).split()).count("seven") == 6  # nothing is lost


def test_a_pipe_gets_one_line_a_finding():
    lines = report.text(FINDINGS, None).splitlines()
    problem, = (line for line in lines if " problem " in line)
    assert "four  -> five" in problem and problem.rstrip().endswith("eight")


@pytest.mark.parametrize("count, words", [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (2.5e9, "2.50 GB")])
def test_sizes_have_three_digits(count, words):
    assert finding.size(count) == words


@pytest.mark.parametrize("seconds, words", [(7.13e-6, "7.13 us"), (2e-3, "2.00 ms"), (1.5, "1.50 s"), (0.0, "0 us")])
def test_times_have_three_digits(seconds, words):
    assert finding.time(seconds) == words


# -- on this machine --------------------------------------------------------------------------------------------------

alone = pytest.mark.skipif(bool(environment.launched_ranks()), reason="pretends to be, or not to be, launched")


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    """``doctor(*argv)``: exit code, text and record, run in this process in an empty folder that stays empty."""
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        code = __main__.main(["doctor", *argv, "--json"])
        said = capsys.readouterr()
        assert os.listdir(tmp_path) == []
        assert said.err == ""
        return code, said.out, json.loads(said.out.splitlines()[-1]) if said.out else None
    return run


@alone
def test_facts_are_plain_and_those_of_this_process():
    found = facts.of_this_rank(Communicator())
    json.dumps(found)
    assert found["cores"] == sorted(os.sched_getaffinity(0))
    space = os.statvfs(found["temporary"]["folder"])
    assert found["temporary"]["free"] == pytest.approx(space.f_bavail * space.f_frsize, rel=0.1)
    assert 10e6 < found["resident"] < 10e9 and found["memory"]["available"] > 0


@alone
def test_a_folder_is_judged_by_writing_and_left_as_it_was(tmp_path):
    assert facts._folder(tmp_path, "")["writable"] and os.listdir(tmp_path) == []
    assert facts._folder(tmp_path / "not" / "yet", "")["writable"] and os.listdir(tmp_path) == []
    assert not facts._folder("/proc", "")["writable"]
    for mode, private in ((0o770, False), (0o702, False), (0o755, True), (0o700, True)):
        tmp_path.chmod(mode)
        assert facts._private(tmp_path) == private


@alone
def test_the_exit_code_says_whether_a_problem_was_found(doctor):
    code, text, record = doctor()
    assert code == (1 if record["problems"] else 0)
    assert record["ranks"] == 1 and record["exchange"] is None and record["experiments"] == []
    for row in record["findings"]:
        assert row["value"] in text and row["level"] in (OK, NOTE, PROBLEM)


@alone
def test_without_mpi_the_doctor_still_examines(doctor, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    _, _, record = doctor("bilinear")
    levels = {row["name"]: row["level"] for row in record["findings"]}
    assert levels["MPI"] == NOTE and levels["ranks"] == OK and levels["model bits"] == OK
    code, _, record = doctor("-n", "2")
    assert code == 1 and [r["level"] for r in record["findings"] if r["name"] in ("ranks", "launcher")] == [PROBLEM] * 2


@alone
def test_ranks_that_are_each_alone_are_told_so_once(doctor, comm, pretend_rank):
    pretend_rank(4)
    code, _, record = doctor()
    assert code == 1 and {"ranks": PROBLEM}.items() <= {r["name"]: r["level"] for r in record["findings"]}.items()
    pretend_rank(4, 2)
    assert doctor() == (0, "", None)  # a launcher may end all ranks for one that fails


@pytest.mark.parametrize("argv, word", [
    (["nonsense"], "'nonsense'"), (["-n", "0"], "-n 0"), (["-n", "3", "bilinear", "--workers", "2"], "workers = 2"),
    (["bilinear", "--method", "masha9"], "masha9"), (["--workers", "3"], "experiment"), (["--out", "x"], "--out"),
    (["bilinear", "--method", "og", "--compressor", "randk:0.1"], "randk")])
@alone
def test_a_mistake_is_one_sentence_and_nothing_is_examined(argv, word, capsys):
    assert __main__.main(["doctor", *argv]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and word in said.err


@pytest.mark.launches
def test_two_ranks_are_examined_together(run_cli, tmp_path):
    job = run_cli(["doctor", "bilinear", "--json"], ranks=2)
    record = json.loads(job.stdout.splitlines()[-1])
    levels = {row["name"]: row["level"] for row in record["findings"]}
    assert job.returncode == (1 if record["problems"] else 0) and job.stderr == ""
    assert record["ranks"] == 2 and levels["ranks"] == levels["launcher"] == levels["wire"] == OK
    assert 0 < record["exchange"]["latency"][0] <= record["exchange"]["latency"][1]
    assert job.stdout.count("\nmachine\n") == 1 and list(tmp_path.iterdir()) == []


# -- it ends -----------------------------------------------------------------------------------------------------------


class Slow:
    """A communicator of two ranks, of whom each exchange takes `seconds`."""

    def __init__(self, seconds):
        self.size, self.rank, self.seconds, self.count = 2, 0, seconds, 0
        self.billed_to = Communicator().billed_to

    def allgather_bytes(self, send, receive, counts, displacements):
        time.sleep(self.seconds)
        self.count += 1

    def broadcast(self, array):
        return array

    def gather_objects(self, value):
        return [value, 2 * value]


@pytest.mark.parametrize("seconds, given, fewest, most", [(0.001, 0.3, 20, 310), (0.05, 1.0, 8, 26), (0.2, 0.2, 4, 4)])
def test_probes_take_the_time_they_are_given(seconds, given, fewest, most):
    comm = Slow(seconds)
    found = probe.collectives(comm, given)
    assert fewest <= comm.count <= most  # at least the first and one more, of each kind
    assert seconds <= found["latency"][0] < found["latency"][1]  # the median of x and 2x, and 2x


def hanging(script):
    started = time.monotonic()
    script = f"import time\nfrom mpimasha.mpi import patience\n{script}"
    done = subprocess.run([sys.executable, "-c", script], timeout=60, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert time.monotonic() - started < 20
    return done


def test_a_rank_that_hangs_ends_and_shows_where():
    done = hanging("def deep():\n    time.sleep(60)\nwith patience.of_a_rank(1):\n    deep()")
    assert done.returncode == 1 and "in deep" in done.stderr


def test_a_launcher_that_hangs_is_interrupted_with_a_sentence():
    done = hanging("with patience.with_a_launcher(1):\n    time.sleep(60)")
    assert done.returncode == -signal.SIGINT and "have not come back within 1 s" in done.stderr


def test_patience_is_over_with_the_examination():
    done = hanging("with patience.of_a_rank(1), patience.with_a_launcher(1):\n    pass\n"
                   "time.sleep(1.2)\nprint('still here')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "still here\n", "")


def test_no_temporary_folder_at_all_is_a_finding_and_not_a_failure(monkeypatch):
    def none_usable():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")

    monkeypatch.setattr(facts.tempfile, "gettempdir", none_usable)
    monkeypatch.setattr(facts, "_writable", lambda folder: False)
    seen = facts.of_this_rank(Communicator())
    assert of_machine([seen], "temporary").level == PROBLEM


def test_a_variable_that_chooses_the_wrong_library_is_to_be_unset():
    job = ranks(2, mpi__library=None, mpi__error="libmpi.so.40 is missing", variables__MPI4PY_MPIABI="openmpi")
    assert of_installation(job, "MPI").advice == "unset MPI4PY_MPIABI, or name a library that is here"
    alone = [job[0] | {"size": 1}]
    assert of_installation(alone, "ranks").advice.startswith("unset MPI4PY_MPIABI, ")
