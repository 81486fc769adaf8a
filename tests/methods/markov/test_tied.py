"""A chain on groups of tied sites: whole groups only, never above the budget, full at the end, one law, one trace."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from running import Running
from scipy.stats import chi2

from mcprune.chain import moves, state
from mcprune.chain.schedules import Schedule
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.methods.markov.cost_budget import CostBudget
from mcprune.methods.markov.tied import AroundItems, TiedMarkov
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.sites.ties import Item, tied_costs

# 14 inputs: three groups out of order, three single ones to choose, one fixed each way.
ITEMS = [
    Item("a", (0, 5, 9), 4),
    Item("b", (1, 2), 2),
    Item("c", (3, 11, 12, 13), 5),
    *(Item("", (i,), 1) for i in (4, 6, 7)),
]
KEPT = [Item("", (8,), 1)]  # and 10 is dropped in any case
COSTS = tied_costs("cost", 14, ITEMS, KEPT)


class Table:
    """An evaluator that looks the loss of each mask of all sites up."""

    name, error, objective = "table", 0.0, CrossEntropy()

    def __init__(self, sites):
        self.table, self.bits = np.random.default_rng(2).random(2**sites) / 20, 1 << np.arange(sites)

    def at(self, position):
        return self.table[(position > 0) @ self.bits]

    def begin(self, features, targets, position, sharpness):
        self.now = self.at(position)

    def current(self):
        return self.now

    def losses(self, current, candidates, limits=None):
        return self.at(moves.dense(current, candidates))

    def moved(self, position, candidates, index):
        self.now = self.at(position)


def chain_of(bench, limit, evaluator="full", costs=COSTS, table=None, **changes):
    model = bench.model
    gated = GatedModel(model, site_map(model, "inputs", 14))
    canonical = table or FullEvaluator(gated, CrossEntropy())
    judge = FusedEvaluator(gated, CrossEntropy()) if evaluator == "fused" else canonical
    size = len(costs.items)
    settings = replace(
        bench.chain().method.settings,
        **{
            "plan": moves.move_plan(exchange=2.0, toggle=1.0, box=8.0),
            "target": Schedule("geometric", float(costs.whole), float(limit), 0.5),
            "keep": size,
            "pooled": True,
            "cost": CostBudget(costs.of_items, limit),
            **changes,
        },
    )
    return Running(TiedMarkov(costs, settings, judge, canonical, None))


def by_hand(mask):
    """The cost by looking at each item; it fails where one is not whole."""
    total = 0
    for item in [*ITEMS, *KEPT]:
        inside = mask[list(item.sites)]
        assert inside.all() == inside.any()
        total += item.cost * bool(inside.all())
    return total


@pytest.mark.parametrize("limit", [2, 5, 8, 13])
def test_groups_stay_whole_and_within_the_budget_and_no_further_one_fits(bench, limit):
    chain = chain_of(bench, limit)
    for block in range(12):
        told = chain.step(bench.batch, (block + 1) / 12)
        mask = chain.position() > 0
        assert by_hand(mask) == told.cost <= told.cost_target
        assert told.kept == mask.sum()
        assert mask[8]
        assert not mask[10]
    mask = chain.finish(bench.batch)
    cost = by_hand(mask)
    assert cost <= limit
    assert all(cost + item.cost > limit for item in ITEMS if not mask[item.sites[0]])


def test_costs_of_masks_are_those_by_hand():
    draw = np.random.default_rng(3)
    for _ in range(50):
        mask = COSTS.mask_of(draw.random(6) < 0.5)
        assert int(COSTS.of(COSTS.counts(mask))) == by_hand(mask)
        np.testing.assert_array_equal(COSTS.mask_of(COSTS.whole_items(mask)), mask)
    for limit in range(2, 16):
        filled = COSTS.fill(draw.permutation(14), limit)
        cost = by_hand(filled)
        assert cost <= limit
        assert all(cost + item.cost > limit for item in ITEMS if not filled[item.sites[0]])
    assert (COSTS.whole, COSTS.smallest) == (15, 1)


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_the_trace_is_the_same_however_many_are_evaluated_ahead(bench, temperature):
    warm = {"temperature": Schedule("constant", temperature, temperature)}
    wanted, told = bench.trace(chain_of(bench, 8, speculate=1, **warm), 6)
    assert sum(update.accepted for update in told) > (0 if temperature == 0 else 10)
    for evaluator, ahead in (("full", 3), ("fused", 16)):
        met, _ = bench.trace(chain_of(bench, 8, evaluator, speculate=ahead, **warm), 6)
        np.testing.assert_array_equal(met, wanted)


def test_moves_of_items_are_moves_of_all_their_sites():
    around = AroundItems(Table(14), COSTS.owner, np.full(14, -4.0))
    now = state.new_state(np.where(np.arange(6) < 3, 4.0, -4.0)[None], sharpness=np.inf)
    plan = moves.move_plan(exchange=1.0, toggle=1.0, site=1.0, uniform=1.0, box=8.0)
    drawn = moves.propose(now, 40, plan=plan, delta=6.0, sharpness=np.inf, seed=1, chains=np.zeros(1, np.int64))
    drawn.size[0, 3] = 0  # as behind a wall
    spread = around._moves(drawn)
    after = around.whole(moves.dense(now, drawn)[0])
    after[3] = around.whole(now.position)
    there = now._replace(position=around.whole(now.position))
    np.testing.assert_array_equal(moves.dense(there, spread)[0], after)
    assert (spread.sites[np.arange(spread.sites.shape[2]) >= spread.size[..., None]] == -1).all()


@pytest.mark.parametrize("has_kept", [False, True])
def test_at_a_temperature_allowed_masks_are_visited_by_boltzmann(bench, has_kept):
    """1,500 replicas, the last position of each; the law by enumeration of all masks of whole groups within the budget."""
    items = [Item("a", (0, 3), 3), Item("b", (1,), 2), Item("c", (2, 5), 2), Item("", (4,), 1)]
    costs = tied_costs("cost", 6, items[:3] if has_kept else items, items[3:] if has_kept else [])
    replicas, temperature, limit = 1500, 0.02, 5
    chain = chain_of(
        bench,
        limit,
        costs=costs,
        table=Table(6),
        temperature=Schedule("constant", temperature, temperature),
        hottest=temperature * (1 + 1e-9),
        replicas=replicas,
        target=Schedule("constant", float(limit), float(limit)),
        plan=moves.move_plan(toggle=1.0, exchange=1.0, box=8.0),
        decisions=25,
        speculate=8,
    )
    choices = np.array(list(itertools.product([False, True], repeat=len(costs.items))))
    price = np.array([[item.cost for item in costs.items]])
    fixed = int(has_kept)
    allowed = choices[((choices * price).sum(axis=1) + fixed <= limit) & (choices.any(axis=1) | has_kept)]
    for _ in range(12):
        chain.step(bench.batch, 1.0)
    masks = np.array([costs.mask_of(choice) for choice in allowed])
    loss = chain.evaluation.canonical.inner.at(np.where(masks, 4.0, -4.0))
    law = np.exp(-(loss - loss.min()) / temperature)
    power = 1 << np.arange(len(costs.items))
    codes = (chain.state.chain.position > 0) @ power
    met = np.array([(codes == code).sum() for code in allowed @ power])
    assert met.sum() == replicas

    def p_value(law):
        due = law / law.sum() * replicas
        few = due < 8
        both = [np.append(part[~few], part[few].sum()) for part in (met, due)] if few.any() else [met, due]
        return float(chi2.sf(((both[0] - both[1]) ** 2 / both[1]).sum(), both[0].size - 1))

    assert p_value(law) > 1e-4
    assert p_value(law**0.4) < 1e-6  # the test sees another temperature
