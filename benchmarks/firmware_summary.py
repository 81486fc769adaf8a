"""What the records of firmware.py come to: costs over the front of HGQ2 at the same quality, and the chain beside its controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

Point = dict[str, Any]
Quality = Callable[[Point], float]  # the lower the better
QUALITIES: dict[str, Quality] = {
    "loss": lambda point: float(point["test_loss"]),
    "calibrated": lambda point: float(point["calibrated_test_loss"]),
    "error": lambda point: 1.0 - float(point["test_accuracy"]),
}
FIGURES = ("adders", "luts")
BARS = {"adders": 0.85, "luts": 0.92}
CONTROLS = tuple(
    (f"HGQ2 + chain{noise}", control)
    for noise in ("", ", noise")
    for control in (f"HGQ2 + greedy{noise}", "HGQ2, frozen bits")
)


def against_front(points: Sequence[Point], front: Sequence[Point], figure: str, quality: Quality) -> list[float]:
    """Return the cost of each point over that of a front at the point's own quality on the test rows.

    The logarithm of the front's cost is interpolated over its quality. Taking the cheapest network that is no worse would count each gap
    of a sparse front as a gain. A point that is better than the whole front is compared with its best network, which is more than fair to
    the front; one that is worse than the whole front is left out. The front is that of the test rows themselves: where it is lucky, that
    is to its advantage.
    """
    best: list[tuple[float, float]] = []
    for one in sorted(front, key=lambda one: (one[figure], quality(one))):
        if one[figure] > 0 and (not best or quality(one) < best[-1][0]):
            best.append((quality(one), float(np.log(one[figure]))))
    if len(best) < 2:
        return []
    values, costs = np.array(best[::-1]).T
    return [
        float(point[figure] / np.exp(np.interp(quality(point), values, costs)))
        for point in points
        if quality(point) <= values[-1] and point[figure] > 0
    ]


def beyond_front(points: Sequence[Point], front: Sequence[Point], quality: Quality) -> int:
    """Return how many points are better than everything on the front."""
    best = min(map(quality, front), default=-np.inf)
    return sum(quality(point) < best for point in points)


def summarize(records: Sequence[Point]) -> list[Point]:
    """Return, for each set and way, the medians over seeds of costs over HGQ2's front of all seeds, then the pairs of chain and control."""
    rows = []
    ways = list(dict.fromkeys(one["way"] for one in records if one["way"] not in ("speed", "HGQ2")))
    for data, way in product(("jets", "satimage"), ways):
        mine = [one for one in records if (one["data"], one["way"]) == (data, way)]
        front = _points(one for one in records if (one["data"], one["way"]) == (data, "HGQ2"))
        if not mine or not front:
            continue
        by_seed = {
            seed: _points(one for one in mine if one["seed"] == seed) for seed in sorted({one["seed"] for one in mine})
        }
        row: Point = {"data": data, "way": way, "seeds": len(by_seed), "points": sum(map(len, by_seed.values()))}
        for name, quality in QUALITIES.items():
            for figure in FIGURES:
                ratios = [against_front(points, front, figure, quality) for points in by_seed.values()]
                medians = [round(float(np.median(each)), 3) for each in ratios if each]
                row[f"{figure}_at_equal_{name}"] = round(float(np.median(medians)), 3) if medians else None
                row[f"{figure}_at_equal_{name}_by_seed"] = medians
                row[f"compared_by_{name}"] = sum(map(len, ratios))
            row[f"beyond_by_{name}"] = sum(beyond_front(points, front, quality) for points in by_seed.values())
        row["seeds_within_bars"] = sum(_keeps_bars(points, front) for points in by_seed.values())
        spent = [
            one["seconds"] / one["seconds_left"]
            for points in by_seed.values()
            for one in points
            if "seconds_left" in one
        ]
        row["seconds_over_those_left"] = round(float(np.median(spent)), 2) if spent else None
        rows.append(row)
    return rows + pairs(records)


def _keeps_bars(points: Sequence[Point], front: Sequence[Point]) -> bool:
    """Return whether the medians of a seed's costs over the front's, at equal test loss, are within the bars."""
    ratios = {figure: against_front(points, front, figure, QUALITIES["loss"]) for figure in FIGURES}
    return all(bool(ratios[figure]) and np.median(ratios[figure]) <= bar for figure, bar in BARS.items())


def pairs(records: Sequence[Point]) -> list[Point]:
    """Return the chain beside each control from the same start (and, of greedy removal, to the same budget): test loss and costs."""
    rows = []
    for data, (way, control) in product(("jets", "satimage"), CONTROLS):
        chains = {_key(one): one["points"][0] for one in records if one["way"] == way}
        matched = []
        for one in records:
            if (one["data"], one["way"]) != (data, control):
                continue
            share = one["share"] if one["share"] is not None else 0.75
            chain = chains.get((data, one["seed"], one["start"], share))
            if chain is not None:
                matched.append((one["seed"], one["start"], share, chain, one["points"][0]))
        if matched:
            rows.append({"data": data, "chain": way, **_pair_row(control, matched)})
    return rows


def _pair_row(control: str, matched: Sequence[tuple[int, float, float, Point, Point]]) -> Point:
    changes = [chain["test_loss"] - other["test_loss"] for *_, chain, other in matched]
    return {
        "chain_beside": control,
        "pairs": len(matched),
        "test_loss_change": [round(change, 4) for change in changes],
        "mean_change": round(float(np.mean(changes)), 4),
        "better_in": sum(change < 0 for change in changes),
        **{
            f"{figure}_ratio": round(
                float(np.median([chain[figure] / other[figure] for *_, chain, other in matched])), 3
            )
            for figure in FIGURES
        },
        "seconds_ratio": round(
            float(np.median([chain["seconds"] / other["seconds"] for *_, chain, other in matched])), 2
        ),
        "of": [list(place) for *place, _, _ in matched],
    }


def _key(record: Point) -> tuple[str, int, float, float]:
    return record["data"], record["seed"], record["start"], record["share"]


def _points(records: Any) -> list[Point]:
    return [point for record in records for point in record["points"]]
