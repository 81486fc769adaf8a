"""The gradient path within a time: how many epochs fit, and `--alpha auto`, the best of a few short pilots on validation rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mcprune.config.resolve import Resolved
from mcprune.config.rules import PILOTS, USUAL_EPOCHS
from mcprune.config.schema import Config
from mcprune.config.sections.gradient import Alpha, TrainedGates
from mcprune.errors import ConfigError, NumericalError
from mcprune.session.build.plan import Plan
from mcprune.session.finish.retrain import Refit
from mcprune.training.fit import fit
from mcprune.training.metrics import accuracy
from mcprune.types import BoolArray

# What the pilots try, each with the defaults of its kind.
CANDIDATES: dict[str, dict[str, Any]] = {
    "straight-through, ramp": {"alpha": Alpha(kind="ramp"), "gates": TrainedGates(kind="straight-through")},
    "hard-concrete, ramp": {"alpha": Alpha(kind="ramp"), "gates": TrainedGates(kind="hard-concrete")},
    "sigmoid, ramp": {"alpha": Alpha(kind="ramp"), "gates": TrainedGates(kind="sigmoid")},
    "sigmoid, fixed alpha of 10": {"alpha": Alpha(kind="fixed"), "gates": TrainedGates(kind="sigmoid")},
    "sigmoid, stall": {"alpha": Alpha(kind="stall"), "gates": TrainedGates(kind="sigmoid")},
}
# More passes than so many times the usual ones are not made, however long the time is.
MOST = 8
MARGIN = 0.92  # of the time is planned: the machine may get slower
TIMED_STEPS, WARM_STEPS = 40, 8
REFIT_STEPS = 0.4  # of a pilot's steps: fresh classifiers on few inputs, which are cheaper than the search's
SLOW = 1.5  # times its part of the pilots' time a pilot may take; then it is given up, since one that is cut off has no mask to judge

Searcher = Callable[[Plan], Any]


def in_time(plan: Plan, given: Config, began: float, searcher: Searcher) -> Plan:
    """Return the plan with what only a clock can settle: the pilots' choice, and the epochs that fit `--max-time`.

    Parameters
    ----------
    plan : Plan
        Of the gradient path, at its start; its classifier is left as it is.
    given : Config
        What the user gave.
    began : float
        When the time began, by time.monotonic.
    searcher : callable
        Makes the search of a plan.

    Raises
    ------
    NumericalError
        All pilots failed.
    """
    alpha = given.gradient.alpha
    if alpha.kind != "auto":
        if given.runtime.search_time is None or given.train.epochs is not None:
            return plan
        return _fitted(plan, given, {}, given.runtime.search_time - (time.monotonic() - began), searcher)
    share = PILOTS if alpha.pilots is None else alpha.pilots
    own = dict(CANDIDATES)
    if not len(plan.splits.validation.targets):
        return _without_pilots(plan, given, began, searcher)
    if given.train.epochs is not None:
        total = (
            plan.train.epochs
            * _epoch_seconds(_changed(plan, given, own["hard-concrete, ramp"], plan.train.epochs), searcher)
            / (1 - share)
        )
    else:
        total = given.runtime.search_time if given.runtime.search_time is not None else _chain_seconds(plan, searcher)
    left = total - (time.monotonic() - began) if given.runtime.search_time is not None else total
    pilots_began = time.monotonic()
    deadline = pilots_began + share * left  # all of them together; what one takes too much the others do not get
    scores: dict[str, float] = {}
    told, forwards, failure, untried = [], 0, None, []
    for place, (name, candidate) in enumerate(own.items()):
        if given.runtime.search_time is not None and time.monotonic() >= deadline:
            untried.append(name)
            told.append(f"{name}: no time for it")
            continue
        seconds = _epoch_seconds(_changed(plan, given, candidate, 1), searcher)
        slot = (
            (deadline - time.monotonic()) / (len(own) - place)
            if given.runtime.search_time is not None
            else share * left / len(own)
        )
        epochs = max(1, min(plan.train.epochs, math.floor(slot / (seconds * (1 + REFIT_STEPS)))))
        until = math.inf if given.runtime.search_time is None else time.monotonic() + SLOW * slot
        try:
            scores[name], rows = _score(_changed(plan, given, candidate, epochs), searcher, until)
        except NumericalError as error:
            failure = error
            told.append(f"{name}: failed")
            continue
        except TimeoutError:
            untried.append(name)
            told.append(f"{name}: no time for it")
            continue
        forwards += rows
        told.append(f"{name}: {scores[name]:.4f} after {epochs} epochs")
    if not scores and not untried:
        raise NumericalError(f"every pilot of --alpha auto failed, the last one so: {failure}")
    best = max(scores, key=lambda name: scores[name]) if scores else untried[0]
    spent = time.monotonic() - pilots_began
    final = (
        _changed(plan, given, own[best], plan.train.epochs)
        if given.train.epochs is not None
        else _fitted(plan, given, own[best], left - spent, searcher)
    )
    final.notes.append(
        f"alpha auto: {best} by the validation accuracy of retrained pilots ({'; '.join(told)}), {spent:.0f} s; "
        f"the run takes {final.train.epochs} epochs"
    )
    final.spent_forwards = forwards
    return final


def _without_pilots(plan: Plan, given: Config, began: float, searcher: Searcher) -> Plan:
    """Return the plan of the first candidate, where no validation rows can tell which one is best."""
    best, options = next(iter(CANDIDATES.items()))
    if given.train.epochs is not None or given.runtime.search_time is None:
        final = _changed(plan, given, options, plan.train.epochs)
    else:
        final = _fitted(plan, given, options, given.runtime.search_time - (time.monotonic() - began), searcher)
    final.notes.append(f"alpha auto: {best}, as there are no validation rows (validation=0) by which pilots are judged")
    return final


def _fitted(plan: Plan, given: Config, candidate: dict[str, Any], left: float, searcher: Searcher) -> Plan:
    """Return the plan with as many epochs as fit into the seconds left."""
    trial = _changed(plan, given, candidate, 1)
    usual = plan.train.epochs  # that of no --epochs
    epochs = max(1, min(MOST * max(usual, USUAL_EPOCHS), math.floor(MARGIN * left / _epoch_seconds(trial, searcher))))
    final = None
    while final is None:
        try:
            final = _changed(plan, given, candidate, epochs)
        except ConfigError:  # a window that the user gave is longer than what fits
            if epochs >= usual:
                raise
            epochs = usual
    if not candidate:
        final.notes.append(f"epochs: {epochs}, as fit into --max-time; a schedule must come to its end")
    return final


def _changed(plan: Plan, given: Config, candidate: dict[str, Any], epochs: int) -> Plan:
    """Return the plan of a candidate with so many epochs and the plan's own classifier, untrained."""
    settings = Resolved.of(given.replace(**candidate, epochs=epochs), plan.facts)
    return replace(plan, settings=settings, notes=list(plan.notes))


