"""What lies between flat rows and a model, and between its outputs and logits."""

import copy

import pytest
import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.adapters import (
    Adapter,
    accepted_inputs,
    adapted,
    adapter_of,
    hard_columns,
    keep_examples,
    unwrapped,
    with_whole_numbers,
    without_adapter,
)
from mcprune.models.registry import describe, from_description, skeleton
from mcprune.types import InputField

FIELDS = (
    InputField("words", 0, (3,), "int"),
    InputField("mask", 3, (3,), "bool"),
    InputField("numbers", 6, (2, 1), "float"),
)


class Takes(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Linear(2, 3), {}

    def forward(self, words, mask, *, numbers):
        self.seen = {"words": words, "mask": mask, "numbers": numbers}
        return {"aux": words, "logits": self.layer(numbers[..., 0])}


def test_a_row_is_cut_into_inputs_and_the_logits_are_taken_out():
    model = Takes()
    out = adapted(model, Adapter(FIELDS, part="logits"))
    rows = torch.tensor([[4.0, 0, 7, 1, 1, 0, 0.5, -0.5]])
    logits = out(rows)
    seen = out.seen
    assert seen["words"].tolist() == [[4, 0, 7]]
    assert seen["words"].dtype == torch.int64
    assert seen["mask"].tolist() == [[True, True, False]]
    assert seen["numbers"].shape == (1, 2, 1)
    assert torch.equal(logits, model.layer(rows[:, 6:]))
    assert isinstance(out, Takes)
    assert [name for name, _ in out.named_parameters()] == ["layer.weight", "layer.bias"]
    assert out.layer is model.layer
    assert type(model) is Takes
    assert type(without_adapter(out)) is Takes
    assert torch.equal(copy.deepcopy(out)(rows), logits)


def test_an_adapter_is_described_and_read_again():
    adapter = Adapter(FIELDS, "logits", "one-logit", True, True, True, True)
    assert Adapter.from_dict(adapter.to_dict()) == adapter
    assert Adapter.from_dict({}) == Adapter()
    model = adapted(Takes(), Adapter(FIELDS, "logits"))
    built = skeleton(describe(model, allow_custom=True), Takes())
    assert adapter_of(built) == adapter_of(model)
    assert adapted(built, adapter_of(built)) is built


@pytest.mark.parametrize(
    "values",
    [
        {"fields": [["x", -1, [2], "int"]]},
        {"fields": [["x", 0, [2**40], "int"]]},
        {"fields": [["x", 0, [2], "text"]]},
        {"fields": [[1]]},
        {"fields": 3},
        {"part": 2.5},
        {"link": "two"},
        {"casts": 1},
        {"more": True},
    ],
)
def test_a_hostile_adapter_is_refused(values):
    with pytest.raises(ModelError, match="cannot be read"):
        Adapter.from_dict(values)


@pytest.mark.parametrize(
    ("adapter", "dtype"),
    [
        (Adapter((InputField("", 0, (1, 2, 4), "float"),)), torch.float32),
        (Adapter(casts=True), torch.float64),
        (Adapter(casts=True), torch.bfloat16),
    ],
)
def test_a_sequential_stays_one_that_is_read_without_code(adapter, dtype):
    layers = [nn.Flatten(), nn.Linear(8, 3)] if adapter.fields else [nn.Linear(8, 3)]
    model = nn.Sequential(*layers).to(dtype)
    out = adapted(model, adapter)
    assert type(out) is nn.Sequential
    again = from_description(describe(out))
    again.load_state_dict(out.state_dict())
    x = torch.randn(4, 8)
    assert torch.equal(again(x), out(x))
    assert out(x).dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_one_logit_of_a_sequential():
    model = nn.Sequential(nn.Linear(8, 1))
    out = adapted(model, Adapter(link="one-logit"))
    x = torch.randn(4, 8)
    assert torch.equal(out(x), torch.cat([torch.zeros(4, 1), model(x)], dim=1))
    assert describe(out)["kind"] == "sequential"


def test_whole_numbers_have_hard_gates_and_examples():
    model = adapted(Takes(), Adapter(FIELDS))
    hard = hard_columns(model, 8)
    assert hard.tolist() == [True] * 6 + [False] * 2
    assert hard_columns(nn.Linear(8, 3), 8) is None
    rows = torch.full((2, 8), -0.3)
    assert with_whole_numbers(model, rows)[0, :3].tolist() == [0, 0, 0]
    assert with_whole_numbers(model, rows)[0, 3:6].tolist() == [1, 1, 1]
    keep_examples(model, torch.arange(8.0)[None])
    assert with_whole_numbers(model, rows)[1].tolist() == pytest.approx([0, 1, 2, 3, 4, 5, -0.3, -0.3])


@pytest.mark.slow
def test_the_module_inside_of_wrappers():
    model = nn.Linear(8, 3)
    assert unwrapped(nn.DataParallel(torch.compile(model, backend="eager"))) is model
    assert unwrapped(model) is model


def test_the_keywords_of_a_forward_pass():
    assert accepted_inputs(Takes()) == {"words", "mask", "numbers"}

    class Free(nn.Module):
        def forward(self, x, **more):
            return x

    assert accepted_inputs(Free()) is None
