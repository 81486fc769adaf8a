"""From a configuration and rows to a path: search all levels in one run, score their masks, choose one for each level."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np
from torch import nn

from mcprune.config.schema import Config
from mcprune.data.base import Dataset
from mcprune.data.prepare import Splits
from mcprune.errors import ConfigError
from mcprune.path.search.candidates import Candidate, candidates_content, candidates_of, is_table, selected_columns
from mcprune.path.search.ladder import EFFORT, Ladder, Watch, search_levels
from mcprune.path.search.levels import LEVELS, MOST_AUTO, Levels, geometric_levels
from mcprune.path.search.progress import PathStatus
from mcprune.path.search.scorer import MaskScorer, ScoredMasks
from mcprune.report.path_view import sentences
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.finish.finalize import kept_sites, shown_places
from mcprune.storage.answer import measure_name, noun
from mcprune.storage.events import Event, Note, Stage
from mcprune.storage.path_curve import Curve, Level, paired
from mcprune.training.cross_validation.out_of_fold import Scores
from mcprune.training.metrics import weighted_mean

# Of the time of a path, where that is limited, the search takes so much, and each of the two of an automatic path less.
SEARCH_SHARE, AUTO_SHARE = 0.6, 0.35
# Levels that an automatic path adds around its answer, and the effort of their search.
REFINED, REFINING = 10, 1.0


class Searched(NamedTuple):
    """The result of a path.

    Attributes
    ----------
    curve : Curve
    chosen : tuple of Candidate
        One for each level of the curve.
    splits : Splits
        The rows, for further plans.
    is_complete : bool
        Every level was searched; else a resume goes on.
    """

    curve: Curve
    chosen: tuple[Candidate, ...]
    splits: Splits
    is_complete: bool


def find_path(
    config: Config,
    levels: Levels | None,
    dataset: Dataset,
    watch: Watch,
    model: nn.Module | None = None,
    function: Callable[..., object] | None = None,
) -> Generator[Event, None, Searched]:
    """Search a path; yield notes, stages, the progress of the search and that of the path.

    Parameters
    ----------
    config : Config
        Its budget is replaced by the levels.
    levels : Levels, optional
        None: from few to all sites, and then all numbers around the answer.
    dataset : Dataset
    watch : Watch
    model : nn.Module, optional
        The user's own classifier, which stays as it is.
    function : callable, optional
        The objective, where it is a function of Python.

    Raises
    ------
    ConfigError
        Levels that the sites or what must be kept do not allow.
    KeyboardInterrupt
        The interrupt came before a single level was searched.
    """
    return (yield from _Finder(config, levels, watch, model, function).find(dataset))


class _Finder:
    """The parts of `find_path`."""

    def __init__(
        self,
        config: Config,
        levels: Levels | None,
        watch: Watch,
        model: nn.Module | None,
        function: Callable[..., object] | None,
    ) -> None:
        self.config, self.levels, self.watch = config, levels, watch
        self.model, self.function = model, function
        self.is_auto = levels is None
        self.is_stopped = False

    def find(self, dataset: Dataset) -> Generator[Event, None, Searched]:
        """Yield the events of a path, and return it."""
        levels = self.levels
        rows: Dataset | Splits = dataset
        if levels is None:
            first = make_plan(self.config, dataset, copy.deepcopy(self.model), function=self.function)
            levels, rows = auto_levels(first), first.splits
        plan = self._plan(levels, rows)
        self.watch.store.begin(plan)
        for text in plan.notes:
            yield Note(text)
        scorer = MaskScorer(plan, self.watch.store)
        status = PathStatus(levels.numbers, levels.unit, _kind(plan))
        numbers = levels.numbers
        candidates = yield from self._search(plan, levels, status, "first", EFFORT)
        reached = {one.place for one in candidates}
        if not reached:
            raise KeyboardInterrupt
        is_complete = len(reached) == len(numbers) and not self.is_stopped
        scored = yield from scorer.score(candidates, numbers, status, "first-scores", is_kept=is_complete)
        curve, chosen = self._curve(plan, levels, scored, scorer)
        if self.is_auto and is_complete and (between := _around(numbers, curve.enough.level)):
            yield Stage("refine", f"searching {between[0]} to {between[-1]}, around the answer so far")
            status.add_levels(between)
            narrow = self._plan(Levels(between), plan.splits)
            more = yield from self._search(narrow, Levels(between), status, "around", REFINING)
            is_complete = len({one.place for one in more}) == len(between) and not self.is_stopped
            if more:
                again = yield from scorer.score(more, between, status, "around-scores", is_kept=is_complete)
                levels, scored = _merged(numbers, scored, between, again)
                curve, chosen = self._curve(plan, levels, scored, scorer)
        if missing := [number for number in numbers if number not in {level.level for level in curve.levels}]:
            yield Note(f"ended early: no mask was searched for {', '.join(map(str, missing))}")
        yield status.end(curve, sentences(curve))
        return Searched(curve, chosen, plan.splits, is_complete)

    def _plan(self, levels: Levels, rows: Dataset | Splits) -> Plan:
        """Return the plan of the smallest level, after a look at the largest."""
        return _checked_plan(self.config, levels, rows, copy.deepcopy(self.model), self.function)

    def _search(
        self, plan: Plan, levels: Levels, status: PathStatus, name: str, effort: float
    ) -> Generator[Event, None, list[Candidate]]:
        """Return the masks of all levels, by their places; where a time limit has left some out, a resume searches these."""
        store, numbers, out = self.watch.store, levels.numbers, list[Candidate]()
        for part in range(len(numbers)):
            missing = tuple(number for place, number in enumerate(numbers) if place not in {one.place for one in out})
            if not missing:
                break
            key = f"{name}-{part}"
            own = plan if missing == numbers else self._plan(Levels(missing, levels.unit), plan.splits)
            kept = store.load(f"{key}-masks")
            if kept is not None:
                masks = candidates_of(kept)
            else:
                masks = yield from self._search_part(own, missing, status, key, effort)
            out += [one._replace(place=numbers.index(missing[one.place])) for one in masks]
            if kept is None:
                break
        return out

    def _search_part(
        self, plan: Plan, numbers: tuple[int, ...], status: PathStatus, key: str, effort: float
    ) -> Generator[Event, None, list[Candidate]]:
        """Search levels, and add the masks of plain selectors where the sites are columns of a table; keep them if it came to its end."""
        if math.isfinite(plan.runtime.max_time):
            share = AUTO_SHARE if self.is_auto else SEARCH_SHARE
            plan.settings = plan.settings.with_search_time(share * plan.runtime.max_time)
        is_columns, store = is_table(plan), self.watch.store
        ladder = Ladder(numbers, is_columns or not plan.space.is_count, effort)
        reached = yield from search_levels(plan, ladder, self.watch, status, key)
        masks = reached.candidates
        if is_columns and masks:
            trained = {
                one.place: one.parameters for one in masks
            }  # a selector has no classifiers: those of the level serve
            selected = [one for one in selected_columns(plan, numbers) if one.place in trained]
            masks += [one._replace(parameters=trained[one.place]) for one in selected]
        self.is_stopped = reached.is_stopped
        if not self.is_stopped:
            store.save(f"{key}-masks", candidates_content(masks))
            store.remove(key)
        return masks

    def _curve(
        self, plan: Plan, levels: Levels, scored: ScoredMasks, scorer: MaskScorer
    ) -> tuple[Curve, tuple[Candidate, ...]]:
        """Return the figures of the best mask of each level."""
        share, losses = scorer.share, scored.scores.losses
        mean, order = losses @ share, scorer.best(scored)
        best = min(order, key=lambda number: float(mean[number]))
        out = []
        for number in order:
            one = scored.candidates[number]
            behind = paired(losses[number], losses[best], share) if number != best else (0.0, 0.0)
            indices, names = kept_sites(plan, one.mask)[0], shown_places(plan, one.mask)[1]
            kept = plan.space.counted(one.mask)
            cost = kept if levels.unit == "sites" else int(plan.space.costs_of(one.mask)[-1])
            right = weighted_mean(scored.scores.is_right[number], share)
            level = levels.numbers[one.place]
            out.append(Level(level, kept, cost, *right, float(mean[number]), *behind, one.way, indices, names))
        seconds = time.monotonic() - self.watch.store.began
        name, size = plan.splits.name, plan.shown.size
        measure = measure_name(plan.splits.task)
        curve = Curve(name, levels.unit, size, _kind(plan), tuple(out), scorer.how, len(share), seconds, measure)
        return curve, tuple(scored.candidates[number] for number in order)


def _kind(plan: Plan) -> str:
    """Return what the sites of a plan are, in the plural."""
    shape = plan.splits.image_shape
    return noun(plan.shown.groups, None if shape is None else tuple(shape))


def _merged(
    numbers: tuple[int, ...], scored: ScoredMasks, between: tuple[int, ...], more: ScoredMasks
) -> tuple[Levels, ScoredMasks]:
    """Return the levels and the scored masks of two lists of numbers together."""
    both = tuple(sorted({*numbers, *between}))
    candidates = [
        one._replace(place=both.index(own[one.place]))
        for own, part in ((numbers, scored), (between, more))
        for one in part.candidates
    ]
    scores = Scores(*(np.concatenate(parts) for parts in zip(scored.scores, more.scores, strict=True)))
    return Levels(both), ScoredMasks(candidates, scores)


def auto_levels(plan: Plan) -> Levels:
    """Return the levels of `auto`: from the fewest sites to all, or to `MOST_AUTO` of very many.

    Raises
    ------
    ConfigError
        What is kept is no single number.
    """
    space = plan.space
    if not space.is_count or len(plan.sites.groups) > 1:
        raise ConfigError('keep="auto" is for sites of one kind without a limit on costs. Give a range, such as 2:200.')
    least = max(1, space.fixed_count + 1)
    most = max(least + 1, min(int(space.whole.counts[0]), MOST_AUTO))
    return Levels(geometric_levels(least, most, LEVELS))


def _checked_plan(
    config: Config,
    levels: Levels,
    rows: Dataset | Splits,
    model: nn.Module | None,
    function: Callable[..., object] | None,
) -> Plan:
    """Return the plan of the smallest level, after a look at the largest."""
    try:
        plan = make_plan(level_config(config, levels.unit, levels.numbers[0]), rows, model, function=function)
    except ConfigError as error:
        raise ConfigError(f"At the lowest level of the path: {error}") from None
    whole = int(np.concatenate(plan.space.whole)[-1])
    if levels.numbers[-1] > whole:
        kind = "sites" if levels.unit == "sites" else levels.unit
        raise ConfigError(
            f"The path goes up to {levels.numbers[-1]:,} {kind}, but {plan.splits.name!r} has {whole:,} that may be kept. "
            f"End at {whole:,} or below."
        )
    return plan


def level_config(config: Config, unit: str, level: int) -> Config:
    """Return the configuration of a level."""
    return config.replace(**{"keep" if unit == "sites" else unit: level})


def _around(numbers: tuple[int, ...], answer: int) -> tuple[int, ...]:
    """Return numbers between the neighbours of an answer that are no levels yet; empty where there are fewer than two."""
    place = numbers.index(answer)
    low, high = numbers[max(0, place - 1)], numbers[min(len(numbers) - 1, place + 1)]
    between = sorted({*geometric_levels(low, high, REFINED + 2)} - set(numbers))
    return tuple(between) if len(between) > 1 else ()