def _alone(plan: Plan) -> Plan:
    """Return the plan on a copy of its classifier."""
    # A pilot ends by its own schedule, never by the clock.
    settings = plan.settings._replace(runtime=plan.runtime._replace(search_time=math.inf))
    return replace(plan, settings=settings, stack=plan.new_stack(), notes=[])


def _epoch_seconds(plan: Plan, searcher: Searcher) -> float:
    """Measure the seconds of an epoch on a copy of the classifier."""
    search = searcher(_alone(plan))
    steps = max(1, len(plan.splits.train.targets) // plan.train.batch_size)
    parts = []
    search.train(WARM_STEPS, 0.0)
    for _ in range(4):
        since = time.monotonic()
        search.train(TIMED_STEPS // 4, 0.0)
        search.step(1, 0.0)
        parts.append(time.monotonic() - since)
    return float(np.median(parts)) / (TIMED_STEPS // 4) * steps


def _chain_seconds(plan: Plan, searcher: Searcher) -> float:
    """Estimate the time of a chain's run of the same epochs, from a few of its blocks at the start and at the end."""
    settings = plan.settings._replace(search=plan.chain)
    search = searcher(_alone(replace(plan, settings=settings)))
    times = []
    for block in range(12):
        rows = plan.evaluation.early_rows if block % 2 else plan.evaluation.rows
        since = time.monotonic()
        search.train(plan.train.steps, 0.0)
        search.step(rows, 0.5 if block % 2 else 1.0)
        times.append(time.monotonic() - since)
    return float(np.median(times[4::2]) + np.median(times[5::2])) / 2 * plan.train.blocks


def _score(plan: Plan, searcher: Searcher, until: float = math.inf) -> tuple[float, int]:
    """Return the validation accuracy of a pilot's mask, retrained for a short time, and the rows that all this took.

    Raises
    ------
    NumericalError
        It diverged.
    TimeoutError
        It was not done at `until`, by time.monotonic.
    """

    def is_late() -> bool:
        return time.monotonic() > until

    alone = _alone(plan)
    search = searcher(alone)
    for block in range(alone.train.blocks):
        if is_late():
            raise TimeoutError
        search.advance(block)
    mask: BoolArray = search.finish(1)
    refit = Refit(alone, lambda: False)
    model = refit.small(mask, plan.runtime.seed)
    rows, targets = alone.rows(plan.splits.train.features), refit.y[: len(plan.splits.train.targets)]
    epochs = max(1, round(REFIT_STEPS * plan.train.epochs))
    try:
        fit(
            model, refit.columns(rows, mask), targets, epochs=epochs, batch_size=plan.train.batch_size,
            learning_rate=plan.train.learning_rate, weight_decay=plan.train.weight_decay, seed=plan.runtime.seed,
            should_stop=is_late,
        )  # fmt: skip
    except KeyboardInterrupt:
        if is_late():
            raise TimeoutError from None
        raise
    score = accuracy(model, refit.columns(search.validation.features, mask), search.validation.targets)
    return score, search.forwards() + 3 * epochs * len(targets)
