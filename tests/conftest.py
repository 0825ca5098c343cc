"""Tests over several ranks.

A test marked ``ranks(2, 3)`` is run twice by a plain ``pytest``: as ``mpiexec -n 2 python -m pytest
THIS_TEST`` and again with 3, those of a file together.  Inside, its body runs on every rank and `comm` is the world.
Under ``mpirun -n 4 python -m pytest --with-mpi`` it runs in that world instead.  A test marked ``launches``
starts jobs of its own; one marked ``slow`` waits for ``pytest -m slow``, ``pytest -m ""`` runs all.
"""

import atexit
import functools
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

import ahead
import pytest
from jobs import LIMIT, remove_leftovers, start_job

from mpimasha.errors import LaunchError
from mpimasha.mpi import environment, launch, leftovers

environment.prepare()

SIZE = environment.launched_ranks() or 1
RANK = environment.launched_rank() or 0
REPORTS = "MPIMASHA_TEST_REPORTS"  # the folder in which ranks started by `RankedTest` leave theirs


@pytest.fixture(scope="session", autouse=True)
def shared_memory():
    """Removes what jobs of this session that were killed left in /dev/shm."""
    before = leftovers.present()
    yield
    if SIZE == 1:
        remove_leftovers(before)


# -- jobs --------------------------------------------------------------------------------------


@pytest.fixture
def run_job(tmp_path):
    """`start_job` in `tmp_path`."""
    return functools.partial(start_job, cwd=tmp_path)


@pytest.fixture
def run_cli(run_job):
    """``run_cli(["run", ...], ranks=None, timeout=60)``: the command line in `tmp_path`, as a user has it."""

    def run(args, ranks=None, timeout=LIMIT, env=None):
        start = [] if ranks is None else ["-n", str(ranks)]
        return run_job([sys.executable, "-m", "mpimasha", args[0], *start, *args[1:]], timeout, env)

    return run


@functools.cache
def find_launcher():
    """(path of mpiexec, None) or (None, why there is none)."""
    try:
        return launch.find_launcher(), None
    except LaunchError as error:
        return None, str(error)


@pytest.fixture
def mpiexec():
    """Path of the launcher of the loaded MPI."""
    return find_launcher()[0]


@pytest.fixture
def comm():
    """The world this test runs in: of several ranks for a test marked `ranks`."""
    if SIZE == 1:  # a process alone does not start MPI by itself
        MPI = pytest.importorskip("mpi4py.MPI", exc_type=(ImportError, RuntimeError))
        if not MPI.Is_initialized():
            MPI.Init_thread()
            atexit.register(MPI.Finalize)
    return launch.world()


@pytest.fixture
def pretend_rank(monkeypatch):
    """``pretend_rank(size, rank=0)``: what MPICH's launcher tells a rank; nobody answers at the other end."""
    ours, theirs = socket.socketpair()

    def pretend(size, rank=0):
        for name, value in (("PMI_FD", ours.fileno()), ("PMI_SIZE", size), ("PMI_RANK", rank)):
            monkeypatch.setenv(name, str(value))

    with ours, theirs:
        yield pretend


# -- outside: one launch a file and number of ranks -----------------------------------------------


class RanksFailed(Exception):
    """What the ranks of a test reported."""


class RankedTest(pytest.Item):
    """Stands for a test marked `ranks` in the process that launches it."""

    def __init__(self, *, original, **kwargs):
        super().__init__(**kwargs)
        self.original = original
        self.own_markers = list(original.own_markers)
        self.ranks = original.callspec.params["ranks"]

    def runtest(self):
        mpiexec, reason = find_launcher()
        if mpiexec is None:
            pytest.skip(reason)
        told = self.session.stash.setdefault(TOLD, {})
        if self.nodeid not in told:
            told |= self._launched(mpiexec)
        self._judge(*told[self.nodeid])

    def together(self, items):
        """Those of `items` that one launch can run with this one, itself included."""
        return [item for item in items if isinstance(item, RankedTest)
                and (item.path, item.ranks) == (self.path, self.ranks)]

    def _launched(self, mpiexec):
        """{test: (job, what each rank reported)} of this test and of those after it that the same launch can run."""
        items = self.session.items
        tests = self.together(items[items.index(self):])
        with tempfile.TemporaryDirectory(prefix="mpimasha-test-", ignore_cleanup_errors=True) as folder:
            options = ["-q", "-m", "", "--no-header", f"--basetemp={folder}/tmp", "-p", "no:cacheprovider",
                       "-p", "no:hypothesispytest"]  # costs a second
            job = start_job([mpiexec, "-n", str(self.ranks), sys.executable, "-m", "pytest", *options,
                             *(test.nodeid for test in tests)],
                            sum(limit(test) for test in tests) + LIMIT, {REPORTS: folder}, self.config.rootpath)
            reports = [_reports(folder, rank) for rank in range(self.ranks)]
        told = {test.nodeid: (job, [report.get(test.nodeid, SILENT) for report in reports]) for test in tests}
        outcomes = {word["outcome"] for _, said in told.values() for word in said}
        if job.returncode and outcomes <= {"passed", "skipped"}:
            told[self.nodeid] = job, [SILENT] * self.ranks
        # after one that ended the job the others get a launch of their own
        return {test: (job, said) for test, (job, said) in told.items()
                if test == self.nodeid or all(word != SILENT for word in said)}

    def _judge(self, job, reports):
        outcomes = {report["outcome"] for report in reports}
        if outcomes == {"skipped"}:
            pytest.skip(reports[0]["text"])
        if outcomes == {"passed"}:
            return
        said = [f"-- rank {rank} of {self.ranks}: {report['outcome']}\n{report['text']}"
                for rank, report in enumerate(reports)]
        if "failed" not in outcomes:  # a crash, or a rank that never came back
            ending = "killed: it took too long" if job.timed_out else f"exit code {job.returncode}"
            said += [f"-- {ending}\n{job.stdout}{job.stderr}"]
        raise RanksFailed("\n".join(said))

    def repr_failure(self, excinfo, style=None):
        return str(excinfo.value) if excinfo.errisinstance(RanksFailed) else super().repr_failure(excinfo, style)

    def reportinfo(self):
        return self.original.reportinfo()


