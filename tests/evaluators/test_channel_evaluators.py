"""Evaluators where channels are sites: the suffix by blocks has the canonical bits, the others say why they cannot serve."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.chain import moves, state
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.choose import NAMES, EvaluationProblem, examine
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.stages import activations
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.models.networks import Residual
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

PLAN = moves.move_plan(exchange=0.5, toggle=0.5)


def block(inputs, outputs, stride):
    """A residual block whose body begins by working in place, as some networks' do."""
    body = nn.Sequential(
        *(nn.ReLU(inplace=True), nn.Conv2d(inputs, 5, 3, stride, 1), nn.BatchNorm2d(5), nn.ReLU()),
        *(nn.Conv2d(5, outputs, 3, 1, 1), nn.BatchNorm2d(outputs)),
    )
    return Residual(body, nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride))


@pytest.fixture
def problem():
    torch.manual_seed(1)
    model = nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(block(4, 4, 1), block(4, 6, 2), nn.Sequential(nn.Conv2d(6, 3, 3, padding=1), nn.ReLU()), nn.Flatten()),
        nn.Linear(48, 3),
    )
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
    sites = site_map(model, "channels", 64)
    return EvaluationProblem(
        *(GatedModel(model, sites), CrossEntropy(), torch.randn(40, 64), torch.randint(0, 3, (40,)), PLAN),
        **{"keep": 12, "start_weight": 4.0, "sharpness": np.inf, "lookahead": 8},
    )


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [np.inf, 0.7])
def test_the_suffix_by_blocks_has_the_canonical_bits_also_after_moves(problem, sharpness):
    size = problem.gated.sites.size
    current = state.new_state(np.random.default_rng(0).normal(0.0, 2.0, (2, size)), sharpness=sharpness)
    full, suffix = FullEvaluator(problem.gated, problem.objective), SuffixEvaluator(problem.gated, problem.objective)
    for one in (full, suffix):
        one.begin(problem.features, problem.targets, current.position, sharpness)
    for step in range(6):
        batch = moves.propose(current, 12, plan=PLAN, delta=1.0, sharpness=sharpness, seed=step, chains=np.arange(2))
        wanted, losses = full.losses(current, batch), suffix.losses(current, batch)
        np.testing.assert_array_equal(losses[batch.size > 0], wanted[batch.size > 0])
        dense = moves.dense(current, batch)
        index = np.array([step, -1 if step % 2 else step + 1])
        for replica in np.flatnonzero(index >= 0):
            current.position[replica] = dense[replica, index[replica]]
        state.refresh(current, sharpness=sharpness)
        suffix.moved(current.position, batch, index)
        full.moved(current.position, batch, index)
        np.testing.assert_array_equal(suffix.current(), full.current())


def test_what_lies_before_the_first_changed_block_does_not_run_again(problem):
    calls = []
    modules = dict(problem.gated.model.named_modules())
    for name in ("2", "4", "5", "5.body.1", "5.body.4"):
        modules[name].register_forward_hook(lambda *_, name=name: calls.append(name))
    suffix = problem.start(SuffixEvaluator(problem.gated, problem.objective))
    group = problem.gated.sites.groups[2]
    kept = problem.current.position[0, group.start : group.stop] > 0
    site = group.start + int(np.argmin(kept))
    batch = problem.propose(1)
    batch.size[:], batch.sites[0, 0, 0], batch.weights[0, 0, 0] = 1, site, -problem.current.position[0, site]
    gates = gates_of(problem.current.position[0], np.inf)
    gates[site] = 1.0 - gates[site]
    logits = (
        problem.gated(problem.features, torch.from_numpy(gates)) if not problem.gated.model.eval().training else None
    )
    ran = []
    for name in ("1", "4.body.1", "5.body.1", "5.body.4"):
        forward = modules[name].forward
        modules[name].forward = lambda *args, name=name, forward=forward: (ran.append(name), forward(*args))[1]
    losses = suffix.losses(problem.current, batch)
    assert ran == ["5.body.4"]
    assert losses[0, 0] == problem.objective.losses(logits[None].detach(), problem.targets)[0]


def test_those_that_cannot_serve_say_why(problem):
    canonical = FullEvaluator(problem.gated, problem.objective)
    rows = {name: examine(name, problem, canonical) for name in NAMES}
    assert {name for name, row in rows.items() if row.evaluator is not None} == {"suffix", "full"}
    assert rows["suffix"].difference == 0.0
    for name in ("incremental", "graph"):
        assert "dropping one changes whole maps" in rows[name].reason
    assert "does not support convolutions" in rows["fused"].reason


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(144, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x.view(-1, 1, 8, 8))).flatten(1))


@torch.no_grad()
def test_a_model_that_is_no_chain_is_replayed_too():
    model = Own()
    gated = GatedModel(model, site_map(model, "channels", 64))
    current = state.new_state(np.array([[2.0, -1.0, 3.0, -2.0]]), sharpness=np.inf)
    batch = moves.propose(current, 8, plan=PLAN, delta=1.0, sharpness=np.inf, seed=0, chains=np.arange(1))
    both = FullEvaluator(gated, CrossEntropy()), SuffixEvaluator(gated, CrossEntropy())
    for one in both:
        one.begin(
            torch.randn(9, 64, generator=torch.Generator().manual_seed(0)),
            torch.arange(9) % 3,
            current.position,
            np.inf,
        )
    np.testing.assert_array_equal(*(one.losses(current, batch) for one in both))


def test_memory_counts_the_maps(problem):
    # The 5 planes of 8 x 8 inside of the first block are the widest; 4 of them are 256, three times before it.
    whole, widest = activations(problem.gated.model, problem.features)
    assert widest == 5 * 64
    assert whole > 3 * 256
    full = FullEvaluator(problem.gated, problem.objective, max_memory=1)
    problem.start(full)
    assert full.chunk(problem.gated.sites.size) == 1
