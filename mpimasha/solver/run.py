"""A run: a problem, a method and ranks, put together; and what became of it."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from mpimasha import state
from mpimasha.channels.channel import Channel
from mpimasha.channels.memory import Plain
from mpimasha.compressors.base import PARTITION
from mpimasha.compressors.identity import Identity
from mpimasha.errors import UserError
from mpimasha.fleet.fleet import Fleet
from mpimasha.ledger import Ledger
from mpimasha.linear import Linear
from mpimasha.mpi import launch
from mpimasha.mpi.communicator import Communicator
from mpimasha.names import fits, meant, nearest, shown
from mpimasha.problems.constants import Collected
from mpimasha.solver import agreement
from mpimasha.solver.checkpoint import Saving
from mpimasha.solver.loop import Loop
from mpimasha.solver.measure import ERRORS, Measure, check_targets
from mpimasha.solver.reference import find
from mpimasha.solver.stop import CONVERGED, Stop, check_every

WIRES = ("float64", "float32")


@dataclass
class Result:
    """What a run found and what it cost.

    Attributes
    ----------
    status : str
        "converged", "rounds", "seconds", "stopped" or "diverged".
    rows : list of dict
        Measurements, from before round 1 to the last round; on rank 0.
    z, w : array of shape (n,)
        Last iterate and reference point (None without one).
    average : array of shape (n,) or None
        Mean of the z^{k+1/2} (z^k for og), kept where mu = 0: there it is what converges.
    summary : dict
        One flat record of the run; its keys are also attributes.
    """

    status: str
    rows: list
    z: np.ndarray
    w: np.ndarray | None
    average: np.ndarray | None
    summary: dict

    def __getattr__(self, name):
        try:
            return self.__dict__["summary"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self):
        s = self.summary
        measured = [f"{name.replace('_', ' ')} {s[name]:.3e}" for name in ERRORS if s[name] is not None]
        up, down = (s[f"{way}link_bits_per_worker"] / 1e6 for way in ("up", "down"))
        return "\n".join([f"{s['problem']} by {s['method']}, {s['compressor']}",
                          ", ".join([f"{self.status} after {s['rounds']} rounds", *measured]),
                          f"up {up:.4g}, down {down:.4g} Mbit per worker"])

    def column(self, name):
        """One measurement of all rows (on rank 0), such as "relative_error", shape (rows,); NaN for none."""
        if self.rows and not any(name in row for row in self.rows):
            raise UserError(f"the rows have no column {name!r}{nearest(name, self.rows[-1])}")
        values = (row.get(name) for row in self.rows)
        return np.array([np.nan if value is None else value for value in values], float)


class Run:
    """A problem, a method and ranks, ready to step.

    Parameters
    ----------
    problem : Problem
    method : Method
        Copied: the same object may start any number of runs.
    comm : mpi4py communicator, Communicator or None
    seed : int
        Of every random stream.
    wire : str or dtype, optional
        Type of a value on the wire; default the problem's.
    transport : str
    """

    def __init__(self, problem, method, comm=None, seed=0, wire=None, transport="auto"):
        self.comm = comm if isinstance(comm, Communicator) else Communicator(comm)
        seed = check_seed(seed)
        self.problem, self.seed = problem, seed
        self.wire = np.dtype(check_wire(wire) or problem.dtype)
        self.ledger = Ledger()
        self._sent_before = self.comm.sent["rounds"]  # by earlier runs
        self.k = 0
        together = self.comm.together
        problem.load(self.comm)
        self.fleet = together(lambda: Fleet(problem, self.comm, seed, self.ledger))
        self._exact = together(lambda: Channel(Identity(), Plain(), "uplink", fleet=self.fleet, comm=self.comm,
                                               ledger=self.ledger, wire=problem.dtype, seed=seed))
        self.constants = Collected(self)
        chosen = copy.deepcopy(method)
        chosen.choose(problem, self.wire, self.constants)
        self.method = copy.deepcopy(chosen)
        together(lambda: self.method.bind(problem, self.fleet, self._channels(self.fleet, self.comm, transport)))
        self.method.set_parameters(self.constants)
        self.rows = []  # measurements, on rank 0
        self.average = None if problem.strongly_monotone else np.zeros(problem.n, problem.dtype)
        self.comm.one_per_node_first(lambda: self._rehearse(chosen, transport))

    def _channels(self, fleet, comm, transport):
        def channel(compressor, memory, purpose, down=None, precise=False, senders=None):
            kind = transport if purpose == "uplink" else "auto"
            return Channel(compressor, memory, purpose, down=down, fleet=fleet, comm=comm, ledger=fleet.ledger,
                           wire=self.wire, seed=self.seed, transport=kind, precise=precise,
                           senders=senders)
        return channel

    def _rehearse(self, method, transport):
        """Two rounds of a solo performance, so that every kernel is compiled before time counts."""
        # of one worker, PermK's shares would be contiguous, and half of it cannot take part
        several = method.compressor.dependence == PARTITION or method.participation
        understudy, solo = copy.deepcopy(method), self.fleet.solo(2 if several else 1)
        understudy.bind(self.problem, solo, self._channels(solo, Communicator(), transport))
        understudy.set_parameters(self.constants)
        understudy.start()
        with np.errstate(all="ignore"):
            for k in range(2):
                self.problem.at_round(k)
                understudy.step(k)

    def resume_bill(self, wire_bytes, seconds):
        """Go on counting from what was sent and spent before."""
        self._sent_before = self.comm.sent["rounds"] - wire_bytes
        self.ledger.seconds |= seconds

    @property
    def wire_bytes(self):
        """Bytes of the send buffers that this rank handed to MPI for this run."""
        return self.comm.sent["rounds"] - self._sent_before

    def operator(self, z, out):
        """out = F(z), by an exchange of all ranks that is not billed to the run."""
        out[:] = self.exact_mean(self.fleet.F(Linear.of(z)))

    def exact_mean(self, x):
        """1/M sum_m x_m, uncompressed and not billed to the run; valid until the next call."""
        with self.ledger.unbilled(), self.comm.billed_to("observers"):
            return self._exact.mean(x, 0).terms[0][1]

    def start(self):
        self.problem.at_round(0)
        self.method.start()

    def step(self):
        """One round."""
        self.problem.at_round(self.k)
        self.method.step(self.k)
        self.k += 1
        if self.average is not None:                              # (1/k) sum of the z^{j+1/2}
            average = Linear.of(self.average)
            ((1 - 1 / self.k) * average + (1 / self.k) * Linear.of(self.method.probe)).write(self.average)


def solve(problem, method, *, comm=None, seed=0, wire=None, stop=None, transport="auto", observers=(), every="log",
          reference="auto", saving=None, notice=None, on_error="abort"):
    """Solve `problem` by `method`.

    Parameters
    ----------
    problem : Problem
    method : Method
    comm : mpi4py communicator, optional
        All its ranks must call, with the same arguments but for observers; without one, this process is all workers.
    seed : int
        Of the run's random streams; the same seed gives the same run for any number of ranks, up to last bits where
        `transport` is "allreduce".
    wire : {"float64", "float32"}, optional
        Type of values in messages; default the problem's dtype.
    stop : Stop, optional
    transport : str
    observers : sequence of Observer
        On any of the ranks; all see the rows of rank 0.
    every : int or "log"
        Rounds between two rows; "log" for about fifty rows a decade.
    reference : array, None or "auto"
        z* for the relative error; "auto" asks the problem, or solves it to rounding.  None in rows where that fails.
    saving : Saving, optional
        When checkpoints are written, and whether to begin with one.
    notice : Notice, optional
        A run that is given notice, on any rank, saves itself and ends as "stopped".
    on_error : {"abort", "raise"}
        On several ranks an exception that the others cannot see names its rank and ends the job; "raise" leaves it to
        the caller, for whom the others may wait for ever.

    Returns
    -------
    Result
        The same on every rank, rows on rank 0 only.

    Raises
    ------
    UserError
        A parameter, compressor or step size that does not fit, or is not the same on all ranks; on all together.

    Examples
    --------
    >>> import mpimasha as mm
    >>> result = mm.solve(mm.Bilinear(dim=5, kappa=10), mm.Masha1(mm.PermK()), stop=mm.Stop(relative_error=1e-6))
    >>> result.converged, result.uplink_bits_per_worker < result.downlink_bits_per_worker
    (True, True)
    >>> sorted(result.rows[-1])[:4]
    ['distance', 'downlink_bits', 'exchanges', 'gap']
    """
    comm = comm if isinstance(comm, Communicator) else Communicator(comm)
    with launch.one_fate(comm.comm) if on_error != "raise" else nullcontext():
        if on_error not in ("abort", "raise"):
            raise UserError(f"on_error = {shown(on_error)} is unknown: use 'abort' or 'raise'")
        stop = stop if stop is not None else Stop()
        agreement.check(comm, **agreement.of_solve(
            problem, method, wire, saving, notice, seed=seed, transport=transport, stop=stop, every=every,
            reference=reference))
        every = check_every(every)
        run = Run(problem, method, comm, seed, wire, transport)
        return _solved(run, stop, observers, every, reference, saving or Saving(), notice)


def _solved(run, stop, observers, every, reference, saving, notice):
    problem = run.problem
    _check_reference(reference, problem.n)
    measure, solvable, stopped = Measure(run), reference is not None, False
    if isinstance(reference, str):
        reference, solvable, stopped = find(run, measure, solve, stop, notice)
    measure.against(reference)
    if stopped:  # before it knew what to aim at
        stop = replace(stop, relative_error=0.0, rounds=stop.rounds or problem.rounds)
    run.stop = stop = stop.resolved(problem, solvable)
    run.comm.together(lambda: check_targets(problem, stop.targets, solvable))
    with np.errstate(all="ignore"):  # a diverging run is the solver's to report
        loop = Loop(run, measure, stop, observers, every, saving, notice)
        status = loop.to_the_end()
        result = _finish(run, status, run.rows, loop.seconds)
        run.comm.together(lambda: [observer.finish(run, result) for observer in observers])
    return result


def _finish(run, status, rows, seconds):
    ledger, method, L = run.ledger, run.method, run.constants.known("L")
    last = rows[-1]
    sent, spent, *times = zip(*run.comm.gather_objects([run.wire_bytes, seconds, *ledger.seconds.values()]))
    summary = {
        "problem": run.problem.name, "method": method.name, "compressor": method.compressors,
        "workers": run.fleet.workers, "ranks": run.comm.size, "rounds": run.k, "status": status,
        "converged": status == CONVERGED,
        **{name: last[name] for name in ("relative_error", "residual", "gap", "gap_average")},
        **{name: last[name] for name in ("accuracy", "robust_accuracy") if name in last},
        "uplink_bits_per_worker": ledger.uplink_bits, "downlink_bits_per_worker": ledger.downlink_bits,
        "wire_bytes_per_rank": max(sent), "operator_calls": last["operator_calls"], "seconds": max(spent),
        **{f"seconds_{name}": max(of_ranks) for name, of_ranks in zip(ledger.seconds, times)},
        **{f"seconds_{name}_mean": fmean(of_ranks) for name, of_ranks in zip(ledger.seconds, times)},
        **{f"seconds_{name}_min": min(of_ranks) for name, of_ranks in zip(ledger.seconds, times)},
        **method.parameters, "gamma_L": L and method.gamma * L, "seed": run.seed, "out": None,
    }
    summary = run.comm.broadcast_object(summary)  # only rank 0 knows z*
    w = method.point("w") if "w" in state.buffers(method) else None
    return Result(status, rows if run.comm.rank == 0 else [], method.iterate, w, run.average, summary)


def check_seed(seed):
    if not fits(seed, int) or not 0 <= seed < 10**1000:  # thousands of digits cannot be written down
        raise UserError(f"seed = {shown(seed)} is out of range: use a whole number of at least 0 (and at most 1000 "
                        f"digits)")
    return meant(seed, int)


def check_wire(wire):
    """The wire's type by name; None stands for the problem's."""
    try:
        known = wire is None or np.dtype(wire).name in WIRES
    except (TypeError, ValueError, SyntaxError):  # NumPy reads a text as a list of types
        known = False
    if not known:
        raise UserError(f"wire = {shown(wire)} is unknown: use {' or '.join(WIRES)}")
    return wire


def _check_reference(reference, n):
    if reference is None or (isinstance(reference, str) and reference == "auto"):
        return
    if not (isinstance(reference, np.ndarray) and reference.shape == (n,) and np.isfinite(reference).all()):
        raise UserError(f"reference = {shown(reference)} is no solution: use 'auto', None or a finite array of shape "
                        f"({n},)")
