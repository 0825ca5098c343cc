"""Compressors that claim or do what is wrong, and what a check of them says."""

import re

import pytest

from mpimasha.compressors.randk import RandK
from mpimasha.testing import check_unbiased


def says(check, compressor, *words, **options):
    """The check fails with one sentence that holds each of `words` (regular expressions)."""
    with pytest.raises(AssertionError) as caught:
        check(compressor, **{"wires": ["float64"]} | ({"draws": 800} if check is check_unbiased else {}) | options)
    sentence = str(caught.value)
    assert sentence.startswith(type(compressor).__name__) and "\n" not in sentence
    missing = [word for word in words if not re.search(word, sentence)]
    assert not missing, f"{missing} not in: {sentence}"


class Dense(RandK):
    """Sends whole vectors, made by `make` from the value of the formula."""

    def fields(self):
        return {"values": (self.wire, self.n)}

    @property
    def bits(self):
        return self.n * self.value_bits

    def encode(self, x, message, worker, k):
        x.write(message.values)
        self.make(message.values, worker, k)

    def decode(self, message, worker, k, scale, out):
        out += scale * message.values


class ClaimsQ(RandK):
    def __init__(self, k, q):
        super().__init__(k)
        self.claimed = q

    def prepare(self):
        super().prepare()
        self.q = self.claimed
