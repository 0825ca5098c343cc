"""The ledger's two accounts, counted again: model bits by the rules of the theory, wire bytes from the calls to MPI."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mpimasha as mm
from mpimasha.mpi.communicator import Communicator
from mpimasha.solver.observers import Observer

ROUNDS = 60
M, N = 7, 26  # M divides neither n nor n's messages
V = {"float32": 32, "float64": 64}
INDEX = math.ceil(math.log2(N))


def problem():
    return mm.Bilinear(dim=N // 2, kappa=10.0, workers=M)


# -- model bits ----------------------------------------------------------------------------------

MESSAGES = {  # method: model bits of one message of a round, v of a value given
    "masha1-identity": (mm.Masha1(mm.Identity(), gamma=0.1, tau=0.7), lambda v: N * v),
    "masha1-randk": (mm.Masha1(mm.RandK(3), gamma=0.05, tau=0.7), lambda v: 3 * v),
    "masha1-randk-fraction": (mm.Masha1(mm.RandK(0.2), gamma=0.05, tau=0.7), lambda v: 5 * v),
    "masha1-randk-uniform": (mm.Masha1(mm.RandK(3, sampling="uniform"), gamma=0.05, tau=0.7), lambda v: 3 * v),
    "masha1-randk-indices": (mm.Masha1(mm.RandK(3, indices=True), gamma=0.05, tau=0.7), lambda v: 3 * (v + INDEX)),
    "masha1-permk": (mm.Masha1(mm.PermK(), gamma=0.05, tau=0.7), lambda v: v * N / M),
    "masha1-qsgd": (mm.Masha1(mm.QSGD(4), gamma=0.05, tau=0.7), lambda v: v + N * (1 + math.ceil(math.log2(5)))),
    "masha1-qsgd-buckets": (mm.Masha1(mm.QSGD(1, bucket=10), gamma=0.02, tau=0.7), lambda v: 3 * v + N * 2),
    "masha1-previous": (mm.Masha1(mm.RandK(3), gamma=0.05, tau=0.7, reference="previous"), lambda v: 3 * v),
    "masha2-topk": (mm.Masha2(mm.TopK(4), gamma=0.05, tau=0.7), lambda v: 4 * (v + INDEX)),
    "masha2-randk": (mm.Masha2(mm.RandK(4), gamma=0.05, tau=0.7), lambda v: 4 * v),
    "masha1-absmax": (mm.Masha1(mm.AbsMax(3, bucket=10), gamma=0.02, tau=0.7),
                      lambda v: 3 * v + 32 * math.ceil(N / 11)),
    "masha1-permk-natural": (mm.Masha1(mm.Composition(mm.PermK(), mm.Natural()), gamma=0.05, tau=0.7),
                             lambda v: {32: 9, 64: 12}[v] * N / M),
    "masha2-topk-sign": (mm.Masha2(mm.Composition(mm.TopK(4), mm.Sign()), gamma=0.05, tau=0.7),
                         lambda v: 4 * INDEX + v + 4),
    "masha2-qsgd": (mm.Masha2(mm.QSGD(3), gamma=0.02, tau=0.7), lambda v: v + N * (1 + 2)),
}


DOWN = {  # method: model bits of one message down and of one refresh up
    "masha1-qsgd-down": (mm.Masha1(mm.RandK(3), gamma=0.02, tau=0.7, down=mm.QSGD(4)),
                         lambda v: 3 * v, lambda v: v + N * 4, lambda v: N * v),
    "masha2-topk-down": (mm.Masha2(mm.TopK(4), gamma=0.02, tau=0.7, down=mm.TopK(6)),
                         lambda v: 4 * (v + INDEX), lambda v: 6 * (v + INDEX), lambda v: N * v),
    "masha1-shared-mask": (mm.Masha1(mm.RandK(3, mask="shared"), gamma=0.02, tau=0.7),
                           lambda v: 3 * v, lambda v: 3 * v, lambda v: N * v),
    "masha1-qsgd-refresh": (mm.Masha1(mm.RandK(3), gamma=0.02, tau=0.7, refresh=mm.QSGD(7)),
                            lambda v: 3 * v, lambda v: min(M * 3 * v, N * v), lambda v: v + N * 4),
}


@pytest.mark.parametrize("wire", V)
@pytest.mark.parametrize("case", DOWN)
def test_both_directions_and_compressed_refreshes_are_billed(case, wire):
    method, up, down, refresh = DOWN[case]
    references, v = References(), V[wire]
    result = solved(method, wire, [references])
    assert 8 <= references.refreshes <= 28
    assert result.uplink_bits_per_worker == N * v + ROUNDS * up(v) + references.refreshes * refresh(v)
    assert result.downlink_bits_per_worker == \
        N * v + ROUNDS * down(v) + references.refreshes * min(N * v, M * refresh(v))


@pytest.mark.parametrize("transport", ["allgather", "star"])
def test_the_transport_does_not_change_the_model_bits(transport):
    method = DOWN["masha1-qsgd-down"][0]
    auto, other = solved(method, "float32"), solved(method, "float32", transport=transport)
    assert auto.uplink_bits_per_worker == other.uplink_bits_per_worker
    assert auto.downlink_bits_per_worker == other.downlink_bits_per_worker


class References(Observer):
    """Counts the refreshes: the rounds after which w is another one."""

    def start(self, run):
        self.seen, self.refreshes = mm.state.buffers(run.method)["w"].copy(), 0

    def observe(self, run, row):
        w = mm.state.buffers(run.method)["w"]
        if not np.array_equal(w, self.seen):
            self.seen, self.refreshes = w.copy(), self.refreshes + 1


def solved(method, wire, observers=(), **options):
    return mm.solve(problem(), method, wire=wire, seed=2, every=1, observers=observers,
                    stop=mm.Stop(rounds=ROUNDS, relative_error=0), **options)


@pytest.mark.parametrize("wire", V)
@pytest.mark.parametrize("method, exchanges", [(mm.Extragradient(), 2), (mm.Optimistic(), 1)], ids=["eg", "og"])
def test_an_uncompressed_method_bills_whole_vectors(method, exchanges, wire):
    result = solved(method, wire)
    assert result.uplink_bits_per_worker == result.downlink_bits_per_worker == ROUNDS * exchanges * N * V[wire]
    assert result.operator_calls == result.rows[-1]["exchanges"] == ROUNDS * exchanges


@pytest.mark.parametrize("wire", V)
@pytest.mark.parametrize("case", MESSAGES)
def test_masha_bills_the_first_exchange_its_messages_and_the_refreshes(case, wire):
    method, message_bits = MESSAGES[case]
    references = References()
    result = solved(method, wire, [references])
    dense, message = N * V[wire], message_bits(V[wire])
    assert 8 <= references.refreshes <= 28, "18 are expected of 60 coins with probability 0.3"
    first_and_refreshes = (1 + references.refreshes) * dense
    assert result.uplink_bits_per_worker == pytest.approx(first_and_refreshes + ROUNDS * message, rel=1e-12)
    assert result.downlink_bits_per_worker == pytest.approx(
        first_and_refreshes + ROUNDS * min(dense, M * message), rel=1e-12)
    assert result.rows[-1]["exchanges"] == result.operator_calls == 1 + ROUNDS + references.refreshes


def test_the_first_exchange_is_billed_before_round_1():
    first = solved(mm.Masha1(mm.RandK(3)), "float32").rows[0]
    assert first["round"] == 0
    assert first["uplink_bits"] == first["downlink_bits"] == 32 * N


def test_few_workers_forwarding_sparse_messages_pay_for_those_only():
    """The downlink is min(v n, the sum of the messages), here the sum."""
    few = mm.Bilinear(dim=N // 2, workers=2)
    rows = mm.solve(few, mm.Masha1(mm.RandK(3), tau=0.9), wire="float32", every=1,
                    stop=mm.Stop(rounds=1, relative_error=0)).rows
    assert rows[1]["downlink_bits"] - rows[0]["downlink_bits"] in (2 * 3 * 32, 2 * 3 * 32 + 32 * N)


IN_PART = {  # method: its bits of a round up, and down, without refreshes
    "three of seven": (mm.PPMasha1(mm.RandK(3), gamma=0.05, tau=0.999, participation=3),
                       lambda v: 3 / M * 3 * v, lambda v: 3 * 3 * v),
    "permk of three": (mm.DianaOG(mm.PermK(), gamma=0.05, participation=3), lambda v: N / M * v, lambda v: N * v),
    "announcements of one": (mm.ThreePillars(mm.RandK(3), gamma=0.05, tau=0.999),
                             lambda v: 2 / M * N * v + 3 * v, lambda v: 2 * N * v + min(M * 3, N) * v),
    "both ways": (mm.DianaOG(mm.AbsMax(1), gamma=0.05, down=mm.AbsMax(2)), lambda v: v + 64, lambda v: v + 64),
}


@pytest.mark.parametrize("wire", V)
@pytest.mark.parametrize("case", IN_PART)
def test_who_does_not_send_is_not_billed(case, wire):
    method, up, down = IN_PART[case]
    rows = mm.solve(problem(), method, wire=wire, every=1, stop=mm.Stop(rounds=8, relative_error=0)).rows
    assert rows[-1]["uplink_bits"] - rows[0]["uplink_bits"] == pytest.approx(8 * up(V[wire]))
    assert rows[-1]["downlink_bits"] - rows[0]["downlink_bits"] == pytest.approx(8 * down(V[wire]))


def test_operator_calls_are_the_mean_over_the_workers_and_batches_count_in_part():
    finite = mm.Bilinear(dim=4, workers=M, samples=5)
    method = mm.VRMasha1(mm.RandK(3), gamma=0.05, tau=0.999, batch=2, participation=3)
    rows = mm.solve(finite, method, every=1, stop=mm.Stop(rounds=8, relative_error=0)).rows
    assert rows[0]["operator_calls"] == 1
    assert rows[-1]["operator_calls"] - 1 == pytest.approx(8 * 3 / M * 2 * 2 / 5)  # at two points


# -- wire bytes ----------------------------------------------------------------------------------


class Counting:
    """A communicator that counts the bytes of what it is given to send, by the datatypes it is given."""

    def __init__(self, comm):
        self.comm = comm
        self.sent = self.pickled = 0

    def Allgatherv(self, send, receive):
        buffer, datatype = send
        self.sent += len(memoryview(buffer).cast("B")) // datatype.Get_size() * datatype.Get_size()
        self.comm.Allgatherv(send, receive)

    def Alltoallw(self, send, receive):
        _, counts, _, datatypes = send
        self.sent += sum(count * datatype.Get_size() for count, datatype in zip(counts, datatypes))
        self.comm.Alltoallw(send, receive)

    def Gatherv(self, send, receive, root):
        buffer, datatype = send
        self.sent += len(memoryview(buffer).cast("B")) // datatype.Get_size() * datatype.Get_size()
        self.comm.Gatherv(send, receive, root)

    def Allreduce(self, send, array):
        self.sent += array.size * array.itemsize
        self.comm.Allreduce(send, array)

    def Bcast(self, array, root):
        self.sent += array.size * array.itemsize if self.comm.Get_rank() == root else 0
        self.comm.Bcast(array, root)

    def allgather(self, value):
        self.pickled += 1
        return self.comm.allgather(value)

    def __getattr__(self, name):
        if name not in ("Get_size", "Get_rank", "Split_type", "Barrier"):
            raise AttributeError(f"{name} is not counted here")
        return getattr(self.comm, name)


WIRED = {**{name: (method, "auto") for name, (method, *_) in [*MESSAGES.items(), *DOWN.items()]},
         "eg": (mm.Extragradient(), "auto"), "og": (mm.Optimistic(), "auto"), "og-star": (mm.Optimistic(), "star"),
         "og-allreduce": (mm.Optimistic(), "allreduce"), "masha1-star": (DOWN["masha1-qsgd-down"][0], "star"),
         "masha1-allreduce": (DOWN["masha1-shared-mask"][0], "allreduce"),
         **{name: (method, "auto") for name, (method, *_) in IN_PART.items()},
         "three of seven by star": (IN_PART["three of seven"][0], "star")}


def stepped(method, transport, wire, comm):
    """(what the ledger says that rounds sent, what was sent, pickled messages) of this rank."""
    counting = Counting(comm)
    run = mm.Run(problem(), method, counting, seed=2, wire=wire, transport=transport)
    counting.sent = counting.pickled = 0
    run.start()
    for _ in range(ROUNDS):
        run.step()
    assert run.comm.sent["observers"] == 0
    return run.comm.sent["rounds"], counting.sent, counting.pickled


@pytest.mark.ranks(3, limit=180)
def test_wire_bytes_are_the_bytes_of_the_buffers_given_to_mpi(comm):
    found = []
    for name, (method, transport) in WIRED.items():
        billed, sent, pickled = stepped(method, transport, "float32", comm)
        found += [f"{name}: {billed} billed, {sent} sent"] if billed != sent or not sent else []
        found += [f"{name}: {pickled} pickled messages in rounds"] if pickled else []
        found += found_by_solve(name, method, transport, billed, comm)
    found = [f"rank {rank}, {line}" for rank, lines in enumerate(comm.allgather(found)) for line in lines]
    assert not found, "\n".join(found)


class Accounts(Observer):
    """Keeps the communicator's accounts."""

    def finish(self, run, result):
        self.sent = run.comm.sent


