"""The cache of compiled kernels: shared without harm, and never the reason why a program fails."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from mpimasha.kernels import _cache, _jit

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

# Twice a number, whatever its type; the time in which a second process would do harm is made long.
TWICE = """
import sys, time
import numpy as np
from numba.core import caching
from mpimasha.kernels import updates
written = caching.IndexDataCacheFile._save_data
caching.IndexDataCacheFile._save_data = lambda *given: (time.sleep(float(sys.argv[1])), written(*given))
for name in sys.argv[2:]:
    x = np.arange(5, dtype=name)
    out = np.zeros_like(x)
    updates.combine1(out, 2.0, x)
    assert out.tolist() == [0, 2, 4, 6, 8], (name, out)
print(sum(updates.combine1.stats.cache_hits.values()))
"""


def start(folder, *words, pause=0.0):
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen([sys.executable, "-c", TWICE, str(pause), *words], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE,
                            env=os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder)})


def ended(process):
    """(how many kernels it found compiled, what it said)."""
    printed, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    return int(printed), said


def test_processes_that_compile_at_once_leave_a_sound_cache(tmp_path):
    both = [start(tmp_path, kind, pause=0.5) for kind in ("float32", "float64")]
    assert [ended(process) for process in both] == [(0, "")] * 2
    assert ended(start(tmp_path, "float32", "float64")) == (2, "")


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:len(whole) // 2], lambda whole: b"?" * 99],
                         ids=["empty", "half", "garbage"])
def test_a_damaged_file_is_compiled_again_and_replaced(tmp_path, damage):
    ended(start(tmp_path, "float64"))
    files = [path for path in Path(tmp_path).rglob("*.nb?") if "combine1" in path.name]
    assert len(files) == 2
    for file in files:
        file.write_bytes(damage(file.read_bytes()))
    hits, said = ended(start(tmp_path, "float64"))
    assert hits == 0 and said.count("\n") == 1 and "cannot be read" in said and "compiled anew" in said
    assert ended(start(tmp_path, "float64")) == (1, "")


class Full:
    """A cache on a disk without room."""

    cache_path = "/a/full/disk"

    def load_overload(self, signature, target):
        raise EOFError

    def save_overload(self, signature, compiled):
        raise OSError(28, "No space left on device")

    flush = save_overload


def test_a_full_disk_is_said_once_and_no_reason_to_fail(monkeypatch, caplog):
    monkeypatch.setattr(_cache, "_told", [])
    cache = _cache.Guarded(Full())
    assert cache.load_overload("signature", None) is None
    cache.save_overload("signature", None)
    assert len(caplog.messages) == 1 and "/a/full/disk" in caplog.messages[0] and "EOFError" in caplog.messages[0]


def test_no_temporary_folder_at_all_means_no_cache(monkeypatch, caplog):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(_cache, "_told", [])
    monkeypatch.setattr(_jit.tempfile, "gettempdir", none)
    assert _jit.cache_folder.__wrapped__() is None
    assert "No usable temporary directory" in caplog.text
