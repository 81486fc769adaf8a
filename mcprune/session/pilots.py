"""The gradient path within a time: how many epochs fit, and `--alpha auto`, the best of a few short pilots on validation rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from mcprune.config.resolve import Resolved
from mcprune.config.rules import PILOTS, USUAL_EPOCHS
from mcprune.config.schema import Config
from mcprune.config.sections.gradient import Alpha, TrainedGates
from mcprune.errors import ConfigError, NumericalError
from mcprune.methods.base import BlockInfo
from mcprune.session.build.plan import Plan
from mcprune.session.finish.retrain import Refit
from mcprune.session.validation import Validation
from mcprune.training.fit import fit
from mcprune.training.metrics import accuracy
from mcprune.types import BoolArray


class Candidate(NamedTuple):
    """Options of the gradient path that a pilot tries; the others have the defaults of its kind."""

    alpha: Alpha
    gates: TrainedGates


CANDIDATES = {
    "straight-through, ramp": Candidate(Alpha(kind="ramp"), TrainedGates(kind="straight-through")),
    "hard-concrete, ramp": Candidate(Alpha(kind="ramp"), TrainedGates(kind="hard-concrete")),
    "sigmoid, ramp": Candidate(Alpha(kind="ramp"), TrainedGates(kind="sigmoid")),
    "sigmoid, fixed alpha of 10": Candidate(Alpha(kind="fixed"), TrainedGates(kind="sigmoid")),
    "sigmoid, stall": Candidate(Alpha(kind="stall"), TrainedGates(kind="sigmoid")),
}
TIMED = CANDIDATES["hard-concrete, ramp"]  # whose steps estimate the time of a run
# Epochs are at most so many times the usual number, however long the time is.
MOST = 8
MARGIN = 0.92  # of the time is planned: the machine may get slower
TIMED_STEPS, WARM_STEPS = 40, 8
REFIT_STEPS = 0.4  # of a pilot's steps: fresh classifiers on few inputs, which cost less than the search
SLOW = 1.5  # times its share of the pilots' time, after which a pilot is given up: without its end it has no mask


class PilotSearch(Protocol):
    """The parts of a search that pilots use."""

    validation: Validation

    def train(self, count: int, progress: float) -> None:
        """Make steps of backprop."""
        ...

    def advance(self, block: int) -> BlockInfo:
        """Do a block."""
        ...

    def step(self, rows: int, progress: float) -> BlockInfo:
        """Advance the method alone."""
        ...

    def finish(self, rows: int) -> BoolArray:
        """Return the mask."""
        ...

    def forwards(self) -> int:
        """Return the work so far, in rows that went forward."""
        ...


MakeSearch = Callable[[Plan], PilotSearch]


def plan_in_time(plan: Plan, config: Config, began: float, make_search: MakeSearch) -> Plan:
    """Return the plan with what depends on the clock: the choice of the pilots, and the epochs that fit into `search_time`.

    Parameters
    ----------
    plan : Plan
        Of the gradient path, at its start; its classifier does not change.
    config : Config
        As asked for.
    began : float
        Start of the time, by time.monotonic.
    make_search : callable
        Returns the search of a plan.

    Raises
    ------
    NumericalError
        All pilots failed.
    """
    is_timed = config.runtime.search_time is not None and config.train.epochs is None
    if config.gradient.alpha.kind != "auto":
        return _with_fitting_epochs(plan, config, None, _seconds_left(config, began), make_search) if is_timed else plan
    if not len(plan.splits.validation.targets):
        return _without_pilots(plan, config, began, make_search)
    share = PILOTS if config.gradient.alpha.pilots is None else config.gradient.alpha.pilots
    seconds = _seconds_of_run(plan, config, share, began, make_search)
    pilots_began = time.monotonic()
    results = _run_pilots(plan, config, share * seconds, make_search)
    spent = time.monotonic() - pilots_began
    if config.train.epochs is not None:
        final = _with_candidate(plan, config, CANDIDATES[results.best], plan.train.epochs)
    else:
        final = _with_fitting_epochs(plan, config, CANDIDATES[results.best], seconds - spent, make_search)
    final.notes.append(
        f"alpha auto: {results.best} by the {'weighted ' * plan.splits.is_weighted}validation accuracy of "
        f"retrained pilots ({'; '.join(results.reports)}), {spent:.0f} s; "
        f"the run takes {final.train.epochs} epochs"
    )
    final.spent_forwards = results.forwards
    return final


class PilotResults(NamedTuple):
    """What the pilots gave: the best candidate, a report on each, and their work in forwarded rows."""

    best: str
    reports: list[str]
    forwards: int


def _run_pilots(plan: Plan, config: Config, seconds: float, make_search: MakeSearch) -> PilotResults:
    """Run the pilots within so many seconds, all together: what one takes too much the others do not get."""
    is_bounded = config.runtime.search_time is not None
    deadline = time.monotonic() + seconds
    scores: dict[str, float] = {}
    reports: list[str] = []
    untried: list[str] = []
    forwards, failure = 0, None
    for place, (name, candidate) in enumerate(CANDIDATES.items()):
        if is_bounded and time.monotonic() >= deadline:
            untried.append(name)
            reports.append(f"{name}: no time for it")
            continue
        each = _epoch_seconds(_with_candidate(plan, config, candidate, 1), make_search)
        slot = (deadline - time.monotonic()) / (len(CANDIDATES) - place) if is_bounded else seconds / len(CANDIDATES)
        epochs = max(1, min(plan.train.epochs, math.floor(slot / (each * (1 + REFIT_STEPS)))))
        until = time.monotonic() + SLOW * slot if is_bounded else math.inf
        try:
            scores[name], rows = _score(_with_candidate(plan, config, candidate, epochs), make_search, until)
        except NumericalError as error:
            failure = error
            reports.append(f"{name}: failed")
            continue
        except TimeoutError:
            untried.append(name)
            reports.append(f"{name}: no time for it")
            continue
        forwards += rows
        reports.append(f"{name}: {scores[name]:.4f} after {epochs} epochs")
    if not scores and not untried:
        raise NumericalError(f"every pilot of --alpha auto failed, the last one so: {failure}")
    best = max(scores, key=lambda name: scores[name]) if scores else untried[0]
    return PilotResults(best, reports, forwards)


def _seconds_left(config: Config, began: float) -> float:
    assert config.runtime.search_time is not None
    return config.runtime.search_time - (time.monotonic() - began)


def _seconds_of_run(plan: Plan, config: Config, share: float, began: float, make_search: MakeSearch) -> float:
    """Return the seconds of pilots and run: those left, those of the epochs asked for, or those of a chain's run."""
    is_bounded = config.runtime.search_time is not None
    if config.train.epochs is not None:
        each = _epoch_seconds(_with_candidate(plan, config, TIMED, plan.train.epochs), make_search)
        total = plan.train.epochs * each / (1 - share)
        return total - (time.monotonic() - began) if is_bounded else total
    return _seconds_left(config, began) if is_bounded else _chain_seconds(plan, make_search)


