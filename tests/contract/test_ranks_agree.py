"""With variables that belong to workers, whatever is decided rests on what all ranks know."""

import inspect

import numpy as np
import pytest
from lanes import fast

import mpimasha as mm
from mpimasha.methods import METHODS


def problem():
    """A network of 7 workers with perturbations of their own, in shards of unequal size."""
    rng = np.random.default_rng(1)
    labels = np.arange(45) % 3
    images = np.clip(0.3 * rng.random((45, 4, 4)) + 0.25 * labels[:, None, None], 0, 1)
    return mm.AdversarialMLP((images, labels), hidden=(6,), workers=7, radius=0.1, ascent=5.0, split="sorted")


def cases():
    """(name, rule or number, how to make the method) of every method that takes such variables."""
    for name, cls in METHODS.items():
        for gamma in (0.02, *cls.rules) if cls.trains else ():
            options = {"gamma": gamma}
            if gamma == "adaptive" and "refresh" in inspect.signature(cls).parameters:
                options["refresh"] = mm.AbsMax(3, nearest=True)
            yield name, gamma, lambda cls=cls, options=options: cls(**options)


def solved(make, comm=None):
    """What the rank has in the end, and its step; the sentence where the rule has none for this problem."""
    try:
        result = mm.solve(problem(), make(), comm=comm, seed=3, stop=mm.Stop(rounds=12), on_error="raise")
    except mm.UserError as error:
        return str(error)
    return result.z.tobytes(), result.gamma, result.status


@pytest.mark.ranks(3, slow=(2, 4), limit=240)
@pytest.mark.parametrize("which", fast(["adaptive", "all"], "adaptive"))
def test_every_method_and_every_rule_ends_alike_on_all_ranks_and_like_one_process(comm, which):
    ran, found = set(), []
    for name, gamma, make in cases():
        if which not in (gamma, "all"):
            continue
        alone, together = solved(make), comm.allgather(solved(make, comm))
        found += [f"{name}, gamma = {gamma}, rank {rank}" for rank, other in enumerate(together) if other != alone]
        ran |= {(name, gamma)} if isinstance(alone, tuple) else set()
    assert found == []
    assert ran >= {("diana_og", "adaptive"), ("masha1", "adaptive")}
    assert which == "adaptive" or ran >= {("masha2", 0.02), ("eg", 0.02)} and len(ran) > 10
