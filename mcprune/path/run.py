"""From a configuration and rows to a path: search all levels in one run, score their masks, choose one for each level."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import numpy as np
from torch import nn

from mcprune.config.schema import Config
from mcprune.data.base import Dataset
from mcprune.data.prepare import Splits
from mcprune.errors import ConfigError
from mcprune.path.cross_validation import Rows, cross_validate, scored_rows
from mcprune.path.ladder import Candidate, is_table, search_levels, selected_columns
from mcprune.path.levels import LEVELS, MOST_AUTO, Levels, geometric_levels
from mcprune.path.validate import validated, validation_share
from mcprune.session.build.markov import site_groups
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.finish.finalize import kept_sites
from mcprune.session.interrupt import Interrupt
from mcprune.storage.answer import noun
from mcprune.storage.events import Event, Note, Stage
from mcprune.storage.path_curve import Curve, Level, paired
from mcprune.training.cross_validation.out_of_fold import Scores
from mcprune.training.metrics import weighted_mean
from mcprune.types import FloatArray

# Rounds of scoring after a first one, which leaves two masks of each level; effort of the first.
ROUNDS, FIRST_EFFORT, LEFT = 2, 0.6, 2
# Of the time of a path, where that is limited, the search takes so much.
SEARCH_SHARE = 0.6
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
    """

    curve: Curve
    chosen: tuple[Candidate, ...]
    splits: Splits


class ScoredMasks(NamedTuple):
    """The masks of some levels that were scored to the end: candidates, and their losses and hits (masks, rows)."""

    candidates: list[Candidate]
    scores: Scores


def find_path(
    config: Config,
    levels: Levels | None,
    dataset: Dataset,
    interrupt: Interrupt,
    model: nn.Module | None = None,
    function: Callable[..., object] | None = None,
) -> Generator[Event, None, Searched]:
    """Search a path; yield notes, stages and the progress of the search.

    Parameters
    ----------
    config : Config
        Its budget is replaced by the levels.
    levels : Levels, optional
        None: from few to all sites, and then all numbers around the answer.
    dataset : Dataset
    interrupt : Interrupt
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
    began = time.monotonic()

    def plan_of(chosen: Levels, rows: Dataset | Splits) -> Plan:
        return _checked_plan(config, chosen, rows, copy.deepcopy(model), function)

    is_auto = levels is None
    if levels is None:
        first = make_plan(config, dataset, copy.deepcopy(model), function=function)
        levels = auto_levels(first)
        plan = plan_of(levels, first.splits)
    else:
        plan = plan_of(levels, dataset)
    for text in plan.notes:
        yield Note(text)
    scorer = MaskScorer(plan)
    numbers = levels.numbers
    candidates = yield from _search(plan, numbers, interrupt, began, is_auto=is_auto)
    if not candidates:
        raise KeyboardInterrupt
    scored = yield from scorer.score(candidates)
    curve, chosen = _curve(plan, levels, scored, scorer, began)
    if is_auto and not interrupt.should_stop and (between := _around(numbers, curve.enough.level)):
        yield Stage("refine", f"searching {between[0]} to {between[-1]}, around the answer so far")
        narrow = plan_of(Levels(between), plan.splits)
        more = yield from search_levels(narrow, between, interrupt, time.monotonic(), is_two_way=True, effort=REFINING)
        if scorer.is_table:
            more += selected_columns(narrow, between)
        all_numbers = tuple(sorted({*numbers, *between}))
        again = yield from scorer.score([_moved(one, between, all_numbers) for one in more])
        first_ones = [_moved(one, numbers, all_numbers) for one in scored.candidates]
        scored = ScoredMasks(
            [*first_ones, *again.candidates],
            Scores(*(np.concatenate(parts) for parts in zip(scored.scores, again.scores, strict=True))),
        )
        curve, chosen = _curve(plan, Levels(all_numbers), scored, scorer, began)
    if len(curve.levels) < len(numbers):
        missing = [number for number in numbers if number not in {level.level for level in curve.levels}]
        yield Note(f"ended early: no mask was searched for {', '.join(map(str, missing))}")
    return Searched(curve, chosen, plan.splits)


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
    least = max(1, int(space.kept.sum()) + 1)
    most = max(least + 1, min(int(space.whole.counts[0]), MOST_AUTO))
    return Levels(geometric_levels(least, most, LEVELS))


class MaskScorer:
    """What scores the masks of a path: cross-validation for columns of tables, else the validation rows.

    Parameters
    ----------
    plan : Plan

    Raises
    ------
    ConfigError
        There are no validation rows, and cross-validation is not for these sites.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.is_table = is_table(plan)
        self.rows: Rows | None = scored_rows(plan.splits, plan.runtime.seed) if self.is_table else None
        if self.rows is None and not len(plan.splits.validation.targets):
            raise ConfigError(
                "The levels of this path are compared on validation rows, but validation=0. Leave it out."
            )
        self.share: FloatArray = validation_share(plan) if self.rows is None else self.rows.share
        self.how = "validation rows" if self.rows is None else "cross-validation"

    def score(self, candidates: Sequence[Candidate]) -> Generator[Event, None, ScoredMasks]:
        """Judge masks; of several of a level the best ones are scored again, and these are returned."""
        unique = {(one.place, one.mask.tobytes()): one for one in reversed(candidates)}
        left = sorted(unique.values(), key=lambda one: one.place)
        levels = len({one.place for one in left})
        yield Stage("compare", f"fresh classifiers score {len(left)} masks of {levels} levels")
        if self.rows is None:
            # A mask of the way up has grown from a smaller one, and comes last: it is the one that is left.
            own = list({one.place: one for one in left}.values())
            return ScoredMasks(own, validated(self.plan, own))
        first = self._round(left, 0, FIRST_EFFORT)
        loss = first.losses @ self.share
        kept: list[int] = []
        for place in sorted({one.place for one in left}):
            own_places = [number for number, one in enumerate(left) if one.place == place]
            kept += sorted(own_places, key=lambda number: float(loss[number]))[:LEFT]
        left = [left[number] for number in kept]
        rounds = [self._round(left, number, 1.0) for number in range(1, ROUNDS + 1)]
        return ScoredMasks(left, Scores(*(np.mean(parts, axis=0) for parts in zip(*rounds, strict=True))))

    def _round(self, candidates: Sequence[Candidate], number: int, effort: float) -> Scores:
        assert self.rows is not None
        masks = [one.mask for one in candidates]
        return cross_validate(self.rows, masks, seed=self.plan.runtime.seed, number=number, effort=effort)


