"""Findings on an experiment: whether it will start, fit into memory, and what a round of it sends."""

from mpimasha.doctor.finding import NOTE, OK, PROBLEM, Finding, several, size, time
from mpimasha.doctor.machine import available, by_host
from mpimasha.doctor.needs import workers_per_rank
from mpimasha.show import tables

_TIGHT = 0.8  # of the free memory: then other programs matter


def findings(forecasts, ranks, network=None):
    """What to say of an experiment: all of it, or of the blocks of a comparison what is out of order.

    Parameters
    ----------
    forecasts : list of dict
        Of each block, by `needs.forecast`.
    ranks, network
        As for `machine.findings`.
    """
    several_blocks = len(forecasts) > 1
    found = [_problem(forecasts[0])]
    for forecast in forecasts:
        label = f"{forecast['label']}: " if several_blocks else ""
        lines = [_step(forecast), _memory(forecast, ranks)]
        if forecast["memory"] is not None:
            lines += [_bits(forecast), _wire(forecast), _communication(forecast, network)]
        found += [Finding("experiment", f.name, f.level, label + f.value, f.advice) for f in lines
                  if f is not None and (not several_blocks or f.level != OK)]
    return found


def table(forecasts, network=None, width=None):
    """The blocks of a comparison side by side, as lines of text; names of compressors where `width` has room."""
    rows = []
    for forecast in (f for f in forecasts if f["memory"] is not None):
        seconds = communication(forecast, network)
        sent = forecast["sent"]
        compressor = forecast["compressor"] + "?" * bool(forecast.get("guess"))
        rows.append([forecast["label"], compressor, size(worst_rank(forecast)),
                     tables.number(forecast["uplink_bits"] / 1e3), tables.number(forecast["downlink_bits"] / 1e3),
                     "-" if sent is None else tables.number(sent / 1e3), tables.number(forecast["messages"]),
                     "-" if seconds is None else tables.number(1e6 * seconds)])
    header = ["method", "compressor", "memory", "up kbit", "down kbit", "sent kB", "messages", "us"]
    lines = tables.text(header, rows).splitlines() if rows else []
    if width is None or max(map(len, lines), default=0) <= width:
        return lines
    return tables.text(header[:1] + header[2:], [row[:1] + row[2:] for row in rows]).splitlines()


FOOTNOTE = ("A round, refreshes included on average: model bits per worker, bytes a rank hands to MPI, collectives, "
            "least seconds of communication.  Memory of a rank, libraries apart.  A compressor with a question mark is "
            "a guess: the run chooses it at the start.")


def _problem(forecast):
    fewest, most = workers_per_rank(forecast["workers"], forecast["ranks"])
    share = several(most, "worker") if fewest == most else f"{fewest} or {several(most, 'worker')}"
    text = f"{forecast['problem']}, n = {forecast['n']}, {several(forecast['workers'], 'worker')}: {share} a rank"
    if fewest == most:
        return Finding("experiment", "problem", OK, text)
    idle = 1 - forecast["workers"] / (most * forecast["ranks"])
    fits = max(r for r in range(1, forecast["ranks"] + 1) if forecast["workers"] % r == 0)
    return Finding("experiment", "problem", NOTE, f"{text}, so {idle:.0%} of the computing time is spent waiting",
                   f"use {several(fits, 'rank')}, or a multiple of {forecast['ranks']} workers")


def _step(forecast):
    if forecast["refusal"] is not None:
        return Finding("experiment", "start", PROBLEM, f"the run would refuse: {forecast['refusal']}",
                       "mend the experiment as the sentence says")
    if not forecast["judged"]:
        return Finding("experiment", "step size", OK, "not worked out here: its constants take the data, or long")
    over_L = "" if forecast["gamma_L"] is None else f" = {forecast['gamma_L']:.3g}/L"
    tau = "" if forecast["tau"] is None else f", tau = {forecast['tau']:.4g}"
    origin = {"theory": "by theory", "adaptive": "at the start, then it adapts", None: "as given"}.get(
        forecast["rule"], f"the {forecast['rule']} one")
    return Finding("experiment", "step size", OK, f"gamma = {forecast['gamma']:.4g}{over_L}{tau}, {origin}")


