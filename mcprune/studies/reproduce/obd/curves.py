"""Accuracy and loss against the percentage of weights pruned, by net, measure and seed, and how curves compare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

PLAIN, DROPOUT = "plain", "dropout"
LAYERWISE, GLOBAL = "layerwise", "global"
SIGNED = "signed"
# Net, measure, and how: layer by layer or over all layers.
Curve = tuple[str, str, str]
Points = dict[int, float]

NAMES = {
    "magnitude": "magnitude", "obd": "OBD", SIGNED: "signed weight", "obd-row-sum": "Hessian row sum", "chain": "the chain",
}  # fmt: skip
HOW = {LAYERWISE: "layer-wise", GLOBAL: "all layers"}


class Curves(NamedTuple):
    """The finished curves.

    Attributes
    ----------
    dense : dict
        Test accuracy unpruned, by net and seed.
    accuracy, loss : dict
        Test accuracy and mean cross-entropy in nats, by curve, seed and percentage.
    """

    dense: dict[str, dict[int, float]]
    accuracy: dict[Curve, dict[int, Points]]
    loss: dict[Curve, dict[int, Points]]

    def add(
        self, curve: Curve, seed: int, percents: Sequence[int], accuracy: Sequence[float], loss: Sequence[float]
    ) -> None:
        """Add a seed's curve; nothing where there is no percentage."""
        if percents:
            self.accuracy.setdefault(curve, {})[seed] = dict(zip(percents, accuracy, strict=True))
            self.loss.setdefault(curve, {})[seed] = dict(zip(percents, loss, strict=True))


def crossing(one: Points, other: Points) -> int | None:
    """Return the first percentage from which `one` is never below `other` any more, and above it somewhere; None for never."""
    shared = sorted(set(one) & set(other))
    behind = [percent for percent in shared if one[percent] < other[percent]]
    after = [percent for percent in shared if not behind or percent > behind[-1]]
    return after[0] if after and any(one[percent] > other[percent] for percent in after) else None


def shared_seeds(curves: Curves, *names: Curve) -> list[int]:
    """Return the seeds that all the named curves have."""
    seeds = [set(curves.accuracy.get(curve, {})) for curve in names]
    return sorted(set.intersection(*seeds))


def mean_over(curves: Curves, curve: Curve, seed: int, percents: Iterable[int]) -> float:
    """Return the mean accuracy of a curve over those of the percentages that it has; not a number if there are none."""
    points = curves.accuracy[curve][seed]
    return mean([points[percent] for percent in percents if percent in points])


def differences(curves: Curves, one: Curve, other: Curve, percents: Iterable[int]) -> list[float]:
    """Return the mean accuracy of one curve less that of the other, for each seed that both have."""
    percents = tuple(percents)
    return [
        mean_over(curves, one, seed, percents) - mean_over(curves, other, seed, percents)
        for seed in shared_seeds(curves, one, other)
    ]


def curve_text(curves: Curves, curve: Curve, percents: Sequence[int]) -> str:
    """Return a curve's accuracy at percentages as text, means over the seeds."""
    net, measure, how = curve
    by_seed: Mapping[int, Points] = curves.accuracy.get(curve, {})
    values_at = {
        percent: [points[percent] for points in by_seed.values() if percent in points]
        for percent in (percents if len(percents) <= 10 else ends(percents))
    }
    parts = [f"{percent}% {mean(values):.4f}" for percent, values in values_at.items() if values]
    dense = list(curves.dense.get(net, {}).values())
    start = f"unpruned {mean(dense):.4f}, " if dense else ""
    label = f"{NAMES[measure]} {HOW[how]}" + (" with dropout" if net == DROPOUT else "")
    if not parts:
        return f"{label}: nothing"
    return f"{label}: {start}{', '.join(parts)}"


def ends(percents: Sequence[int]) -> tuple[int, ...]:
    """Return four of many percentages."""
    return percents[0], 5, 10, percents[-1]


def mean(values: Sequence[float]) -> float:
    """Return the mean, NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan
