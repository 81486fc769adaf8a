"""A chain under a budget in parameters or multiply-accumulates: never above cost(t), exact at the end, one law, one trace."""

import itertools

import numpy as np
import pytest
from running import Running
from scipy.stats import chi2

from mcprune.chain import state
from mcprune.chain.schedules import Schedule, Waves
from mcprune.errors import ConfigError
from mcprune.methods.base import whole
from mcprune.methods.markov.enforce.cost_budget import enforce_budget
from mcprune.models.mlp import MLP
from mcprune.session.build.budget import make_space
from mcprune.sites.budget import Budget, CostBudget, Goal
from mcprune.sites.costs.count import model_costs
from mcprune.sites.site_map import site_map


@pytest.fixture(scope="module")
def costs(bench):
    return model_costs(bench.model, site_map(bench.model, "inputs,units", 14), "macs")


def cost_space(model, costs, limit, inputs):
    return make_space(site_map(model, "inputs,units", inputs), Budget((), (CostBudget("macs", limit, costs),)))


def budgeted(bench, costs, limit, **changes):
    fall = Schedule("geometric", float(costs.whole), float(limit), 0.5)
    space = cost_space(bench.model, costs, limit, 14)
    changes = {"target": fall, "pooled": True, "space": space, **changes}
    return bench.chain(changes.pop("evaluator", "fused"), **changes)


@pytest.mark.parametrize("plan", [{"exchange": 1.0}, {"exchange": 2.0, "toggle": 1.0}, {"block": 1.0, "site": 1.0}])
@pytest.mark.parametrize("limit", [5, 60, 117])
def test_no_mask_is_above_the_cost_of_its_time_and_the_last_one_is_full(plan, limit, bench, costs):
    waves = Waves(Schedule("geometric", float(costs.whole), float(limit), 0.4), 0.5, 3, 0.9)
    chain = budgeted(bench, costs, limit, plan=plan, target=waves)
    _, told = bench.trace(chain, 20)
    for update in told:
        assert limit <= update.cost_targets[0]
        assert update.costs <= update.cost_targets
        assert update.alpha == 0
        assert update.loss == update.cla
    assert [update.cost_targets[0] for update in told][-2:] == [limit, limit]
    assert len({update.cost_targets for update in told}) > 8
    mask = chain.finish(bench.batch)
    kept = costs.counts(mask)
    cost = int(costs.of(kept))
    assert kept.min() >= 1
    assert cost <= limit
    assert (cost + costs.steps(kept, 1)[kept < costs.sizes] > limit).all()
    assert (sum(update.rejected_by_cost for update in told) > 0) == (
        "exchange" in plan
    )  # steps of 2 from +-4 change few signs here
    assert sum(update.null_moves for update in told) <= sum(update.proposals for update in told) / 2


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.02])
def test_the_trace_under_a_cost_is_the_same_however_many_are_evaluated_ahead(temperature, bench, costs):
    common = {"temperature": Schedule("constant", temperature, temperature), "plan": {"exchange": 2.0, "toggle": 1.0}}
    wanted, told = bench.trace(budgeted(bench, costs, 80, lookahead=1, evaluator="full", **common), 6)
    assert sum(update.accepted for update in told) > 5
    for evaluator, ahead in [("full", 3), ("fused", 16)]:
        met, other = bench.trace(budgeted(bench, costs, 80, lookahead=ahead, evaluator=evaluator, **common), 6)
        np.testing.assert_array_equal(met, wanted)
        assert [update.rejected_by_cost for update in other] == [update.rejected_by_cost for update in told]


@pytest.mark.long("a law of masks by many visits")
def test_at_a_temperature_the_method_visits_allowed_masks_by_boltzmann(bench):
    """600 replicas of one method on a tiny net, the last position of each; the law by enumeration with the canonical losses."""
    tiny = MLP((4, 2, 2), seed=1)
    sites = site_map(tiny, "inputs,units", 4)
    small = model_costs(tiny, sites, "macs")
    replicas, temperature, limit = 600, 0.002, 8
    chain = tiny_chain(bench, tiny, cost_space(tiny, small, limit, 4), replicas, temperature)
    masks = np.array(list(itertools.product([False, True], repeat=6)))
    counts = small.counts(masks)
    allowed = masks[(counts >= 1).all(axis=1) & (small.of(counts) <= limit)]
    batch = bench.batch._replace(features=bench.batch.features[:, :4].T.contiguous().T, targets=bench.batch.targets % 2)
    for _ in range(12):
        chain.step(batch, 1.0)
    loss = chain.evaluation.canonical.at(np.where(allowed, 4.0, -4.0))
    law = np.exp(-(loss - loss.min()) / temperature)
    codes = (chain.state.chain.position > 0) @ (1 << np.arange(6))
    met = np.array([(codes == code).sum() for code in allowed @ (1 << np.arange(6))])
    assert met.sum() == replicas  # none that is not allowed

    def p_value(law):
        due = law / law.sum() * replicas
        few = due < 8
        both = [np.append(part[~few], part[few].sum()) for part in (met, due)]
        if not few.any():
            both = [met, due]
        return float(chi2.sf(((both[0] - both[1]) ** 2 / both[1]).sum(), both[0].size - 1))

    assert p_value(law) > 1e-4
    assert p_value(law**0.5) < 1e-6  # the test sees twice the temperature


