"""Scores by the slopes of the loss: those of finite differences, of every kind of site, and a search that uses them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import mcprune
from mcprune.chain import state as chain_state
from mcprune.errors import ConfigError
from mcprune.evaluators.full import FullEvaluator
from mcprune.methods.base import Batch
from mcprune.methods.markov.evaluation import CheckedEvaluator
from mcprune.methods.markov.probing.slopes import Slopes
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.budget import Budget, CountBudget
from mcprune.sites.gates import GatedModel
from mcprune.sites.items import Fixed
from mcprune.sites.site_map import site_map
from mcprune.sites.space import SearchSpace


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()


@pytest.mark.parametrize("fixed", [Fixed(), Fixed(kept=np.array([2]), dropped=np.array([0, 9]))])
def test_the_guesses_are_those_of_finite_differences(fixed):
    model, draw = net(), np.random.default_rng(1)
    sites = site_map(model, "inputs,units", 6)
    gated = GatedModel(model, sites)
    x, y = torch.from_numpy(draw.normal(size=(300, 6))), torch.from_numpy(draw.integers(0, 3, 300))
    space = SearchSpace(sites, Budget((CountBudget("sites", (0, 1, 2), 12),)), fixed)
    evaluator = FullEvaluator(gated, CrossEntropy())
    evaluation = CheckedEvaluator(evaluator, evaluator, None)
    evaluation.batch = Batch(x, y)
    slopes = Slopes(evaluation, space, evaluates_items=space.is_plain)
    kept = draw.random(space.size) < 0.6
    chain = chain_state.new_state(np.where(kept, 4.0, -4.0)[None], sharpness=np.inf)
    state = slopes.init(space.size)
    assert slopes.probe(state, chain, 0, evaluator) == 3
    mask = np.asarray(space.expand(kept), float)

    def rows_at(gates):
        with torch.no_grad():
            return functional.cross_entropy(gated(x, torch.from_numpy(gates)), y, reduction="none").numpy()

    for item, site in enumerate(space.first):
        step = np.eye(sites.size)[site] * 1e-5
        own = (rows_at(mask + step) - rows_at(mask - step)) / 2e-5
        expected = (-own.mean() if kept[item] else own.mean()) + 0.5 * (own**2).mean()
        assert state.change[item] == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert np.ptp(state.change) > 1e-3


def rows():
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


OPTIONS = {"sites": "units", "keep": 8, "threads": 1, "compare": "no", "progress": False}


def trained():
    model, (x, y) = net().float(), map(torch.from_numpy, rows())
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        adam.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        adam.step()
    return model


@pytest.mark.slow
def test_a_search_by_slopes_needs_fewer_evaluations():
    model = trained()
    frozen = {
        **OPTIONS,
        "frozen": True,
        "finetune": "none",
        "eval_on": "train",
        "validation": 0,
        "test": 0,
        "decisions": 6,
    }
    frozen |= {"start": "random,after=0", "epochs": 4, "keep": {"units": 8}}

    def loss(seed, more):
        return mcprune.prune(*rows(), model=model, seed=seed, **frozen, **more).history[-1].classification_loss

    ways = {"slopes": {"proposals": "slopes"}, "exchange": {"moves": "exchange=1"}}
    losses = {way: np.mean([loss(seed, more) for seed in range(2)]) for way, more in ways.items()}
    assert losses["slopes"] < losses["exchange"] - 0.02


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sites": "weights", "keep": 40}, "cannot score single weights, whose gates all rows share. Choose probes"),
        (
            {"objective": "error"},
            "needs the gradient of the objective, and 'error' is no mean of losses of rows. Choose",
        ),
        ({"moves": "exchange=1"}, "proposals=slopes, but no move is informed"),
    ],
)
def test_what_has_no_slopes_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        mcprune.prune(*rows(), model=net().float(), proposals="slopes", epochs=1, **OPTIONS | options)


def test_rows_have_their_weights():
    """Rows of weight 0 do not count."""
    model, (x, y) = net().float(), map(torch.from_numpy, rows())
    sites = site_map(model, "units", 6)
    space = SearchSpace(sites, Budget((CountBudget("sites", (0, 1), 8),)))
    chain = chain_state.new_state(np.full((1, 20), 4.0), sharpness=np.inf)
    changes = []
    for weights, part in ((torch.arange(300) < 100, slice(None)), (None, slice(0, 100))):
        objective = CrossEntropy()
        objective.begin(SimpleNamespace(weights=None if weights is None else weights.float(), groups=None, inputs=None))
        evaluator = FullEvaluator(GatedModel(model, sites), objective)
        evaluation = CheckedEvaluator(evaluator, evaluator, None)
        evaluation.batch = Batch(x[part], y[part])
        slopes = Slopes(evaluation, space, evaluates_items=True)
        state = slopes.init(20)
        slopes.probe(state, chain, 0, evaluator)
        changes.append(state.change)
    np.testing.assert_allclose(*changes, rtol=1e-4, atol=1e-7)
