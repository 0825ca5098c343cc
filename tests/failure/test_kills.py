"""Killed at any moment, a run goes on from its last whole checkpoint, and ends as if nothing had been."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mpimasha import launch

pytestmark = pytest.mark.launches

ROUNDS = 8_000
SETTINGS = ["bilinear", "--seed", "3", "--set", "problem.dim=20", "--set", f"stop.rounds={ROUNDS}",
            "--set", "stop.relative_error=0", "--set", "checkpoint.every=50", "--method", "masha1", "--compressor",
            "qsgd:4", "--set", "method.gamma=0.05", "--set", "method.tau=0.9"]
PATIENCE = 60


def start(tmp_path, *argv):
    env = launch.job_environment() | {"TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with open(tmp_path / "said", "ab") as said:
        return subprocess.Popen([sys.executable, "-m", "mpimasha", *argv, "-q"], env=env, cwd=tmp_path,
                                stdin=subprocess.DEVNULL, stdout=said, stderr=said, process_group=0)


def tree(root):
    """Process ids of `root` and everything below it."""
    lines = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.splitlines()
    pairs, found = [tuple(map(int, line.split())) for line in lines], [root]
    for pid in found:
        found += [child for child, parent in pairs if parent == pid]
    return found


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def wait_until(what, job):
    patience = time.monotonic() + PATIENCE
    while not what() and job.poll() is None:
        assert time.monotonic() < patience
        time.sleep(0.002)


def whole(folder):
    """Rounds of the whole checkpoints."""
    return {int(path.parent.name.split("-")[1]) for path in (folder / "checkpoints").glob("round-*/complete.json")}


def ranks_of(folder):
    """Process ids of the ranks that work in `folder` now."""
    told = json.loads((folder / "manifest.json").read_text())
    return [rank["pid"] for rank in (told.get("resumed") or [told])[-1]["ranks"]]


def content(folder):
    with np.load(folder / "final.npz") as final:
        arrays = {name: final[name].tobytes() for name in final.files}
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return arrays, [{key: value for key, value in row.items() if key not in ("seconds", "wire_bytes")} for row in rows]


def test_a_run_that_is_killed_again_and_again_ends_like_one_that_was_not(tmp_path):
    draws, folder = random.Random(5), tmp_path / "killed"
    alone = start(tmp_path, "run", *SETTINGS, "--out", "alone")
    assert alone.wait(PATIENCE) == 0
    kills, ranks = ["all", "one", "all"], ["2", "1", "3"]
    job = start(tmp_path, "run", "-n", "2", *SETTINGS, "--out", "killed")
    try:
        for how, again in zip(kills, ranks):
            known = whole(folder)
            wait_until(lambda: whole(folder) - known, job)
            time.sleep(draws.uniform(0, 0.2))
            assert job.poll() is None, (tmp_path / "said").read_text()
            if how == "all":
                kill(tree(job.pid))
            else:
                kill([draws.choice(ranks_of(folder))])
            assert job.wait(PATIENCE) not in (0, 2, 4, 8)
            assert whole(folder) and not (folder / "final.npz").exists()
            job = start(tmp_path, "resume", *(["-n", again] if again != "1" else []), "killed")
        assert job.wait(PATIENCE) == 0, (tmp_path / "said").read_text()
    finally:
        kill(tree(job.pid))
        job.wait()
    assert content(folder) == content(tmp_path / "alone")
    resumed = [again["round"] for again in json.loads((folder / "manifest.json").read_text())["resumed"]]
    assert len(resumed) == len(kills) and resumed == sorted(resumed) and resumed[0] > 0
    assert len(list((folder / "checkpoints").iterdir())) == 2