def tiny_chain(bench, model, space, replicas, temperature):
    """Replicas at (nearly) one temperature that never swap."""
    from mcprune.chain import moves
    from mcprune.evaluators.full import FullEvaluator
    from mcprune.methods.markov.method import Markov
    from mcprune.objectives.classification import CrossEntropy
    from mcprune.sites.gates import GatedModel

    warm, limit = Schedule("constant", temperature, temperature), float(space.goal.limits[0])
    settings = bench.chain().method.settings
    settings = type(settings)(
        **{
            **settings.__dict__,
            "plan": moves.move_plan(toggle=1.0, exchange=1.0, box=8.0),
            "temperature": warm,
            "hottest": temperature * (1 + 1e-9),
            "replicas": replicas,
            "targets": (Schedule("constant", limit, limit),),
            "pooled": True,
            "decisions": 25,
            "lookahead": 8,
        }
    )
    gated = GatedModel(model, site_map(model, "inputs,units", 4))
    canonical = FullEvaluator(gated, CrossEntropy())
    return Running(Markov(space, settings, canonical, canonical, None))


class Priced:
    """An evaluator whose loss of a toggle is the site's price."""

    def __init__(self, prices):
        self.prices = np.asarray(prices, float)

    def current(self):
        return np.zeros(1)

    def losses(self, current, moves, limits=None):
        return self.prices[moves.sites[0, :, 0]][None]


def test_what_saves_most_for_its_loss_goes_and_no_group_is_emptied():
    model = MLP((6, 3, 2))
    sites = site_map(model, "inputs,units", 6)
    costs = model_costs(model, sites, "macs")  # an input saves 3, a unit 8
    classes = make_space(sites, Budget((), (CostBudget("macs", 8, costs),))).classes

    def enforce(current, prices, limit, **changes):
        goal = Goal(np.empty(0, np.int64), np.array([limit]))
        return whole(enforce_budget(current, prices, classes=classes, goal=goal, end=goal, **{**rule, **changes}))

    rule = {"pool": 9, "temperature": 0.0, "sharpness": np.inf, "seed": 0, "block": 0}
    rule |= {"chains": np.arange(1)}
    #            inputs                              units: .4 / 8 is less than .2 / 3
    prices = [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.9, 0.4, 0.9]
    current = state.new_state(np.full(9, 4.0), sharpness=np.inf)
    assert enforce(current, Priced(prices), 16) == 9
    np.testing.assert_array_equal(np.flatnonzero(current.position[0] < 0), [7])
    # The control: a unit that saves beyond the excess of 3 is not worth its 8.
    current = state.new_state(np.full(9, 4.0), sharpness=np.inf)
    enforce(current, Priced(prices), 21)
    np.testing.assert_array_equal(np.flatnonzero(current.position[0] < 0), [0])
    # Down to the smallest, whatever the prices, and up again until nothing fits.
    current = state.new_state(np.full(9, 4.0), sharpness=np.inf)
    free = Priced(-np.arange(9.0))
    for block in range(40):
        if not enforce(current, free, costs.smallest, block=block):
            break
    np.testing.assert_array_equal(costs.counts(current.position[0] > 0), [1, 1])
    for block in range(40):
        if not enforce(current, free, 13, may_grow=True, block=block):
            break
    kept = costs.counts(current.position[0] > 0)
    assert costs.of(kept) <= 13
    assert (costs.of(kept) + costs.steps(kept, 1)[kept < costs.sizes] > 13).all()


def test_a_constraint_without_a_pool_is_refused(bench, costs):
    with pytest.raises(ConfigError, match="--pool none"):
        budgeted(bench, costs, 60, pooled=False)
