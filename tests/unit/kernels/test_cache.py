"""The on-disk cache of kernels: damaged, full or not to be had it is passed over, and no code gets another's name."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numba
import pytest

from mpimasha.kernels import _cache, _jit

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

KERNEL = """
from mpimasha.kernels._jit import kernel


@kernel
def twice(x):
    return x + x
"""


@pytest.fixture
def process(tmp_path, monkeypatch):
    """``process()``: the kernel `twice` as a new process has it, its cache in ``tmp_path/cache``."""
    (tmp_path / "doubling.py").write_text(KERNEL)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_cache, "_said", [])

    def start():
        spec = importlib.util.spec_from_file_location("doubling", tmp_path / "doubling.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.twice

    return start


def hits(function):
    return sum(function.stats.cache_hits.values())


def cached(folder, ending):
    return sorted(Path(folder).rglob(f"*.{ending}"))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


DAMAGES = {"cut off": truncate, "empty": lambda path: path.write_bytes(b""),
           "garbage": lambda path: path.write_bytes(b"\x93garbage" * 40),
           "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size))}


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_anew_with_one_word_and_mended(process, tmp_path, caplog, damage, ending):
    assert process()(2.0) == 4.0
    file, = cached(tmp_path, ending)
    DAMAGES[damage](file)
    assert process()(2.0) == 4.0
    said, = caplog.messages
    assert "damaged" in said and "\n" not in said
    mended = process()
    assert mended(2.0) == 4.0 and hits(mended) == 1


def test_code_under_the_name_of_another_signature_is_not_run(process, tmp_path, caplog):
    """What two processes leave in a cache without a lock."""
    kernel = process()
    kernel(2.0), kernel(3)
    first, second = cached(tmp_path, "nbc")
    first.write_bytes(second.read_bytes())
    again = process()
    assert (again(2.5), again(3)) == (5.0, 6)
    assert len(caplog.messages) == 1 and "damaged" in caplog.messages[0]


def test_a_disk_that_is_full_leaves_the_compiled_code_in_memory(process, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "_save_data", full)
    kernel = process()
    assert (kernel(2.0), kernel(2.0), kernel(3)) == (4.0, 4.0, 6)
    assert caplog.messages == ["compiled kernels are not kept, every start compiles them (OSError: [Errno 28] No space "
                               "left on device)"]
    monkeypatch.undo()
    assert process()(2.5) == 5.0  # the index already names the file that was never written


def test_a_folder_that_cannot_be_made_is_said_at_the_first_compilation(process, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file in its place")
    kernel = process()
    assert caplog.messages == []  # nothing is compiled by `mpimasha list`
    assert (kernel(2.0), kernel(3), process()(2.0)) == (4.0, 6, 4.0)
    assert caplog.messages == [f"compiled kernels are not kept, every start compiles them ({tmp_path}/cache cannot be "
                               "written)"]


def test_the_source_folder_never_holds_compiled_code(process, tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    assert process()(2.0) == 4.0 and cached(tmp_path, "nbi") == []


def test_no_temporary_folder_at_all_means_no_cache(process, monkeypatch, caplog):
    def none_usable():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")

    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(_jit.tempfile, "gettempdir", none_usable)
    monkeypatch.setattr(_jit, "cache_folder", _jit.cache_folder.__wrapped__)
    assert process()(2.0) == 4.0
    assert len(caplog.messages) == 1 and "no private folder" in caplog.messages[0]


def test_a_lock_that_is_never_given_back_is_waited_for_no_longer_than_patience(process, tmp_path, monkeypatch, caplog):
    assert process()(2.0) == 4.0
    monkeypatch.setattr(_cache, "_PATIENCE", 0.05)
    lock, = cached(tmp_path, "nbi")[0].parent.glob("lock")
    with lock.open() as held:
        _cache.fcntl.flock(held, _cache.fcntl.LOCK_EX)
        assert process()(2.0) == 4.0
    assert len(caplog.messages) == 1 and "holds the lock" in caplog.messages[0]
    kernel = process()
    assert kernel(2.0) == 4.0 and hits(kernel) == 1


RACE = """
import json, sys, time
import numpy as np
from doubling import twice
from numba.core.caching import IndexDataCacheFile

load = IndexDataCacheFile._load_index
IndexDataCacheFile._load_index = lambda index: (load(index), time.sleep(0.1))[0]  # for another to come between
while time.time() < float(sys.argv[2]):
    pass
types = [np.float32, np.float64, np.int64, np.uint32]
types = types[int(sys.argv[1]):] + types[:int(sys.argv[1])]
print(json.dumps([float(twice(kind(3))) for kind in types] + [sum(twice.stats.cache_hits.values())]))
"""


@pytest.mark.slow
def test_processes_that_compile_different_signatures_at_once_do_not_spoil_the_cache(process, tmp_path):
    path = os.pathsep.join([str(tmp_path), *(entry or os.getcwd() for entry in sys.path)])
    for attempt in range(2):
        env = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / f"cache{attempt}")}
        at = str(time.time() + 3)
        running = [subprocess.Popen([sys.executable, "-c", RACE, str(place), at], env=env, stdout=subprocess.PIPE)
                   for place in range(3)]
        told = [json.loads(process.communicate()[0]) for process in running]
        assert [numbers[:4] for numbers in told] == [[6.0] * 4] * 3
        after = subprocess.run([sys.executable, "-c", RACE, "0", "0"], env=env, capture_output=True, text=True)
        assert json.loads(after.stdout) == [6.0] * 4 + [4] and after.stderr == ""
