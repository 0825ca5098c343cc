"""What `mpimasha list` says of the methods is what the classes do."""

import pytest

import mpimasha as mm
from mpimasha.commands.listing import LISTS, listing
from mpimasha.errors import UserError
from mpimasha.methods import METHODS

STANDINGS = {"proved", "reconstructed", "observed"}


def rows():
    """{method: its row of the table}."""
    lines = listing("methods").splitlines()
    table = lines[3:lines.index("", 3)]
    return {line.split()[0]: line for line in table}


def test_every_method_has_a_row_with_its_memory_and_standing():
    assert list(rows()) == list(METHODS)
    for name, row in rows().items():
        assert METHODS[name].memory.name.replace("_", " ") in row and row.split()[-1] in STANDINGS
        assert METHODS[name].accepts in row


def test_every_list_names_everything_there_is():
    whole = listing()
    assert all(f"  {name} " in whole for kind in LISTS.values() for name in kind)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_the_theorems_step_if_and_only_if_it_claims_one(name):
    problem = mm.Bilinear(dim=4, workers=3, samples=3)
    if METHODS[name].theorem:
        run = mm.Run(problem, METHODS[name](gamma="theory"))
        assert run.method.gamma > 0 and run.method.rule == "theory"
    else:
        with pytest.raises(UserError, match="method.gamma = 'theory': no .* give a number"):
            mm.Run(problem, METHODS[name](gamma="theory"))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_refuses_the_compressors_that_it_does_not_accept(name):
    method, whole, unbiased, biased = METHODS[name], mm.Identity(), mm.QSGD(4), mm.TopK(2)
    allowed = {"identity": [whole], "unbiased": [whole, unbiased], "contractive or unbiased": [whole, unbiased, biased]}
    for compressor in (whole, unbiased, biased):
        if compressor in allowed[method.accepts]:
            assert method(compressor, gamma=0.1).compressor is compressor
        else:
            with pytest.raises(UserError, match=f"compressor.up = '{compressor}' cannot be used with {name}"):
                method(compressor, gamma=0.1)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_without_prox_refuses_one(name):
    problem, gamma = mm.MatrixGame(size=4, workers=3), 0.1
    if METHODS[name].takes_prox and not METHODS[name](gamma=gamma).batch:
        assert mm.Run(problem, METHODS[name](gamma=gamma)).method.gamma == gamma
    else:
        with pytest.raises(UserError, match="prox|method.batch"):
            mm.Run(problem, METHODS[name](gamma=gamma))
