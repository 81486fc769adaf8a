"""A chain in search spaces of every kind: exact counts, costs never above, fixed sites, whole groups; one law, one trace."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from running import Running
from scipy.stats import chi2
from selection import long_but
from small_spaces import Table, all_masks, allowed_by_hand, chain_costs, counts_of, layered, spaces

from mcprune.chain import moves
from mcprune.chain.schedules import Schedule, Waves
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.methods.markov.items import ItemEvaluator
from mcprune.methods.markov.method import Markov
from mcprune.objectives.classification import CrossEntropy
from mcprune.session.build.budget import make_space
from mcprune.sites.budget import Budget, CostBudget
from mcprune.sites.costs.terms import Costs, CostTerms
from mcprune.sites.gates import GatedModel
from mcprune.sites.items import Fixed, Item
from mcprune.sites.named_sites import TiedItems
from mcprune.sites.site_map import site_map
from mcprune.sites.space import SearchSpace

NONE = np.empty(0, np.int64)
MIXED = {"exchange": 2.0, "toggle": 1.0}


def falls(space, *, waves=False, until=0.5):
    """n(t) of each count and cost(t) of each cost, as a run has them."""
    fixed = int(space.kept.sum()) if space.is_count else 0
    out = []
    for whole, end in zip(np.concatenate(space.whole) - fixed, np.concatenate(space.goal) - fixed, strict=True):
        fall = Schedule("geometric", float(whole), float(end), until)
        out.append(Waves(fall, 0.6, 2, 0.9) if waves and whole > end else fall)
    return tuple(out)


def rest(space):
    fixed = int(space.kept.sum()) if space.is_count else 0
    return tuple(Schedule("constant", float(end), float(end)) for end in np.concatenate(space.goal) - fixed)


def chain_of(bench, space, evaluator, canonical=None, **changes):
    box = 1.0 if changes.get("by_rank") else 8.0
    plan = moves.move_plan(**changes.pop("plan", MIXED), block_size=2, box=box)
    base = bench.chain().method.settings
    values = {"plan": plan, "targets": falls(space), "pooled": True, "pool": 8, "alpha": Schedule("constant", 1.0, 1.0)}
    return Running(Markov(space, replace(base, **{**values, **changes}), evaluator, canonical or evaluator, None))


def test_regrowth_asks_for_no_more_sites_than_there_are(bench):
    """Of 4 sites 3 are kept, and the first wave would rise to 1.6 times 3."""
    space = make_space(layered(4), Budget(counts_of(layered(4), {"sites": 3})))
    chain = chain_of(bench, space, Table(4), targets=falls(space, waves=True))
    counts = [int(chain.method.goal(block / 100).counts[0]) for block in range(101)]
    assert max(counts[51:]) == 4
    assert counts[-1] == 3


def is_possible(space):
    return any(allowed_by_hand(space, mask) for mask in all_masks(space.sites.size))


def found(space):
    classes = space.classes
    return classes.completion(np.zeros_like(classes.sizes), classes.sizes, space.goal) is not None


def test_limits_on_the_way_at_which_a_local_search_finds_no_mask(bench):
    """At the limits of the end only g1 is allowed; at those of the way the search by shares takes g0, which is above one of them."""
    macs = Costs("macs", CostTerms(np.array([0]), np.array([1]), np.array([2])), np.array([4]), None)
    parameters = Costs(
        "parameters", CostTerms(np.array([0, 1]), np.array([1, 1]), np.array([2, 2])), np.array([4]), None
    )
    limits = CostBudget("cost", 2, None), CostBudget("macs", 3, macs), CostBudget("parameters", 6, parameters)
    items = Item("g0", (0, 1, 2), 1), Item("g1", (3,), 2)
    space = SearchSpace(layered(4), Budget((), limits), Fixed(NONE, NONE), items, (), (1,), (1,))
    classes, missed = space.classes, 0
    for more in itertools.product(range(4), repeat=3):
        goal = space.goal._replace(limits=space.goal.limits + np.array(more))
        missed += classes.completion(np.zeros_like(classes.sizes), classes.sizes, goal) is None
        chain = chain_of(
            bench, space, Table(4), targets=tuple(Schedule("constant", float(k), float(k)) for k in goal.limits)
        )
        chain.step(bench.batch, 1.0)
        assert (chain.position() > 0).tolist() in ([False, False, False, True], [True, True, True, False])
        assert (classes.costs(classes.count(chain.state.chain.position[0] > 0)) <= goal.limits).all()
    assert missed  # the control: there are such limits


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    space=spaces(),
    seed=st.integers(0, 99),
    temperature=st.sampled_from([0.0, 0.01]),
    plan=st.sampled_from([{"exchange": 1.0}, MIXED, {"block": 1.0, "site": 1.0}]),
    waves=st.booleans(),
    replicas=st.sampled_from([1, 2]),
    by_rank=st.booleans(),
)
def test_every_space_ends_in_an_allowed_mask_and_is_held_on_the_way(
    bench, space, seed, temperature, plan, waves, replicas, by_rank
):
    """At each block nothing is above the goal of its time; exact counts, fixed sites and whole groups hold at every step."""
    assume(space.size > 0 and is_possible(space))
    assume(space.keep > 0 if space.is_count else found(space))  # a run with nothing to choose is refused
    assume("block" not in plan or space.size >= 2)
    table = Table(space.sites.size, seed)
    warm = Schedule("constant", temperature, temperature)
    ladder = {"replicas": replicas, "hottest": 0.1, "swap_every": 5} if replicas > 1 and temperature else {}
    chain = chain_of(
        bench,
        space,
        table,
        plan=plan,
        targets=falls(space, waves=waves),
        temperature=warm,
        decisions=12,
        lookahead=4,
        seed=seed,
        by_rank=by_rank and space.is_count,
        **ladder,
    )
    for block in range(10):
        progress = (block + 1) / 10
        update = chain.step(bench.batch, progress)
        goal = chain.method.goal(progress)
        for position in chain.state.chain.position:
            mask = space.expand(position > 0)
            assert mask[space.kept].all()
            np.testing.assert_array_equal(space.expand(space.items_of(mask)), mask)
            if space.is_count:
                assert not by_rank or mask.sum() == goal.counts[0]
                continue
            kept = space.classes.count(position > 0)
            assert (space.classes.costs(kept) <= goal.limits).all()
            counters = space.classes.counters(kept)
            assert (counters[space.classes.exact] <= goal.counts).all()
            assert (counters[space.classes.exact] >= space.goal.counts).all()
            assert (counters >= space.classes.rules.least).all()
        assert update.kept == (chain.position() > 0).sum()
        if update.costs:
            assert update.costs == tuple(space.costs_of(chain.position() > 0))
            assert all(np.less_equal(update.costs, update.cost_targets))
    mask = chain.finish(bench.batch)
    assert allowed_by_hand(space, mask)
    if space.budget.costs and not space.budget.counts:  # full: no allowed mask keeps one item more
        for item in np.flatnonzero(~space.items_of(mask)):
            more = space.items_of(mask).copy()
            more[item] = True
            assert not allowed_by_hand(space, space.expand(more))


def laws():
    """Spaces whose allowed masks single moves connect, each with what a chain that forgets a rule would visit besides."""
    inputs_units = layered(4, 3)
    three, wide = layered(4, 2, 2), layered(5, 4)
    tied = TiedItems("cost", (Item("b", (1,), 2), Item("c", (2, 5), 2), Item("a", (0, 3), 3)), (Item("", (4,), 1),))
    macs = chain_costs(inputs_units, "macs")
    across = TiedItems(
        "sites",
        (Item("", (2,), 1), Item("", (3,), 1), Item("", (5,), 1), Item("", (6,), 1), Item("ab", (0, 1), 2)),
        (Item("", (4,), 1),),
    )
    return {
        "fixed": make_space(
            inputs_units, Budget(counts_of(inputs_units, {"sites": 4})), Fixed(np.array([1]), np.array([5]))
        ),
        "tied": make_space(layered(6), Budget((), (CostBudget("cost", 6),)), tied=tied),
        "count and cost": make_space(
            inputs_units, Budget(counts_of(inputs_units, {"inputs": 2}), (CostBudget("macs", 8, macs),))
        ),
        "fixed, count and cost": make_space(
            wide,
            Budget(counts_of(wide, {"inputs": 2}), (CostBudget("macs", 8, chain_costs(wide, "macs")),)),
            Fixed(np.array([0]), np.array([8])),
        ),
        "count of each kind": make_space(three, Budget(counts_of(three, {"inputs": 2, "units": 3}))),
        "tied, fixed and cost": make_space(
            inputs_units, Budget((), (CostBudget("sites", 4), CostBudget("macs", 7, macs))), tied=across
        ),
    }


LAWS = laws()
FEW_LAWS = "fixed", "fixed, count and cost", "count of each kind", "tied, fixed and cost"


def p_value(law, seen):
    due = law / law.sum() * seen.sum()
    few = due < 8
    both = [np.append(part[~few], part[few].sum()) for part in (seen, due)] if few.any() else [seen, due]
    return float(chi2.sf(((both[0] - both[1]) ** 2 / both[1]).sum(), both[0].size - 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", long_but("spaces whose rules another one joins", LAWS, *FEW_LAWS))
def test_at_a_temperature_allowed_masks_are_visited_by_boltzmann(bench, name):
    """800 replicas, the last position of each; the law by enumeration of the masks that are allowed by hand."""
    space = LAWS[name]
    replicas, temperature = 800, 0.02
    table = Table(space.sites.size)
    chain = chain_of(
        bench,
        space,
        table,
        temperature=Schedule("constant", temperature, temperature),
        alpha=Schedule("constant", 0.0, 0.0),
        hottest=temperature * (1 + 1e-9),
        replicas=replicas,
        targets=rest(space),
        plan={"exchange": 1.0} if name == "fixed" else {"toggle": 1.0, "exchange": 1.0},
        decisions=25,
        lookahead=8,
    )
    allowed = np.array([mask for mask in all_masks(space.sites.size) if allowed_by_hand(space, mask)])
    if space.is_count:  # on the way a layer of units may be empty
        masks = all_masks(space.sites.size)
        allowed = np.array(
            [
                mask
                for mask in masks
                if mask.sum() == space.n and np.array_equal(space.expand(space.items_of(mask)), mask)
            ]
        )
    assert 5 <= len(allowed) < 80
    for _ in range(12):
        chain.step(bench.batch, 1.0)
    loss = table.at(np.where(allowed, 4.0, -4.0))
    law = np.exp(-(loss - loss.min()) / temperature)
    codes = (space.expand(chain.state.chain.position > 0)) @ table.bits
    seen = np.array([(codes == code).sum() for code in allowed @ table.bits])
    assert seen.sum() == replicas  # none that is not allowed
    assert p_value(law, seen) > 1e-4
    assert p_value(law**0.4, seen) < 1e-6  # the test sees another temperature


@pytest.mark.parametrize("rule", ["counts", "costs", "fixed"])
def test_the_control_without_a_rule_the_law_is_another(bench, rule):
    """A chain that forgets one of the rules of "fixed, count and cost" visits masks that are not allowed."""
    space = LAWS["fixed, count and cost"]
    budget, sites = space.budget, space.sites
    without = {
        "counts": make_space(sites, Budget((), budget.costs), space.fixed),
        "costs": make_space(sites, Budget(budget.counts, (budget.costs[0]._replace(limit=99),)), space.fixed),
        "fixed": make_space(sites, budget),
    }[rule]
    table = Table(sites.size)
    chain = chain_of(
        bench,
        without,
        table,
        temperature=Schedule("constant", 0.02, 0.02),
        hottest=0.03,
        replicas=200,
        targets=rest(without),
        decisions=25,
    )
    for _ in range(4):
        chain.step(bench.batch, 1.0)
    masks = without.expand(chain.state.chain.position > 0)
    assert not all(allowed_by_hand(space, mask) for mask in masks)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("temperature", [0.0, 0.02])
def test_the_trace_is_the_same_however_many_are_evaluated_ahead(bench, name, temperature):
    space = LAWS[name]
    warm = {"temperature": Schedule("constant", temperature, temperature)}
    traces = []
    for ahead in (1, 3, 16):
        chain = chain_of(bench, space, Table(space.sites.size, 5), lookahead=ahead, **warm)
        positions, told = bench.trace(chain, 6)
        traces.append((positions, [(update.rejected_by_cost, update.null_moves, update.accepted) for update in told]))
    for positions, tallies in traces[1:]:
        np.testing.assert_array_equal(positions, traces[0][0])
        assert tallies == traces[0][1]


def test_real_evaluators_see_all_sites(bench):
    """Tied and fixed inputs of a trained classifier: the fused evaluator makes the canonical one's chain."""
    items = [Item("a", (0, 5, 9), 4), Item("b", (1, 2), 2), Item("c", (3, 11, 12, 13), 5)]
    tied = TiedItems(
        "cost", (*(Item("", (i,), 1) for i in (4, 6, 7)), items[1], items[0], items[2]), (Item("", (8,), 1),)
    )
    sites = site_map(bench.model, "inputs", 14)
    space = make_space(sites, Budget((), (CostBudget("cost", 8),)), tied=tied)
    gated = GatedModel(bench.model, sites)
    canonical = FullEvaluator(gated, CrossEntropy())
    traces = []
    for evaluator, ahead in ((canonical, 1), (canonical, 3), (FusedEvaluator(gated, CrossEntropy()), 16)):
        chain = chain_of(bench, space, evaluator, canonical, lookahead=ahead)
        assert isinstance(chain.evaluation.evaluator, ItemEvaluator)
        assert (chain.evaluation.evaluator is chain.evaluation.canonical) == (evaluator is canonical)
        traces.append(bench.trace(chain, 6)[0])
    assert traces[0].shape == (6, 14)
    for other in traces[1:]:
        np.testing.assert_array_equal(other, traces[0])
