"""The search of a path: one run whose n(t) stops at every level, on the way down and on the way up."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from mcprune.chain.schedules import Stairs
from mcprune.config.rules import LARGE
from mcprune.environment import use_threads
from mcprune.methods.base import BlockInfo
from mcprune.methods.columns import column_scores
from mcprune.session.build.markov import make_chain
from mcprune.session.build.plan import Plan
from mcprune.session.interrupt import Interrupt
from mcprune.session.search import Search
from mcprune.session.steering.callbacks import Callback, Callbacks, SearchView
from mcprune.sites.budget import Goal
from mcprune.storage.events import Event
from mcprune.types import BoolArray

# The search of all levels takes so many times the blocks of a single run, and so much of that the fall to the largest level.
EFFORT, FALL = 2.0, 0.15
# Blocks of a stop at least.
LEAST_BLOCKS = 3
# Selectors of columns whose masks are candidates of every level of a table.
SELECTORS = ("forest", "l1")

Parameters = tuple[dict[str, torch.Tensor], ...]  # of each classifier of the search


class Candidate(NamedTuple):
    """A mask (N,) for a level, by its place; the way to it; and the parameters of the classifiers that were trained with it."""

    place: int
    way: str
    mask: BoolArray
    parameters: Parameters | None = None


class Recorder(Callback):
    """Notes the last mask of each stop, and the parameters of the classifiers at its end.

    Parameters
    ----------
    stairs : Stairs
    search : Search

    Attributes
    ----------
    masks : dict of int to ndarray of bool, shape (N,)
        By stop.
    parameters : dict of int to Parameters
        By stop.
    """

    def __init__(self, stairs: Stairs, search: Search) -> None:
        self.stairs, self.search = stairs, search
        self.masks: dict[int, BoolArray] = {}
        self.parameters: dict[int, Parameters] = {}

    def on_block(self, search: SearchView, info: BlockInfo) -> None:
        """See `Callback.on_block`."""
        done, pace = search.blocks_done, self.search.pace
        stop, after = self.stairs.stop(pace.progress(done)), self.stairs.stop(pace.progress(done + 1))
        if stop < 0 or self.stairs.value(pace.progress(done)) != self.stairs.levels[stop]:
            return
        self.masks[stop] = search.position() > 0
        if done == pace.blocks or after != stop:
            self.parameters[stop] = tuple(
                {name: tensor.detach().clone() for name, tensor in gated.model.state_dict().items()}
                for gated in search.plan.stack
            )


def stops_of(levels: Sequence[int], *, is_two_way: bool) -> tuple[int, ...]:
    """Return the order of the stops, as places of levels: from the largest down, and up again."""
    down = tuple(reversed(range(len(levels))))
    return (*down, *range(1, len(levels))) if is_two_way else down


def search_levels(
    plan: Plan, levels: Sequence[int], interrupt: Interrupt, began: float, *, is_two_way: bool, effort: float = EFFORT
) -> Generator[Event, None, list[Candidate]]:
    """Search the levels of a plan whose budget is the smallest one; yield the events of the search, return a mask of each stop.

    An interrupt, or a time that is up, ends it: what no stop was reached for is missing.

    Parameters
    ----------
    plan : Plan
    levels : sequence of int
        Rising.
    interrupt : Interrupt
    began : float
        By time.monotonic.
    is_two_way : bool
        Up again after the way down.
    effort : float
        Blocks, in those of a single run.
    """
    stops = stops_of(levels, is_two_way=is_two_way)
    whole = float(np.concatenate(plan.space.whole)[-1])
    fixed = int(plan.space.kept.sum()) if plan.space.is_count else 0  # n(t) counts what may be dropped
    fall = FALL if levels[-1] < whole else 0.0
    stairs = Stairs(whole - fixed, tuple(float(levels[place]) - fixed for place in stops), fall)
    regrown = plan.chain.keep_schedule
    waves = round(effort * regrown.regrow / len(stops))
    stairs = replace(stairs, waves=waves, height=regrown.height if waves else 0.0)
    blocks = max(round(effort * plan.train.blocks), math.ceil(LEAST_BLOCKS * len(stops) / (1.0 - fall)))
    plan.settings = plan.settings._replace(
        train=plan.train._replace(blocks=blocks), evaluation=plan.evaluation._replace(falls_until=fall)
    )
    use_threads(plan.runtime.threads)
    method = make_chain(plan)
    method.settings = replace(method.settings, targets=(*method.settings.targets[:-1], stairs), falling_decisions=0)
    search = Search(plan, method)
    search.guard.is_on = False  # it compares masks of one size
    recorder = Recorder(stairs, search)
    search.callbacks = Callbacks([recorder])
    yield from search.run(interrupt, began)
    return [
        Candidate(stops[stop], "down" if stop < len(levels) else "up", mask, recorder.parameters.get(stop))
        for stop, mask in recorder.masks.items()
    ]


def is_table(plan: Plan) -> bool:
    """Whether the sites are the columns of a table of ordinary size."""
    return (
        plan.facts.kinds == {"inputs"} and plan.splits.image_shape is None and plan.facts.rows < LARGE
        and plan.space.is_count and plan.is_plain_objective
    )  # fmt: skip


def selected_columns(plan: Plan, levels: Sequence[int]) -> list[Candidate]:
    """Return the masks of plain selectors of columns, for each level of a table."""
    data, out = plan.splits.train, []
    features = plan.seen(data.features)
    for name in SELECTORS:
        scores = np.empty(0)
        for place, n in enumerate(levels):
            if place == 0 or name == "l1":  # whose penalty depends on n
                own = column_scores(name, features, data.targets, data.weights, keep=n, seed=plan.runtime.seed)
                scores = np.full(plan.sites.size, -np.inf)
                scores[slice(None) if plan.candidates is None else plan.candidates] = own
            goal = Goal(np.array([n], np.int64), np.empty(0, np.int64))
            out.append(Candidate(place, name, plan.space.enforce(scores, goal)))
    return out
