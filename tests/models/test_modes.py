"""Frozen parts stay as they are: in training mode, in optimizers and when parameters are drawn afresh."""

import copy

import pytest
import torch
from torch import nn

from mcprune.models.modes import (
    evaluating,
    frozen_modules,
    has_frozen_parameters,
    is_fully_frozen,
    redraw,
    trainable_parameters,
    undrawn_parameters,
    use_training_mode,
)
from mcprune.training.fit import fit
from mcprune.training.steps import adam


def freeze(*modules: nn.Module) -> None:
    for module in modules:
        module.requires_grad_(False)


def extractor_and_head() -> nn.Sequential:
    """A flat chain whose first four layers are frozen; the statistics of its normalisations are not those of the start."""
    net = nn.Sequential(
        nn.Linear(6, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5, affine=False), nn.Tanh(), nn.Dropout(0.5),
        nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2),
    )  # fmt: skip
    for norm in (net[1], net[2], net[6]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    freeze(net[0], net[1])
    return net


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], model: nn.Module) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_frozen_modules_of_a_flat_chain_and_of_a_nested_one():
    net = extractor_and_head()
    assert set(frozen_modules(net)) == {net[0], net[1], net[2]}
    body = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False), nn.Dropout(0.5))
    nested = nn.Sequential(body, nn.Dropout(0.5), nn.Linear(3, 2))
    assert frozen_modules(nested) == []
    freeze(body)
    assert set(frozen_modules(nested)) == set(body.modules())


def test_a_partly_frozen_module_is_not_frozen():
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    net[1].weight.requires_grad_(False)
    net[0].bias.requires_grad_(False)
    assert frozen_modules(net) == []
    assert has_frozen_parameters(net)
    assert not is_fully_frozen(net)
    assert trainable_parameters(net) == [net[0].weight, net[1].bias]


def test_redraw_keeps_what_is_frozen_and_draws_the_rest():
    net = extractor_and_head()
    net[5].bias.requires_grad_(False)  # half of a layer
    before = state(net)
    redraw(net, 3)
    assert changed(before, net) == {"5.weight", "6.running_mean", "6.running_var", "7.weight", "7.bias"}
    again = copy.deepcopy(net)
    redraw(again, 3)
    assert not changed(state(net), again)
    redraw(again, 4)
    assert changed(state(net), again) == {"5.weight", "7.weight", "7.bias"}


def test_redraw_of_a_module_that_resets_its_children():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def reset_parameters(self):
            with torch.no_grad():
                self.inner.weight.zero_()

    net = nn.Sequential(Block(), nn.Linear(3, 2))
    freeze(net[0].inner)
    before = state(net)
    redraw(net, 0)
    assert changed(before, net) == {"1.weight", "1.bias"}


def test_redraw_reaches_attention_and_leaves_the_random_state():
    net = nn.Sequential(nn.MultiheadAttention(4, 2))
    before, drawn = state(net), torch.random.get_rng_state()
    redraw(net, 1)
    assert "0.in_proj_weight" in changed(before, net)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert undrawn_parameters(net) == []


def test_parameters_that_nothing_draws_are_named():
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2), requires_grad=False)
            self.layer = nn.Linear(2, 2)

    net = Raw()
    before = state(net)
    assert undrawn_parameters(net) == ["scale"]
    assert not changed(before, net)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_training_leaves_frozen_tensors_alone(weight_decay):
    net = extractor_and_head()
    for parameter in net.parameters():  # as the user's own training leaves them
        parameter.grad = torch.ones_like(parameter)
    before = state(net)
    rows, classes = torch.randn(64, 6), torch.randint(0, 2, (64,))
    fit(net, rows, classes, epochs=2, batch_size=16, learning_rate=0.01, weight_decay=weight_decay, seed=0)
    assert all(name.startswith(("5.", "6.", "7.")) for name in changed(before, net))
    assert "7.weight" in changed(before, net)
    held = {id(each) for each in adam(net, 0.1, 0.1).parameters}
    assert held == {id(each) for each in trainable_parameters(net)}


def test_training_mode_turns_dropout_off_inside_a_frozen_extractor_only():
    body = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9))
    net = nn.Sequential(body, nn.Dropout(0.9), nn.Linear(4, 2))
    freeze(body)
    net.eval()
    use_training_mode(net)
    assert [net.training, body.training, body[1].training, net[1].training] == [True, False, False, True]


def test_nothing_to_train_is_no_error():
    net = nn.Sequential(nn.Linear(3, 2))
    freeze(net)
    before = state(net)
    fit(
        net,
        torch.randn(8, 3),
        torch.zeros(8, dtype=torch.int64),
        epochs=1,
        batch_size=4,
        learning_rate=1.0,
        weight_decay=1.0,
        seed=0,
    )
    assert not changed(before, net)
    assert not net.training


def test_evaluating_gives_each_module_its_own_mode_back():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)).train()
    net[0].eval()
    with evaluating(net):
        assert not any(module.training for module in net.modules())
    assert [net.training, net[0].training, net[1].training] == [True, False, True]
