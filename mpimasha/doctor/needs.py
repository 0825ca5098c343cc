"""What a run will need, asked of the run's own objects before anything is computed or read."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from mpimasha import state
from mpimasha.channels.channel import Channel
from mpimasha.channels.memory import Memory, Plain
from mpimasha.channels.transports.base import Transport
from mpimasha.compressors.absmax import AbsMax
from mpimasha.compressors.base import Compressor
from mpimasha.compressors.identity import Identity
from mpimasha.errors import UserError
from mpimasha.ledger import Ledger
from mpimasha.methods.diana_og import GUESS
from mpimasha.mpi.communicator import block
from mpimasha.solver.run import Run
from mpimasha.state import PerWorker

_CHEAP = 1e10  # operations that the constants of a rank's workers may cost, at n^3 each


def forecast(experiment, problem, comm):
    """What `experiment` needs on the ranks of `comm`; every rank calls.

    Returns
    -------
    dict
        The same on every rank.  "refusal": the sentence with which the run would refuse to
        start, or None.  "memory": a dict of bytes for each rank.  Model bits and "messages"
        (collectives) are expected values of a round; "sent", "received": bytes of a round on the
        rank that has most; "uplink" and "dense": bytes received in one exchange, and in one of
        dense vectors.  "guess": least and most uplink bits where the run will choose its compressor
        by constants that would have to be estimated, else None.
    """
    method, refusal = experiment.method(), None
    judged = _knows_constants(problem, method, comm)
    choices = [] if judged or problem.scored else method.choices
    if choices:
        experiment = replace(experiment, method_options=experiment.method_options | {"up": AbsMax(GUESS)})
        method = experiment.method()
    found = {"label": experiment.label, "problem": problem.name, "n": problem.n, "workers": problem.workers,
             "ranks": comm.size, "method": method.name, "compressor": str(method.compressor),
             "rule": method.rule, "judged": judged}
    try:
        run = _DryRun(experiment, _Hollow(problem, judged), method, comm)
    except UserError as error:
        refusal = str(error)
        method = experiment.method_class(**experiment.method_options | {"gamma": 1.0})
        try:
            run = _DryRun(experiment, _Hollow(problem, judged), method, comm)
        except UserError:  # not the step size: no memory, for one
            return found | {"refusal": refusal, "memory": None}
    gamma, L = run.method.gamma, run.constants.known("L")
    found |= {"compressor": str(run.method.compressor)}  # settled by now
    return found | {"refusal": refusal, "gamma": gamma, "gamma_L": L and gamma * L, "wire": run.wire.name,
                    "memory": comm.gather_objects(_memory(run, problem)), **_round(run), "guess": _range(run, choices)}


def _range(run, choices):
    """(least, most) uplink bits of a round, whichever of `choices` the run will take."""
    if not choices:
        return None
    up = run.method.up.compressor
    others = [choice.bind(run.problem.n, up.workers, run.wire, None).bits / up.bits for choice in choices]
    bits = sum(times * channel.transport.uplink_bits() for channel, times in run.method.exchanges)
    return bits * min(others), bits * max(others)


def _knows_constants(problem, method, comm):
    """Whether the problem has the constants that `method` asks for at hand, at little cost and without estimates."""
    if getattr(method, "adapts", False) and not problem.sharp:  # begins with what they are near z^0
        return False
    if problem.n**3 * -(-problem.workers // comm.size) > _CHEAP:
        return False
    return problem.L is not None and problem.lipschitz(block(comm.rank, comm.size, problem.workers).start) is not None


class _Hollow:
    """A problem without its data, whose constants are not estimated: they stand in for what a run would find."""

    sharp = True

    def __init__(self, problem, judged):
        self._problem, self._judged = problem, judged

    def __getattr__(self, name):
        return getattr(self._problem, name)

    def load(self, comm):
        """Reads nothing."""

    def operator(self, worker):
        return None

    def components(self, worker):
        try:
            return self._problem.components(worker)
        except UserError:  # not read yet
            return 1

    def batch_operator(self, worker):
        return None

    @property
    def _unknown(self):
        return None if self._problem.scored else 1.0  # of a network no constant holds

    @property
    def L(self):
        return self._problem.L if self._judged else self._unknown

    def lipschitz(self, worker):
        return self._problem.lipschitz(worker) if self._judged else self._unknown

    def dissimilarity(self, worker):
        return self._problem.dissimilarity(worker) if self._judged else 1.0


class _DryRun(Run):
    """A run that is set up but not rehearsed: memory that nobody writes to costs the host nothing."""

    def __init__(self, experiment, problem, method, comm):
        super().__init__(problem, method, comm, experiment.seed, experiment.wire, experiment.transport)

    def _rehearse(self, method, transport):
        pass


# -- memory --------------------------------------------------------------------------------


def _memory(run, problem):
    """{what for: bytes} on this rank."""
    method, fleet, seen = run.method, run.fleet, set()
    declarations, buffers = state.used(method), state.buffers(method)
    private = [buffers[name] for name, kept in declarations.items() if isinstance(kept, PerWorker)]
    channels = [channel for channel in vars(method).values() if isinstance(channel, Channel)]
    vector = problem.n * problem.dtype.itemsize
    return {"workers": held([private, [state.buffers(channel.memory) for channel in channels], fleet._scratch], seen),
            "method": held([buffers, method.z0], seen),
            "exchange": held(channels, seen) + 2 * vector,  # some compressors take two vectors when they first encode
            "measuring": held(run._exact, seen) + 3 * vector,  # z*, and steps of the residual
            "data": problem.footprint(fleet.owned)}


def held(thing, seen):
    """Bytes of the arrays that `thing` leads to, each counted once: `seen` holds the owners met before."""
    if isinstance(thing, np.ndarray):
        while isinstance(thing.base, np.ndarray):
            thing = thing.base
        return thing.nbytes if _first(thing, seen) else 0
    if isinstance(thing, _OWNERS):
        return held(list(vars(thing).values()), seen) if _first(thing, seen) else 0
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple)) else ()
    return sum(held(part, seen) for part in parts)


def _first(thing, seen):
    """Whether `thing`, which outlives the walk, is met for the first time."""
    first = id(thing) not in seen
    seen.add(id(thing))
    return first


_OWNERS = (Channel, Memory, Compressor, Transport, SimpleNamespace)  # the last: messages


# -- one round -------------------------------------------------------------------------------


def _round(run):
    """Expected bits, bytes and collectives of a round."""
    exchanges = run.method.exchanges
    found = {"tau": run.method.parameters["tau"], "refresh": run.method.refreshes,
             "uplink_bits": sum(times * channel.transport.uplink_bits() for channel, times in exchanges),
             "downlink_bits": sum(times * channel.transport.downlink_bits() for channel, times in exchanges)}
    traffic = [channel.transport.traffic() for channel, _ in exchanges]
    if None in traffic:
        return found | {"messages": None, "sent": None, "received": None, "uplink": None, "dense": None}
    dense = Channel(Identity(), Plain(), "refresh", fleet=run.fleet, comm=run.comm, ledger=Ledger(), wire=run.wire,
                    seed=run.seed).transport.traffic()
    alone = run.comm.size == 1  # nothing is sent then
    rates = [times for _, times in exchanges]
    mine = [0.0 if alone else float(np.dot(rates, column)) for column in zip(*traffic)]
    mine += [0.0, 0.0] if alone else [traffic[0][2], dense[2]]
    most = [float(max(column)) for column in zip(*run.comm.gather_objects(mine))]
    return found | dict(zip(("messages", "sent", "received", "uplink", "dense"), most))


def workers_per_rank(workers, ranks):
    """(fewest, most)."""
    sizes = [len(block(rank, ranks, workers)) for rank in range(ranks)]
    return min(sizes), max(sizes)
