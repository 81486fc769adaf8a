"""The part of a plan that importance measures have: options that are still open settled, scorers and methods made."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mcprune.config.schema import Config
from mcprune.config.sections.importance import UNSCORED, Scoring
from mcprune.errors import ConfigError
from mcprune.methods.importance.method import Importance, ImportanceSettings
from mcprune.methods.importance.scorer import Scorer, ScoreSettings
from mcprune.methods.importance.selection import counts, given_counts
from mcprune.objectives.base import Objective
from mcprune.sites.site_map import SiteMap

MEASURE, ROUNDS, ROWS = "loss", 10, 2560


def settle_importance(config: Config, epochs: int, sites: SiteMap, keep: int) -> dict[str, Any]:
    """Return what the open options become in a run of so many epochs.

    Raises
    ------
    ConfigError
        Rounds and epochs to recover that do not fit into the run, counts that do not fall to n, n below the floors.
    """
    check_floor(config, sites, keep)
    given = given_counts(config.importance.counts, sites.size, keep) if config.importance.counts is not None else None
    asked = len(given) if given is not None else config.importance.rounds
    recover = (
        config.importance.recover
        if config.importance.recover is not None
        else min(epochs // 2, epochs - min(asked or 1, epochs))
    )
    rounds = asked or min(ROUNDS, max(1, epochs - recover))
    if rounds + recover > epochs:
        raise ConfigError(
            f"{rounds} rounds of one epoch and {recover} epochs to recover do not fit into {epochs} epochs; raise --epochs, or lower "
            f"--{'counts' if given is not None else 'rounds'} or --recover"
        )
    measure = config.importance.measure or MEASURE
    return {
        "measure": measure,
        "rounds": None if given is not None else rounds,
        "recover": recover,
        "floor": config.importance.floor or 1,
        **({} if measure in UNSCORED else {"score_rows": config.importance.score_rows or ROWS}),
    }


def settle_start(config: Config, epochs: int, sites: SiteMap, keep: int) -> dict[str, Any]:
    """Return what the chain's open options of measures become; nothing where it uses none.

    Raises
    ------
    ConfigError
        A measure that the chain cannot use, a start behind the run's end, proposals by a measure and no move that draws by it.
    """
    settled: dict[str, Any] = {}
    for name in ("start", "proposals"):
        if config.value(name) == "loss-tracked":
            raise ConfigError(
                f"--{name.replace('_', '-')} loss-tracked: only --method importance watches the steps of training; choose loss"
            )
    if config.chain.proposal_measure is not None and "informed" not in config.chain.moves:
        raise ConfigError(
            f"--proposals {config.chain.proposals} sets how the move informed draws its sites, and --moves has none; add --moves "
            "exchange=1,informed=1"
        )
    if config.chain.measures - UNSCORED:
        settled["score_rows"] = config.chain.score_rows or ROWS
    if config.chain.start is not None:
        check_floor(config, sites, keep)
        usual = 0 if config.train.frozen or config.train.pretrain else min(1, epochs - 1)  # trained already
        after = config.chain.start_after if config.chain.start_after is not None else usual
        if after >= epochs:
            raise ConfigError(
                f"--start-after {after} leaves the chain none of {epochs} epochs; lower it, or raise --epochs"
            )
        settled |= {"start_after": after, "floor": config.chain.floor or 1}
    return settled


def scoring(config: Config) -> Scoring:
    """Return how the method's measures score."""
    return config.importance if config.method == "importance" else config.chain


def check_floor(config: Config, sites: SiteMap, keep: int) -> None:
    """Refuse an n below what the floors hold.

    Raises
    ------
    ConfigError
        Naming the groups.
    """
    floor = scoring(config).floor or 1
    least = sum(min(floor, group.size) for group in sites.groups)
    if keep < least:
        names = ", ".join(group.layer or "inputs" for group in sites.groups)
        raise ConfigError(
            f"keep={keep} is below the {least:,} sites that {names} keep at least ({floor} each), so a layer would be emptied; raise "
            "--keep" + (", or lower --floor" if floor > 1 else ", or leave layers out of --sites")
        )


def make_scorer(
    config: Config,
    measure: str,
    model: nn.Module,
    sites: SiteMap,
    features: torch.Tensor,
    targets: torch.Tensor,
    objective: Objective,
) -> Scorer:
    """Return what scores the sites of a run by a measure."""
    settings = ScoreSettings(
        measure, scoring(config).score_rows or ROWS, scoring(config).score_temperature, config.runtime.seed
    )
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
    size = scorer.owners.sites.size
    left = (
        given_counts(config.importance.counts, size, keep)
        if config.importance.counts is not None
        else counts(size, keep, config.importance.rounds or 1)
    )
    recover = config.importance.recover or 0
    ends = [(epochs - recover - len(left) + number) * epoch_steps for number in range(1, len(left) + 1)]
    if not recover:
        ends[-1] = steps  # blocks are whole: the run may be a few steps longer than its epochs
    settings = ImportanceSettings(
        keep=keep,
        counts=left,
        steps=tuple(ends),
        how="layerwise" if config.importance.layerwise else "global",
        floor=config.importance.floor or 1,
        start_weight=config.importance.start_weight,
    )
    return Importance(scorer, settings)
