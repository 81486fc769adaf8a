"""The statements of a post on Optimal Brain Damage against figures: what was measured, a threshold, whether the statement holds."""

from __future__ import annotations

from collections.abc import Sequence

from mcprune.studies.claims import NOT, Claim, Verdict, unanimous
from mcprune.studies.reproduce.obd.curves import (
    DROPOUT,
    GLOBAL,
    LAYERWISE,
    NAMES,
    PLAIN,
    SIGNED,
    Curve,
    Curves,
    crossing,
    curve_text,
    differences,
    ends,
    mean,
    mean_over,
    shared_seeds,
)  # fmt: skip

# Percentages: those at which the post prunes layer by layer, those at which it prunes all layers, the first of
# these, and heavy pruning.
LIGHT, POST, FIRST, HEAVY = tuple(range(1, 20)), tuple(range(10, 80, 10)), tuple(range(1, 41)), (70, 80, 90, 95)
EARLIER, LATER = LIGHT[:9], LIGHT[9:]
# One curve is better than another by so much on the mean of the percentages; at one percentage it is worse by more than so
# much; so much lost is bad.
BETTER, WORSE, BAD = 0.005, 0.01, 0.05
ALIKE = "for all seeds; does not hold if for none; else unclear"


def claims(curves: Curves) -> list[Claim]:
    """Return every claim of the post; where figures are missing the verdict is `unclear`."""
    return [
        _flat(curves, "1a", "magnitude"), _flat(curves, "1b", SIGNED),
        _all_layers(curves, "2a", "obd", LIGHT), _all_layers(curves, "2b", "obd", HEAVY),
        _all_layers(curves, "2c", "obd-row-sum", LIGHT),
        _bad(curves, "3a", "obd"), _bad(curves, "3b", "obd-row-sum"), _least(curves),
        _at_first(curves, "4a", "obd"), _at_first(curves, "4b", "obd-row-sum"),
        _heavy(curves, "5a", "obd"), _heavy(curves, "5b", "obd-row-sum"),
        _wins(curves, "6a", "obd", "magnitude"), _wins(curves, "6b", "obd-row-sum", SIGNED),
        _chain(curves),
    ]  # fmt: skip


