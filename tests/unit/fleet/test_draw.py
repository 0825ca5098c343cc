"""Who takes part and which samples: uniform, the same on every rank, another lot every round."""

import numpy as np
import pytest

from mpimasha.errors import UserError
from mpimasha.fleet.draw import Draw, Lots, check_share, share

M, R = 7, (4, 6, 5, 4, 6, 5, 4)
ROUNDS = 4000


def lots(owned=range(M), seed=0):
    made = Lots(seed, M, owned)
    made.of_components([R[m] for m in owned])
    return made


@pytest.mark.parametrize("count", (1, 3, 6))
def test_every_worker_takes_part_equally_often(count):
    drawn = [lots().draw(k, participation=count).participants for k in range(ROUNDS)]
    assert all(len(set(p.tolist())) == count and (np.diff(p.astype(int)) > 0).all() for p in drawn)
    often = np.bincount(np.concatenate(drawn), minlength=M) / ROUNDS
    assert np.abs(often - count / M).max() <= 5 * np.sqrt(0.25 / ROUNDS)


def test_every_pair_of_samples_is_drawn_equally_often():
    pairs = np.zeros((R[1], R[1]))
    for k in range(ROUNDS):
        chosen = lots().draw(k, batch=2).components(1)
        pairs[tuple(chosen)] += 1 / ROUNDS
    upper = pairs[np.triu_indices(R[1], 1)]
    assert np.abs(upper - 1 / 15).max() <= 5 * np.sqrt(1 / 15 / ROUNDS) and pairs.sum() == pytest.approx(1)


def test_lots_do_not_depend_on_the_rank():
    whole, part = lots(), lots(owned=range(3, 5))
    for k in range(20):
        mine, others = whole.draw(k, 3, 0.5), part.draw(k, 3, 0.5)
        assert mine.participants.tolist() == others.participants.tolist()
        assert [mine.components(m).tolist() for m in (3, 4)] == [others.components(i).tolist() for i in (0, 1)]


def test_rounds_seeds_and_workers_draw_apart():
    draws = {(seed, k): lots(seed=seed).draw(k, 3, 3) for seed in (0, 1) for k in range(30)}
    assert len({tuple(d.participants) for d in draws.values()}) > 15
    assert any(tuple(d.components(1)) != tuple(d.components(4)) for d in draws.values())


def test_a_batch_is_the_same_at_every_point_of_a_round():
    draw = lots().draw(5, batch=2)
    first = draw.components(2)
    assert draw.components(2) is first and draw.components(1) is not first
    np.testing.assert_array_equal(draw.components(2), first)


def test_all_take_part_unless_it_is_said_otherwise():
    assert Draw().participants is None and not Draw().batch
    assert lots().draw(0).participants is None and lots().draw(0, participation=M).participants is None


@pytest.mark.parametrize("part, count", [(0, 10), (0.05, 1), (0.1, 1), (0.25, 2), (0.99, 10), (1, 1), (3, 3), (11, 10)])
def test_a_part_is_a_fraction_or_a_count(part, count):
    assert share(part, 10) == count


@pytest.mark.parametrize("part", (-1, 1.5, np.nan, np.inf, "half", None, True))
def test_what_is_no_part_is_refused(part):
    with pytest.raises(UserError, match="method.batch = .* is no part"):
        check_share("method.batch", part)
