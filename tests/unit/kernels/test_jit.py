"""The compiling decorator: same numbers without it, a private disk cache, and the user's settings left alone."""

import json
import os
import subprocess
import sys
import warnings

import numba
import numpy as np
import pytest

from mpimasha.kernels import _jit

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

NUMBERS = """
import json
import numpy as np
from mpimasha.kernels import hashing
from mpimasha.kernels.compress import sampling
from mpimasha.kernels.operators import ellpack

keys = [hashing.stream_key(s, 2, w, 7) for s in (0, 5, -3, 2**63 + 1) for w in (-1, 0, 4)]
numbers = [[int(k), int(hashing.hash64(k, 11)), float(hashing.uniform(k, 3))] for k in keys]
numbers += [int(hashing.mix64(np.int64(-1))), int(hashing.below(keys[0], 10**15 + 1))]
for dtype in (np.uint32, np.uint64):
    for n, k in ((10, 10), (12, 3), (17, 5), (2**31 + 11, 6)):
        index = np.empty(k, dtype)
        sampling.stratified(index, n, keys[1])
        numbers.append(index.tolist())
columns, values, terms = np.empty((3, 17), np.uint32), np.empty((3, 17), np.float32), np.empty(34)
ellpack.draw_columns(columns, keys[0])
ellpack.draw_values(values, 2.0**-20, 1e5, 3e5, *keys[1:4])
ellpack.draw_terms(terms, columns, values, 0.1, *keys[4:7])
numbers += [columns.tolist(), values.tolist(), terms.tolist()]
print(json.dumps(numbers))
"""

HITS = """
import json
import numba
from mpimasha.kernels import hashing

hashing.hash64(hashing.stream_key(1, 2, 3, 4), 5)
stats = hashing.hash64.stats
print(json.dumps([sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


def python(source, **variables):
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = os.environ | {"PYTHONPATH": path} | variables
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_hashing_and_stratified_give_the_same_numbers_with_and_without_compilation():
    assert python(NUMBERS, NUMBA_DISABLE_JIT="0") == python(NUMBERS, NUMBA_DISABLE_JIT="1")


def test_a_second_process_compiles_nothing(tmp_path):
    settings = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    assert python(HITS, **settings) == [0, 1]
    assert python(HITS, **settings) == [1, 0]


def test_the_cache_folder_is_private_and_node_local(tmp_path, fresh_folder):
    folder = fresh_folder(tmp_path)
    private = tmp_path / f"mpimasha-{os.getuid()}"
    assert os.path.commonpath([private, folder]) == str(private)
    assert private.stat().st_mode & 0o777 == 0o700
    assert os.path.isdir(folder)


def test_a_link_in_place_of_the_cache_folder_is_refused(tmp_path, fresh_folder):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / f"mpimasha-{os.getuid()}").symlink_to(elsewhere)
    assert fresh_folder(tmp_path) is None
    assert list(elsewhere.iterdir()) == []


def test_a_cache_folder_that_others_can_write_is_refused(tmp_path, fresh_folder):
    private = tmp_path / f"mpimasha-{os.getuid()}"
    private.mkdir()
    private.chmod(0o777)
    assert fresh_folder(tmp_path) is None


def test_a_cache_folder_of_another_owner_is_refused(tmp_path, fresh_folder, monkeypatch):
    stranger = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    (tmp_path / f"mpimasha-{stranger}").mkdir(mode=0o700)
    assert fresh_folder(tmp_path) is None


def test_a_temporary_folder_that_does_not_exist_means_no_cache(tmp_path, fresh_folder):
    assert fresh_folder(tmp_path / "missing") is None


@compiled_only
def test_the_users_own_cache_setting_survives_decoration(monkeypatch):
    seen = []
    monkeypatch.setattr(_jit, "cache_folder", lambda: "/ours")
    monkeypatch.setattr(_jit._cache, "of", lambda *arguments: seen.append(numba.config.CACHE_DIR))
    for setting in ("", "/a/folder/of/the/user"):
        monkeypatch.setattr(numba.config, "CACHE_DIR", setting)
        _jit.kernel(square)
        assert numba.config.CACHE_DIR == setting
    assert seen == ["/ours", "/a/folder/of/the/user"]


@compiled_only
def test_only_reductions_may_reorder():
    assert _jit.kernel(square).targetoptions["fastmath"] is False
    assert _jit.kernel(reduction=True)(square).targetoptions["fastmath"] == {"reassoc", "nsz"}


def test_plain_functions_wrap_around_silently(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    plain = _jit.kernel(square)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain(np.uint64(2**63 + 1)) == 1
    assert plain.__name__ == "square"


def square(x):
    return x * x


@pytest.fixture
def fresh_folder(monkeypatch):
    """cache_folder() computed anew under another temporary folder."""

    def compute(temporary):
        monkeypatch.setattr(_jit.tempfile, "gettempdir", lambda: str(temporary))
        return _jit.cache_folder.__wrapped__()

    return compute


BITS = """
import hashlib
import json
import numpy as np
from mpimasha.kernels.compress import quantize
from mpimasha.kernels.operators import saddle
seen = hashlib.sha256()
for n in (22, 64, 100):
    for k in range(50):
        x = np.random.default_rng([n, k]).standard_normal(n)
        norms, words, out = np.zeros(1), np.zeros(n, np.uint32), np.zeros(n)
        scratch = np.zeros(512, np.uint16), np.zeros(128, np.uint64)
        quantize.qsgd_encode(x, norms, words, *scratch, 4, 4, n, np.uint64(k))
        saddle.bilinear_operator(out, np.outer(x, x)[:n // 2, :n // 2].copy(), x[:n // 2], x[n // 2:], 0.1, x)
        seen.update(norms.tobytes() + out.tobytes())
print(json.dumps(seen.hexdigest()))
"""


@pytest.mark.slow
@compiled_only
def test_a_sum_has_the_same_bits_compiled_here_or_read_from_the_cache(tmp_path):
    """Otherwise ranks that play the same server would part."""
    first, second = (python(BITS, TMPDIR=str(tmp_path)) for _ in range(2))
    assert first == second != ""
