"""The search space: its mapping between items and sites, and its allowed masks, against enumeration."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_spaces import all_masks, allowed_by_hand, chain_costs, counts_of, layered, spaces

from mcprune.chain import moves, state
from mcprune.errors import ConfigError
from mcprune.session.build.budget import make_space
from mcprune.sites.budget import Budget, CostBudget, CountBudget
from mcprune.sites.items import Fixed, Item
from mcprune.sites.named_sites import TiedItems

# 14 inputs: three groups out of order, three single ones to choose, one fixed each way.
ITEMS = [
    Item("a", (0, 5, 9), 4),
    Item("b", (1, 2), 2),
    Item("c", (3, 11, 12, 13), 5),
    *(Item("", (i,), 1) for i in (4, 6, 7)),
]
KEPT = [Item("", (8,), 1)]  # and 10 is dropped in any case
TIED = TiedItems("cost", tuple(sorted(ITEMS, key=lambda item: (item.cost, item.sites))), tuple(KEPT))


def tied_space(limit):
    return make_space(layered(14), Budget((), (CostBudget("cost", limit),)), tied=TIED)


def price(mask):
    """The cost by looking at each item; it fails where one is not whole."""
    total = 0
    for item in [*ITEMS, *KEPT]:
        inside = mask[list(item.sites)]
        assert inside.all() == inside.any()
        total += item.cost * bool(inside.all())
    return total


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(space=spaces(), seed=st.integers(0, 99))
def test_allowed_masks_are_those_by_hand_and_enforced_ones_are_among_them(space, seed):
    assume(space.size > 0)
    masks = all_masks(space.sites.size)
    allowed = np.array([allowed_by_hand(space, mask) for mask in masks])
    assert [space.allowed(mask) for mask in masks] == allowed.tolist()
    scores = np.random.default_rng(seed).normal(size=space.sites.size)
    if not allowed.any():
        with pytest.raises(ConfigError):
            space.enforce(scores)
        return
    try:
        mask = space.enforce(scores)
    except ConfigError:  # found by a local search where several costs or layers meet
        assert len(space.budget.costs) > 1 or space.items is not None
        return
    assert space.allowed(mask)
    assert space.is_within(mask)
    # No allowed mask keeps all that it keeps and more.
    assert not any((masks[k] & mask == mask).all() and masks[k].sum() > mask.sum() for k in np.flatnonzero(allowed))


@settings(max_examples=60, deadline=None)
@given(space=spaces())
def test_the_smallest_cost_is_that_of_the_cheapest_mask(space):
    """Of the masks that keep the exact counts and the fixed sites, whatever the limits."""
    assume(space.size > 0 and space.items is None and not space.is_count and space.budget.costs)
    free = make_space(
        space.sites,
        Budget(space.budget.counts, tuple(cost._replace(limit=10**6) for cost in space.budget.costs)),
        space.fixed,
    )
    masks = [mask for mask in all_masks(space.sites.size) if allowed_by_hand(free, mask)]
    for j, smallest in enumerate(space.smallest.tolist()):
        assert smallest == min((int(space.costs_of(mask)[j]) for mask in masks), default=-1)


def test_a_number_of_items_is_a_count_whatever_their_sites():
    items = tuple(item._replace(cost=1) for item in TIED.items)
    space = make_space(layered(14), Budget((CountBudget("sites", (0,), 3),)), tied=TIED._replace(items=items))
    assert space.is_count
    assert (space.n, space.keep, space.size, space.fixed_count) == (3, 2, 6, 1)
    assert space.whole.counts.tolist() == [7]
    masks = all_masks(14)
    allowed = [mask for mask in masks if space.allowed(mask)]
    assert len(allowed) == 15  # two of six items
    assert all(space.counted(mask) == 3 and space.is_within(mask) and mask[8] and not mask[10] for mask in allowed)
    assert {int(mask.sum()) for mask in allowed} == {3, 4, 5, 6, 7, 8}
    scores = np.zeros(14)
    scores[[12, 6]] = 2.0, 1.0  # the best site of an item counts
    assert np.flatnonzero(space.enforce(scores)).tolist() == [3, 6, 8, 11, 12, 13]


def test_positions_masks_and_moves_of_items_are_those_of_their_sites():
    space = tied_space(8)
    assert space.size == 6
    now = state.new_state(np.where(np.arange(6) < 3, 4.0, -4.0)[None], sharpness=np.inf)
    plan = moves.move_plan(exchange=1.0, toggle=1.0, site=1.0, uniform=1.0, box=8.0)
    drawn = moves.propose(now, 40, plan=plan, delta=6.0, sharpness=np.inf, seed=1, chains=np.zeros(1, np.int64))
    drawn.size[0, 3] = 0  # as one that is not allowed
    spread = space.expand_moves(drawn)
    after = space.expand(moves.dense(now, drawn)[0], 4.0)
    after[3] = space.expand(now.position, 4.0)
    expanded = now._replace(position=space.expand(now.position, 4.0))
    np.testing.assert_array_equal(moves.dense(expanded, spread)[0], after)
    assert (spread.sites[np.arange(spread.sites.shape[2]) >= spread.size[..., None]] == -1).all()
    assert after[:, 8].tolist() == [4.0] * 40
    assert after[:, 10].tolist() == [-4.0] * 40


def test_moves_among_free_sites_are_those_of_the_same_sites():
    sites = layered(7)
    space = make_space(sites, Budget(counts_of(sites, {"sites": 3})), Fixed(np.array([2]), np.array([0, 5])))
    assert space.free.tolist() == [1, 3, 4, 6]
    assert (space.keep, space.n) == (2, 3)
    now = state.new_state(np.array([[4.0, -4.0, -4.0, 4.0]]), sharpness=np.inf)
    drawn = moves.propose(
        now,
        20,
        plan=moves.move_plan(exchange=1.0, toggle=1.0),
        delta=1.0,
        sharpness=np.inf,
        seed=1,
        chains=np.zeros(1, np.int64),
    )
    expanded = now._replace(position=space.expand(now.position, 9.0))
    assert expanded.position.tolist() == [[-9.0, 4.0, 9.0, -4.0, -4.0, -9.0, 4.0]]
    after = moves.dense(expanded, space.expand_moves(drawn))[0]
    np.testing.assert_array_equal(after, space.expand(moves.dense(now, drawn)[0], 9.0))
    np.testing.assert_array_equal(space.items_of(after), moves.dense(now, drawn)[0])
    plain = make_space(sites, Budget(counts_of(sites, {"sites": 3})))
    assert plain.is_plain
    assert plain.expand_moves(drawn) is drawn


def test_costs_of_groups_are_those_by_hand():
    draw = np.random.default_rng(3)
    space = tied_space(8)
    for _ in range(50):
        mask = space.expand(draw.random(6) < 0.5)
        assert space.costs_of(mask).tolist() == [price(mask)]
        np.testing.assert_array_equal(space.expand(space.items_of(mask)), mask)
    for limit in range(2, 16):
        filled = tied_space(limit).enforce(draw.random(14))
        cost = price(filled)
        assert cost <= limit
        assert all(cost + item.cost > limit for item in ITEMS if not filled[item.sites[0]])
    assert (space.whole.limits.tolist(), space.smallest.tolist()) == ([15], [1])


def test_layers_that_must_keep_a_site_are_those_without_a_fixed_one():
    """Layers of 3, 2 and 2 sites, of which site 2 must be dropped and site 3 be kept."""
    space = make_space(
        layered(3, 2, 2), Budget(counts_of(layered(3, 2, 2), {"sites": 3})), Fixed(np.array([3]), np.array([2]))
    )
    assert space.layers_to_hold(space.final_least).tolist() == [0, 0, -1, 1, 1]
    assert space.layers_to_hold(space.least) is None  # units may be emptied on the way
    mask = space.enforce(np.array([-4.0, -4.0, 9.0, -9.0, 4.0, 4.0, -4.0]))
    assert mask.tolist() == [True, False, False, True, False, True, False]
    everywhere = make_space(
        layered(3, 2, 2), Budget(counts_of(layered(3, 2, 2), {"sites": 4})), Fixed(np.array([0, 3, 5]), np.array([2]))
    )
    assert everywhere.layers_to_hold(everywhere.final_least) is None
    assert everywhere.layers_to_hold(()) is None


def test_a_count_beside_a_cost_that_spreads_over_layers_finds_the_only_way():
    """9 units in two layers at the smallest cost: all but one in the layer that is cheap, since the product counts."""
    sites = layered(2, 8, 8)
    costs = chain_costs(sites, "macs")
    # 2 a + a b + 2 b with a + b = 9, 1 <= a, b <= 8
    cheapest = min(2 * a + a * (9 - a) + 2 * (9 - a) for a in range(1, 9))
    counts = counts_of(sites, {"inputs": 2, "units": 9})
    scores = np.zeros(18)  # ties would go to the first layer
    for limit in (cheapest, cheapest + 1):
        mask = make_space(sites, Budget(counts, (CostBudget("macs", limit, costs),))).enforce(scores)
        assert mask[2:].sum() == 9
        assert costs.of_mask(mask) <= limit
    with pytest.raises(ConfigError, match="No mask"):
        make_space(sites, Budget(counts, (CostBudget("macs", cheapest - 1, costs),))).enforce(scores)
