"""What is said of ranks that others wait for."""

import pytest

from mpimasha.mpi import stall
from mpimasha.mpi.stall import Word, listed

HOSTS = ["a", "a", "b", "b"]
REMEDY = "a rank that really works that long needs a larger --stall-after"


def waits(calls=7, name="Allgatherv", seconds=300.0, stack="  waiting\n"):
    return Word(calls, name, seconds, stack)


def works(calls=6, stack="  working\n"):
    return Word(calls, None, 0.0, stack)


def said(*words, hosts=HOSTS):
    """(stacks, sentence)"""
    *stacks, sentence = stall.last_words(words, hosts[:len(words)], 300.0).splitlines(keepends=True)
    assert sentence.startswith("mpimasha: ") and sentence.endswith("\n")
    return "".join(stacks), sentence.removeprefix("mpimasha: ").rstrip("\n")


@pytest.mark.parametrize("ranks, text", [
    ([3], "rank 3"), ([0, 5], "ranks 0 and 5"), ([0, 1, 3], "ranks 0, 1 and 3"), ([0, 1, 2, 7], "ranks 0-2 and 7"),
    (range(64), "ranks 0-63"), (range(0, 12, 2), "ranks 0, 2, 4, 6, 8 and 10"),
    (range(0, 84, 2), "ranks 0, 2, 4, 6, 8 and 37 more"),
])
def test_lists_of_ranks_are_short(ranks, text):
    assert listed(ranks) == text


def test_the_missing_are_named_with_what_they_do():
    assert said(waits(), waits(), works(), None)[1] == (
        "ranks 2 and 3 of 4 are missing: the others have waited up to 300 s for them in Allgatherv, their collective "
        f"7; rank 2 on b works outside of MPI (its stack is above) and rank 3 on b does not answer; {REMEDY}")


def test_of_two_ranks_one_waits_for_the_other():
    assert said(None, waits())[1] == (
        "rank 0 of 2 is missing: rank 1 has waited up to 300 s for it in Allgatherv, its collective 7; "
        f"rank 0 on a does not answer; {REMEDY}")


def test_the_missing_of_one_host_share_a_clause():
    assert "; rank 1 on a does not answer and ranks 2 and 3 on b do not answer; " in said(waits(), None, None, None)[1]
    assert "; ranks 2 and 3 on b work outside of MPI (their stacks are above); " in \
        said(waits(), waits(), works(), works(stack="  writing\n"))[1]


def test_of_many_hosts_the_first_are_named():
    words, hosts = [waits(), *[None] * 40], [f"node{number}" for number in range(41)]
    assert "rank 5 on node5 does not answer and 35 more; a rank that" in said(*words, hosts=hosts)[1]


def test_ranks_that_wait_further_back_are_told_apart():
    sentence = said(waits(6, "Gatherv"), waits(), waits(), works(5))[1]
    assert sentence.startswith("rank 3 of 4 is missing: the others have waited up to 300 s for it: ranks 1 and 2 in "
                               "Allgatherv, their collective 7 and rank 0 in Gatherv, its collective 6; rank 3")


def test_ranks_in_different_collectives_are_a_mistake_in_the_program():
    assert said(waits(), waits(), waits(7, "Bcast"))[1] == (
        "all 3 ranks have waited 300 s, but not for the same: ranks 0 and 1 in Allgatherv, their collective 7 and rank "
        "2 in Bcast, its collective 7; they have taken different paths through the program, which is a mistake in it")


def test_where_all_wait_for_the_same_nobody_is_blamed():
    assert said(waits(), waits(seconds=310.0))[1] == (
        "no rank is missing, but all 2 have waited 300 s in Allgatherv, their collective 7; MPI or the network hangs, "
        "or the ranks do not agree on what is sent; a collective that really takes that long needs a larger "
        "--stall-after")


def test_while_the_last_rank_has_only_just_come_nothing_is_said():
    assert stall.last_words([waits(), waits(seconds=299.0)], HOSTS, 300.0) is None


def test_equal_stacks_are_shown_once_and_the_waiting_first():
    assert said(works(), waits(), waits(), waits(stack="  waiting elsewhere\n"))[0] == (
        "mpimasha: ranks 1 and 2 of 4 on a and b wait in Allgatherv, their collective 7:\n  waiting\n"
        "mpimasha: rank 3 of 4 on b waits in Allgatherv, its collective 7:\n  waiting elsewhere\n"
        "mpimasha: rank 0 of 4 on a works outside of MPI:\n  working\n")