def _without_pilots(plan: Plan, config: Config, began: float, make_search: MakeSearch) -> Plan:
    """Return the plan of the first candidate, where no validation rows can show which one is best."""
    best, candidate = next(iter(CANDIDATES.items()))
    if config.train.epochs is not None or config.runtime.search_time is None:
        final = _with_candidate(plan, config, candidate, plan.train.epochs)
    else:
        final = _with_fitting_epochs(plan, config, candidate, _seconds_left(config, began), make_search)
    final.notes.append(f"alpha auto: {best}, as there are no validation rows (validation=0) by which pilots are judged")
    return final


def _with_fitting_epochs(
    plan: Plan, config: Config, candidate: Candidate | None, seconds: float, make_search: MakeSearch
) -> Plan:
    """Return the plan with as many epochs as fit into the seconds."""
    each = _epoch_seconds(_with_candidate(plan, config, candidate, 1), make_search)
    usual = plan.train.epochs  # without --epochs
    epochs = max(1, min(MOST * max(usual, USUAL_EPOCHS), math.floor(MARGIN * seconds / each)))
    try:
        final = _with_candidate(plan, config, candidate, epochs)
    except ConfigError:  # a window that was asked for is longer than what fits
        if epochs >= usual:
            raise
        epochs = usual
        final = _with_candidate(plan, config, candidate, epochs)
    if candidate is None:
        final.notes.append(f"epochs: {epochs}, as fit into --max-time; a schedule must come to its end")
    return final


