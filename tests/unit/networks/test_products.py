"""Products in pieces against those of NumPy."""

import numpy as np
import pytest

from mpimasha.networks import products
from mpimasha.networks.products import Scratch, product, product_over_rows, product_transposed


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Of 2 rows for matrices (i, o) = (4, 6), of 4 for (2, 7), whole products for larger ones."""
    monkeypatch.setattr(products, "LIMIT", 60)
    monkeypatch.setattr(products, "FEWEST", 2)


@pytest.mark.parametrize("shape", ((4, 6), (2, 7), (9, 9)))
@pytest.mark.parametrize("rows", (0, 1, 2, 5, 8, 11))
def test_pieces_make_up_the_product(rows, shape):
    generator = np.random.default_rng(rows)
    W = generator.standard_normal(shape)
    x, y = (generator.standard_normal((rows, width)) for width in shape)
    scratch = Scratch(float)
    for wanted, function, arguments in ((x @ W, product, (x, W)), (y @ W.T, product_transposed, (y, W, scratch)),
                                        (x.T @ y, product_over_rows, (x, y, scratch))):
        out = np.full_like(wanted, np.nan)
        function(*arguments[:2], out, *arguments[2:])
        np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-14)


def test_scratch_keeps_its_memory():
    scratch = Scratch(np.float32)
    large = scratch.take(3, 4)
    small = scratch.take(2, 5)
    assert large.shape == (3, 4) and small.shape == (2, 5) and small.dtype == np.float32
    assert np.shares_memory(large, small)
