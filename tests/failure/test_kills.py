"""Killed at any moment, a run goes on from its last whole checkpoint, and ends as if nothing had been.

``MPIMASHA_TEST_KILLS=20 pytest -s -m slow tests/failure/test_kills.py`` kills so often (default 4), as drawn with
``MPIMASHA_TEST_KILLS_SEED`` (default 5), and prints what each kill met.  One rank is killed, or all processes of the
job; when:

``write``
    caught in the act: a folder of a checkpoint is there without ``complete.json``, or a temporary file;
``work``
    some checkpoints and milliseconds later than the last time;
``start``
    within two seconds of the command, be the run taken up by then or not.
"""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass

import pytest
from lanes import fast
from rundirs import content, ranks_of, round_of, whole

from mpimasha.commands import cli
from mpimasha.kernels import _jit
from mpimasha.mpi import launch

KILLS = int(os.environ.get("MPIMASHA_TEST_KILLS", "4"))
SEED = int(os.environ.get("MPIMASHA_TEST_KILLS_SEED", "5"))
EVERY, ROUNDS = 25, 500 + 300 * KILLS
SETTINGS = ["bilinear", "--seed", "3", "--workers", "6", "--set", "problem.dim=20", "--set", f"stop.rounds={ROUNDS}",
            "--set", "stop.relative_error=0", "--set", f"checkpoint.every={EVERY}", "--method", "masha1",
            "--compressor", "qsgd:4", "--set", "method.gamma=0.05", "--set", "method.tau=0.9"]
PATIENCE = 120

pytestmark = [pytest.mark.launches, pytest.mark.timeout(120 + 60 * KILLS),
              pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="finds processes in /proc")]


@dataclass
class Kill:
    """What was killed and when, and what it left of a write."""

    when: str
    whom: str
    ranks: int
    torn: list  # names
    round: int  # of the newest whole checkpoint

    def __str__(self):
        return f"{self.when:5} {self.whom} of {self.ranks} ranks, round {self.round}, torn: {', '.join(self.torn)}"


class Victim:
    """A run in `folder`, started again after each kill."""

    def __init__(self, folder, draws):
        self.folder, self.draws, self.home = folder, draws, folder.parent
        self.env = launch.job_environment() | {"TMPDIR": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache")}
        if _jit.cache_folder():  # kernels need not be compiled again
            self.env["NUMBA_CACHE_DIR"] = _jit.cache_folder()

    def start(self, ranks, command, *argv):
        self.ranks, self.known, self.left = ranks, whole(self.folder), unfinished(self.folder)
        several = [] if ranks == 1 else ["-n", str(ranks)]
        with open(self.home / "said", "ab") as said:
            self.job = subprocess.Popen([sys.executable, "-m", "mpimasha", command, *several, *argv, "-q"],
                                        env=self.env, cwd=self.home, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                        process_group=0)

    def torn(self):
        """What this job has begun to write and not finished."""
        return unfinished(self.folder) - self.left

    def wait_until(self, what):
        patience = time.monotonic() + PATIENCE
        while not what():
            assert self.job.poll() is None, (self.home / "said").read_text()
            assert time.monotonic() < patience
            time.sleep(0.0005)

    def kill(self, when):
        """Kill `when`, wait until all of the job is gone; the `Kill`."""
        whom, uniform = self.draws.choice(["all", "one"]) if when != "start" else "all", self.draws.uniform
        aim = max(self.known, default=0) + EVERY * self.draws.randrange(1, 5)
        ready = time.monotonic() + uniform(0, 2) if when == "start" else math.inf
        self.wait_until(lambda: max(whole(self.folder), default=0) >= aim or time.monotonic() > ready)
        victims = self.processes() if whom == "all" else [self.draws.choice(ranks_of(self.folder))]
        if when == "write":
            self.wait_until(self.torn)
        time.sleep(uniform(0, {"write": 0.002, "work": 0.02, "start": 0.0}[when]))
        assert self.job.poll() is None, (self.home / "said").read_text()
        kill(victims)
        if whom == "all":
            self.end()
        else:  # the others must not stay
            assert self.job.wait(PATIENCE) not in (0, 2, 4, 8)
            patience = time.monotonic() + 5
            while self.processes():
                assert time.monotonic() < patience
                time.sleep(0.01)
        torn = sorted(path.name for path, _ in self.torn())
        return Kill(when, whom, self.ranks, torn, max(whole(self.folder)))

    def end(self):
        """Kill every process of the job, those included that are just being started."""
        while pids := self.processes():
            kill(pids)
            self.job.poll()
        self.job.wait()

    def processes(self):
        """Process ids of the job, known by an entry of their environment."""
        mark, found = b"TMPDIR=" + os.fsencode(self.home), []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    found += [int(name)] if mark in file.read().split(b"\0") else []
            except OSError:  # has ended, or is not ours
                pass
        return found


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def unfinished(folder):
    """{(path, time of its last change)} of folders newer than the last whole checkpoint, and of temporary files."""
    newest, found = max(whole(folder), default=-1), set()
    for path in [*(folder / "checkpoints").glob("round-*"), *(folder / "checkpoints").glob("round-*/.*")]:
        try:
            if path.name[0] == "." or round_of(path) > newest and not (path / "complete.json").exists():
                found.add((path, path.stat().st_mtime_ns))
        except FileNotFoundError:  # finished
            pass
    return found


def command(*argv):
    return cli.execute(cli.parse([*argv, "-q"]), None)


def resumed(folder):
    """Rounds at which the run in `folder` was taken up."""
    return [again["round"] for again in json.loads((folder / "manifest.json").read_text()).get("resumed", [])]


@pytest.mark.parametrize("count", fast([1, KILLS], 0))
def test_a_run_that_is_killed_again_and_again_ends_each_time_like_one_that_was_not(tmp_path, monkeypatch, count):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    alone, folder, copy, kills = tmp_path / "alone", tmp_path / "killed", tmp_path / "copy", []
    assert command("run", *SETTINGS, "--out", str(alone), "--set", "checkpoint.every=0") == 0
    wanted, draws = content(alone), random.Random(SEED)
    victim = Victim(folder, draws)
    victim.start(2, "run", *SETTINGS, "--out", "killed")
    try:
        while len(kills) < count:
            hit = sum(bool(kill.torn) for kill in kills)
            when = "write" if 2 * hit <= len(kills) else draws.choice(["work", "work", "start"])
            kills.append(victim.kill(when))
            sys.stdout.write(f"{len(kills)}. {kills[-1]}\n")
            assert not (folder / "final.npz").exists()
            shutil.copytree(folder, copy)
            assert command("resume", str(copy), "--set", "checkpoint.every=0") == 0
            assert resumed(copy)[-1] == kills[-1].round and content(copy) == wanted
            shutil.rmtree(copy)
            rare = ["--set", "checkpoint.every=500"] if len(kills) == count else []  # disks that are slow to sync
            victim.start(draws.choice([1, 2, 3]), "resume", "killed", *rare)
        assert victim.job.wait(PATIENCE) == 0, (tmp_path / "said").read_text()
    finally:
        victim.end()
    hits = [kill for kill in kills if kill.torn]
    sys.stdout.write(f"{dict(Counter((kill.when, kill.whom) for kill in kills))}, {len(hits)} torn: "
                     f"{dict(Counter((kill.when, kill.whom) for kill in hits))}\n")
    assert content(folder) == wanted and 3 * len(hits) >= count - 1
    assert resumed(folder) == sorted(resumed(folder)) and resumed(folder)[-1] == kills[-1].round > 0
    assert len(list((folder / "checkpoints").iterdir())) == 2
