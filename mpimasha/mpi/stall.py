"""The last words of a job in which ranks wait for others that do not come."""

from typing import NamedTuple

_PIECES = 6  # of a list; more than that are a number
_REMEDY = "needs a larger --stall-after"


class Word(NamedTuple):
    """What a rank says of itself when it is asked."""

    calls: int  # collectives it has begun
    name: str | None  # of the one it is in, None between two
    seconds: float  # for which it has been in that
    stack: str  # of its main thread


def last_words(words, hosts, limit):
    """Stacks, and a sentence on who is missing; None if nobody is and the last to come has not waited long.

    Parameters
    ----------
    words : list of (Word or None)
        One for each rank, None where it did not answer; at least one rank waits.
    hosts : list of str
    limit : float
        Seconds that a rank may wait.
    """
    missing = [rank for rank, word in enumerate(words) if word is None or word.name is None]
    if not missing and min(word.seconds for word in words) < limit:
        return None
    sentence = _on_missing(missing, words, hosts, limit) if missing else _on_all_waiting(words, limit)
    return f"{_stacks(words, hosts)}mpimasha: {sentence}\n"


def lone_words(rank, word, hosts, limit):
    """The same from a rank that cannot ask the others, because MPI takes calls from one thread only."""
    words = [word if other == rank else None for other in range(len(hosts))]
    return (f"{_stacks(words, hosts)}mpimasha: rank {rank} of {len(hosts)} has waited {limit:g} s "
            f"{_place([rank], word)}, and this MPI library gives it no way to ask who is missing; a rank that really "
            f"works that long {_REMEDY}\n")


# -- the sentence --------------------------------------------------------------------------------


def _on_missing(missing, words, hosts, limit):
    others = [rank for rank in range(len(words)) if rank not in missing]
    who = "the others have" if len(others) > 1 else f"{listed(others)} has"
    causes = _grouped(missing, lambda rank: (words[rank] is None, hosts[rank]))
    return (f"{listed(missing)} of {len(words)} {_agree(missing, 'is', 'are')} missing: {who} waited up to {limit:g} s "
            f"for {_agree(missing, 'it', 'them')}{_places(others, words)}; "
            f"{_said(causes, lambda ranks: _cause(ranks, words, hosts))}; a rank that really works that long {_REMEDY}")


def _cause(ranks, words, hosts):
    where = f"{listed(ranks)} on {hosts[ranks[0]]}"
    if words[ranks[0]] is None:
        return f"{where} {_agree(ranks, 'does', 'do')} not answer"
    stacks = _agree(ranks, "its stack is", "their stacks are")
    return f"{where} {_agree(ranks, 'works', 'work')} outside of MPI ({stacks} above)"


def _on_all_waiting(words, limit):
    ranks = range(len(words))
    if len({word[:2] for word in words}) > 1:
        return (f"all {len(words)} ranks have waited {limit:g} s, but not for the same{_places(ranks, words)}; they "
                "have taken different paths through the program, which is a mistake in it")
    return (f"no rank is missing, but all {len(words)} have waited {limit:g} s{_places(ranks, words)}; MPI or the "
            "network hangs, or the ranks do not agree on what is sent; a collective that really takes that long "
            f"{_REMEDY}")


def _places(ranks, words):
    """Where `ranks` wait, the furthest first."""
    places = sorted(_grouped(ranks, lambda rank: words[rank][:2]), key=lambda ranks: -words[ranks[0]].calls)
    if len(places) == 1:
        return " " + _place(places[0], words[places[0][0]])
    return ": " + _said(places, lambda ranks: f"{listed(ranks)} {_place(ranks, words[ranks[0]])}")


def _place(ranks, word):
    return f"in {word.name}, {_agree(ranks, 'its', 'their')} collective {word.calls}"


# -- stacks --------------------------------------------------------------------------------------


def _stacks(words, hosts):
    """Every stack once, under the ranks that have it; those that wait come first."""
    answered = sorted((rank for rank, word in enumerate(words) if word is not None),
                      key=lambda rank: words[rank].name is None)
    return "".join(_stack(ranks, words, hosts) for ranks in
                   _grouped(answered, lambda rank: (words[rank].name and words[rank][:2], words[rank].stack)))


def _stack(ranks, words, hosts):
    word, where = words[ranks[0]], _said([[host] for host in dict.fromkeys(hosts[rank] for rank in ranks)], "".join)
    does = f"{_agree(ranks, 'waits', 'wait')} {_place(ranks, word)}" if word.name else \
        f"{_agree(ranks, 'works', 'work')} outside of MPI"
    return f"mpimasha: {listed(ranks)} of {len(words)} on {where} {does}:\n{word.stack}"


# -- lists ---------------------------------------------------------------------------------------


def listed(ranks):
    """``rank 3``, ``ranks 0, 2 and 5``, ``ranks 0-62 and 64``; of many pieces the first, and how many ranks more."""
    runs = []
    for rank in ranks:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    runs = [part for run in runs for part in ([run] if len(run) > 2 else [[rank] for rank in run])]
    return f"{_agree(ranks, 'rank', 'ranks')} " \
        + _said(runs, lambda run: str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")


def _grouped(ranks, key):
    """Lists of the ranks that have a key in common, in the order of their first ranks."""
    groups = {}
    for rank in ranks:
        groups.setdefault(key(rank), []).append(rank)
    return list(groups.values())


def _said(groups, say):
    """What `say` makes of each group, as in "a, b and c"; of many groups the first, and how many members more."""
    shown = groups if len(groups) <= _PIECES else groups[:_PIECES - 1]
    more = sum(map(len, groups[len(shown):]))
    pieces = [say(group) for group in shown] + ([f"{more} more"] if more else [])
    return " and ".join(filter(None, [", ".join(pieces[:-1]), pieces[-1]]))


def _agree(ranks, singular, plural):
    return singular if len(ranks) == 1 else plural
