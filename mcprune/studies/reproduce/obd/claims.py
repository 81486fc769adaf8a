"""The statements of a post on Optimal Brain Damage against figures: what was measured, a threshold, whether the statement holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mcprune.studies.reproduce.slides.claims import HOLDS, NOT, UNCLEAR

PLAIN, DROPOUT = "plain", "dropout"
LAYERWISE, GLOBAL = "layerwise", "global"
SIGNED = "signed"
# Measure, and how: layer by layer or over all layers; of which net.
Curve = tuple[str, str, str]
Points = dict[int, float]
Row = dict[str, Any]

# Percentages: those at which the post prunes layer by layer, those at which it prunes all layers, the first of
# these, and heavy pruning.
LIGHT, POST, FIRST, HEAVY = tuple(range(1, 20)), tuple(range(10, 80, 10)), tuple(range(1, 41)), (70, 80, 90, 95)
EARLIER, LATER = LIGHT[:9], LIGHT[9:]
# One curve is better than another by so much on the mean of the percentages; at one percentage it is worse by more than so
# much; so much lost is bad.
BETTER, WORSE, BAD = 0.005, 0.01, 0.05
NAMES = {
    "magnitude": "magnitude", "obd": "OBD", SIGNED: "signed weight", "obd-row-sum": "Hessian row sum", "chain": "the chain",
}  # fmt: skip
HOW = {LAYERWISE: "layer-wise", GLOBAL: "all layers"}
ALIKE = "for all seeds; does not hold if for none; else unclear"


class Figures(NamedTuple):
    """Finished figures: test accuracy unpruned by net and seed, accuracy and mean cross-entropy by curve, seed and percentage."""

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


def rows(figures: Figures) -> list[Row]:
    """Return a row for each statement; where figures are missing the verdict is `unclear`."""
    return [
        _flat(figures, "1a", "magnitude"), _flat(figures, "1b", SIGNED),
        _all_layers(figures, "2a", "obd", LIGHT), _all_layers(figures, "2b", "obd", HEAVY),
        _all_layers(figures, "2c", "obd-row-sum", LIGHT),
        _bad(figures, "3a", "obd"), _bad(figures, "3b", "obd-row-sum"), _least(figures),
        _at_first(figures, "4a", "obd"), _at_first(figures, "4b", "obd-row-sum"),
        _heavy(figures, "5a", "obd"), _heavy(figures, "5b", "obd-row-sum"),
        _wins(figures, "6a", "obd", "magnitude"), _wins(figures, "6b", "obd-row-sum", SIGNED),
        _chain(figures),
    ]  # fmt: skip


def summary_words(made: Sequence[Row]) -> str:
    """Say in one sentence where the figures agree with the statements and where they differ."""
    return "; ".join(
        f"{title}: {', '.join(row['number'] for row in made if row['verdict'] == verdict) or 'none'}"
        for title, verdict in (("as the post says", HOLDS), ("not as the post says", NOT), ("unclear here", UNCLEAR))
    )


def crossing(one: Points, other: Points) -> int | None:
    """Return the first percentage from which `one` is never below `other` any more, and above it somewhere; None for never."""
    shared = sorted(set(one) & set(other))
    behind = [percent for percent in shared if one[percent] < other[percent]]
    after = [percent for percent in shared if not behind or percent > behind[-1]]
    return after[0] if after and any(one[percent] > other[percent] for percent in after) else None


def _flat(figures: Figures, number: str, measure: str) -> Row:
    flags, lost, parts = [], [], []
    for how in (LAYERWISE, GLOBAL):
        curve = (PLAIN, measure, how)
        for seed, points in figures.accuracy.get(curve, {}).items():
            if not set(LIGHT) <= set(points):
                continue
            lost.append(figures.dense[PLAIN][seed] - points[LIGHT[-1]])
            falls_on = _mean([points[percent] for percent in LATER]) < _mean([points[percent] for percent in EARLIER])
            flags.append(lost[-1] >= BAD and falls_on)
        parts.append(_told(figures, curve, (*_ends(LIGHT), 50, 70, 80, 90)))
    verdict = _verdict(flags)
    own = (
        " The post's public code sorts the weights themselves, so the most negative go first, not the smallest."
        if measure == SIGNED
        else ""
    )
    ours = ""
    if lost and max(lost) < BAD:
        ours = " Here up to 19% cost little or nothing without retraining; the fall comes later."
    return _row(
        number,
        f"By {NAMES[measure]} the accuracy falls and falls without retraining",
        "As expected the magnitude based pruning just flat out decreases in performance with more and more pruning. Note that there was "
        "no retraining after pruning ... but why it performs so badly is slightly confusing",
        f"{NAMES[measure]}, layer-wise and over all layers, 1 to 19%",
        "; ".join(parts) + "." + own + ours,
        f"holds if at 19% at least {BAD:g} are lost, and the mean over 10 to 19% is below that over 1 to 9%, both ways, {ALIKE}",
        verdict,
        [(PLAIN, measure, how) for how in (LAYERWISE, GLOBAL)],
        LIGHT,
    )


def _all_layers(figures: Figures, number: str, measure: str, percents: tuple[int, ...]) -> Row:
    whole, single = (PLAIN, measure, GLOBAL), (PLAIN, measure, LAYERWISE)
    gains = _gains(figures, whole, single, percents)
    verdict = _verdict([gain >= BETTER for gain in gains])
    ours = ""
    if verdict == NOT:
        ours = (
            "; here all layers together do worse"
            if all(gain <= -BETTER for gain in gains)
            else "; so few weights cost nothing either way here"
            if all(abs(gain) < BETTER for gain in gains)
            else ""
        )
    return _row(
        number,
        f"All layers together do better than layer by layer ({NAMES[measure]}, {_range(percents)})",
        "Working with saliency over all the weights does better than layer wise pruning",
        f"{NAMES[measure]} both ways at {_range(percents)}"
        + (", beyond what the post shows" if percents == HEAVY else ""),
        f"all layers less layer-wise, mean over the percentages: {_list(gains)}; {_told(figures, whole, percents)}; "
        f"{_told(figures, single, percents)}{ours}",
        f"holds if all layers are better by at least {BETTER:g} on the mean of these percentages {ALIKE}",
        verdict,
        [whole, single],
        percents,
    )


def _bad(figures: Figures, number: str, measure: str) -> Row:
    curve = (PLAIN, measure, LAYERWISE)
    last = LIGHT[-1]
    lost = [
        figures.dense[PLAIN][seed] - points[last]
        for seed, points in figures.accuracy.get(curve, {}).items()
        if last in points
    ]
    verdict = _verdict([one >= BAD for one in lost])
    ours = "" if verdict != NOT else "; here layer-wise pruning by second derivatives is harmless up to 19%"
    return _row(
        number,
        f"Layer by layer even second-derivative saliency performs badly ({NAMES[measure]})",
        "Note even that even second derivative saliency performs bad",
        f"{NAMES[measure]} layer-wise, 1 to 19%",
        f"lost at 19%: {_list(lost)}; {_told(figures, curve, (*_ends(LIGHT), 30, 50, 70, 80, 90))}{ours}",
        f"holds if at least {BAD:g} are lost at 19% {ALIKE}",
        verdict,
        [curve, (PLAIN, "magnitude", LAYERWISE)],
        (*LIGHT, *POST),
    )


def _least(figures: Figures) -> Row:
    whole, single = (PLAIN, "obd", GLOBAL), (PLAIN, "obd", LAYERWISE)
    flags, parts = [], []
    for percent in (10, 30, 50, 70, 90):
        pairs = [
            (figures.loss[single][seed][percent], points[percent])
            for seed, points in figures.loss.get(whole, {}).items()
            if percent in points and percent in figures.loss.get(single, {}).get(seed, {})
        ]
        if pairs:
            parts.append(
                f"{percent}%: {_mean([one for one, _ in pairs]):.3g} and {_mean([two for _, two in pairs]):.3g}"
            )
            flags += [one > two for one, two in pairs] if percent >= 50 else []
    return _row(
        "3c",
        "The least perturbation in each layer is not the least overall",
        "least peturbation in layer doesn't mean least perturbation overall",
        "mean cross-entropy on the test rows after OBD layer-wise and over all layers",
        f"layer-wise and all layers, {', '.join(parts) or 'nothing'}",
        f"holds if the loss is higher layer-wise at 50, 70 and 90% {ALIKE}",
        _verdict(flags),
        [single, whole],
        POST,
    )


def _at_first(figures: Figures, number: str, measure: str) -> Row:
    with_, without = (DROPOUT, measure, GLOBAL), (PLAIN, measure, GLOBAL)
    gains = _gains(figures, with_, without, FIRST)
    extra = [  # what dropout's net loses of its own accuracy beyond what the plain one loses of its own
        _own(figures, PLAIN, seed, gain) for seed, gain in zip(_seeds(figures, with_, without), gains, strict=True)
    ]
    verdict = _verdict([gain <= -BETTER and fall >= BETTER for gain, fall in zip(gains, extra, strict=True)])
    ours = ""
    if verdict == NOT:
        ours = (
            "; here dropout's net is not hurt more than the plain one: it is lower only by what it is lower unpruned"
            if all(gain < 0 for gain in gains)
            else "; here dropout's net does better from the first"
        )
    return _row(
        number,
        f"With dropout pruning does worse at first ({NAMES[measure]})",
        "the results with the model using dropout ... the cross term assumption ... has come to bite us back",
        f"{NAMES[measure]} over all layers, nets with and without dropout, 1 to 40%",
        f"dropout less plain: {_list(gains)}, of which pruning causes {_list([-one for one in extra])}; "
        f"{_told(figures, with_, (1, 10, 19, 30, 40))}; {_told(figures, without, (1, 10, 19, 30, 40))}{ours}",
        f"holds if dropout's net is lower by at least {BETTER:g} on the mean of these percentages, and loses at least {BETTER:g} more of "
        f"its own unpruned accuracy than the plain one, {ALIKE}",
        verdict,
        [with_, without],
        FIRST,
    )


def _heavy(figures: Figures, number: str, measure: str) -> Row:
    with_, without = (DROPOUT, measure, GLOBAL), (PLAIN, measure, GLOBAL)
    gains = _gains(figures, with_, without, HEAVY)
    verdict = _verdict([gain >= BETTER for gain in gains])
    crossings = [
        crossing(figures.accuracy[with_][seed], figures.accuracy[without][seed])
        for seed in _seeds(figures, with_, without)
    ]
    where = ", ".join("never" if percent is None else f"{percent}%" for percent in crossings) or "unknown"
    ours = "" if verdict != NOT else "; here dropout's net is not the better one when much is pruned"
    return _row(
        number,
        f"With dropout the heavily pruned net is better ({NAMES[measure]})",
        "the dropout model perfoms better than that without dropout when the model is heavily pruned",
        f"{NAMES[measure]} over all layers, nets with and without dropout, {_range(HEAVY)}",
        f"dropout less plain, mean over the percentages: {_list(gains)}; ahead to the end from: {where}; "
        f"{_told(figures, with_, HEAVY)}; {_told(figures, without, HEAVY)}{ours}",
        f"holds if dropout's net is better by at least {BETTER:g} on the mean of these percentages {ALIKE}",
        verdict,
        [with_, without],
        (*POST, *HEAVY),
    )


def _wins(figures: Figures, number: str, second: str, first: str) -> Row:
    winner = (PLAIN, second, GLOBAL)
    others = [(PLAIN, second, LAYERWISE), (PLAIN, first, LAYERWISE), (PLAIN, first, GLOBAL)]
    seeds = _seeds(figures, winner, *others)
    best = {seed: max(others, key=lambda curve: _over(figures, curve, seed, POST)) for seed in seeds}
    gains = [_over(figures, winner, seed, POST) - _over(figures, best[seed], seed, POST) for seed in seeds]
    others_words = "; ".join(_told(figures, curve, POST) for curve in others)
    return _row(
        number,
        f"{NAMES[second]} over all layers wins"
        + (" (what the post's public code sorts by)" if first == SIGNED else ""),
        "All layer OBD based saliency for the win",
        f"{NAMES[second]} and {NAMES[first]}, layer-wise and over all layers, {_range(POST)}",
        f"less the best of the other three, mean over the percentages: {_list(gains)}; {_told(figures, winner, POST)}; {others_words}",
        f"holds if it is better than the best of the other three by at least {BETTER:g} on the mean of these percentages {ALIKE}",
        _verdict([gain >= BETTER for gain in gains]),
        [winner, *others],
        POST,
    )


def _chain(figures: Figures) -> Row:
    chain, obd = (PLAIN, "chain", GLOBAL), (PLAIN, "obd", GLOBAL)
    seeds = _seeds(figures, chain, obd)
    flags, worst, parts = [], [], []
    for seed in seeds:
        mine, theirs = figures.accuracy[chain][seed], figures.accuracy[obd][seed]
        gains = [mine[percent] - theirs[percent] for percent in mine if percent in theirs]
        heavy = [mine[percent] - theirs[percent] for percent in HEAVY if percent in mine and percent in theirs]
        worst.append(min(gains))
        flags.append(min(gains) >= -WORSE and bool(heavy) and _mean(heavy) >= BETTER)
    shown = sorted({percent for points in figures.accuracy.get(chain, {}).values() for percent in points})
    for net in (PLAIN, DROPOUT):
        parts += [_told(figures, (net, name, GLOBAL), shown) for name in ("chain", "obd")]
    return _row(
        "7",
        "The chain, started from OBD's mask, loses less than OBD when much is pruned, and no more elsewhere",
        "(no statement of the post: its net, pruned by this program)",
        "the same trained nets, single weights as sites, nothing retrained; candidates judged on training rows",
        f"chain less OBD, its worst percentage: {_list(worst)}; {'; '.join(parts)}",
        f"holds if on the plain net it is better by at least {BETTER:g} on the mean of {_range(HEAVY)}, as far as they were run, and "
        f"nowhere worse by more than {WORSE:g}, {ALIKE}",
        _verdict(flags),
        [chain, obd, (DROPOUT, "chain", GLOBAL), (DROPOUT, "obd", GLOBAL)],
        (*POST, *HEAVY),
    )


def _own(figures: Figures, net: str, seed: int, gain: float) -> float:
    """What pruning adds to the gap of dropout's net: the gap unpruned less the gap pruned."""
    return (figures.dense[DROPOUT][seed] - figures.dense[net][seed]) - gain


