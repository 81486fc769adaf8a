"""A fixed batch and a fixed classifier: the chain alone, without backprop."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from running import Running
from torch import nn

from mcprune.chain import moves
from mcprune.chain.schedules import Schedule
from mcprune.evaluators.cuda_graph import GraphEvaluator
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.evaluators.fused_weights import FusedWeightsEvaluator
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.methods.base import Batch
from mcprune.methods.markov.method import ChainSettings, Markov
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.budget import Budget, CountBudget
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteMap, site_map
from mcprune.sites.space import SearchSpace

N_INPUTS, HIDDEN, CLASSES = 14, (11, 7), 3


def constant(value: float) -> Schedule:
    return Schedule("constant", value, value)


def settings(sites: int, keep: int = 6, **changes: Any) -> ChainSettings:
    """A greedy chain of exchanges and toggles under hard gates at constant n, unless changed; `target` is that of one budget."""
    plan = changes.pop("plan", {"exchange": 1.0, "toggle": 1.0})
    box = 1.0 if changes.get("by_rank") else 8.0
    values: dict[str, Any] = {
        "plan": moves.move_plan(**plan, block_size=3, box=box, add=np.ones(sites), remove=np.ones(sites)),
        "delta": constant(2.0),
        "temperature": constant(0.0),
        "alpha": constant(1.0),
        "sharpness": None,
        "targets": (changes.pop("target", constant(float(keep))),),
        "modified": False,
        "pooled": False,
        "pool": 4,
        "start_weight": 4.0,
        "decisions": 48,
        "lookahead": 16,
        "seed": 5,
    }
    return ChainSettings(**{**values, **changes})


def count_space(sites: SiteMap, keep: int) -> SearchSpace:
    """The space of all masks of exactly n sites."""
    return SearchSpace(sites, Budget((CountBudget("sites", tuple(range(len(sites.groups))), keep),)))


class Bench:
    """A trained classifier, a batch, and chains on them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        draw = torch.Generator().manual_seed(1)
        x = torch.randn(160, N_INPUTS, generator=draw)
        y = (x[:, 2] * x[:, 5] > 0).long() + (x[:, 9] > 1.0).long()
        self.model = MLP((N_INPUTS, *HIDDEN, CLASSES), "relu", seed=3)
        optimizer = torch.optim.Adam(self.model.parameters(), 0.01)
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(x), y).backward()
            optimizer.step()
        self.batch = Batch(x.T.contiguous().T, y)

    def chain(
        self,
        evaluator: str = "full",
        kinds: str = "inputs,units",
        bound: float | None = 0.0,
        space: SearchSpace | None = None,
        keep: int = 6,
        **changes: Any,
    ) -> Running:
        gated = GatedModel(self.model, site_map(self.model, kinds, N_INPUTS))
        canonical = FullEvaluator(gated, CrossEntropy())
        judge = {
            "full": lambda: canonical,
            "fused": lambda: (FusedWeightsEvaluator if kinds == "weights" else FusedEvaluator)(gated, CrossEntropy()),
            "suffix": lambda: SuffixEvaluator(gated, CrossEntropy()),
            "parts": lambda: SuffixEvaluator(gated, CrossEntropy(), widest=16 * max(HIDDEN)),
            "parts in bfloat16": lambda: SuffixEvaluator(
                gated, CrossEntropy(), widest=16 * max(HIDDEN), store="bfloat16"
            ),
            "incremental": lambda: IncrementalEvaluator(gated, CrossEntropy()),
            "stacked": lambda: IncrementalEvaluator(gated, CrossEntropy(), stacked=True),
            "graph": lambda: GraphEvaluator(gated, CrossEntropy(), batch=5),
            "bf16": lambda: GraphEvaluator(gated, CrossEntropy(), screen="bf16"),
            "staged": lambda: FusedEvaluator(gated, CrossEntropy(), early_reject=0.2),
        }[evaluator]()
        space = space or count_space(gated.sites, keep)
        return Running(Markov(space, settings(space.size, keep, **changes), judge, canonical, bound))

    def trace(self, chain: Running, blocks: int = 8) -> tuple[np.ndarray, list[Any]]:
        """Positions (blocks, N) and what each block reports."""
        positions, told = [], []
        for block in range(blocks):
            told.append(chain.step(self.batch, (block + 1) / blocks))
            positions.append(chain.position().copy())
        return np.array(positions), told


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()


@pytest.fixture(autouse=True)
def one_thread() -> Callable[..., Any]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
