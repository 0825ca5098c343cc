"""What a run consists of between two rounds: what all ranks share, and what each worker has, by name.

State is declared, so nothing here knows any method.  Random draws are keyed by the round: no stream has a state.
"""

import numpy as np

from mpimasha import state
from mpimasha.channels.channel import Channel


def shared(run):
    """{name: array} of what is the same on all ranks; the arrays themselves, but for the ledger's numbers."""
    found = {f"{owner}.{name}": buffer for owner, name, buffer, _ in _shared(run)}
    if run.average is not None:
        found["average"] = run.average
    ledger = run.ledger
    found["ledger"] = np.array([ledger.uplink_bits, ledger.downlink_bits, ledger.exchanges])
    found["k"] = np.array([run.k])
    return found


def of_workers(run):
    """{name: one array for each of this rank's workers}."""
    found = {name: list(rows) for name, rows in _of_workers(run)}
    found["operator_calls"] = [np.array([run.ledger.operator_calls.get(m, 0.0)]) for m in run.fleet.owned]
    return found


def restore(run, common, own):
    """Put back what `shared` and `of_workers` gave.

    Parameters
    ----------
    common : {name: array}
    own : {name: list of array}
        One for each worker this rank owns now, on whatever rank it was before.
    """
    for owner, name, buffer, _ in _shared(run):
        buffer[:] = common[f"{owner}.{name}"]
    if run.average is not None:
        run.average[:] = common["average"]
    for name, rows in _of_workers(run):
        for row, saved in zip(rows, own[name], strict=True):
            row[:] = saved
    ledger, (up, down, exchanges) = run.ledger, common["ledger"]
    ledger.uplink_bits, ledger.downlink_bits, ledger.exchanges = float(up), float(down), int(exchanges)
    calls = zip(run.fleet.owned, own["operator_calls"], strict=True)
    ledger.operator_calls = {m: float(count[0]) for m, count in calls}
    run.k = int(common["k"][0])


def check(run, common, own):
    """Raise KeyError or ValueError where `restore` would meet names, shapes or types that are not this run's."""
    mine = shared(run)
    if common.keys() != mine.keys():
        raise KeyError(", ".join(sorted(common.keys() ^ mine.keys())))
    pairs = [(name, common[name], array) for name, array in mine.items()]
    pairs += [(name, saved, row) for name, rows in of_workers(run).items()
              for saved, row in zip(own[name], rows, strict=True)]
    for name, saved, array in pairs:
        if saved.shape != array.shape or saved.dtype != array.dtype:
            raise ValueError(f"{name} has shape {saved.shape} and type {saved.dtype} where this run has {array.shape} "
                             f"and {array.dtype}")


def _owners(run):
    """(name, object with declared state, whether all of it is shared)."""
    method = run.method
    yield "method", method, False
    yield "metric", method.metric, True
    for name, channel in sorted(vars(method).items()):
        if isinstance(channel, Channel):
            yield f"{name}.memory", channel.memory, False
            if channel.server is not None:
                yield f"{name}.server", channel.server.memory, True


def _declared(run):
    """(owner, name, buffers of the owner, whether it is shared) of every declared state in use."""
    for owner, instance, common in _owners(run):
        buffers = state.buffers(instance)
        for name, declaration in state.used(instance).items():
            yield owner, name, buffers, common or isinstance(declaration, state.Shared)


def _shared(run):
    n = run.fleet.n
    for owner, name, buffers, common in _declared(run):
        if common:
            buffer = buffers[name]
            yield owner, name, buffer[:n] if owner == "method" and buffer.ndim == 1 else buffer, buffers


def _of_workers(run):
    parts = run.fleet.parts
    for owner, name, buffers, common in _declared(run):
        if not common:
            yield f"{owner}.{name}", buffers[name]
        local = buffers.get(f"{name}.local")
        if common and owner == "method" and parts and len(buffers[name]) == parts.size:
            local = buffers[name][parts.n:]
        if local is not None:
            yield f"{owner}.{name}.local", [local[p.start - parts.n:p.stop - parts.n] for p in parts.local]