def found_by_solve(name, method, transport, rounds_alone, comm):
    """Faults of the accounts that `solve` keeps, whose observers communicate as well."""
    counting, accounts = Counting(comm), Accounts()
    result = solved(method, "float32", [accounts], comm=counting, transport=transport)
    found = []
    if accounts.sent["rounds"] != rounds_alone:
        found.append(f"{name}: {accounts.sent['rounds']} bytes in rounds with observers, {rounds_alone} without")
    if sum(accounts.sent.values()) != counting.sent or not (accounts.sent["observers"] and accounts.sent["set-up"]):
        found.append(f"{name}: {accounts.sent} billed, {counting.sent} sent")
    if result.wire_bytes_per_rank != max(comm.allgather(rounds_alone)):
        found.append(f"{name}: {result.wire_bytes_per_rank} bytes in the summary")
    return found


@pytest.mark.slow
@pytest.mark.ranks(2)
def test_a_second_run_on_the_same_communicator_is_billed_its_own_bytes(comm):
    shared = Communicator(comm)
    sent = [mm.solve(problem(), mm.Optimistic(), comm=shared, wire="float32",
                     stop=mm.Stop(rounds=rounds, relative_error=0)).wire_bytes_per_rank for rounds in (10, 20)]
    assert sent[1] == 2 * sent[0] > 0


