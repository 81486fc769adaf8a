"""The five observations on gradient flow against figures: what was measured, a threshold, and whether the observation holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from mcprune.studies.base import Results
from mcprune.studies.claims import HOLDS, NOT, UNCLEAR, Claim, Verdict
from mcprune.studies.parts import Figures
from mcprune.studies.reproduce.flow.setting import GRASP, LOSS, MAGNITUDE, MEASURES, NORM, RANDOM, WEIGHTED

Run = Figures
# A comparison holds if so large a share of its pairs, of three or more, goes its way; it does not if at most so large a share does.
MOST, HALF, LEAST = 0.75, 0.5, 3
# Loss preservation goes with the change of theta^2: median rank correlation; median share of its lowest quarter among the slowest quarter.
IDENTICAL, RELATED, UNRELATED, SLOW, CHANCE = 0.9, 0.5, 0.2, 0.5, 0.25
PAIRS = (
    f"holds if this is so in at least {MOST:.0%} of the cases (network, seed, fraction), {LEAST} or more; does not hold if it is in at "
    f"most {HALF:.0%}; else unclear"
)
SAYS_CHANGE = (
    "Up to a constant, the magnitude of the time-derivative of the norm of model parameters is equal to the importance measure used for "
    "loss preservation"
)
LOOKED = "each measure drops its sites at once from the same network after its first epoch; the loss of fixed training rows then"
TRAINED = "each measure prunes in rounds, an epoch before each, and training goes on"
Cell = tuple[str, int, str]  # of a table: network, seed, fraction


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Return a claim for each observation or part of one; where runs are missing the verdict is `unclear`.

    Parameters
    ----------
    runs : sequence of mapping
        What `Training.dense` and `Training.pruned` return, with `network`, `seed`, and `measure` and `fraction` of pruned ones.
    """
    looks, ends, starts = losses_after_pruning(runs), final_accuracies(runs), recoveries(runs)
    return [
        _compared(
            "1a", "Magnitude leaves a lower loss right after pruning than random channels do",
            "The larger the magnitude of parameters at an instant, the smaller the model loss at that instant",
            LOOKED, looks, MAGNITUDE, RANDOM, "loss", lower=True,
        ),
        _compared(
            "1b", "Pruned by magnitude, the loss falls faster than with random channels",
            "If these large-magnitude parameters are preserved while pruning, the pruned model's loss decreases faster",
            f"{TRAINED}; mean loss of the training batches in the epoch after the last round: lower is faster",
            starts, MAGNITUDE, RANDOM, "training loss", lower=True,
        ),
        _flow(runs),
        _related(runs),
        _slowest(runs),
        _compared(
            "3a", "Loss preservation weighted by magnitude leaves a lower loss than magnitude",
            "When used with additional heuristics, magnitude-based importance measures preserve loss",
            LOOKED, looks, WEIGHTED, MAGNITUDE, "loss", lower=True,
        ),
        _compared(
            "3b", "Loss preservation weighted by magnitude leaves a lower loss than plain loss preservation",
            "When used with additional heuristics, magnitude-based importance measures preserve loss",
            LOOKED, looks, WEIGHTED, LOSS, "loss", lower=True,
        ),
        _extreme(
            "4a", "Increasing the gradient norm raises the loss more than any other measure",
            "Increasing gradient-norm via pruning removes parameters that maximally increase model loss",
            LOOKED, looks, "loss", highest=True,
        ),
        _extreme(
            "4b", "Increasing the gradient norm harms most: the lowest accuracy after training",
            "Increasing gradient norm via pruning can produce poorly performing models",
            TRAINED, ends, "accuracy", highest=False,
        ),
        _compared(
            "5", "Preserving the gradient norm ends better than increasing it",
            "Preserving gradient-norm maintains second-order model evolution dynamics and results in better-performing models than "
            "increasing gradient-norm",
            TRAINED, ends, NORM, GRASP, "accuracy", lower=False,
        ),
    ]  # fmt: skip


def table(runs: Sequence[Run]) -> list[Figures]:
    """Return accuracies after training, means over seeds: one entry for each network, measure and fraction, the unpruned first."""
    groups: dict[tuple[str, str, float], list[Run]] = {}
    for run in runs:
        groups.setdefault((run["network"], run["measure"], run["fraction"]), []).append(run)
    order = ("", *MEASURES)
    return [
        {
            "network": network, "measure": measure or "none", "fraction": fraction, "seeds": len(some),
            "accuracy": _mean([run["accuracy"] for run in some]), "lowest": min(run["accuracy"] for run in some),
            "highest": max(run["accuracy"] for run in some), "parameters": _mean([run["parameters"] for run in some]),
        }
        for (network, measure, fraction), some in sorted(
            groups.items(), key=lambda item: (item[0][0], item[0][2], order.index(item[0][1]))
        )
    ]  # fmt: skip


