"""Make the rounds of an importance measure from their options."""

from __future__ import annotations

from mcprune.config.resolved import ImportanceOptions, TrainSettings
from mcprune.methods.importance.method import Importance, ImportanceSettings
from mcprune.methods.importance.scorer import Scorer
from mcprune.methods.importance.selection import check_counts, telescoping_counts


def rounds_of(options: ImportanceOptions, sites: int, keep: int) -> tuple[int, ...]:
    """Return the number of sites that each round keeps.

    Raises
    ------
    ConfigError
        The numbers in `options` do not decrease from N to n.
    """
    return (
        check_counts(options.counts, sites, keep) if options.counts else telescoping_counts(sites, keep, options.rounds)
    )


def make_importance(options: ImportanceOptions, scorer: Scorer, train: TrainSettings, keep: int) -> Importance:
    """Return the rounds of a measure."""
    left = rounds_of(options, scorer.owners.sites.size, keep)
    first = train.epochs - options.recover - len(left)
    ends = [(first + number) * train.epoch_steps for number in range(1, len(left) + 1)]
    if not options.recover:
        ends[-1] = train.blocks * train.steps  # blocks are whole: the run may be a few steps longer than its epochs
    measure = options.measure
    settings = ImportanceSettings(
        keep=keep,
        counts=left,
        steps=tuple(ends),
        how="layerwise" if measure.layerwise else "global",
        min_per_layer=measure.min_per_layer,
        start_weight=options.start_weight,
    )
    return Importance(scorer, settings)
