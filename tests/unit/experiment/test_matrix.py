"""A comparison is blocks x variants x problems x seeds."""

import pytest

from mpimasha.errors import UserError
from mpimasha.experiment import matrix

TWO = [{"label": "small", "workers": 3, "problem": {"dim": 4}}, {"label": "large", "workers": 6}]


def pairs(document):
    return [(e.on, e.label, e.seed) for e in matrix.experiments(document)]


def test_every_block_meets_every_problem_and_every_seed():
    document = {"seeds": [4, 9], "problems": TWO, "compare": [{"label": "a"}, {"label": "b"}]}
    assert pairs(document) == [(on, label, seed) for on in ("small", "large") for label in "ab" for seed in (4, 9)]
    small, large = (matrix.experiments(document)[i] for i in (0, 4))
    assert small.problem_options == {"dim": 4, "workers": 3} and large.problem_options == {"workers": 6}


def test_each_makes_a_variant_of_every_combination():
    block = {"label": "m", "method": {"name": "masha1"},
             "each": {"compressor": {"up": ["randk:5", "qsgd:4"]}, "method": {"gamma": [0.1, "theory"]}}}
    found = matrix.experiments({"compare": [block]})
    assert [e.label for e in found] == ["m, randk:5, 0.1", "m, randk:5, theory", "m, qsgd:4, 0.1", "m, qsgd:4, theory"]
    assert [(str(e.method().compressor), e.document["method"]["gamma"]) for e in found] == [
        ("randk:5", 0.1), ("randk:5", "theory"), ("qsgd:4", 0.1), ("qsgd:4", "theory")]


def test_a_variant_without_a_label_is_named_after_its_method():
    found = pairs({"compare": [{"method": {"name": "og"}, "each": {"method": {"gamma": [0.1, 0.2]}}}, {}]})
    assert [label for _, label, _ in found] == ["og, 0.1", "og, 0.2", "diana_og"]


def test_problems_have_variants_too():
    found = pairs({"problems": [{"label": "M", "each": {"workers": [3, 4]}}], "compare": [{"label": "a"}]})
    assert found == [("M, 3", "a", 0), ("M, 4", "a", 0)]


def test_a_block_may_be_for_some_problems_only_and_its_label_return_on_others():
    document = {"problems": TWO, "compare": [{"label": "a", "on": "small", "method": {"gamma": 0.1}},
                                             {"label": "a", "on": ["large"], "method": {"gamma": 0.2}}, {"label": "b"}]}
    assert pairs(document) == [("small", "a", 0), ("small", "b", 0), ("large", "a", 0), ("large", "b", 0)]
    assert [e.document.get("method") for e in matrix.experiments(document)] == [
        {"gamma": 0.1}, None, {"gamma": 0.2}, None]


def test_a_document_is_left_as_it_was_and_that_of_a_run_describes_it_alone():
    document = {"problem": {"dim": 4}, "problems": TWO,
                "compare": [{"label": "a", "each": {"problem": {"kappa": [2]}}}]}
    before = repr(document)
    found = matrix.experiments(document)
    assert repr(document) == before
    assert found[1].document == {"problem": {"dim": 4, "kappa": 2}, "workers": 6}


@pytest.mark.parametrize("document, words", [
    ({"compare": [{"label": "a"}, {"label": "a"}]}, ["label = 'a'", "more than one [[compare]]"]),
    ({"problems": TWO, "compare": [{"label": "a", "on": "smal"}]}, ["on = 'smal'", "'small'"]),
    ({"compare": [{"label": "a", "on": "small"}]}, ["on = 'small'", "no [[problems]] block"]),
    ({"problems": [{}, {"label": "x"}], "compare": [{}]}, ["[[problems]] block has no label"]),
    ({"problems": [{"label": "x"}, {"label": "x"}], "compare": [{}]}, ["label = 'x'", "[[problems]]"]),
    ({"problems": {"label": "x"}, "compare": [{}]}, ["problems", "[[problems]]"]),
    ({"problems": [{"label": "x", "worker": 3}], "compare": [{}]}, ["problems.worker", "'workers'"]),
    ({"problems": [{"label": "x", "on": "x"}], "compare": [{}]}, ["problems.on"]),
    ({"compare": [{"each": {"method": {"gamma": 0.1}}}]}, ["compare.each.method.gamma = 0.1", "list"]),
    ({"compare": [{"each": {"method": {"gamma": []}}}]}, ["compare.each.method.gamma = []"]),
    ({"compare": [{"each": {"method": {"gama": [1]}}}]}, ["method.gama", "'gamma'"]),
    ({"compare": [{"label": "\n"}]}, ["label = '\\n'"]), ({"problems": TWO}, ["at least one [[compare]]"]),
])
def test_mistakes_are_named(document, words):
    with pytest.raises(UserError) as caught:
        matrix.experiments(document)
    for word in words:
        assert word in str(caught.value)
