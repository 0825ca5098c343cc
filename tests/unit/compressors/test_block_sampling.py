"""RandK in blocks: whole cache lines, each equally likely, the mean number of values billed."""

import numpy as np
import pytest
from draws import ROUNDS, bound, buffer_bits, check_mean, draws

import mpimasha as mm


@pytest.mark.parametrize("n, k", [(64, 16), (64, 9), (61, 16), (20, 3), (20, 20), (8, 1), (5, 5), (1, 1), (203, 0.1)])
def test_blocks_are_whole_lines_each_equally_likely_and_the_mean_is_billed(n, k):
    q = bound(mm.RandK(k, "block"), n, wire=np.float32)
    lines, drawn = -(-n // 8), -(-(k if k >= 1 else round(k * n)) // 8)
    assert q.q == lines / drawn and q.count == min(8 * drawn, n)
    samples = draws(q, np.ones(n), rounds=ROUNDS // 2) != 0
    for line in np.split(samples, range(8, n, 8), axis=1):
        assert (line.all(axis=1) | ~line.any(axis=1)).all()
    check_mean(samples.astype(float), np.full(n, drawn / lines))
    assert q.bits == pytest.approx(32 * n * drawn / lines, rel=1e-15)
    check_mean(32.0 * samples.sum(axis=1), q.bits)
    assert samples.sum(axis=1).max() <= q.count and buffer_bits(q) == 32 * q.count


@pytest.mark.parametrize("n, k", [(61, 16), (24, 8)])
def test_blocks_are_unbiased_with_their_q_attained(n, k):
    q, x = bound(mm.RandK(k, "block"), n), np.random.default_rng(0).standard_normal(n)
    samples = draws(q, x)
    check_mean(samples, x)
    check_mean((samples**2).sum(axis=1), q.q * (x @ x))