def accuracy_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table: a network and measure in each row, a fraction in each column."""
    fractions = sorted({entry["fraction"] for entry in results["table"]} - {0.0})
    by = {(entry["network"], entry["measure"], entry["fraction"]): entry for entry in results["table"]}
    header = ["network", "measure", "unpruned", *(f"{fraction:.0%} of the channels dropped" for fraction in fractions)]
    body = [
        [
            network,
            measure,
            _entry_text(by.get((network, "none", 0.0))),
            *(_entry_text(by.get((network, measure, part))) for part in fractions),
        ]
        for network in results["setting"]["networks"]
        for measure in MEASURES
    ]
    return header, body


def _entry_text(entry: Figures | None) -> str:
    if entry is None:
        return "-"
    spread = f" ({entry['lowest']:.4f} to {entry['highest']:.4f})" if entry["seeds"] > 1 else ""
    return f"{entry['accuracy']:.4f}{spread}"


def losses_after_pruning(runs: Iterable[Run]) -> dict[Cell, dict[str, float]]:
    """Return the loss right after pruning at once from the network of the first epoch, by measure; what is not finite is infinite."""
    by_case: dict[Cell, dict[str, float]] = {}
    for run in runs:
        if run["kind"] != "dense":
            continue
        for measure, by_fraction in run["losses"].items():
            for fraction, losses in by_fraction.items():
                case = (run["network"], run["seed"], fraction)
                by_case.setdefault(case, {})[measure] = _number(losses["running"])
    return by_case


def recoveries(runs: Iterable[Run]) -> dict[Cell, dict[str, float]]:
    """Return the mean training loss of the epoch after the last round, by measure."""
    return _pruned(runs, recovery)


def recovery(run: Run) -> float:
    """Return the mean loss of the training batches in the epoch after the last round."""
    last = run["rounds"][-1]["epoch"]
    points = [_number(loss) for epoch, loss in run["curve"] if last < epoch <= last + 1]
    return _mean(points) if points else math.inf


def final_accuracies(runs: Iterable[Run]) -> dict[Cell, dict[str, float]]:
    """Return the test accuracy after training, by measure."""
    return _pruned(runs, lambda run: float(run["accuracy"]))


def _pruned(runs: Iterable[Run], figure: Callable[[Run], float]) -> dict[Cell, dict[str, float]]:
    by_case: dict[Cell, dict[str, float]] = {}
    for run in runs:
        if run["kind"] == "pruned":
            by_case.setdefault((run["network"], run["seed"], f"{run['fraction']:g}"), {})[run["measure"]] = figure(run)
    return by_case


def by_share(ways: Sequence[bool]) -> Verdict:
    """Return the verdict on a comparison from how each case went."""
    if len(ways) < LEAST:
        return UNCLEAR
    share = sum(ways) / len(ways)
    return HOLDS if share >= MOST else NOT if share <= HALF else UNCLEAR


def _compared(
    number: str, claim: str, says: str, run: str, cases: Mapping[Cell, Mapping[str, float]], one: str, other: str, what: str,
    *, lower: bool,
) -> Claim:  # fmt: skip
    """Compare two measures case by case; `one` is expected to be lower, or else higher."""
    pairs = {case: (by[one], by[other]) for case, by in cases.items() if one in by and other in by}
    ways = [(a < b) if lower else (a > b) for a, b in pairs.values()]
    parts = [f"{_title(case)} {a:.4g} and {b:.4g}" for case, (a, b) in pairs.items()]
    measured = "nothing" if not pairs else (
        f"{what} is {'lower' if lower else 'higher'} with {one} than with {other} in {sum(ways)} of {len(ways)} cases "
        f"({_title_text(pairs)}: {'; '.join(parts)})"
    )  # fmt: skip
    return Claim(number, claim, says, run, measured, PAIRS, by_share(ways))


def _extreme(
    number: str, claim: str, says: str, run: str, cases: Mapping[Cell, Mapping[str, float]], what: str, *, highest: bool
) -> Claim:
    """Ask in how many cases GraSP is beyond every other measure."""
    full = {case: by for case, by in cases.items() if set(MEASURES) <= set(by)}
    ways, parts = [], []
    for case, by in full.items():
        others = {name: value for name, value in by.items() if name != GRASP}
        pick = max if highest else min
        next_to = pick(others, key=lambda name: others[name])
        ways.append(by[GRASP] > others[next_to] if highest else by[GRASP] < others[next_to])
        parts.append(f"{_title(case)} {by[GRASP]:.4g}, of the others {next_to} {others[next_to]:.4g}")
    measured = "nothing" if not full else (
        f"{what} is {'highest' if highest else 'lowest'} with {GRASP} in {sum(ways)} of {len(ways)} cases ({'; '.join(parts)})"
    )  # fmt: skip
    return Claim(number, claim, says, run, measured, PAIRS, by_share(ways))


def _flow(runs: Sequence[Run]) -> Claim:
    relations = _relations(runs)
    known = [rank for related in relations.values() if (rank := related["flow"]["spearman"]) is not None]
    parts = [
        f"{name} {_figure(related['flow']['pearson'])} / {_figure(related['flow']['spearman'])}"
        for name, related in relations.items()
    ]
    middle = _median(known)
    return Claim(
        "2a",
        "In gradient flow the change of |theta|^2 is loss preservation",
        SAYS_CHANGE,
        "|sum theta g| of each channel after the first epoch beside the change of its |theta|^2 by one tiny step against the whole "
        "gradient of other rows",
        f"Pearson / Spearman: {'; '.join(parts)}" if parts else "nothing",
        f"holds if the median rank correlation is at least {IDENTICAL:g}, else does not hold. It is an identity on the same rows; 2b is "
        "what is left of it in training",
        UNCLEAR if middle is None else HOLDS if middle >= IDENTICAL else NOT,
    )


def _related(runs: Sequence[Run]) -> Claim:
    relations = _relations(runs)
    known = [rank for related in relations.values() if (rank := related["10"]["spearman"]) is not None]
    parts = [
        f"{name}: "
        + ", ".join(
            f"{title} {_figure(related[key]['pearson'])} / {_figure(related[key]['spearman'])}"
            for key, title in (("1", "1 step"), ("10", "10 steps"), ("epoch", "an epoch"))
            if key in related
        )
        + f", magnitude in place of it with 10 steps - / {_figure(related['10']['spearman_magnitude'])}"
        for name, related in relations.items()
    ]
    middle = _median(known)
    verdict: Verdict = (
        UNCLEAR if middle is None else HOLDS if middle >= RELATED else NOT if middle < UNRELATED else UNCLEAR
    )
    return Claim(
        "2b",
        "The change of |theta|^2 over steps of SGD goes with loss preservation",
        SAYS_CHANGE,
        "|sum theta g| of each channel after the first epoch beside the change of its |theta|^2 by the steps of SGD that follow, with "
        "momentum, batches, weight decay, and batch-norm by batches",
        f"Pearson / Spearman: {'; '.join(parts)}" if parts else "nothing",
        f"holds if the median rank correlation over 10 steps is at least {RELATED:g}, does not hold below {UNRELATED:g}, else unclear",
        verdict,
    )


def _slowest(runs: Sequence[Run]) -> Claim:
    relations = _relations(runs)
    shares = [float(related["10"]["overlap"]) for related in relations.values()]
    middle = _median(shares)
    verdict: Verdict = UNCLEAR if middle is None else HOLDS if middle >= SLOW else NOT if middle <= CHANCE else UNCLEAR
    parts = "; ".join(
        f"{name} {related['10']['overlap']:.0%} (flow {related['flow']['overlap']:.0%})"
        for name, related in relations.items()
    )
    return Claim(
        "2c",
        "Loss preservation removes the channels that change slowest",
        "Loss preservation corresponds to removal of the slowest changing parameters",
        "the quarter of the channels with the lowest |sum theta g| beside the quarter whose |theta|^2 changes least in 10 more steps",
        f"of the lowest quarter so much is among the slowest: {parts}" if parts else "nothing",
        f"holds if the median share is at least {SLOW:.0%}, does not hold at {CHANCE:.0%} or less, which is chance",
        verdict,
    )


def _relations(runs: Sequence[Run]) -> dict[str, Figures]:
    return {
        f"{run['network']}, seed {run['seed']}": run["relations"]
        for run in runs
        if run["kind"] == "dense" and {"flow", "10"} <= set(run["relations"])
    }


def _title(case: Cell) -> str:
    return f"{case[0]} {case[2]}" + (f" seed {case[1]}" if case[1] else "")


def _title_text(pairs: Iterable[Cell]) -> str:
    return "by network and fraction" + (" and seed other than 0" if any(case[1] for case in pairs) else "")


def _number(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def _median(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
