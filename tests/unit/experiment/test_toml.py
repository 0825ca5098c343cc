"""What is written as TOML is read again."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpimasha.experiment import toml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.one_of(st.integers(-2**63, 2**63 - 1), st.floats(allow_nan=False), st.booleans(), texts)
values = st.one_of(plain, st.lists(plain, max_size=3), st.dictionaries(texts, plain, max_size=2))
tables = st.dictionaries(texts, values, max_size=4)


@given(document=st.dictionaries(texts, st.one_of(values, tables, st.lists(tables, min_size=1, max_size=3)), max_size=4))
def test_a_document_comes_back(document):
    assert tomllib.loads(toml.dumps(document)) == document


def test_it_reads_like_one_written_by_hand():
    text = toml.dumps({"seeds": 5, "stop": {"rounds": 10}, "compare": [{"label": "a", "method": {"name": "og"}}]},
                      {"compare": ["why"]})
    assert text == ('seeds = 5\n\n[stop]\nrounds = 10\n\n# why\n[[compare]]\nlabel = "a"\nmethod = { name = "og" }\n')


@pytest.mark.parametrize("value", [1e22, 1e-7, -0.0, float("inf"), 5.0])
def test_numbers_keep_their_kind(value):
    back = tomllib.loads(toml.dumps({"x": value}))["x"]
    assert (back, type(back)) == (value, float)
