"""Steps of several classifiers at once: to rounding those of a loop over them, with the same draws but for dropout in compiled steps."""

import numpy as np
import pytest
import torch

from mcprune.errors import NumericalError
from mcprune.models.mlp import MLP
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.training.folds import split_rows
from mcprune.training.stacked_steps import StackedSteps, can_stack
from mcprune.training.trainer import Trainer

ROWS, FOLDS, STEPS = 120, 3, 12


def trainers(inputs, hidden, *, dropout=0.0, bias=True, activation="relu", is_weighted=False, **options):
    draw = np.random.default_rng(1)
    x = draw.normal(size=(ROWS, inputs)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    weights = torch.from_numpy(draw.random(ROWS).astype(np.float32)) if is_weighted else None
    features, targets = torch.from_numpy(x), torch.from_numpy(y)
    out = []
    for place, rows in enumerate(split_rows(y, "folds", fraction=0.0, folds=FOLDS, seed=0).training):
        model = MLP((inputs, *hidden, 2), activation, dropout, place, bias=bias)
        gated = GatedModel(model, site_map(model, "inputs", inputs))
        usual = dict(batch_size=16, learning_rate=1e-2, weight_decay=0.01, mask_noise=0.3, seed=place)
        out.append(Trainer(gated, features, targets, rows=rows, weights=weights, **{**usual, **options}))
    return out


def positions(inputs, kept):
    weights = np.where(np.arange(inputs) % (inputs // kept) == 0, 4.0, -4.0)
    return (weights > 0).astype(np.float32), weights


def parameters(one):
    return torch.cat([parameter.detach().flatten() for parameter in one.gated.model.parameters()])


@pytest.mark.parametrize(
    ("inputs", "hidden", "options"),
    [
        (12, (8,), {}),
        (12, (8,), {"mask_noise": 0.0}),
        (12, (8, 6), {"is_weighted": True}),
        (12, (8,), {"activation": "tanh"}),
        (300, (8,), {}),  # of which a pool of sites is swapped in, and the other columns are left out
        (300, (8,), {"dropout": 0.3, "activation": "tanh"}),
        (40, (8, 6), {"dropout": 0.5, "activation": "tanh", "is_weighted": True}),
        (40, (), {"bias": False}),
    ],
)
def test_steps_at_once_are_those_of_a_loop(inputs, hidden, options):
    stacked, loop = trainers(inputs, hidden, **options), trainers(inputs, hidden, **options)
    gates, weights = positions(inputs, 4)
    members = [one.init() for one in stacked]
    assert can_stack(stacked)
    steps = StackedSteps(stacked, members)
    states = [one.init() for one in loop]
    for progress in (0.0, 0.8):
        steps.run(STEPS, gates, weights, progress)
        for one, state in zip(loop, states, strict=True):
            one.run(state, STEPS, gates, weights, progress)
    for one, other, member, state in zip(stacked, loop, members, states, strict=True):
        torch.testing.assert_close(parameters(one), parameters(other), rtol=1e-4, atol=2e-5)
        assert member.steps == state.steps == 2 * STEPS
        assert member.draw.bit_generator.state == state.draw.bit_generator.state
        assert member.order.place == state.order.place
        for own, moments in zip(member.optimizer.moments, state.optimizer.moments, strict=True):
            assert float(own.step) == float(moments.step) == 2 * STEPS
            torch.testing.assert_close(own.exp_avg, moments.exp_avg, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", [{"input_noise": 0.1}, {"amp": True}])
def test_what_a_stack_would_draw_otherwise_is_left_to_the_loop(options):
    assert not can_stack(trainers(12, (8,), **options))


def test_one_trainer_or_unlike_ones_are_left_to_the_loop():
    one, other, *_ = trainers(12, (8,))
    wide, *_ = trainers(12, (9,))
    assert not can_stack([one])
    assert not can_stack([one, wide])
    assert not can_stack([one, trainers(12, (8,))[1]])  # on rows of its own
    assert can_stack([one, other])


def test_a_loss_that_is_not_finite_is_refused():
    stacked = trainers(12, (8,))
    stacked[1].features[:] = float("nan")
    with pytest.raises(NumericalError, match="at training step 3"):
        StackedSteps(stacked, [one.init() for one in stacked]).run(3, *positions(12, 4), 0.0)