def _with_candidate(plan: Plan, config: Config, candidate: Candidate | None, epochs: int) -> Plan:
    """Return the plan of a candidate with so many epochs, and with the plan's own classifier, untrained."""
    options = {} if candidate is None else candidate._asdict()
    settings = Resolved.of(config.replace(**options, epochs=epochs), plan.facts)
    return replace(plan, settings=settings, notes=list(plan.notes))


def _on_copy(plan: Plan) -> Plan:
    """Return the plan on a copy of its classifier."""
    # A pilot ends by its own schedule, never by the clock.
    settings = plan.settings._replace(runtime=plan.runtime._replace(search_time=math.inf))
    return replace(plan, settings=settings, stack=plan.new_stack(), notes=[])


def _epoch_seconds(plan: Plan, make_search: MakeSearch) -> float:
    """Measure the seconds of an epoch on a copy of the classifier."""
    search = make_search(_on_copy(plan))
    steps = max(1, len(plan.splits.train.targets) // plan.train.batch_size)
    times = []
    search.train(WARM_STEPS, 0.0)
    for _ in range(4):
        since = time.monotonic()
        search.train(TIMED_STEPS // 4, 0.0)
        search.step(1, 0.0)
        times.append(time.monotonic() - since)
    return float(np.median(times)) / (TIMED_STEPS // 4) * steps


def _chain_seconds(plan: Plan, make_search: MakeSearch) -> float:
    """Estimate the time of a chain's run of the same epochs, from a few of its blocks at the start and at the end."""
    settings = plan.settings._replace(search=plan.chain)
    search = make_search(_on_copy(replace(plan, settings=settings)))
    times = []
    for block in range(12):
        rows = plan.evaluation.early_rows if block % 2 else plan.evaluation.rows
        since = time.monotonic()
        search.train(plan.train.steps, 0.0)
        search.step(rows, 0.5 if block % 2 else 1.0)
        times.append(time.monotonic() - since)
    return float(np.median(times[4::2]) + np.median(times[5::2])) / 2 * plan.train.blocks


def _score(plan: Plan, make_search: MakeSearch, until: float = math.inf) -> tuple[float, int]:
    """Return the validation accuracy of a pilot's mask, retrained for a short time, and the work in forwarded rows.

    Raises
    ------
    NumericalError
        It diverged.
    TimeoutError
        It was not finished at `until`, by time.monotonic.
    """

    def is_late() -> bool:
        return time.monotonic() > until

    trial = _on_copy(plan)
    search = make_search(trial)
    for block in range(trial.train.blocks):
        if is_late():
            raise TimeoutError
        search.advance(block)
    mask: BoolArray = search.finish(1)
    refit = Refit(trial, lambda: False)
    model = refit.small(mask, plan.runtime.seed)
    count = len(plan.splits.train.targets)
    rows, targets = trial.rows(plan.splits.train.features), refit.y[:count]
    epochs = max(1, round(REFIT_STEPS * plan.train.epochs))
    try:
        fit(
            model, refit.columns(rows, mask), targets, epochs=epochs, batch_size=plan.train.batch_size,
            learning_rate=plan.train.learning_rate, weight_decay=plan.train.weight_decay, seed=plan.runtime.seed,
            should_stop=is_late, weights=None if refit.weights is None else refit.weights[:count], row_loss=plan.row_loss,
        )  # fmt: skip
    except KeyboardInterrupt:
        if is_late():
            raise TimeoutError from None
        raise
    validation = search.validation
    columns = refit.columns(validation.features, mask)
    score = accuracy(model, columns, validation.targets, weights=validation.weights, row_loss=plan.row_loss)
    return score, search.forwards() + 3 * epochs * len(targets)