TOLD = pytest.StashKey()
SILENT = {"outcome": "silent", "text": ""}


def limit(item):
    """Seconds for a test marked `ranks`."""
    return item.get_closest_marker("ranks").kwargs.get("limit", LIMIT)


def _reports(folder, rank):
    """{test: {"outcome", "text"}} of what one rank told."""
    try:
        lines = Path(folder, f"rank.{rank}").read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {told.pop("test"): told for told in map(json.loads, lines)}


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("ranks")
    if marker is not None:
        metafunc.fixturenames.append("ranks")
        slow = marker.kwargs.get("slow", ())
        assert 1 not in (*marker.args, *slow), "a launch of one rank would launch itself"
        later = [pytest.param(n, marks=pytest.mark.slow) for n in slow]
        metafunc.parametrize("ranks", [*marker.args, *later] if SIZE == 1 else (SIZE,), ids=lambda n: f"n={n}")


def pytest_collection_finish(session):
    if SIZE == 1:
        ahead.compile_for(session)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    if SIZE == 1:
        ahead.sort(items)
        items[:] = [RankedTest.from_parent(item.parent, name=item.name, original=item)
                    if item.get_closest_marker("ranks") else item for item in items]
        ranked = [item for item in items if isinstance(item, RankedTest)]
        for item in ranked:  # whichever comes first waits for all of a launch
            item.add_marker(pytest.mark.timeout(2 * LIMIT + sum(map(limit, item.together(ranked)))), append=False)


def pytest_runtest_setup(item):
    if item.get_closest_marker("launches"):
        if SIZE > 1:
            pytest.skip("starts jobs of its own")
        if find_launcher()[0] is None:
            pytest.skip(find_launcher()[1])


# -- inside: a rank that fails must not leave the others waiting ----------------------------------


class Rank:
    """What is different for a pytest that is one rank of several."""

    def __init__(self, config):
        self.config = config
        self.reports = os.environ.get(REPORTS)

    def pytest_itemcollected(self, item):
        asked = any(self.config.getoption(option, False) for option in ("--with-mpi", "--only-mpi"))
        if asked and item.get_closest_marker("ranks"):
            item.add_marker(pytest.mark.mpi)
        if self.reports:  # a rank that hangs shows its stacks and ends the job
            item.add_marker(pytest.mark.timeout(0.9 * limit(item), method="thread"), append=False)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:
            self._tell(report)
        if report.failed:
            time.sleep(0.5)  # for others that fail as well to tell
            launch.world().Abort(1)

    def _tell(self, report):
        text = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else report.longreprtext
        text += "".join(f"\n-- {title}\n{content}" for title, content in report.sections)
        if self.reports:
            with Path(self.reports, f"rank.{RANK}").open("a") as file:
                file.write(json.dumps({"test": report.nodeid, "outcome": report.outcome, "text": text}) + "\n")
        elif report.failed:
            terminal = self.config.get_terminal_writer()
            terminal.write(f"\n-- rank {RANK} of {SIZE}: {report.nodeid} failed\n{text}\n")
            terminal.flush()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if SIZE > 1:
        base = Path(config.option.basetemp or Path(tempfile.gettempdir(), f"mpimasha-tests-{os.getppid()}"))
        if config.option.basetemp is None:
            config.add_cleanup(lambda: shutil.rmtree(base, ignore_errors=True))
        base.mkdir(parents=True, exist_ok=True)
        config.option.basetemp = str(base / f"rank{RANK}")
        config.pluginmanager.register(Rank(config))
