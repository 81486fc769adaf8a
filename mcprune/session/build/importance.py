"""The part of a plan that importance measures have: options that are still open settled, scorers and methods made."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from mcprune.config.schema import Config
from mcprune.config.sections.measure import UNSCORED, Ranking, Scores
from mcprune.errors import ConfigError
from mcprune.methods.importance.method import Importance, ImportanceSettings
from mcprune.methods.importance.scorer import Scorer, ScoreSettings
from mcprune.methods.importance.selection import counts, given_counts
from mcprune.objectives.base import Objective
from mcprune.sites.site_map import SiteMap

ROUNDS, ROWS = 10, 2560
ScoresT = TypeVar("ScoresT", bound=Scores)
RankingT = TypeVar("RankingT", bound=Ranking)


def settle_importance(config: Config, epochs: int, sites: SiteMap, keep: int) -> dict[str, Any]:
    """Return what the open options become in a run of so many epochs.

    Raises
    ------
    ConfigError
        Rounds and epochs to recover that do not fit into the run, counts that do not fall to n, n below the floors.
    """
    search = config.importance
    check_floor(search.measure, sites, keep)
    counts = given_counts(search.rounds.counts, sites.size, keep) if search.rounds.counts is not None else None
    number = len(counts) if counts is not None else search.rounds.number
    recover = search.rounds.recover
    if recover is None:
        recover = min(epochs // 2, epochs - min(1 if number is None else number, epochs))
    rounds = min(ROUNDS, max(1, epochs - recover)) if number is None else number
    if rounds + recover > epochs:
        raise ConfigError(
            f"{rounds} rounds of one epoch and {recover} epochs to recover do not fit into {epochs} epochs; raise --epochs, or lower "
            "--rounds or its recover"
        )
    return {
        "measure": settled_ranking(search.measure),
        "rounds": search.rounds.but(number=None if counts is not None else rounds, recover=recover),
    }


def settled_scores(scores: ScoresT) -> ScoresT:
    """Return a measure with the rows that it looks at."""
    is_open = scores.rows is None and scores.name not in UNSCORED
    return scores.but(rows=ROWS) if is_open else scores


def settled_ranking(ranking: RankingT) -> RankingT:
    """Return a ranking with the rows of its measure and what each group keeps at least."""
    return settled_scores(ranking if ranking.min_per_layer is not None else ranking.but(min_per_layer=1))


def settle_start(config: Config, epochs: int, sites: SiteMap, keep: int) -> dict[str, Any]:
    """Return what the chain's open options of measures become; nothing where it uses none.

    Raises
    ------
    ConfigError
        A measure that the chain cannot use, a start behind the run's end, proposals by a measure and no move that draws by it.
    """
    settled: dict[str, Any] = {}
    search = config.chain
    for measure in search.measures:
        if measure.name == "loss-tracked":
            option = "--start" if measure is search.start else "--proposals"
            raise ConfigError(
                f"{option} loss-tracked: only --method importance watches the steps of training; choose loss"
            )
    if search.proposals.is_measure:
        if "informed" not in search.moves:
            raise ConfigError(
                f"--proposals {search.proposals} sets how the move informed draws its sites, and --moves has none; add --moves "
                "exchange=1,informed=1"
            )
        settled["proposals"] = settled_scores(search.proposals)
    if search.start is not None:
        check_floor(search.start, sites, keep)
        usual = 0 if config.train.frozen or config.train.pretrain else min(1, epochs - 1)  # trained already
        after = search.start.after if search.start.after is not None else usual
        if after >= epochs:
            raise ConfigError(
                f"--start {search.start}: after={after:g} leaves the chain none of {epochs} epochs; lower it, or raise --epochs"
            )
        settled["start"] = settled_ranking(search.start.but(after=after))
    return settled


def check_floor(ranking: Ranking, sites: SiteMap, keep: int) -> None:
    """Refuse an n below what the groups of sites keep at least.

    Raises
    ------
    ConfigError
        Naming the groups.
    """
    floor = 1 if ranking.min_per_layer is None else ranking.min_per_layer
    least = sum(min(floor, group.size) for group in sites.groups)
    if keep < least:
        names = ", ".join(group.layer or "inputs" for group in sites.groups)
        raise ConfigError(
            f"keep={keep} is below the {least:,} sites that {names} keep at least ({floor} each), so a layer would be emptied; raise "
            "--keep" + (", or lower min_per_layer" if floor > 1 else ", or leave layers out of --sites")
        )


def make_scorer(
    config: Config,
    measure: Scores,
    model: nn.Module,
    sites: SiteMap,
    features: torch.Tensor,
    targets: torch.Tensor,
    objective: Objective,
) -> Scorer:
    """Return what scores the sites of a run by a measure."""
    rows = ROWS if measure.rows is None else measure.rows
    settings = ScoreSettings(measure.name, rows, measure.temperature, config.runtime.seed)
    return Scorer(model, sites, features, targets, objective, settings)


def make_importance(
    config: Config, scorer: Scorer, *, keep: int, epochs: int, epoch_steps: int, steps: int
) -> Importance:
    """Return the method of a settled configuration, at its start.

    Parameters
    ----------
    config : Config
    scorer : Scorer
    keep, epochs : int
    epoch_steps, steps : int
        Steps of backprop in an epoch and in the whole run.
    """
    size, rounds, measure = scorer.owners.sites.size, config.importance.rounds, config.importance.measure
    left = (
        given_counts(rounds.counts, size, keep) if rounds.counts is not None else counts(size, keep, rounds.number or 1)
    )
    recover = rounds.recover or 0
    ends = [(epochs - recover - len(left) + number) * epoch_steps for number in range(1, len(left) + 1)]
    if not recover:
        ends[-1] = steps  # blocks are whole: the run may be a few steps longer than its epochs
    settings = ImportanceSettings(
        keep=keep,
        counts=left,
        steps=tuple(ends),
        how="layerwise" if measure.layerwise else "global",
        floor=measure.min_per_layer or 1,
        start_weight=config.importance.start_weight,
    )
    return Importance(scorer, settings)
