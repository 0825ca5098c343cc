"""Kernels compiled ahead: by a second process, while the first tests of a long run need none."""

import os
import subprocess
import sys
from pathlib import Path

import numba
from jobs import end

WITHOUT_KERNELS = ("unit/test_docs.py", "unit/test_architecture.py", "unit/test_documents.py", "unit/data",
                   "unit/doctor", "unit/experiment", "unit/commands/test_cli_errors.py",
                   "unit/commands/test_encodings.py")
COMPILING = ("contract/test_checkpoints.py", "contract/test_shipped_parts_pass_the_kit.py", "unit/kernels",
             "unit/problems", "contract/test_masha_follows_its_pseudocode.py", "convergence")
MANY = 2000  # tests, for which it is worth while
THAT = "MPIMASHA_TEST_AHEAD"  # marks the second process
TESTS = Path(__file__).parent


def compile_for(session):
    """Start it; it runs tests that compile most, and ends with the session."""
    if len(session.items) < MANY or session.config.option.collectonly or numba.config.DISABLE_JIT or THAT in os.environ:
        return
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow and not ranks and not launches",
               "-p", "no:cacheprovider", *(str(TESTS / name) for name in COMPILING)]
    second = subprocess.Popen(command, cwd=session.config.rootpath, env=os.environ | {THAT: "1"}, process_group=0,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              preexec_fn=lambda: os.nice(10))
    session.config.add_cleanup(lambda: end(second))


def sort(items):
    """First what needs no kernels; last what starts jobs, which take all cores."""
    if len(items) >= MANY:
        items.sort(key=_turn)


def _turn(item):
    if str(item.path).startswith(tuple(str(TESTS / name) for name in WITHOUT_KERNELS)):
        return 0
    return 2 if item.get_closest_marker("launches") or item.get_closest_marker("ranks") else 1