def _seeds(figures: Figures, *curves: Curve) -> list[int]:
    """Seeds that all the curves have."""
    found = [set(figures.accuracy.get(curve, {})) for curve in curves]
    return sorted(set.intersection(*found))


def _over(figures: Figures, curve: Curve, seed: int, percents: Iterable[int]) -> float:
    """Mean accuracy of a curve over those of the percentages that it has; not a number if there are none."""
    points = figures.accuracy[curve][seed]
    return _mean([points[percent] for percent in percents if percent in points])


def _gains(figures: Figures, one: Curve, other: Curve, percents: Iterable[int]) -> list[float]:
    """Mean accuracy of one curve less that of the other, for each seed that both have."""
    percents = tuple(percents)
    return [
        _over(figures, one, seed, percents) - _over(figures, other, seed, percents)
        for seed in _seeds(figures, one, other)
    ]


def _told(figures: Figures, curve: Curve, percents: Sequence[int]) -> str:
    """Say a curve's accuracy at percentages, means over the seeds."""
    net, measure, how = curve
    by_seed: Mapping[int, Points] = figures.accuracy.get(curve, {})
    found = {
        percent: [points[percent] for points in by_seed.values() if percent in points]
        for percent in (percents if len(percents) <= 10 else _ends(percents))
    }
    parts = [f"{percent}% {_mean(values):.4f}" for percent, values in found.items() if values]
    dense = list(figures.dense.get(net, {}).values())
    start = f"unpruned {_mean(dense):.4f}, " if dense else ""
    label = f"{NAMES[measure]} {HOW[how]}" + (" with dropout" if net == DROPOUT else "")
    if not parts:
        return f"{label}: nothing"
    return f"{label}: {start}{', '.join(parts)}"


def _verdict(flags: Sequence[bool]) -> str:
    if not flags:
        return UNCLEAR
    return HOLDS if all(flags) else UNCLEAR if any(flags) else NOT


def _ends(percents: Sequence[int]) -> tuple[int, ...]:
    return percents[0], 5, 10, percents[-1]


def _range(percents: Sequence[int]) -> str:
    return f"{percents[0]} to {percents[-1]}%"


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:+.4f}" for value in values) or "nothing"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _row(
    number: str,
    claim: str,
    says: str,
    run: str,
    measured: str,
    threshold: str,
    verdict: str,
    curves: list[Curve],
    percents: Sequence[int],
) -> Row:
    return {
        "number": number, "claim": claim, "says": says, "run": run, "measured": measured, "threshold": threshold, "verdict": verdict,
        "curves": [" ".join(curve) for curve in curves], "percents": [percents[0], max(percents)],
    }  # fmt: skip