def _search(
    plan: Plan, numbers: tuple[int, ...], interrupt: Interrupt, began: float, *, is_auto: bool
) -> Generator[Event, None, list[Candidate]]:
    """Search the levels, and add the masks of plain selectors where the sites are columns of a table."""
    if plan.runtime.max_time < float("inf"):
        plan.settings = plan.settings.with_search_time(SEARCH_SHARE * plan.runtime.max_time)
    is_columns = is_table(plan)
    candidates = yield from search_levels(plan, numbers, interrupt, began, is_two_way=is_columns)
    if is_columns and candidates:
        reached = {one.place for one in candidates}
        candidates += [one for one in selected_columns(plan, numbers) if one.place in reached]
    return candidates


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


def _moved(one: Candidate, numbers: tuple[int, ...], all_numbers: tuple[int, ...]) -> Candidate:
    return one._replace(place=all_numbers.index(numbers[one.place]))


def _curve(
    plan: Plan, levels: Levels, scored: ScoredMasks, scorer: MaskScorer, began: float
) -> tuple[Curve, tuple[Candidate, ...]]:
    """Return the figures of the best mask of each level."""
    share, losses = scorer.share, scored.scores.losses
    mean = losses @ share
    picks: dict[int, int] = {}
    for number, one in enumerate(scored.candidates):
        if one.place not in picks or mean[number] < mean[picks[one.place]]:
            picks[one.place] = number
    order = [picks[place] for place in sorted(picks)]
    best = min(order, key=lambda number: float(mean[number]))
    out = []
    for number in order:
        one = scored.candidates[number]
        behind = paired(losses[number], losses[best], share) if number != best else (0.0, 0.0)
        indices, names = kept_sites(plan, one.mask)
        kept = int(one.mask.sum())
        cost = kept if levels.unit == "sites" else int(plan.space.costs_of(one.mask)[-1])
        right = weighted_mean(scored.scores.is_right[number], share)
        out.append(
            Level(levels.numbers[one.place], kept, cost, *right, float(mean[number]), *behind, one.way, indices, names)
        )
    data = plan.splits
    kind = noun(site_groups(plan.sites), None if data.image_shape is None else tuple(data.image_shape))
    seconds = time.monotonic() - began
    curve = Curve(data.name, levels.unit, plan.sites.size, kind, tuple(out), scorer.how, len(share), seconds)
    return curve, tuple(scored.candidates[number] for number in order)
