"""The suffix evaluator: the bits of the canonical one, from the layer of the first changed site on."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.chain import moves, state
from mcprune.errors import ModelError
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy, ErrorRate


def nested():
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True)),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 11)),
        nn.Sequential(nn.BatchNorm1d(11), nn.Dropout(0.5), nn.Tanh(), nn.Linear(11, 9), nn.GELU()),
        nn.Linear(9, 3),
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model


def twice():
    layer = nn.Linear(12, 12)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


CASES = [
    *[
        (lambda name=name: MLP((12, 17, 9, 3), name, dropout=0.2, seed=4), kinds, (12,))
        for name in ("relu", "sigmoid", "gelu")
        for kinds in ("inputs", "units", "inputs,units")
    ],
    (nested, "units", (1, 8, 8)),
    (nested, "inputs,units", (1, 8, 8)),
    (twice, "inputs,units", (12,)),
]


def pair(build, kinds, shape, problem, sharpness, objective=CrossEntropy, **more):
    torch.manual_seed(0)
    case = problem(build(), kinds, shape, 90, transposed=len(shape) == 1)
    current = state.new_state(np.random.default_rng(3).normal(0.0, 2.0, (2, case.sites.size)), sharpness=sharpness)
    both = FullEvaluator(case.gated, objective()), SuffixEvaluator(case.gated, objective(), **more)
    for one in both:
        one.begin(case.x, case.y, current.position, sharpness)
    return case, current, *both


@pytest.mark.parametrize("sharpness", [1.0, np.inf])
@pytest.mark.parametrize(("build", "kinds", "shape"), CASES)
def test_every_bit_is_the_canonical_one_also_after_accepted_moves(build, kinds, shape, sharpness, problem):
    _, current, full, suffix = pair(build, kinds, shape, problem, sharpness)
    plan = moves.move_plan(site=1.0, exchange=1.0, block=1.0, toggle=1.0, uniform=0.3, block_size=3)
    assert suffix.error == 0.0
    seen = set()
    for turn in range(5):
        batch = moves.propose(
            current, 9, plan=plan, delta=3.0, sharpness=sharpness, seed=turn, chains=np.arange(2, dtype=np.int64)
        )
        wanted = full.losses(current, batch)
        np.testing.assert_array_equal(suffix.losses(current, batch), wanted)
        seen.update(wanted[np.isfinite(wanted)])
        index = np.array([turn, -1 if turn % 2 else 8])
        for replica in np.flatnonzero(index >= 0):
            current.position[replica] = moves.dense(current, batch)[replica, index[replica]]
        state.refresh(current, sharpness=sharpness)
        for one in (full, suffix):
            one.moved(current.position, batch, index)
        np.testing.assert_array_equal(suffix.current(), full.current())
    assert len(seen) > 15  # equality of values that differ


def test_layers_before_the_first_changed_site_do_not_run(problem):
    case, current, _, suffix = pair(lambda: MLP((12, 17, 9, 3), seed=4), "units:layers.2", (12,), problem, np.inf)
    ran = []
    for name in ("layers.0", "layers.2", "layers.4"):
        case.model.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    batch = moves.propose(
        current, 4, plan=moves.move_plan(toggle=1.0), delta=1.0, sharpness=np.inf, seed=0, chains=np.arange(2)
    )
    suffix.losses(current, batch)
    assert ran == ["layers.4"] * 8


def test_any_objective_is_served(problem):
    _, current, full, suffix = pair(nested, "units", (1, 8, 8), problem, np.inf, ErrorRate)
    batch = moves.propose(
        current, 9, plan=moves.move_plan(toggle=1.0), delta=1.0, sharpness=np.inf, seed=0, chains=np.arange(2)
    )
    np.testing.assert_array_equal(suffix.losses(current, batch), full.losses(current, batch))


@pytest.mark.parametrize("kinds", ["units", "inputs,units"])
def test_stacked_candidates_as_on_a_gpu_agree_within_the_band(kinds, problem):
    _, current, full, suffix = pair(nested, kinds, (1, 8, 8), problem, 1.0)
    gates = np.random.default_rng(0).random((5, current.position.shape[1]), dtype=np.float32)
    with torch.no_grad():
        # Before the first place there are no gates, so any gates may be tried.
        place = int(suffix.place.min())
        stacked = suffix._evaluate(0, place, gates)
        alone = full._evaluate(gates)
    np.testing.assert_allclose(stacked, alone, rtol=2e-5)
    assert np.ptp(alone) > 4e-4  # 20 times the band


def test_a_model_that_is_no_chain_is_refused_and_hooked_containers_too(problem):
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(12, 5)

        def forward(self, x):
            return self.layer(x)

    case = problem(nn.Sequential(Inner(), nn.ReLU(), nn.Linear(5, 3)), "units", (12,), 10)
    with pytest.raises(ModelError, match="inside a module that is not a chain"):
        SuffixEvaluator(case.gated, CrossEntropy())
    case = problem(nn.Sequential(nn.Sequential(nn.Linear(12, 5)), nn.ReLU(), nn.Linear(5, 3)), "units", (12,), 10)
    SuffixEvaluator(case.gated, CrossEntropy())  # the control: without a hook it serves
    case.model[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match="has hooks"):
        SuffixEvaluator(case.gated, CrossEntropy())
