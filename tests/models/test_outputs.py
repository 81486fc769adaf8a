"""Classifiers whose outputs are probabilities give logits."""

import copy

import pytest
import torch
from torch import nn

from mcprune.models.outputs import give_logits
from mcprune.models.registry import describe, is_built_in, skeleton

ROWS = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))


class Functional(nn.Module):
    """A softmax in the forward pass, and an attention-like one inside."""

    def __init__(self):
        super().__init__()
        self.inner, self.layer, self.out = nn.Softmax(1), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return torch.softmax(self.out(self.inner(self.layer(x))), dim=-1)


class RegisteredFirst(nn.Module):
    """The softmax at the end is the first module, and another one the last."""

    def __init__(self):
        super().__init__()
        self.softmax, self.layer, self.inner, self.out = nn.Softmax(1), nn.Linear(6, 5), nn.Softmax(1), nn.Linear(5, 3)

    def forward(self, x):
        return self.softmax(self.out(self.inner(self.layer(x))))


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 3), nn.Softmax(dim=1)))

    def forward(self, x):
        return self.layers(x)


def ends_in(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), *last)


SOFTMAX = {
    "sequential": lambda: ends_in(nn.Softmax(1)),
    "last dimension": lambda: ends_in(nn.Softmax(dim=-1)),
    "flatten behind": lambda: ends_in(nn.Softmax(1), nn.Flatten()),
    "nested": lambda: nn.Sequential(ends_in(nn.Softmax(1)), nn.Identity()),
    "wrapped": Wrapped,
    "functional": Functional,
    "registered first": RegisteredFirst,
}


@pytest.mark.parametrize("kind", SOFTMAX)
def test_logits_of_a_softmax(kind):
    torch.manual_seed(0)
    model = SOFTMAX[kind]()
    probabilities = model(ROWS)
    changed, note = give_logits(model, ROWS)
    assert "softmax" in note
    assert "logits" in note
    torch.testing.assert_close(torch.softmax(changed(ROWS), 1), probabilities)
    # The given model stays as it is and shares its parameters; names of modules stay too.
    assert torch.equal(model(ROWS), probabilities)
    assert [id(each) for each in changed.parameters()] == [id(each) for each in model.parameters()]
    assert [name for name, _ in changed.named_modules()] == [name for name, _ in model.named_modules()]
    assert type(changed).__name__ == type(model).__name__


def test_large_logits_are_not_rounded_by_a_softmax():
    model = ends_in(nn.Softmax(1))
    with torch.no_grad():
        model[2].weight.mul_(1e3)
    changed, _ = give_logits(model, ROWS)
    assert torch.equal(changed(ROWS), model[:3](ROWS))


def test_sigmoids_of_classes():
    torch.manual_seed(0)
    model = ends_in(nn.Sigmoid())
    changed, note = give_logits(model, ROWS)
    assert "sigmoid" in note
    torch.testing.assert_close(changed(ROWS).exp(), model(ROWS))


@pytest.mark.parametrize("model", [ends_in(), ends_in(nn.LogSoftmax(1)), ends_in(nn.ReLU())])
def test_logits_stay(model):
    assert give_logits(model, ROWS) == (model, "")


def test_outputs_between_0_and_1_are_doubted_in_a_note():
    model = ends_in(nn.Hardsigmoid())
    changed, note = give_logits(model, ROWS)
    assert changed is model
    assert "lie between 0 and 1" in note


@pytest.mark.parametrize("kind", ["wrapped", "functional", "registered first"])
def test_a_saved_description_removes_the_softmax_again(kind):
    changed, _ = give_logits(SOFTMAX[kind](), ROWS)
    small = copy.deepcopy(changed)
    description = describe(small, allow_custom=True)
    assert description["class"] == SOFTMAX[kind].__name__
    own = SOFTMAX[kind]()
    own.load_state_dict(small.state_dict())
    torch.testing.assert_close(skeleton(description, own)(ROWS), changed(ROWS))
    assert torch.equal(skeleton(description, small)(ROWS), changed(ROWS))  # removed already


def test_a_chain_of_plain_layers_stays_one():
    changed, _ = give_logits(ends_in(nn.Softmax(1)), ROWS)
    assert is_built_in(changed)
    changed, _ = give_logits(ends_in(nn.Sigmoid()), ROWS)
    assert is_built_in(changed)
