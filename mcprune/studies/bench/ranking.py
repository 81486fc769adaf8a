"""The ranking of a comparison: which method is best at n, or why the runs are not enough to tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mcprune.storage.run_metrics import LEAST_EPOCHS
from mcprune.studies.bench.runs import MethodRow

LEAST_SEEDS = 2  # fewer have no standard error
CLEAR = 2.0  # standard errors from which on the first is ahead of the second
MARGIN = 1.5  # of the suggested time over what the slowest method needs


class Ranking(NamedTuple):
    """The methods at one n by their mean retrained accuracy.

    Attributes
    ----------
    order : tuple of str
        The best method first; empty where the runs are not enough for a ranking.
    text : str
        The first two methods and their distance +- its standard error, or why there is no ranking and what to do; empty for fewer than
        two methods.
    """

    order: tuple[str, ...]
    text: str


def ranking(rows: Sequence[MethodRow], keep: int, seconds: float, seeds: Sequence[int]) -> Ranking:
    """Rank the methods at n, if every one of them had enough epochs, came down to n sites and ran for two seeds.

    Parameters
    ----------
    rows : sequence of MethodRow
        As `summary` returns them.
    keep : int
        n, in sites.
    seconds : float
        The time of each search.
    seeds : sequence of int
        The seeds of the comparison, finished or not.
    """
    mine = [row for row in rows if row["n"] == keep]
    if len(mine) < 2:
        return Ranking((), "")
    problem = _problem(mine, seconds, seeds)
    if problem:
        return Ranking((), f"At n = {keep} nothing can be ranked yet. {problem}")
    ranked = sorted(mine, key=lambda row: -row["retrained"])
    best, second = ranked[:2]
    variances = [(row["retrained_spread"] or 0.0) ** 2 / row["seeds"] for row in (best, second)]
    error, ahead = math.sqrt(sum(variances)), best["retrained"] - second["retrained"]
    figures = f"{ahead:.4f} +- {error:.4f}"
    if ahead > CLEAR * error:
        text = (
            f"At n = {keep} {best['method']} is best with {best['retrained']:.4f} after retraining, {figures} above "
            f"{second['method']}, the second."
        )
    else:
        text = (
            f"At n = {keep} {best['method']} ({best['retrained']:.4f} after retraining) and {second['method']} "
            f"({second['retrained']:.4f}) cannot be told apart: the difference is {figures}."
        )
    return Ranking(tuple(row["method"] for row in ranked), text)


def _problem(rows: Sequence[MethodRow], seconds: float, seeds: Sequence[int]) -> str:
    """Return what is missing for a ranking, and the remedy; empty where nothing is."""
    short = [row for row in rows if row["least_epochs"] < LEAST_EPOCHS]
    if short:
        fewest = min(row["least_epochs"] for row in short)
        epochs = ", ".join(f"{row['method']} {row['least_epochs']:.2g}" for row in short)
        return (
            f"Each method needs at least {LEAST_EPOCHS} epochs in every run, and these had fewer: {epochs}. Give each search more time, "
            f"such as --time {_longer(seconds, MARGIN * LEAST_EPOCHS / max(fewest, 0.5))}."
        )
    unsettled = [row["method"] for row in rows if not row["is_settled"]]
    if unsettled:
        return (
            f"The number of open sites had not come down to n in every run of {', '.join(unsettled)}. Give each search more time, such as "
            f"--time {_longer(seconds, 2)}."
        )
    few = [row["method"] for row in rows if row["seeds"] < LEAST_SEEDS]
    if few:
        remedy = (
            "Run the same command again for the runs that are missing."
            if len(seeds) >= LEAST_SEEDS
            else "Give more seeds, such as --seeds 0,1,2."
        )
        return f"A standard error needs at least {LEAST_SEEDS} seeds, and these methods have one: {', '.join(few)}. {remedy}"
    return ""


def _longer(seconds: float, factor: float) -> str:
    """Return a time that is at least `factor` times as long, rounded up to two digits."""
    time = seconds * factor
    unit = 10.0 ** (math.floor(math.log10(time)) - 1)
    return f"{math.ceil(time / unit) * unit:.6g}"
