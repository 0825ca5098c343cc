"""A round leaves nothing behind in memory, and rows grow with the logarithm of the rounds."""

import ctypes
import gc
import sys
from collections import Counter

import pytest

import mpimasha as mm
from mpimasha.solver.checkpoint import Checkpoints, Saving
from mpimasha.solver.notice import Notice
from mpimasha.solver.observers import Observer, Rows
from mpimasha.solver.run import Run

WARM, ROUNDS = 1000, 6000
CASES = {"masha1": lambda: mm.Masha1(mm.QSGD(4)), "diana_og": lambda: mm.DianaOG(),
         "masha2": lambda: mm.Masha2(mm.TopK(0.1))}


class Heap(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
                                                     "fsmblks", "uordblks", "fordblks", "keepcost")]


def in_use():
    """(objects that Python has allocated, bytes of the C heap that hold data; 0 where malloc does not tell)."""
    gc.collect()
    try:
        told = ctypes.CDLL(None).mallinfo2
    except (AttributeError, TypeError):
        return sys.getallocatedblocks(), 0
    told.restype = Heap
    heap = told()
    return sys.getallocatedblocks(), heap.uordblks + heap.hblkhd


class Gauge(Observer):
    """What is in use when the run is warm, and at its end."""

    def __init__(self):
        self.read = []

    def check(self, run, row):
        if not self.read and run.k >= WARM or run.k == run.stop.rounds:
            self.read.append((run.k, *in_use()))

    @property
    def of_a_round(self):
        """(objects, bytes) that a round leaves, on average."""
        (first, *before), (last, *after) = self.read
        return [(b - a) / (last - first) for a, b in zip(before, after)]


def solved(method, folder, comm=None, rounds=ROUNDS):
    """A run with what the command line gives it; its result and gauge."""
    folder.mkdir(exist_ok=True)
    gauge, watching = Gauge(), [Rows(folder / "rows.jsonl")] if comm is None or comm.Get_rank() == 0 else []
    result = mm.solve(mm.Bilinear(dim=10, workers=4), method, comm=comm, stop=mm.Stop(rounds=rounds, relative_error=0),
                      observers=[gauge, *watching], saving=Saving(Checkpoints(folder, "id"), rounds // 10),
                      notice=Notice())
    return result, gauge


def check_flat(gauge):
    objects, size = gauge.of_a_round
    assert objects < 0.25 and size < 25, f"a round leaves {objects:.2f} objects and {size:.1f} bytes of the C heap"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_round_leaves_nothing_behind(name, tmp_path):
    check_flat(solved(CASES[name](), tmp_path)[1])


@pytest.mark.slow
@pytest.mark.ranks(2)
def test_a_round_of_two_ranks_leaves_nothing_behind(comm, tmp_path):
    check_flat(solved(mm.Masha1(mm.QSGD(4)), comm.bcast(tmp_path), comm, 3000)[1])


@pytest.mark.slow
def test_a_hundred_bytes_a_round_would_be_noticed(tmp_path, monkeypatch):
    kept, step = [], Run.step
    monkeypatch.setattr(Run, "step", lambda self: kept.append((step(self), bytes(100))))
    with pytest.raises(AssertionError, match="a round leaves"):
        check_flat(solved(CASES["masha1"](), tmp_path, rounds=2 * WARM)[1])


def test_a_million_rounds_have_fifty_rows_a_decade_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "step", lambda self: setattr(self, "k", self.k + 1))  # only the loop works
    result, _ = solved(CASES["masha1"](), tmp_path, rounds=10**6)
    rows = [row["round"] for row in result.rows]
    decades = Counter(len(str(k - 1)) for k in rows[1:])  # from 10^(d-1) to 10^d
    assert rows[0] == 0 and rows[-1] == 10**6 and set(decades) == set(range(1, 7))
    assert max(decades.values()) <= 50 and decades[6] >= 45
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == len(rows) == len(set(rows))
