"""A method is deterministic, billed, the same for any number of ranks, and converges."""

import copy

import numpy as np

from mpimasha import state
from mpimasha.mpi.communicator import Communicator
from mpimasha.problems.bilinear import Bilinear
from mpimasha.solver.run import Run, solve
from mpimasha.solver.stop import Stop
from mpimasha.testing.draws import called, samples, vectors
from mpimasha.testing.tape import Tape, replay, restored


def check_method(method, problem=None, comm=None, rounds=20, relative_error=1e-4, limit=20_000, wire=None):
    """A method gives one answer, on any number of ranks, pays for what it sends, declares its state and converges.

    Without `comm`, ranks are simulated one by one: each owns its block of workers, receives what a run of one process
    sent, and must send the same, bit for bit.  That covers the method, not MPI: call the check with ``comm =
    mpi4py.MPI.COMM_WORLD`` under ``mpiexec -n 2 python -m pytest`` to compare with a run over real ranks.

    Parameters
    ----------
    method : Method
    problem : Problem, optional
        Default: a strongly monotone bilinear problem of n = 10, M = 5.
    comm : mpi4py communicator, optional
        All its ranks must call, at most one rank a worker.
    rounds : int
        Rounds of each comparison.
    relative_error : float
        What the method must reach within `limit` rounds at its own gamma (its residual if mu = 0); 0 for not to try.
    limit : int
    wire : dtype, optional
        Type of a value on the wire; default the problem's.

    Raises
    ------
    AssertionError
        One sentence: the state that differs or is not declared, bits that were not counted, how far it converged.
        Over real ranks the same sentence on all of them.
    """
    name = called(method)
    problem = Bilinear(dim=5, kappa=4.0, workers=5) if problem is None else problem

    def run(seed=0, world=None):
        return Run(copy.deepcopy(problem), method, world, seed, wire)

    world = comm if isinstance(comm, Communicator) else Communicator(comm)
    for look in (lambda: _alone(name, run, method, rounds), lambda: _over_ranks(name, run, world, rounds),
                 lambda: _converged(name, method, problem, relative_error, limit, wire)):
        faults = [fault for fault in world.gather_objects(world.together(look)) if fault]
        if faults:
            raise AssertionError(faults[0])


def _alone(name, run, method, rounds):
    """A sentence about what is wrong in one process, or None."""
    first, again = Tape(run()), Tape(run())
    first.play(rounds), again.play(rounds)
    if different := _different(first, again):
        return f"{name}: two runs with seed 0 differ in {different} after {rounds} rounds: something is drawn " \
               f"without the seed"
    other = Tape(run(seed=1))
    other.play(rounds)
    if _draws(first.run) and not _different(first, other):
        return f"{name}: a run with seed 1 is that with seed 0 although its compressor draws: the seed is not used"
    return _bill(name, first) or _state(name, run, rounds) or _simulated(name, first, method, rounds)


def _different(one, other):
    """The first declared state in which two runs are not the same, bit for bit."""
    mine, others = (state.buffers(tape.run.method) for tape in (one, other))
    return next((f"self.{key}" for key in mine if mine[key].tobytes() != others[key].tobytes()), None)


def _draws(run):
    q = run.method.up.compressor
    Q = samples(q, vectors(q.n)["of unequal entries"], 0, range(8))
    return not (Q == Q[0]).all()


def _bill(name, tape):
    """Bits, exchanges and operator calls of the ledger against those seen."""
    ledger, numbers = tape.run.ledger, [(channel, k) for channel, k, *_ in tape.exchanges]
    repeated = next((pair for pair in numbers if numbers.count(pair) > 1), None)
    if repeated:
        return f"{name}: exchange number {repeated[1]} is used twice on channel self.{repeated[0]}, whose random " \
               f"draws then repeat: count on, as 2k and 2k + 1"
    bits = sum(tape.channels[channel].transport.uplink_bits() for channel, _ in numbers)
    for what, counted, seen in (("uplink bits", ledger.uplink_bits, bits),
                                ("exchanges", ledger.exchanges, len(numbers)),
                                ("operator calls", sum(ledger.operator_calls.values()), tape.calls)):
        if abs(counted - seen) > 1e-9 * seen:
            return f"{name}: the ledger counts {counted:.8g} {what}, but the method made {seen:.8g}: take means by " \
                   f"channels and operators by self.fleet.F"
    return None


def _state(name, run, rounds):
    """A run continued from its declared state alone must be the run that was not interrupted."""
    half = rounds // 2
    whole, early = Tape(run()), Tape(run())
    early.play(half)
    try:
        late = Tape(restored(run(), early))
        late.play(rounds, first=half)
        whole.play(rounds)
        different = _different(whole, late)
    except (AttributeError, TypeError) as error:
        different = f"the attempt to go on ({error})"
    if different is None:
        return None
    hidden = _hidden(early, half)
    which = f": {' and '.join(hidden)} change from round to round and are not declared as Shared() or PerWorker()" \
        if hidden else ": something is kept between rounds that is not declared as Shared() or PerWorker()"
    return f"{name}: a checkpoint would lose state, a run continued from its declared state after round {half} " \
           f"differs in {different}{which}"


def _hidden(tape, first):
    """Attributes of the method, numbers and arrays, that a round changes, declared states excepted."""
    def shot():
        return {key: np.copy(value) for key, value in vars(tape.run.method).items()
                if isinstance(value, (int, float, np.ndarray, np.generic))}
    before = shot()
    tape.play(first + 1, first=first)
    after = shot()
    return [f"self.{key}" for key in after if not np.array_equal(before.get(key), after[key])] \
        + [f"self.{key}" for key, value in vars(tape.run.method).items()
           if type(value).__name__ == "Linear" or isinstance(value, (list, dict)) and not key.startswith("_")]


# -- ranks -----------------------------------------------------------------------------------------


def _simulated(name, tape, method, rounds):
    """Every rank of 2, and of as many as there are workers, sends and holds what one process does."""
    workers = tape.run.fleet.workers
    for size in sorted({min(2, workers), workers} - {1}):
        for rank in range(size):
            fault = replay(tape, method, rank, size, rounds)
            if fault:
                return f"{name}: on rank {rank} of {size} {fault} in the run of one process: the method depends on " \
                       f"how the workers are spread"
    return None


def _over_ranks(name, run, world, rounds):
    if world.size == 1:
        return None
    alone, together = Tape(run()), Tape(run(world=world))
    alone.play(rounds), together.play(rounds)
    mine, others = (state.buffers(tape.run.method) for tape in (alone, together))
    for key, kind in state.used(together.run.method).items():
        serial = mine[key] if isinstance(kind, state.Shared) else mine[key][together.run.fleet.owned]
        if serial.tobytes() != others[key].tobytes():
            return f"{name}: self.{key} on rank {world.rank} of {world.size} is not that of one process after " \
                   f"{rounds} rounds"
    return None


def _converged(name, method, problem, target, limit, wire):
    if not target:
        return None
    key = "relative_error" if problem.strongly_monotone else "residual"
    stop = Stop(rounds=limit, **{"relative_error": 0.0, key: target})
    result = solve(copy.deepcopy(problem), method, stop=stop, wire=wire)
    if result.converged:
        return None
    return f"{name}: {result.status} after {result.rounds} rounds on {called(problem)} with gamma = " \
           f"{result.gamma:.4g}: {key.replace('_', ' ')} = {getattr(result, key):.4g}, not {target:g}"
