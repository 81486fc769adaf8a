"""A chain among masks of weights with a pattern: it holds at every step, the law is Boltzmann's, lookahead changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
from laws import p_value
from running import Running
from selection import long_but
from small_spaces import Table, all_masks

from mcprune.chain.schedules import Schedule
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused_weights import FusedWeightsEvaluator
from mcprune.methods.markov.method import Markov
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.budget import Budget, CountBudget
from mcprune.sites.gates import GatedModel
from mcprune.sites.patterns import pattern_of
from mcprune.sites.site_map import SiteGroup, SiteMap, site_map
from mcprune.sites.space import SearchSpace


def space_of(text, keep=None, shape=(2, 4)):
    sites = SiteMap((SiteGroup("weights", "w", 0, shape[0] * shape[1], shape=shape),))
    pattern = pattern_of(text, sites)
    return SearchSpace(sites, Budget((CountBudget("sites", (0,), pattern.count(keep)),)), pattern=pattern)


def constant(value):
    return Schedule("constant", value, value)


def chain_of(bench, space, evaluator, canonical=None, **changes):
    values = {"targets": (constant(float(space.n)),), "pooled": True, "alpha": constant(0.0)}
    chain = Running(
        Markov(
            space,
            replace(bench.chain().method.settings, **{**values, **changes}),
            evaluator,
            canonical or evaluator,
            None,
        )
    )
    chain.method.adopt(chain.state, space.enforce(np.arange(space.size) % 5.0))
    return chain


SPACES = {
    "2:4": space_of("2:4"),
    "1:4": space_of("1:4", shape=(3, 4)),
    "blocks": space_of("2x1", 6, shape=(2, 8)),
    "wide blocks": space_of("1x2", 6, shape=(2, 8)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", long_but("the same law of other blocks", SPACES, "2:4", "blocks"))
def test_at_a_temperature_masks_of_the_pattern_are_visited_by_boltzmann(bench, name):
    space, replicas, temperature = SPACES[name], 800, 0.02
    table = Table(space.size)
    chain = chain_of(
        bench, space, table, temperature=constant(temperature), hottest=temperature * (1 + 1e-9), replicas=replicas, decisions=40,
        lookahead=8,
    )  # fmt: skip
    for _ in range(4):
        chain.step(bench.batch, 1.0)
    allowed = np.array([mask for mask in all_masks(space.size) if mask.sum() == space.n and space.pattern.holds(mask)])
    assert len(allowed) == {"2:4": 36, "1:4": 64, "blocks": 56, "wide blocks": 56}[name]
    loss = table.at(np.where(allowed, 4.0, -4.0))
    law = np.exp(-(loss - loss.min()) / temperature)
    codes = (chain.state.chain.position > 0) @ table.bits
    seen = np.array([(codes == code).sum() for code in allowed @ table.bits])
    assert seen.sum() == replicas  # no mask without the pattern
    assert p_value(seen, law) > 1e-4
    assert p_value(seen, law**0.4) < 1e-6  # the test sees another temperature


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("temperature", [0.0, 0.02])
def test_the_trace_is_the_same_however_many_are_evaluated_ahead(bench, name, temperature):
    space, traces = SPACES[name], []
    for ahead in (1, 3, 16):
        chain = chain_of(
            bench, space, Table(space.size, 5), temperature=constant(temperature), decisions=20, lookahead=ahead
        )
        positions, blocks = bench.trace(chain, 5)
        assert all(space.allowed(position > 0) for position in positions)
        traces.append((positions, [block.accepted for block in blocks]))
    for positions, accepted in traces[1:]:
        np.testing.assert_array_equal(positions, traces[0][0])
        assert accepted == traces[0][1]
    assert temperature == 0 or sum(traces[0][1]) > 0


@pytest.mark.parametrize(("text", "keep"), [("1:2", None), ("1x2", 40)])
def test_the_fused_evaluator_makes_the_canonical_chain(bench, text, keep):
    sites = site_map(bench.model, "weights:layers.0", 14)
    pattern = pattern_of(text, sites)
    space = SearchSpace(sites, Budget((CountBudget("sites", (0,), pattern.count(keep)),)), pattern=pattern)
    gated = GatedModel(bench.model, sites)
    canonical = FullEvaluator(gated, CrossEntropy())
    traces = []
    for evaluator, ahead in ((canonical, 1), (FusedWeightsEvaluator(gated, CrossEntropy()), 16)):
        chain = chain_of(bench, space, evaluator, canonical, lookahead=ahead, decisions=32)
        positions, blocks = bench.trace(chain, 4)
        assert blocks[-1].cla < blocks[0].cla
        assert space.allowed(chain.finish(bench.batch))
        traces.append(positions)
    np.testing.assert_array_equal(*traces)


def test_where_every_mask_is_the_same_nothing_is_proposed(bench):
    space = space_of("2x1", 8, shape=(2, 4))
    chain = chain_of(bench, space, Table(space.size), decisions=5)
    assert chain.step(bench.batch, 1.0).accepted == 0