def _flat(curves: Curves, number: str, measure: str) -> Claim:
    flags, lost, parts = [], [], []
    for how in (LAYERWISE, GLOBAL):
        curve = (PLAIN, measure, how)
        for seed, points in curves.accuracy.get(curve, {}).items():
            if not set(LIGHT) <= set(points):
                continue
            lost.append(curves.dense[PLAIN][seed] - points[LIGHT[-1]])
            falls_on = mean([points[percent] for percent in LATER]) < mean([points[percent] for percent in EARLIER])
            flags.append(lost[-1] >= BAD and falls_on)
        parts.append(curve_text(curves, curve, (*ends(LIGHT), 50, 70, 80, 90)))
    verdict = unanimous(flags)
    own = (
        " The post's public code sorts the weights themselves, so the most negative go first, not the smallest."
        if measure == SIGNED
        else ""
    )
    ours = ""
    if lost and max(lost) < BAD:
        ours = " Here up to 19% cost little or nothing without retraining; the fall comes later."
    return _claim(
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


def _all_layers(curves: Curves, number: str, measure: str, percents: tuple[int, ...]) -> Claim:
    whole, single = (PLAIN, measure, GLOBAL), (PLAIN, measure, LAYERWISE)
    gains = differences(curves, whole, single, percents)
    verdict = unanimous([gain >= BETTER for gain in gains])
    ours = ""
    if verdict == NOT:
        ours = (
            "; here all layers together do worse"
            if all(gain <= -BETTER for gain in gains)
            else "; so few weights cost nothing either way here"
            if all(abs(gain) < BETTER for gain in gains)
            else ""
        )
    return _claim(
        number,
        f"All layers together do better than layer by layer ({NAMES[measure]}, {_range(percents)})",
        "Working with saliency over all the weights does better than layer wise pruning",
        f"{NAMES[measure]} both ways at {_range(percents)}"
        + (", beyond what the post shows" if percents == HEAVY else ""),
        f"all layers less layer-wise, mean over the percentages: {_list(gains)}; {curve_text(curves, whole, percents)}; "
        f"{curve_text(curves, single, percents)}{ours}",
        f"holds if all layers are better by at least {BETTER:g} on the mean of these percentages {ALIKE}",
        verdict,
        [whole, single],
        percents,
    )


def _bad(curves: Curves, number: str, measure: str) -> Claim:
    curve = (PLAIN, measure, LAYERWISE)
    last = LIGHT[-1]
    lost = [
        curves.dense[PLAIN][seed] - points[last]
        for seed, points in curves.accuracy.get(curve, {}).items()
        if last in points
    ]
    verdict = unanimous([one >= BAD for one in lost])
    ours = "" if verdict != NOT else "; here layer-wise pruning by second derivatives is harmless up to 19%"
    return _claim(
        number,
        f"Layer by layer even second-derivative saliency performs badly ({NAMES[measure]})",
        "Note even that even second derivative saliency performs bad",
        f"{NAMES[measure]} layer-wise, 1 to 19%",
        f"lost at 19%: {_list(lost)}; {curve_text(curves, curve, (*ends(LIGHT), 30, 50, 70, 80, 90))}{ours}",
        f"holds if at least {BAD:g} are lost at 19% {ALIKE}",
        verdict,
        [curve, (PLAIN, "magnitude", LAYERWISE)],
        (*LIGHT, *POST),
    )


def _least(curves: Curves) -> Claim:
    whole, single = (PLAIN, "obd", GLOBAL), (PLAIN, "obd", LAYERWISE)
    flags, parts = [], []
    for percent in (10, 30, 50, 70, 90):
        pairs = [
            (curves.loss[single][seed][percent], points[percent])
            for seed, points in curves.loss.get(whole, {}).items()
            if percent in points and percent in curves.loss.get(single, {}).get(seed, {})
        ]
        if pairs:
            parts.append(f"{percent}%: {mean([one for one, _ in pairs]):.3g} and {mean([two for _, two in pairs]):.3g}")
            flags += [one > two for one, two in pairs] if percent >= 50 else []
    return _claim(
        "3c",
        "The least perturbation in each layer is not the least overall",
        "least peturbation in layer doesn't mean least perturbation overall",
        "mean cross-entropy on the test rows after OBD layer-wise and over all layers",
        f"layer-wise and all layers, {', '.join(parts) or 'nothing'}",
        f"holds if the loss is higher layer-wise at 50, 70 and 90% {ALIKE}",
        unanimous(flags),
        [single, whole],
        POST,
    )


def _at_first(curves: Curves, number: str, measure: str) -> Claim:
    dropout, plain = (DROPOUT, measure, GLOBAL), (PLAIN, measure, GLOBAL)
    gains = differences(curves, dropout, plain, FIRST)
    extra = [  # what dropout's net loses of its own accuracy beyond what the plain one loses of its own
        _own(curves, PLAIN, seed, gain) for seed, gain in zip(shared_seeds(curves, dropout, plain), gains, strict=True)
    ]
    verdict = unanimous([gain <= -BETTER and fall >= BETTER for gain, fall in zip(gains, extra, strict=True)])
    ours = ""
    if verdict == NOT:
        ours = (
            "; here dropout's net is not hurt more than the plain one: it is lower only by what it is lower unpruned"
            if all(gain < 0 for gain in gains)
            else "; here dropout's net does better from the first"
        )
    return _claim(
        number,
        f"With dropout pruning does worse at first ({NAMES[measure]})",
        "the results with the model using dropout ... the cross term assumption ... has come to bite us back",
        f"{NAMES[measure]} over all layers, nets with and without dropout, 1 to 40%",
        f"dropout less plain: {_list(gains)}, of which pruning causes {_list([-one for one in extra])}; "
        f"{curve_text(curves, dropout, (1, 10, 19, 30, 40))}; {curve_text(curves, plain, (1, 10, 19, 30, 40))}{ours}",
        f"holds if dropout's net is lower by at least {BETTER:g} on the mean of these percentages, and loses at least {BETTER:g} more of "
        f"its own unpruned accuracy than the plain one, {ALIKE}",
        verdict,
        [dropout, plain],
        FIRST,
    )


def _heavy(curves: Curves, number: str, measure: str) -> Claim:
    dropout, plain = (DROPOUT, measure, GLOBAL), (PLAIN, measure, GLOBAL)
    gains = differences(curves, dropout, plain, HEAVY)
    verdict = unanimous([gain >= BETTER for gain in gains])
    crossings = [
        crossing(curves.accuracy[dropout][seed], curves.accuracy[plain][seed])
        for seed in shared_seeds(curves, dropout, plain)
    ]
    where = ", ".join("never" if percent is None else f"{percent}%" for percent in crossings) or "unknown"
    ours = "" if verdict != NOT else "; here dropout's net is not the better one when much is pruned"
    return _claim(
        number,
        f"With dropout the heavily pruned net is better ({NAMES[measure]})",
        "the dropout model perfoms better than that without dropout when the model is heavily pruned",
        f"{NAMES[measure]} over all layers, nets with and without dropout, {_range(HEAVY)}",
        f"dropout less plain, mean over the percentages: {_list(gains)}; ahead to the end from: {where}; "
        f"{curve_text(curves, dropout, HEAVY)}; {curve_text(curves, plain, HEAVY)}{ours}",
        f"holds if dropout's net is better by at least {BETTER:g} on the mean of these percentages {ALIKE}",
        verdict,
        [dropout, plain],
        (*POST, *HEAVY),
    )


def _wins(curves: Curves, number: str, second: str, first: str) -> Claim:
    winner = (PLAIN, second, GLOBAL)
    others = [(PLAIN, second, LAYERWISE), (PLAIN, first, LAYERWISE), (PLAIN, first, GLOBAL)]
    seeds = shared_seeds(curves, winner, *others)
    best = {seed: max(others, key=lambda curve: mean_over(curves, curve, seed, POST)) for seed in seeds}
    gains = [mean_over(curves, winner, seed, POST) - mean_over(curves, best[seed], seed, POST) for seed in seeds]
    others_words = "; ".join(curve_text(curves, curve, POST) for curve in others)
    return _claim(
        number,
        f"{NAMES[second]} over all layers wins"
        + (" (what the post's public code sorts by)" if first == SIGNED else ""),
        "All layer OBD based saliency for the win",
        f"{NAMES[second]} and {NAMES[first]}, layer-wise and over all layers, {_range(POST)}",
        f"less the best of the other three, mean over the percentages: {_list(gains)}; {curve_text(curves, winner, POST)}; {others_words}",
        f"holds if it is better than the best of the other three by at least {BETTER:g} on the mean of these percentages {ALIKE}",
        unanimous([gain >= BETTER for gain in gains]),
        [winner, *others],
        POST,
    )


def _chain(curves: Curves) -> Claim:
    chain, obd = (PLAIN, "chain", GLOBAL), (PLAIN, "obd", GLOBAL)
    seeds = shared_seeds(curves, chain, obd)
    flags, worst, parts = [], [], []
    for seed in seeds:
        mine, theirs = curves.accuracy[chain][seed], curves.accuracy[obd][seed]
        gains = [mine[percent] - theirs[percent] for percent in mine if percent in theirs]
        heavy = [mine[percent] - theirs[percent] for percent in HEAVY if percent in mine and percent in theirs]
        worst.append(min(gains))
        flags.append(min(gains) >= -WORSE and bool(heavy) and mean(heavy) >= BETTER)
    shown = sorted({percent for points in curves.accuracy.get(chain, {}).values() for percent in points})
    for net in (PLAIN, DROPOUT):
        parts += [curve_text(curves, (net, name, GLOBAL), shown) for name in ("chain", "obd")]
    return _claim(
        "7",
        "The chain, started from OBD's mask, loses less than OBD when much is pruned, and no more elsewhere",
        "(no statement of the post: its net, pruned by this program)",
        "the same trained nets, single weights as sites, nothing retrained; candidates judged on training rows",
        f"chain less OBD, its worst percentage: {_list(worst)}; {'; '.join(parts)}",
        f"holds if on the plain net it is better by at least {BETTER:g} on the mean of {_range(HEAVY)}, as far as they were run, and "
        f"nowhere worse by more than {WORSE:g}, {ALIKE}",
        unanimous(flags),
        [chain, obd, (DROPOUT, "chain", GLOBAL), (DROPOUT, "obd", GLOBAL)],
        (*POST, *HEAVY),
    )


def _own(curves: Curves, net: str, seed: int, gain: float) -> float:
    """Return what pruning adds to the gap of dropout's net: the gap unpruned less the gap pruned."""
    return (curves.dense[DROPOUT][seed] - curves.dense[net][seed]) - gain


def _range(percents: Sequence[int]) -> str:
    return f"{percents[0]} to {percents[-1]}%"


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:+.4f}" for value in values) or "nothing"


def _claim(
    number: str,
    title: str,
    quotation: str,
    setup: str,
    measured: str,
    threshold: str,
    verdict: Verdict,
    shown: Sequence[Curve],
    percents: Sequence[int],
) -> Claim:
    return Claim(
        number,
        title,
        quotation,
        setup,
        measured,
        threshold,
        verdict,
        tuple(" ".join(curve) for curve in shown),
        (percents[0], max(percents)),
    )
