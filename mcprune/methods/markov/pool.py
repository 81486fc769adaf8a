"""Following n(t), or cost(t), between two blocks: whatever the chain itself keeps is brought to the budget."""

from __future__ import annotations

from collections.abc import Callable

from mcprune.chain.cost_constraint import Wall
from mcprune.methods.markov import budget, cost_budget
from mcprune.methods.markov.evaluation import CheckedEvaluator
from mcprune.methods.markov.settings import ChainSettings
from mcprune.methods.markov.state import MarkovState
from mcprune.types import FloatArray, IntArray

# A budget is followed in so many turns a block at most; each has random numbers of its own.
TURNS = 4096


def follow_budget(
    state: MarkovState,
    settings: ChainSettings,
    evaluation: CheckedEvaluator,
    begin: Callable[[], None],
    *,
    target: int,
    temperature: FloatArray,
    chains: IntArray,
    constraint: Wall | None,
) -> int:
    """Drop the cheapest of a pool, or take back the best, in place, until each replica keeps n(t) sites; return the masks evaluated.

    Parameters
    ----------
    state : MarkovState
    settings : ChainSettings
    evaluation : CheckedEvaluator
        It must have begun at the position.
    begin : callable
        Begins the evaluation again after positions have changed.
    target : int
        n(t), or cost(t).
    temperature : ndarray, shape (R,)
        Of each replica.
    chains : ndarray of int64, shape (R,)
        Numbers of the replicas, which key their draws.
    constraint : Wall, optional
        Counts the costs again at the end.
    """
    # The moves themselves may go below n(t): that is theirs, and only a wave takes sites back.
    may_grow = target > state.last_target
    if settings.cost is not None and not settings.cost.costs.least:
        may_grow = target != state.last_target  # what goes may be large: the gap that it leaves is filled
    state.last_target = target
    guesses = None if state.informed.probes is None else state.informed.probes.change
    evaluated = 0
    for turn in range(TURNS):
        block = state.blocks * TURNS + turn
        if settings.cost is None:
            count = budget.follow(
                state.chain, evaluation.evaluator, target=target, pool=settings.pool, temperature=temperature,
                sharpness=state.sharpness, seed=settings.seed, block=block, chains=chains, may_grow=may_grow,
                floor=evaluation.groups, limit=settings.pool_limit, guesses=guesses,
            )  # fmt: skip
        else:
            count = cost_budget.follow(
                state.chain, evaluation.evaluator, costs=settings.cost.costs, limit=target, pool=settings.pool,
                temperature=temperature, sharpness=state.sharpness, seed=settings.seed, block=block, chains=chains,
                may_grow=may_grow, pool_limit=settings.pool_limit, guesses=guesses,
            )  # fmt: skip
        if not count:
            break
        evaluated += count
        begin()
    if constraint is not None:
        constraint.refresh(state.chain)
    return evaluated
