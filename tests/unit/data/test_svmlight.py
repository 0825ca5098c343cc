"""LIBSVM files: what scikit-learn reads, by any ranges of bytes; else one sentence with line and column."""

import io
import os
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from sklearn.datasets import load_svmlight_file

from mpimasha.data import svmlight
from mpimasha.errors import UserError


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "set.svm"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
    return write


def whole(path, **options):
    return svmlight.read(path, 0, svmlight.size(path), **options)


def expected(content, zero_based=False):
    X, y = load_svmlight_file(io.BytesIO(content), zero_based=zero_based)
    return X.data, X.indices, X.indptr, y


def found(X, y):
    return X.values, X.indices, X.indptr, y


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


PLAIN = b"1 1:0.5 3:-2e-1\n-1 2:7\n+1 1:1 2:2 3:3\n"
FILES = {
    "plain": PLAIN, "no newline at the end": PLAIN[:-1], "crlf": PLAIN.replace(b"\n", b"\r\n"),
    "tabs": PLAIN.replace(b" ", b"\t \t"), "blank lines": b"\n\n" + PLAIN.replace(b"\n", b"\n \t\r\n\n"),
    "comments": b"# 1 1:1\n" + PLAIN.replace(b"\n", b" # 9:9 x\n") + b"#", "a comment behind a value": b"1 2:3#4:5\n",
    "qid": re.sub(rb"(?m)^(\S+) ", rb"\1 qid:7 ", PLAIN) + b"1 qid:8\n-1 qid:x#2 qid:3\n",
    "rows without features": b"1\n-1 # none\n1 4:2\n-1",
    "signs and exponents": b"+1.5e0 1:+1E3 2:-1e-3 3:.5 4:5. 5:-0 6:+0.0\n-2e+1 1:00012.5\n",
    "long numbers": b"0.10000000000000000555111512312578 1:3.14159265358979323846264338327950288\n"
                    b"1e-30 2:9007199254740993 3:1e-310 4:123456789012345678901234567890\n",
    "leading blanks": b"   1 1:1  \n\t-1 2:2", "zeros are kept": b"1 1:0 2:0.0\n", "empty": b"",
    "form feeds": b"1\x0c1:2\x0b2:3\n",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_file_is_read_as_scikit_learn_reads_it(file, content):
    if not content:
        X, y = whole(file(content))
        assert (len(X), len(y), len(X.values)) == (0, 0, 0)
        return
    assert same(found(*whole(file(content))), expected(content))


def test_indices_begin_with_0_on_request(file):
    content = b"1 0:5 2:1\n-1 1:1\n"
    assert same(found(*whole(file(content), base=0)), expected(content, zero_based=True))


BLANKS = st.sampled_from([" ", "\t", "  ", " \t "])
NUMBERS = st.one_of(st.floats(-1e99, 1e99).map(repr), st.integers(-10**20, 10**20).map(str),
                    st.floats(-100, 100).map("{:.3e}".format), st.decimals(-1, 1, places=25).map(str))


@st.composite
def lines(draw):
    pairs = sorted(draw(st.sets(st.integers(1, 10**6), max_size=5)))
    words = [draw(NUMBERS), *(f"{j}:{draw(NUMBERS)}" for j in pairs)]
    if draw(st.booleans()):
        words.insert(1, f"qid:{draw(st.integers(0, 99))}")
    text = "".join(word + draw(BLANKS) for word in words)
    return draw(st.sampled_from(["", " ", "\n", "# a 1:2\n"])) + text + draw(st.sampled_from(["", "#1 2:3", "\r"]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines(), min_size=1, max_size=6), st.booleans(), st.integers(1, 5))
def test_generated_files_are_read_as_scikit_learn_reads_them_whoever_reads_which_part(file, rows, ended, parts):
    content = ("\n".join(rows) + "\n" * ended).encode()
    path = file(content)
    assert same(found(*whole(path)), expected(content))
    pieces = [svmlight.read(path, *svmlight.byte_range(m, parts, len(content))) for m in range(parts)]
    assert same(found(*joined(pieces)), expected(content))


def joined(pieces):
    d = svmlight.MOST_FEATURES
    return svmlight.SparseRows.joined([X for X, _ in pieces], d), np.concatenate([y for _, y in pieces])


@pytest.mark.parametrize("name", ("plain", "crlf", "blank lines", "comments", "no newline at the end"))
def test_every_split_gives_each_line_once_and_in_order(file, name, monkeypatch):
    content = FILES[name]
    path, right = file(content), expected(content)
    starts = [0] + [i + 1 for i, c in enumerate(content) if c == 10]
    labelled = [s for s in starts if content[s:].split(b"\n")[0].split(b"#")[0].strip()]
    monkeypatch.setattr(svmlight, "_LOOK", 3)
    for split in range(len(content) + 1):
        pieces = [svmlight.read(path, 0, split), svmlight.read(path, split, len(content))]
        assert same(found(*joined(pieces)), right)
        assert len(pieces[0][1]) == sum(s < split for s in labelled)


@pytest.mark.parametrize("block", (1, 2, 7, 16, 40))
def test_blocks_of_any_size_make_no_difference(file, block, monkeypatch):
    monkeypatch.setattr(svmlight, "_BLOCK", block)
    for content in FILES.values():
        if content:
            assert same(found(*whole(file(content))), expected(content))


@pytest.mark.parametrize("workers, size", [(1, 10), (3, 10), (7, 5), (5, 0), (512, 10**12 + 7)])
def test_byte_ranges_cover_a_file_once(workers, size):
    ranges = [svmlight.byte_range(m, workers, size) for m in range(workers)]
    assert ranges[0][0] == 0 and ranges[-1][1] == size
    assert all(a[1] == b[0] for a, b in zip(ranges, ranges[1:]))
    assert max(b - a for a, b in ranges) - min(b - a for a, b in ranges) <= 1


# -- what is wrong with a file ---------------------------------------------------------------------


WRONG = [
    ("x 1:1", 1, "'x'", "label"), ("1,2 1:1", 1, "'1,2'", "label"), ("nan 1:1", 1, "'nan'", "label"),
    ("1:1 2:2", 1, "'1:1'", "label"), ("1e200 1:1", 1, "'1e200'", "1e+100"), ("1 a:1", 3, "'a:1'", "index:value"),
    ("1 1:1 2", 7, "'2'", "index:value"), ("1 1:1 :2", 7, "':2'", "index:value"),
    ("1 +1:1", 3, "'+1:1'", "index:value"),
    ("1 -1:1", 3, "'-1:1'", "index:value"), ("1 1.0:1", 3, "'1.0:1'", "index:value"),
    ("1 1:1 qid:3", 7, "'qid:3'", "index:value"), ("1 0:1", 3, "'0:1'", "problem.zero_based"),
    ("1 1:x", 5, "'x'", "no number"), ("1 1:", 5, "''", "no number"), ("1 1: 2", 5, "", "no number"),
    ("1 1:1_0", 5, "'1_0'", "no number"), ("1 1:0x1", 5, "'0x1'", "no number"), ("1 1:nan", 5, "'nan'", "no number"),
    ("1 1:-inf", 5, "'-inf'", "no number"), ("1 1:1e101", 5, "'1e101'", "1e+100"),
    ("1 1:1e999", 5, "'1e999'", "1e+100"),
    ("1 2:1 1:1", 7, "'1:1'", "increase"), ("1 2:1 2:1", 7, "'2:1'", "increase"),
    ("1 1:1 9999999999999999999999:1", 7, "'9999", "index:value"),
    ("1 999999999999:1", 3, "'999999999999:1'", "memory"),
    ("1 1:1 1;2", 7, "'1;2'", "index:value"), ("1 1:2:3", 5, "'2:3'", "no number"), ("1 1:1\0", 5, "", "no number"),
]


@pytest.mark.parametrize("line, column, token, remedy", WRONG, ids=[repr(w[0]) for w in WRONG])
def test_a_mistake_is_named_with_line_and_column(file, line, column, token, remedy):
    path = file(b"1 1:1\n\n# a comment\r\n" + line.encode() + b"\n-1 1:1\n")
    size = svmlight.size(path)
    for start in (0, 1, 8, 20):  # the fault is in every range, and its line is counted from the file's beginning
        with pytest.raises(UserError) as caught:
            svmlight.read(path, start, size)
        sentence = str(caught.value)
        assert sentence.startswith(f"problem.data = {path!r}, line 4, column {column}: {token}"), sentence
        assert remedy in sentence and "\n" not in sentence
    assert len(svmlight.read(path, 0, 7)[1]) == 1 and len(svmlight.read(path, size - 7, size)[1]) == 1


@pytest.mark.parametrize("block", (1, 4, 13))
def test_lines_and_columns_are_counted_over_blocks(file, block, monkeypatch):
    monkeypatch.setattr(svmlight, "_BLOCK", block)
    path = file("1 1:1 2:2\n\n1 1:1\n-1 1:1 2:2 3:3 4:x\n")
    with pytest.raises(UserError, match="line 4, column 18: 'x'"):
        whole(path)


def test_of_two_mistakes_the_first_is_named(file):
    path = file(f"1 1:{'9' * 200}\n1 x:3\n")
    with pytest.raises(UserError, match="line 1, column 5.*1e\\+100"):
        whole(path)
    path = file(f"1 1:2\n1 1:{'9' * 200}\n{'9' * 150} 2:1\n")
    with pytest.raises(UserError, match="line 2, column 5.*1e\\+100"):
        whole(path)
    path = file(f"1 x:3\n1 1:{'9' * 200}\n")
    with pytest.raises(UserError, match="line 1, column 3.*index:value"):
        whole(path)


def test_columns_beyond_those_announced_are_refused(file):
    path = file("1 3:1\n1 4:1\n")
    assert whole(path, features=4)[0].d == 4
    with pytest.raises(UserError, match="line 2, column 3: '4:1'.*last of 3 columns, 3: correct problem.features"):
        whole(path, features=3)
    with pytest.raises(UserError, match="line 2, column 3: '4:1'.*last of 4 columns, 3: correct problem.features"):
        whole(path, features=4, base=0)


def test_a_file_that_cannot_be_read_is_said_so(tmp_path):
    for path, words in ((tmp_path / "no.svm", "does not exist"), (tmp_path, "cannot be read"),
                        (f"{tmp_path}/a\0.svm", "cannot be read")):
        with pytest.raises(UserError, match=f"problem.data.*{words}"):
            svmlight.read(str(path), 0, 10)
    with pytest.raises(UserError, match="does not exist"):
        svmlight.size(str(tmp_path / "no.svm"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said_so(file):
    path = file(PLAIN)
    os.chmod(path, 0)
    with pytest.raises(UserError, match="problem.data.*cannot be read.*ermission"):
        whole(path)


def test_a_file_that_shrinks_while_it_is_read_is_said_so(file):
    path = file(PLAIN)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(UserError, match=f"problem.data.*ends at byte {len(PLAIN)}"):
            svmlight._bytes(descriptor, 0, len(PLAIN) + 1, path)
    finally:
        os.close(descriptor)
