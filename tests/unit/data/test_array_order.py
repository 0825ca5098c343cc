"""How an array lies in memory changes no bit of a problem."""

import numpy as np
import pytest

import mpimasha as mm

RNG = np.random.default_rng(0)
X, y, groups = RNG.standard_normal((60, 37)), RNG.integers(0, 2, 60), np.arange(60) % 3
PIXELS = RNG.random((60, 4, 4))
MADE = {"regression": (mm.RobustRegression, (X, y), ("X", "y")),
        "group_dro": (mm.GroupDRO, (X, y, groups), ("X", "y", "groups")),
        "images": (mm.AdversarialMLP, (PIXELS, y), ("images", "labels"))}


@pytest.mark.parametrize("source", ["arrays", "npz"])
@pytest.mark.parametrize("name", MADE)
def test_fortran_order_is_the_same_problem(tmp_path, name, source):
    cls, arrays, names = MADE[name]
    made = []
    for order in ("C", "F"):
        data = tuple(np.asarray(array, order=order) for array in arrays)
        if source == "npz":
            np.savez(tmp_path / "data.npz", **dict(zip(names, data)))
            data = str(tmp_path / "data.npz")
        made.append(cls(data=data, workers=3, **({"hidden": [4]} if name == "images" else {})))
    c, f = made
    assert f.X.flags.c_contiguous and np.array_equal(c.X, f.X) and np.array_equal(c.y, f.y)
    assert c.identity() == f.identity()
