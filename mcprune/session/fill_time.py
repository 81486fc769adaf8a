"""How many epochs of a chain fill a given time, learned from short searches; and a chain that may plan more where they do not."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mcprune.config.rules import SEARCH_STEPS, USUAL_EPOCHS
from mcprune.config.schema import Config
from mcprune.data.base import Dataset
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.interrupt import Interrupt
from mcprune.session.loop import make_search
from mcprune.session.pilots import MOST
from mcprune.session.steering.controller import Controller

# Of a chain's time: what a trial may take to learn how long an epoch lasts, and what its epochs are planned to fill.
TRIAL, FILLED = 0.05, 0.95
LONGEST = 0.1  # of the time, the longest trial: a trial without an epoch by then is compressed, as any run is
TRIALS = 4  # at most: the first are short, and measure little where an epoch is a few steps


class Filling(Controller):
    """Lets a chain plan more epochs than at the start where its time is not filled, up to `epochs`."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def most_blocks(self, plan: Plan) -> int:
        """See `Controller.most_blocks`."""
        return math.ceil(plan.train.blocks * self.epochs / plan.train.epochs)


class Fitted(NamedTuple):
    """How many epochs of a chain fit into its time, the most that it may plan, and the forwards of the trials."""

    epochs: int
    most: int
    forwards: int


def fitting_epochs(config: Config, dataset: Dataset) -> Fitted:
    """Return how many epochs of a chain fit into `search_time`, learned from whole searches of few epochs.

    A short search has all phases of a long one: n(t) falling on small evaluation batches, then exchanges on large ones. It has
    as many fewer waves of n(t), and evaluations of the validation rows, as it has fewer epochs: what a pool evaluates follows the
    waves and not the epochs, and forty waves in an epoch or two would be most of their time. The run's own pace corrects the rest.
    No more epochs are planned than the gradient path would plan, which stops at 8 times the usual ones.

    Parameters
    ----------
    config : Config
        With search_time, without epochs.
    dataset : Dataset
    """
    began = time.monotonic()
    plan = make_plan(config, dataset)
    limit = plan.runtime.search_time
    assert math.isfinite(limit)
    setup = time.monotonic() - began
    usual = max(
        USUAL_EPOCHS, math.ceil(SEARCH_STEPS / max(1, plan.train.blocks * plan.train.steps // plan.train.epochs))
    )
    most, epochs, expected, forwards = MOST * usual, 1, plan.train.epochs, 0
    trials: list[tuple[float, float]] = []  # epochs and seconds
    for _ in range(TRIALS):
        done, seconds, ready, rows = _search_short(plan, epochs, expected, LONGEST * limit)
        forwards += rows
        trials.append((done, seconds))
        expected = max(1, min(most, math.floor(FILLED * limit * done / seconds)))
        longer = min(math.floor(TRIAL * limit * done / seconds), most)
        if longer < 2 * epochs or done < epochs:
            break
        epochs = longer
    fixed, each = _fixed_and_each(trials)
    left = FILLED * limit - (time.monotonic() - began) - setup - ready - fixed
    return Fitted(max(1, min(most, math.floor(left / each))), most, forwards)


def _fixed_and_each(trials: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the seconds that any search takes, as its fall of n(t) does, and those that an epoch adds, from the last two trials."""
    epochs, seconds = trials[-1]
    mean = seconds / epochs
    if len(trials) == 1 or epochs <= trials[-2][0]:  # the last one was compressed
        return 0.0, mean
    before, earlier = trials[-2]
    # One slow trial must not make an epoch look free.
    each = min(max((seconds - earlier) / (epochs - before), mean / 4.0), mean)
    return seconds - each * epochs, each


def _search_short(plan: Plan, epochs: int, expected: int, limit: float) -> tuple[float, float, float, int]:
    """Search for a few epochs, or for `limit` seconds, on a copy of the plan's classifier.

    Returns
    -------
    epochs : float
        Done.
    seconds, ready : float
        Of the search, and of making it.
    forwards : int

    Notes
    -----
    The waves, and the times between two evaluations of the validation rows, are as long in epochs as in a search of `expected` epochs.
    """
    began = time.monotonic()
    share = epochs / plan.train.epochs
    chain = plan.chain
    schedule = chain.keep_schedule
    if schedule.regrow:
        times = max(1, round(schedule.regrow * epochs / max(expected, epochs)))
        schedule = schedule._replace(regrow=times)
    chain = chain._replace(keep_schedule=schedule, start_after=chain.start_after * share)
    train = plan.train._replace(epochs=epochs, blocks=max(1, math.ceil(plan.train.blocks * share)))
    settings = plan.settings.with_chain(chain)._replace(train=train, runtime=plan.runtime._replace(search_time=limit))
    trial = replace(
        plan,
        settings=settings,
        stack=plan.new_stack(),
        notes=[],
    )
    search = make_search(trial.config, trial, began)
    search.looks = max(1, round(search.looks * epochs / max(expected, epochs)))
    ready = time.monotonic()
    with Interrupt() as interrupt:
        for _ in search.run(interrupt, ready):
            pass
    if interrupt.should_stop:
        raise KeyboardInterrupt
    done = epochs * min(1.0, search.blocks_done / trial.train.blocks)
    return done, max(time.monotonic() - ready, 1e-6), ready - began, search.forwards()
