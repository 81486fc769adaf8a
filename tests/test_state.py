"""A tree of state becomes plain values and comes back; what does not fit is named."""

import copy
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.state import deserialize, serialize


class Arrays(NamedTuple):
    """Arrays and a fixed pair."""

    weights: np.ndarray
    bounds: tuple[float, float]


class Told(NamedTuple):
    """Plain values that are not there at the start."""

    loss: float
    moves: dict[str, tuple[int, int]]
    cost: int | None = None
    names: list[str] | None = None


@dataclass
class Part:
    """A nested state."""

    count: int
    arrays: Arrays
    window: deque[float]


@dataclass
class Tree:
    """One field of each kind."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    draw: np.random.Generator
    noise: torch.Generator
    part: Part
    other: Part | None
    last: Told | None
    is_on: bool
    share: float
    word: str
    found: int | None
    knobs: dict[str, object]
    notes: list[str] = field(default_factory=list)


def tree(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    part = Part(seed, Arrays(np.full((2, 3), float(seed)), (0.0, float(seed))), deque([float(seed)], maxlen=2))
    return Tree(
        model, optimizer, np.random.default_rng(seed), torch.Generator().manual_seed(seed), part, None, None, bool(seed),
        0.5 * seed, f"word {seed}", None, {},
    )  # fmt: skip


def used():
    """A state that is no longer at its start."""
    state = tree(1)
    for _ in range(2):
        state.model(torch.randn(4, 3)).square().mean().backward()
        state.optimizer.step()
    state.draw.random(3)
    torch.rand(2, generator=state.noise)
    state.part.window.append(7.5)
    state.last = Told(float("nan"), {"site": (3, 1)}, names=["a"])
    state.found, state.knobs, state.notes = 4, {"delta": "linear:1:2", "moves": {"site": 1}}, ["one", "two"]
    return state


def same(one, other):
    return repr(serialize(one)) == repr(serialize(other))


def test_a_state_comes_back_and_goes_on_alike():
    state, other = used(), tree()
    saved = serialize(state)
    model, part, weights = other.model, other.part, other.part.arrays.weights
    assert deserialize(copy.deepcopy(saved), other) is other
    assert same(state, other)
    assert (other.model, other.part, other.part.arrays.weights) == (model, part, pytest.approx(weights))  # in place
    assert other.part.window.maxlen == 2
    assert isinstance(other.last, Told)
    assert other.last.moves == {"site": (3, 1)}
    x = torch.randn(4, 3)
    for one in (state, other):
        one.optimizer.zero_grad()
        one.model(x).square().mean().backward()
        one.optimizer.step()
    assert all(torch.equal(*pair) for pair in zip(state.model.parameters(), other.model.parameters(), strict=True))
    assert state.draw.random() == other.draw.random()
    assert torch.equal(torch.rand(2, generator=state.noise), torch.rand(2, generator=other.noise))


def test_what_is_saved_is_a_copy():
    state = used()
    saved = serialize(state)
    before = repr(saved)
    state.part.arrays.weights[:] = 9.0
    state.draw.random()
    state.optimizer.step()
    state.notes.append("three")
    assert repr(saved) == before
    with pytest.raises(TypeError, match="a object cannot be saved"):
        serialize({"one": object()})


WRONG = {
    r"state has no 'word'": lambda saved: saved.pop("word"),
    r"state has an unknown 'surprise'": lambda saved: saved.update(surprise=1),
    r"state\.part\.count is -1": lambda saved: saved["part"].update(count=-1),
    r"state\.part\.count is True": lambda saved: saved["part"].update(count=True),
    r"state\.is_on is 1": lambda saved: saved.update(is_on=1),
    r"state\.share is inf": lambda saved: saved.update(share=float("inf")),
    r"state\.word is None": lambda saved: saved.update(word=None),
    r"state\.found is 'x'": lambda saved: saved.update(found="x"),
    r"state\.notes is a dict, not a list": lambda saved: saved.update(notes={}),
    r"state\.notes\[0\] is 3": lambda saved: saved.update(notes=[3]),
    r"state\.part is None, not Part": lambda saved: saved.update(part=None),
    r"state\.other\.arrays\.weights is float64 of shape \(2, 3\)": lambda saved: saved.update(
        other=copy.deepcopy(saved["part"])
    ),
    r"weights is float32 of shape \(2, 3\), not float64 of shape \(2, 3\)": lambda saved: saved["part"][
        "arrays"
    ].update(weights=np.zeros((2, 3), np.float32)),
    r"weights is float64 of shape \(3,\), not float64 of shape \(2, 3\)": lambda saved: saved["part"]["arrays"].update(
        weights=np.zeros(3)
    ),
    r"bounds has 1 values, not 2": lambda saved: saved["part"]["arrays"].update(bounds=[1.0]),
    r"state\.last\.moves\.site has 1 values, not 2": lambda saved: saved["last"]["moves"].update(site=[1]),
    r"state\.last has no 'loss'": lambda saved: saved["last"].pop("loss"),
    r"state\.draw is not the state of a random generator": lambda saved: saved.update(draw={"bit_generator": "PCG64"}),
    r"state\.noise is not the state of a random generator": lambda saved: saved.update(noise=torch.zeros(3)),
    r"the parameters of the classifier has no '0\.bias'": lambda saved: saved["model"]["parameters"].pop("0.bias"),
    r"the buffer '1\.running_mean' is float32 of shape \(3,\)": lambda saved: saved["model"]["buffers"].update(
        {"1.running_mean": torch.zeros(3)}
    ),
    r"state\.optimizer has other parameters": lambda saved: saved["optimizer"].update({"9": {}}),
    r"state\.optimizer\.0\.exp_avg is float64": lambda saved: saved["optimizer"]["0"].update(
        exp_avg=saved["optimizer"]["0"]["exp_avg"].double()
    ),
    r"state is a list": lambda saved: saved.clear(),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_does_not_fit_is_named(words):
    saved = serialize(used())
    WRONG[words](saved)
    with pytest.raises(ValueError, match=words):
        deserialize(saved or [], tree())