# -- memory --------------------------------------------------------------------------------


def total(memory):
    """Bytes of one rank, libraries apart."""
    return sum(count for count in memory.values() if count is not None)


def worst_rank(forecast):
    return max(map(total, forecast["memory"]))


def _memory(forecast, ranks):
    if forecast["memory"] is None:
        return None
    heaviest = max(forecast["memory"], key=total)
    shares = [f"{size(count)} {name}" for name, count in heaviest.items() if count]
    unknown = ", data not known" if heaviest["data"] is None else ""
    libraries = max((r["resident"] or 0) for r in ranks)
    text = f"{size(total(heaviest))} a rank ({', '.join(shares)}{unknown}) beside {size(libraries)} of libraries"
    hosts = {host: (sum(total(forecast["memory"][r["rank"]]) for r in group), available(group))
             for host, group in by_host(ranks).items()}
    judged = {host: (need, room) for host, (need, room) in hosts.items() if room is not None}
    if not judged:
        return Finding("experiment", "memory", OK, text)
    host = max(judged, key=lambda name: judged[name][0] / max(judged[name][1], 1))
    need, room = judged[host]
    text += f"; {size(need)} of {size(room)} free on {host}"
    if need > room:
        return Finding("experiment", "memory", PROBLEM, text, "spread the ranks over more hosts, or take fewer "
                       "workers or a smaller problem")
    if need > _TIGHT * room:
        return Finding("experiment", "memory", NOTE, text, "leave room for the operators' own temporaries: more hosts, "
                       "or fewer workers")
    return Finding("experiment", "memory", OK, text)


# -- one round -------------------------------------------------------------------------------


def _bits(forecast):
    refresh = f", a refresh every {1 / forecast['refresh']:.3g} rounds included" if forecast["refresh"] else ""
    guess = ""
    if forecast.get("guess"):
        least, most = (size(bits, "bit") for bits in forecast["guess"])
        guess = f"; a guess: the compressor is chosen at the start, and {least} to {most} are sent up"
    return Finding("experiment", "model bits", OK, f"{size(forecast['uplink_bits'], 'bit')} up and "
                   f"{size(forecast['downlink_bits'], 'bit')} down, per worker and round{refresh}{guess}")


def _wire(forecast):
    if forecast["ranks"] == 1:
        return None
    if forecast["sent"] is None:
        return Finding("experiment", "wire", OK, "bytes are not known for this transport")
    text = (f"a rank sends {size(forecast['sent'])} and receives {size(forecast['received'])} a round, in "
            f"{tables.number(forecast['messages'])} collectives")
    if forecast["uplink"] > forecast["dense"]:
        return Finding("experiment", "wire", NOTE, f"{text}; a compressed exchange brings a rank "
                       f"{size(forecast['uplink'])}, a dense one {size(forecast['dense'])}",
                       f"permk, a smaller k or a dense method would send less: all {forecast['workers']} messages "
                       f"reach every rank")
    return Finding("experiment", "wire", OK, text)


def communication(forecast, network):
    """Least seconds of communication of a round: collectives * latency + bytes received / bandwidth; or None.

    A model of ours, from the exchanges that were measured.
    """
    if forecast["ranks"] == 1:
        return 0.0
    if network is None or forecast["messages"] is None:
        return None
    latency, large = network["latency"][1], network["large"][1]
    per_byte = max(0.0, large - latency) / network["bytes"]
    return forecast["messages"] * latency + forecast["received"] * per_byte


def _communication(forecast, network):
    if forecast["ranks"] == 1:
        return Finding("experiment", "time", OK, "with one rank nothing is sent")
    seconds = communication(forecast, network)
    if seconds is None:
        return None
    return Finding("experiment", "time", OK, f"at least {time(seconds)} of communication a round, by the times above")
