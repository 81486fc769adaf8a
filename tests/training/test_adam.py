"""AdamW and one cycle of the learning rate, bit for bit those of torch."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mcprune.state import deserialize, serialize
from mcprune.training.adam import AdamW, one_cycle


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(20, 5)


def steps(model, optimizer, rows, count):
    for _ in range(count):
        optimizer.zero_grad()
        model(rows).square().mean().backward()
        optimizer.step()


def parameters(model):
    return torch.cat([one.detach().flatten() for one in model.parameters()])


@pytest.mark.parametrize("is_partly_frozen", [False, True])
def test_steps_are_those_of_torch_bit_for_bit(is_partly_frozen):
    (own, rows), (other, _) = net(), net()
    if is_partly_frozen:
        own[0].weight.requires_grad_(False), other[0].weight.requires_grad_(False)
    steps(own, AdamW(own.parameters(), 0.01, 0.1), rows, 9)
    steps(other, torch.optim.AdamW(other.parameters(), 0.01, weight_decay=0.1, fused=True), rows, 9)
    assert torch.equal(parameters(own), parameters(other))


def test_it_goes_on_from_a_saved_state():
    (own, rows), (other, _) = net(), net()
    optimizer, restored = AdamW(own.parameters(), 0.01, 0.1), AdamW(other.parameters(), 0.01, 0.1)
    steps(own, optimizer, rows, 4)
    deserialize(serialize(own), other)
    deserialize(serialize(optimizer), restored)
    steps(own, optimizer, rows, 3)
    steps(other, restored, rows, 3)
    assert torch.equal(parameters(own), parameters(other))


@pytest.mark.parametrize("total", [1, 2, 3, 10, 331])
def test_one_cycle_is_that_of_torch_bit_for_bit(total):
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(1))], 0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=total)
    for step in range(total):
        group = optimizer.param_groups[0]
        assert one_cycle(step, total, 0.02) == (group["lr"], group["betas"][0])
        optimizer.step()
        if step + 1 < total:
            cycle.step()


@pytest.mark.slow
def test_training_needs_no_compiler_of_torch():
    """Importing it takes longer than the search of a table of 200 rows."""
    code = (
        "import sys, torch\nfrom mcprune.models.mlp import MLP\nfrom mcprune.training.fit import fit\n"
        "fit(MLP((4, 8, 2)), torch.randn(32, 4), torch.zeros(32, dtype=torch.int64), epochs=2, batch_size=16, "
        "learning_rate=.01, weight_decay=.1, seed=0)\n"
        "assert not {'torch._dynamo', 'sympy'} & set(sys.modules), sorted(set(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