def test_one_process_sends_nothing():
    result = solved(mm.Masha1(mm.RandK(3)), "float32")
    assert result.wire_bytes_per_rank == 0 and result.rows[-1]["wire_bytes"] == 0


# -- wire bytes, seen from below mpi4py ------------------------------------------------------------

COUNT_BELOW = """
import ctypes, sys
from mpi4py import MPI
import mpimasha as mm
from test_ledger_counts import ROUNDS, WIRED, problem

below, faults = ctypes.CDLL(sys.argv[1]), []
below.sent_bytes.restype = ctypes.c_longlong
for name, (method, transport) in WIRED.items():
    run = mm.Run(problem(), method, MPI.COMM_WORLD, seed=2, wire="float32", transport=transport)
    before, others = below.sent_bytes(), below.other_calls()
    run.start()
    for _ in range(ROUNDS):
        run.step()
    seen, billed = below.sent_bytes() - before, run.comm.sent["rounds"]
    if seen != billed or not seen or below.other_calls() != others:
        faults.append(f"{name}: {billed} bytes billed, {seen} seen, {below.other_calls() - others} other calls")
faults = [line for lines in MPI.COMM_WORLD.allgather(faults) for line in lines]
if MPI.COMM_WORLD.rank == 0:
    print("faults:", faults)
"""


@pytest.fixture
def below_mpi4py(mpiexec, tmp_path):
    """A library to preload, built from send_buffers.c."""
    prefix = Path(mpiexec).parent.parent
    libraries = sorted(prefix.glob("lib/libmpi.so*"))
    if not (sys.platform == "linux" and shutil.which("gcc") and (prefix / "include/mpi.h").exists() and libraries):
        pytest.skip("needs gcc, mpi.h and libmpi")
    built, source = tmp_path / "send_buffers.so", Path(__file__).with_name("send_buffers.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", built, source, "-I", prefix / "include", libraries[0],
                    f"-Wl,-rpath,{prefix / 'lib'}"], check=True)
    return built


@pytest.mark.launches
def test_wire_bytes_are_what_a_profiling_library_sees(run_job, mpiexec, below_mpi4py):
    here = Path(__file__).parent
    ended = run_job([mpiexec, "-n", "3", sys.executable, "-m", "mpi4py", "-c", COUNT_BELOW, str(below_mpi4py)],
                    env={"LD_PRELOAD": str(below_mpi4py), "PYTHONPATH": f"{here}:{here.parents[1]}"})
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "faults: []" in ended.stdout, ended.stdout
