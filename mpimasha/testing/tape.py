"""A run that writes down what is sent, and a rank that is played to from it.

A mean is a function of all messages.  So if every rank, given the means of a run of one process, sends that run's
messages, then ranks that exchange them really go through the same states; no rank needs to wait for another one.
"""

import copy

from mpimasha import state
from mpimasha.channels.channel import Channel
from mpimasha.fleet.fleet import Fleet
from mpimasha.ledger import Ledger
from mpimasha.mpi.communicator import Communicator


class Tape:
    """A run with its exchanges written down.

    Attributes
    ----------
    run : Run
    channels : dict
        {attribute of the method: Channel}
    exchanges : list of (str, int, dict, array)
        Channel, number, {as which worker: message} of this process's workers, and the mean.
    calls : float
        Operators evaluated, a batch of s of r components counting s/r.
    """

    def __init__(self, run):
        self.run, self.exchanges, self.calls = run, [], 0
        self.channels = channels_of(run.method)
        for name, channel in self.channels.items():
            channel.transport.collect = self._recording(name, channel.transport, channel.transport.collect)
        fleet = run.fleet
        fleet.operators = [self._counted(F) for F in fleet.operators]
        if fleet.batches:
            fleet.batches = [self._counted(F, r) for F, r in zip(fleet.batches, fleet.lots.components)]

    def play(self, rounds, first=0):
        """Start, and step up to `rounds`; or go on from round `first`."""
        if not first:
            self.run.start()
        for k in range(first, rounds):
            self.run.method.step(k)

    def _recording(self, name, transport, collect):
        def collected(k, scale, out):
            messages = {worker: contents(post) for (_, worker), post in zip(transport.senders, transport.outbox)}
            collect(k, scale, out)
            self.exchanges.append((name, k, messages, out.copy()))
        return collected

    def _counted(self, F, components=1):
        def counted(z, out, chosen=(0,)):
            self.calls += len(chosen) / components
            F(z, out) if components == 1 else F(z, out, chosen)
        return counted


def channels_of(method):
    return {name: value for name, value in vars(method).items() if isinstance(value, Channel)}


def contents(message):
    """The bytes of a message, field by field."""
    return {field: array.tobytes() for field, array in vars(message).items()}


def restored(run, tape):
    """`run`, which has not started, with the declared state of `tape`: its method's and its channels' memories'."""
    pairs = [(run.method, tape.run.method)]
    for name, channel in channels_of(run.method).items():
        pairs.append((channel.memory, tape.channels[name].memory))
        if channel.server is not None:
            pairs.append((channel.server.memory, tape.channels[name].server.memory))
    for to, source in pairs:
        for key, buffer in state.buffers(to).items() if "_buffers" in vars(to) else ():
            buffer[:] = state.buffers(source)[key]
    return run


def replay(tape, method, rank, size, rounds):
    """What rank `rank` of `size` does otherwise than the run on `tape`, as the middle of a sentence, or None."""
    run, comm = tape.run, Communicator()
    comm.rank, comm.size = rank, size
    fleet, method = Fleet(run.problem, comm, run.seed, Ledger()), copy.deepcopy(method)
    method.choose(run.problem, run.wire, run.constants)
    method.bind(run.problem, fleet, run._channels(fleet, comm, "auto"))
    method.set_parameters(run.constants)
    expected = iter(tape.exchanges)
    for name, channel in channels_of(method).items():
        channel.transport.collect = _playing(name, channel.transport, expected)
    try:
        method.start()
        for k in range(rounds):
            method.step(k)
    except _Parted as parted:
        return str(parted)
    return _other_state(tape, method, fleet)


class _Parted(Exception):
    """A rank sends something else than the run on tape."""


def _playing(name, transport, expected):
    def collected(k, scale, out):
        channel, number, messages, mean = next(expected, (None, None, None, None))
        if (channel, number) != (name, k):
            raise _Parted(f"exchange {k} of self.{name} takes the place of exchange {number} of self.{channel}")
        for (_, worker), message in zip(transport.senders, transport.outbox):
            if contents(message) != messages.get(worker):
                raise _Parted(f"worker {worker} sends another message in exchange {k} of self.{name} than")
        out[:] = mean
    return collected


def _other_state(tape, method, fleet):
    """The first account or state that is not the one on tape."""
    for key in ("uplink_bits", "downlink_bits", "exchanges"):
        if getattr(fleet.ledger, key) != getattr(tape.run.ledger, key):
            return f"the ledger's {key} are others than"
    mine, others = state.buffers(method), state.buffers(tape.run.method)
    for key, kind in state.used(method).items():
        serial = others[key] if isinstance(kind, state.Shared) else others[key][fleet.owned]
        if serial.tobytes() != mine[key].tobytes():
            return f"self.{key} ends at other numbers than"
    return None
