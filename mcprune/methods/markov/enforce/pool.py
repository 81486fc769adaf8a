"""Enforcing n(t), or cost(t), between two blocks: whatever the chain itself keeps is brought to the budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mcprune.chain import moves
from mcprune.chain.cost_constraint import CostConstraint
from mcprune.methods.base import Parts
from mcprune.methods.markov.enforce.budget import enforce_count
from mcprune.methods.markov.enforce.cost_budget import enforce_budget
from mcprune.methods.markov.evaluation import CheckedEvaluator
from mcprune.methods.markov.settings import ChainSettings
from mcprune.methods.markov.state import MarkovState
from mcprune.sites.budget import Goal
from mcprune.sites.space import SearchSpace
from mcprune.types import FloatArray, IntArray

# A budget is enforced in so many turns a block at most; each has random numbers of its own.
TURNS = 4096
# So many changed sites are followed in less time than the evaluation takes to begin again.
FOLLOWED = 32


def enforce(
    state: MarkovState,
    settings: ChainSettings,
    space: SearchSpace,
    evaluation: CheckedEvaluator,
    begin: Callable[[], None],
    *,
    goal: Goal,
    temperature: FloatArray,
    chains: IntArray,
    constraint: CostConstraint | None,
    at_once: int,
) -> Parts[int]:
    """Drop the cheapest of a pool, or take back the best, in place, until each replica satisfies the goal; return the masks evaluated.

    Parameters
    ----------
    state : MarkovState
    settings : ChainSettings
    space : SearchSpace
    evaluation : CheckedEvaluator
        It must have begun at the position.
    begin : callable
        Begins the evaluation again after many sites have changed; it follows few of them.
    goal : Goal
        n(t) and cost(t).
    temperature : ndarray, shape (R,)
        Of each replica.
    chains : ndarray of int64, shape (R,)
        Numbers of the replicas, which key their draws.
    constraint : CostConstraint, optional
        Counts again at the end.
    at_once : int
        Toggles that are evaluated in a part, of all replicas; 0: all.
    """
    values = np.concatenate(goal)
    # The moves themselves may go below n(t): that is theirs, and only a wave takes sites back.
    may_grow = bool((values > state.last_goal).any())
    if space.items is not None:
        may_grow = bool((values != state.last_goal).any())  # what goes may be large: the gap that it leaves is filled
    state.last_goal = values
    shared: dict[str, Any] = {
        "pool": settings.pool,
        "temperature": temperature,
        "sharpness": state.sharpness,
        "seed": settings.seed,
        "chains": chains,
        "may_grow": may_grow,
        "pool_limit": settings.pool_limit,
        "guesses": None if state.informed.probes is None or settings.by_slopes else state.informed.probes.change,
        "at_once": at_once,
    }
    evaluated = 0
    for turn in range(TURNS):
        block, before = state.blocks * TURNS + turn, state.chain.position.copy()
        if space.is_count:
            count = yield from enforce_count(
                state.chain,
                evaluation.evaluator,
                target=space.items_to_keep(goal),
                layers=evaluation.layers,
                block=block,
                **shared,
            )
        else:
            count = yield from enforce_budget(
                state.chain,
                evaluation.evaluator,
                classes=space.classes,
                goal=goal,
                end=space.goal,
                block=block,
                **shared,
            )
        if not count:
            break
        evaluated += count
        yield
        step = moves.between(before, state.chain.position)
        if step.sites.shape[2] > FOLLOWED:
            begin()
        else:
            evaluation.moved(state.chain, step, np.where(step.size[:, 0] > 0, 0, -1))
        yield
    if constraint is not None:
        constraint.refresh(state.chain)
    return evaluated
