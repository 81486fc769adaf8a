"""What a block changes lies in the state, or is declared as recomputed: so a checkpoint, which is the state, forgets nothing."""

import types
from collections import deque
from enum import Enum
from functools import cached_property

import numpy as np
import pytest
import torch
from selection import long_but

from mcprune.config.schema import make_config
from mcprune.data.load import load
from mcprune.environment import use_threads
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.search import Search
from mcprune.state import field_names, serialize

SHORT = {
    "data": "digits",
    "keep": 16,
    "hidden": (12,),
    "epochs": 4,
    "train_steps": 8,
    "batch_size": 64,
    "threads": 1,
    "evaluator": "full",
    "eval_on": "held-out",
}
NO_CHAIN = {"evaluator": None, "eval_on": None}
LADDER = {
    "temperature": "geometric:3e-3:3e-4",
    "replicas": 3,
    "moves": "informed=2,site=1",
    "adapt_delta": 0.4,
    "warm_up": 0.6,
}
LINES = {f"line{row}": {"sites": [f"{8 * row}-{8 * row + 7}"], "cost": 2} for row in range(8)}
KINDS = {
    "chain": {"eval_on": "folds"},
    "evaluator": {"evaluator": "fused"},
    "ladder": {**LADDER, "evaluation_rows": 200},
    "rank": {"gates": "rank", "moves": "site=2,exchange=1", "delta": "0.5"},
    "rank ladder": {**LADDER, "gates": "rank", "delta": "0.5"},
    "sharpened": {"gates": "sharpened", "sites": "inputs,units", "moves": "exchange=1,toggle=1"},
    "weights": {"sites": "weights", "keep": 300, "evaluator": "fused"},
    "frozen": {"sites": "weights", "keep": 300, "evaluator": "fused", "pretrain": 1, "frozen": True},
    "probes": {"proposals": "probes", "moves": "informed=1"},
    "fixed": {"must_keep": ["pixel_1_1"], "must_drop": ["pixel_2_2"]},
    "groups": {"keep": 9, "groups": LINES},
    "macs": {"sites": "inputs,units", "keep": None, "macs": 600, "moves": "exchange=1,toggle=1"},
    "start": {"start": "magnitude:after=1", "score_rows": None},
    "proposals": {"proposals": "fisher", "moves": "informed=1"},
    "objective": {"objective": "auc", "data": "breast-cancer", "keep": 5},
    "straight-through": {"method": "gradient", "gates": "straight-through", **NO_CHAIN},
    "stall": {"method": "gradient", "alpha": "stall", **NO_CHAIN},
    "importance": {"method": "importance", "rounds": 3, **NO_CHAIN},
}  # fmt: skip
QUICK = ("chain", "ladder", "macs", "straight-through", "importance")
# Code, not data.
SKIPPED = (
    type,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.ModuleType,
    torch.device,
)
PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, torch.dtype, torch.Size, Enum)


def leaf(value):
    """What a value is, where nothing lies below it; None where something does."""
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.detach().numpy().tobytes()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    return repr(value) if isinstance(value, PLAIN) else None


def below(value):
    """The parts of a value by name, without those that it declares as recomputed."""
    if isinstance(value, dict):
        return {repr(key): part for key, part in value.items()}
    if isinstance(value, list | tuple | set | deque) and field_names(value) is None:
        return {str(place): part for place, part in enumerate(value)}
    if isinstance(value, tuple):
        return value._asdict()
    parts = dict(getattr(value, "__dict__", {}))
    parts |= {name: getattr(value, name) for name in getattr(type(value), "__slots__", ()) if hasattr(value, name)}
    lazy = {name for name in parts if isinstance(getattr(type(value), name, None), cached_property)}
    return {
        name: part for name, part in parts.items() if name not in lazy.union(getattr(type(value), "recomputed", ()))
    }


def walk(value, inside, name="search", seen=None):
    """Give the name and content of all that can be reached outside of the state."""
    seen = set() if seen is None else seen
    if isinstance(value, SKIPPED) or callable(getattr(value, "py_func", None)) or id(value) in inside:
        return
    if (content := leaf(value)) is not None:
        yield name, content
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    for part, below_it in below(value).items():
        yield from walk(below_it, inside, f"{name}.{part}", seen)


def everything(value, seen):
    """The ids of all that can be reached."""
    if isinstance(value, SKIPPED) or id(value) in seen:
        return seen
    seen[id(value)] = value  # kept, so that no id is used again
    if leaf(value) is None:
        for part in below(value).values():
            everything(part, seen)
    return seen


def outside(search):
    """All that is not in the state, by name."""
    inside = {key: value for key, value in everything(search.state, {}).items() if not isinstance(value, PLAIN)}
    inside[id(search.plan.objective)] = None  # begun again on every batch
    return dict(walk(search, inside))


def search_of(options):
    config = make_config(**{name: value for name, value in {**SHORT, **options}.items() if value is not None})
    use_threads(1)
    plan = make_plan(config, load(config.data.source))
    search = Search(plan, make_method(plan))
    if config.train.pretrain:
        search.pretrain(lambda: False)
    search.start()
    return search


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", long_but("other kinds of runs; goldens/test_resume_goldens resumes them", KINDS, *QUICK)
)
def test_a_block_changes_nothing_outside_of_the_state(kind):
    search = search_of(KINDS[kind])
    for block in range(min(4, search.pace.blocks)):
        before, state = outside(search), repr(serialize(search.state))
        search.advance(block)
        after = outside(search)
        assert before.keys() == after.keys()
        changed = [name for name, content in after.items() if content != before[name]]
        assert not changed
        assert repr(serialize(search.state)) != state
    assert len(after) > 100  # there is something that could have changed


def test_what_is_hidden_is_seen(monkeypatch):
    """The control: a counter beside the state, wherever it is."""
    search = search_of({})
    for owner in (search, search.method, search.method.informed, search.trainer, search.knobs, search.plan):
        owner.hidden = [0]
        before = outside(search)
        owner.hidden[0] += 1
        after = outside(search)
        assert [name.rpartition(".hidden")[1] for name in after if after[name] != before.get(name)] == [".hidden"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", long_but("other kinds of runs; goldens/test_resume_goldens resumes them", KINDS, *QUICK)
)
def test_a_state_that_is_put_back_is_the_same(kind):
    search = search_of(KINDS[kind])
    for block in range(min(3, search.pace.blocks)):
        search.advance(block)
    saved = search.save()
    other = search_of(KINDS[kind])
    other.restore(saved)
    other.began = search.began
    again = other.save()
    again["clock"]["total"] = saved["clock"]["total"]
    assert flat(again) == flat(saved)


def flat(tree):
    """The leaves of a saved tree by their places."""
    return dict(walk(tree, {}))
