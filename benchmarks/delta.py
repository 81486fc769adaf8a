"""What delta and temperature do under gates by rank: short searches, seen on validation rows.

Each point is the mean over seeds of the validation accuracy of the mask as found, and of L_cla over the last quarter of the search; beside
it the loss of the same search with exchanges alone, which use no delta. The rows say where the optimum is and what a tenth and ten times
of it lose.

    python benchmarks/delta.py --sets digits wine --out benchmarks/results/delta.json
    python benchmarks/delta.py --redraw benchmarks/results/delta.json
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from common import machine, parser, write  # isort: skip

COMMON: dict[str, Any] = {"compare": "no", "threads": 1, "gates": "rank", "retrain_epochs": 1, "evaluator": "fused"}
SETS: dict[str, dict[str, Any]] = {
    "digits": {"data": "digits", "keep": 16, "epochs": 40},
    "wine": {"data": "wine", "keep": 4, "epochs": 20},
    "breast-cancer": {"data": "breast-cancer", "keep": 5, "epochs": 20},
    "mnist": {"data": "mnist", "keep": 50, "epochs": 2, "hidden": (128, 64)},
    "fashion-mnist": {"data": "fashion-mnist", "keep": 50, "epochs": 2, "hidden": (128, 64)},
}
DELTAS = (0.03, 0.1, 0.3, 1.0, 3.0)
TEMPERATURES = (1e-5, 1e-4, 1e-3, 1e-2)
EXCHANGE = {"moves": "exchange=1"}


def searches(is_quick: bool) -> list[dict[str, Any]]:
    """Return the options of the searches of a data set, each with the name of its curve and its place on it."""
    deltas = DELTAS[1::2] if is_quick else DELTAS
    out: list[dict[str, Any]] = [{"curve": "exchange", "value": 0.0, "options": EXCHANGE}]
    for moves in ("site=1", "site=1,exchange=1"):
        out += [{"curve": moves, "value": d, "options": {"moves": moves, "delta": str(d)}} for d in deltas]
    if not is_quick:
        warm = {"moves": "site=1", "delta": "0.3"}
        out += [{"curve": "temperature", "value": t, "options": {**warm, "temperature": str(t)}} for t in TEMPERATURES]
    return out


def search(name: str, case: dict[str, Any], seed: int) -> dict[str, Any]:
    """Search once; what the events tell of it."""
    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.session.loop import run_on
    from mcprune.storage.events import Hardened, Progress

    options = {**COMMON, **SETS[name], **case["options"], "seed": seed}
    config = make_config(**options)
    progress: list[Progress] = []
    for event in run_on(config, load(options["data"]), None):
        if isinstance(event, Progress):
            progress.append(event)
        if isinstance(event, Hardened):
            last = progress[-1]
            losses = [one.classification_loss for one in progress[-max(1, len(progress) // 4) :]]
            return {
                "set": name, "curve": case["curve"], "value": case["value"], "seed": seed, "loss": mean(losses),
                "validation": event.validation_accuracy, "proposals": last.proposals, "accepted": last.accepted,
                "seconds": round(last.seconds, 2),
            }  # fmt: skip
    raise AssertionError("a run ends with its mask")


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points of each curve: mean and standard error over seeds of loss and validation accuracy."""
    out = []
    for name, curve, value in sorted({(one["set"], one["curve"], one["value"]) for one in runs}):
        here = [one for one in runs if (one["set"], one["curve"], one["value"]) == (name, curve, value)]
        point = {"set": name, "curve": curve, "value": value, "seeds": len(here)}
        for field in ("loss", "validation"):
            values = [one[field] for one in here]
            error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
            point |= {field: round(mean(values), 5), f"{field}_error": round(error, 5)}
        out.append(point)
    return out


def optima(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each curve over delta its best value and what about a tenth and ten times of it lose in L_cla."""
    out = []
    for name in dict.fromkeys(one["set"] for one in points):
        for curve in ("site=1", "site=1,exchange=1"):
            line = {one["value"]: one["loss"] for one in points if (one["set"], one["curve"]) == (name, curve)}
            if not line:
                continue
            best = min(line, key=lambda value: line[value])
            near = {way: min(line, key=lambda value: abs(value / (best * way) - 1.0)) for way in (0.1, 10.0)}
            out.append(
                {"set": name, "curve": curve, "best": best, "loss": line[best], **{
                    f"loses at {value:g}": round(line[value] - line[best], 5) for value in near.values() if value != best
                }}
            )  # fmt: skip
    return out


def main() -> None:
    """Search, print a line a run and the points of the curves, write both."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--sets", nargs="*", default=list(SETS)[:3], choices=list(SETS))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--redraw", type=Path, help="print what this file holds, search nothing")
    chosen = options.parse_args()
    runs: list[dict[str, Any]] = json.loads(chosen.redraw.read_text())["runs"] if chosen.redraw else []
    for seed in range(1 if chosen.quick else chosen.seeds) if not chosen.redraw else ():
        for name in chosen.sets:
            for case in searches(chosen.quick):
                runs.append(search(name, case, seed))
                print(json.dumps(runs[-1]), flush=True)
        if chosen.out is not None:
            points = summary(runs)
            settings = {"common": COMMON, "sets": {name: SETS[name] for name in chosen.sets}}
            content = {
                "machine": machine(1),
                "options": settings,
                "optima": optima(points),
                "points": points,
                "runs": runs,
            }
            write(chosen.out, content)
    for point in summary(runs):
        print(
            f"{point['set']:<15} {point['curve']:<18} {point['value']:<8g} loss {point['loss']:.4f} ± {point['loss_error']:.4f}   "
            f"validation {point['validation']:.4f} ± {point['validation_error']:.4f}"
        )
    for one in optima(summary(runs)):
        print(json.dumps(one))


if __name__ == "__main__":
    main()
