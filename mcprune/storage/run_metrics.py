"""Figures of finished runs, read from their folders: what a comparison of methods needs, free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcprune.errors import FolderError
from mcprune.storage.event_log import decoded_gates, read_log, read_result
from mcprune.storage.events import Progress
from mcprune.types import JsonObject

Bytes = NDArray[np.uint8]
LEAST_EPOCHS = 3  # a search of fewer says nothing about its method


class Point(NamedTuple):
    """A validation accuracy of a mask of exactly n sites, and what had been spent when it was measured."""

    seconds: float
    forwards: int
    accuracy: float


class RunFigures(NamedTuple):
    """A finished run.

    Attributes
    ----------
    hardened, retrained : float, share of the test rows
        Accuracy of the hard mask with the classifier of the search, and with a fresh one.
    away : float, sites
        |sum of gates - n| before hardening.
    kept_before : int, sites
        Gates above one half before hardening.
    near_hard : float
        Share of the gates within .01 of 0 or 1 then.
    seconds : float; forwards : int, rows
        Of the search, its trials included.
    epochs : float, passes
    is_cut : bool
        The clock ended the search before its last epoch.
    is_settled : bool
        n(t) had come down to n before the search ended.
    keep : list of int
        The kept sites; n of N.
    last_crossed : list of int
        The step at which each gate last crossed one half.
    curve : list of Point
        Validation accuracies, in the order of their times.
    progress : list of Progress
    config : dict
        The options by flat name.
    """

    hardened: float
    retrained: float
    away: float
    kept_before: int
    near_hard: float
    seconds: float
    forwards: int
    epochs: float
    is_cut: bool
    is_settled: bool
    keep: list[int]
    n: int
    N: int
    image_shape: tuple[int, ...] | None
    last_crossed: list[int]
    steps: int
    curve: list[Point]
    progress: list[Progress]
    config: JsonObject
    notes: list[str]


def read_run(folder: Path, spent: tuple[float, int] = (0.0, 0)) -> RunFigures:
    """Return the figures of a run's folder; `spent` are seconds and forwards that went into it before it began.

    Raises
    ------
    FolderError
        The folder has no finished run.
    """
    result, log = read_result(folder), read_log(folder)
    accuracies = {score.name: score.accuracy for score in result.scores}
    hardened, progress = result.hardened, log.progress
    not_retrained, retrained = accuracies.get("hard mask, not retrained"), accuracies.get("hard mask, retrained")
    if not_retrained is None or retrained is None or hardened.gate_sum_error is None or not progress:
        raise FolderError(
            f"the run in {str(folder)!r} has no retrained mask, or no progress; remove that folder and run again"
        )
    last = progress[-1]
    curve = [
        Point(event.seconds + spent[0], event.forwards + spent[1], event.validation_at_n)
        for event in progress
        if event.validation_at_n is not None
    ]
    end = (last.seconds + spent[0], last.forwards + spent[1])
    if hardened.validation_accuracy is not None:
        curve.append(Point(*end, hardened.validation_accuracy))
    return RunFigures(
        hardened=not_retrained,
        retrained=retrained,
        away=hardened.gate_sum_error,
        kept_before=hardened.kept_before,
        near_hard=hardened.near_hard,
        seconds=end[0],
        forwards=hardened.forwards + spent[1],
        epochs=last.epoch,
        is_cut=log.stopped is not None,
        is_settled=log.settled_from() < len(progress),
        keep=list(result.indices),
        n=len(result.indices),
        N=result.n_sites,
        image_shape=result.image_shape,
        last_crossed=list(hardened.last_crossed),
        steps=hardened.steps,
        curve=curve,
        progress=progress,
        config=log.started.config,
        notes=log.notes,
    )


def has_enough_work(run: RunFigures) -> bool:
    """Whether a run had enough epochs, and came down to n sites, so that its accuracy says something about its method."""
    return run.epochs >= LEAST_EPOCHS and run.is_settled


def reached(curve: Iterable[Point], accuracy: float) -> Point | None:
    """Return the first point of a curve whose accuracy is at least `accuracy`, None if there is none."""
    return next((point for point in curve if point.accuracy >= accuracy), None)


def jaccard(one: Iterable[int], other: Iterable[int]) -> float:
    """Return how much two sets of kept sites overlap: |A and B| / |A or B|, 1 for two empty ones."""
    first, second = set(one), set(other)
    union = first | second
    return len(first & second) / len(union) if union else 1.0


def overlap(masks: Sequence[Iterable[int]]) -> float | None:
    """Return the mean Jaccard overlap of all pairs of masks; None for fewer than two."""
    pairs = [jaccard(one, other) for one, other in combinations([set(mask) for mask in masks], 2)]
    return math.fsum(pairs) / len(pairs) if pairs else None


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, None of nothing."""
    return math.fsum(values) / len(values) if values else None


def spread(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, None of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def gates_over_time(run: RunFigures) -> tuple[list[float], Bytes]:
    """Return the epochs at which the gates were recorded, and the gates (times, N), a byte each: 255 is 1."""
    shown = [(event.epoch, decoded_gates(event.gates)) for event in run.progress if event.gates]
    gates = np.stack([row for _, row in shown]) if shown else np.zeros((0, run.N), np.uint8)
    return [epoch for epoch, _ in shown], gates
