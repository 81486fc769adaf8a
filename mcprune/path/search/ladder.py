"""The search of a path: one run whose n(t) stops at every level, on the way down and on the way up."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mcprune.chain.schedules import Stairs
from mcprune.environment import use_threads
from mcprune.errors import brief
from mcprune.path.search.candidates import Candidate
from mcprune.path.search.progress import PathStatus
from mcprune.path.search.recorder import Recorder, SearchSaver
from mcprune.path.search.store import PathStore
from mcprune.session.build.markov import make_chain
from mcprune.session.build.plan import Plan
from mcprune.session.interrupt import Interrupt
from mcprune.session.loop import start_event
from mcprune.session.search import Saver, Search
from mcprune.session.steering.callbacks import Callback, Callbacks
from mcprune.session.steering.controller import Controller
from mcprune.storage.events import Event
from mcprune.types import JsonObject

# The search of all levels takes so many times the blocks of a single run, and so much of that the fall to the largest level.
EFFORT, FALL = 2.0, 0.15
# Blocks of a stop at least.
LEAST_BLOCKS = 3
# On the way down alone a stop at n sites gets a part of the blocks in proportion to n to this power: the blocks of few sites cost less, and
# more depends on each of them.
FEW_SITES = -0.35


def stops_of(levels: Sequence[int], *, is_two_way: bool) -> tuple[int, ...]:
    """Return the order of the stops, as places of levels: from the largest down, and up again."""
    down = tuple(reversed(range(len(levels))))
    return (*down, *range(1, len(levels))) if is_two_way else down


class Ladder(NamedTuple):
    """How a search goes over levels.

    Attributes
    ----------
    levels : tuple of int
        Rising.
    is_two_way : bool
        Up again after the way down.
    effort : float
        Blocks, in those of a single run.
    """

    levels: tuple[int, ...]
    is_two_way: bool
    effort: float = EFFORT


class Reached(NamedTuple):
    """The masks of the stops of a search, and whether somebody has stopped it, so that it may go on later."""

    candidates: list[Candidate]
    is_stopped: bool


class Watch(NamedTuple):
    """Who ends, steers and watches the search of a path, and where it is kept.

    Attributes
    ----------
    interrupt : Interrupt
    store : PathStore
    callbacks : tuple of Callback
        Called for each block.
    controller : Controller or None
    """

    interrupt: Interrupt
    store: PathStore
    callbacks: tuple[Callback, ...] = ()
    controller: Controller | None = None


def search_levels(
    plan: Plan, ladder: Ladder, watch: Watch, status: PathStatus, name: str
) -> Generator[Event, None, Reached]:
    """Search the levels of a plan whose budget is the smallest one; yield the events of the search, return a mask of each stop.

    An interrupt, or a time that is up, ends it: what no stop was reached for is missing. The state of a search that was cut off is
    read from the store, and the search goes on from there.

    Parameters
    ----------
    plan : Plan
    ladder : Ladder
    watch : Watch
    status : PathStatus
        Gets the scores of the levels.
    name : str
        Of the state in the store.

    Raises
    ------
    FolderError
        The state in the store is of something else.
    """
    saved = watch.store.load(name)
    levels = ladder.levels
    stops = stops_of(levels, is_two_way=ladder.is_two_way)
    stairs, blocks = _plan_stairs(plan, ladder, stops)
    if saved is not None and not plan.chain.early_reject and saved["evaluator"] is not None:
        plan.settings = plan.settings._replace(runtime=plan.runtime._replace(evaluator=saved["evaluator"]))
    use_threads(plan.runtime.threads)
    method = make_chain(plan)
    method.settings = replace(method.settings, targets=(*method.settings.targets[:-1], stairs), falling_decisions=0)
    search = Search(plan, method, watch.controller)
    search.guard.is_on = False  # it compares masks of one size
    if not ladder.is_two_way:
        search.phase = stairs.phase  # a rate that had fallen for the whole run would leave the lowest levels untrained
    recorder = Recorder(stairs, search)
    saver = SearchSaver(watch.store, name, search, recorder)
    if saved is not None:
        _restore(search, recorder, saved, blocks, watch.store)
    if watch.store.folder is not None:
        search.saver = Saver(watch.store.folder, saver.save)
    search.callbacks = Callbacks([recorder, saver, *watch.callbacks])

    yield replace(start_event(search, None), folder=None if watch.store.folder is None else str(watch.store.folder))
    yield _progress(ladder, stops, recorder, status)
    shown = recorder.state
    for event in search.run(watch.interrupt, time.monotonic() - search.state.clock.total):
        yield event
        if recorder.state != shown:
            shown = recorder.state
            yield _progress(ladder, stops, recorder, status)
    masks = [
        Candidate(stops[stop], "down" if stop < len(levels) else "up", one.mask, one.parameters)
        for stop, one in recorder.stops.items()
    ]
    return Reached(masks, search.is_stopping or search.state.end_reason not in ("", "max_time"))


def _plan_stairs(plan: Plan, ladder: Ladder, stops: tuple[int, ...]) -> tuple[Stairs, int]:
    """Return n(t) of a search over levels and the number of its blocks, and set them in the plan."""
    levels, whole = ladder.levels, float(np.concatenate(plan.space.whole)[-1])
    fixed = plan.space.fixed_count if plan.space.is_count else 0  # n(t) counts what may be dropped
    fall = FALL if levels[-1] < whole else 0.0
    goals = tuple(float(levels[place]) - fixed for place in stops)
    weights = () if ladder.is_two_way else tuple(float(levels[place]) ** FEW_SITES for place in stops)
    stairs = Stairs(whole - fixed, goals, fall, weights=weights)
    regrown = plan.chain.keep_schedule
    waves = round(ladder.effort * regrown.regrow / len(stops))
    least = min(weights) / sum(weights) if weights else 1.0 / len(stops)
    blocks = max(round(ladder.effort * plan.train.blocks), math.ceil(LEAST_BLOCKS / (least * (1.0 - fall))))
    plan.settings = plan.settings._replace(
        train=plan.train._replace(blocks=blocks), evaluation=plan.evaluation._replace(falls_until=fall)
    )
    return replace(stairs, waves=waves, height=regrown.height if waves else 0.0), blocks


def _restore(search: Search, recorder: Recorder, saved: JsonObject, blocks: int, store: PathStore) -> None:
    """Bring a search to where it was cut off; one that was stopped, or whose time was up, goes on with a new clock."""
    try:
        search.restore(saved["search"])
        recorder.restore(saved["recorder"])
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise store.broken(f"the state of its search does not fit ({brief(error)})") from None
    if search.state.end_reason:
        search.state.end_reason, search.state.replan = "", 0
        search.state.clock.search = search.pace.state.changed = 0.0
        if search.pace.blocks < blocks:
            search.pace.replan(search.blocks_done, max(blocks, search.blocks_done + 1))


def _progress(ladder: Ladder, stops: tuple[int, ...], recorder: Recorder, status: PathStatus) -> Event:
    """Return where the search is, after its scores by its own classifier were added to the status."""
    for stop, one in recorder.stops.items():
        if one.parameters is not None:
            status.add(ladder.levels[stops[stop]], one.accuracy, one.accuracy_error, is_final=False)
    stop = max(recorder.stop, 0)
    way = "down" if stop < len(ladder.levels) else "up"
    return status.event(ladder.levels[stops[stop]], way, len(stops) - 1 - stop)
