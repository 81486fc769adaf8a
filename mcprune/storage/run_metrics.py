"""Figures of finished runs, read from their folders: what a comparison of methods needs, free of torch."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcprune.errors import FolderError, brief
from mcprune.storage.layout import EVENTS, read_result

Bytes = NDArray[np.uint8]


class Point(NamedTuple):
    """A validation accuracy of a mask of exactly n sites, and what had been spent when it was measured."""

    seconds: float
    forwards: int
    accuracy: float


class RunFigures(NamedTuple):
    """A finished run.

    Accuracies are shares; `found` and `retrained` of the test rows, `away` |sum of gates - n| before hardening, `kept_before` the gates
    above one half before it, `near_hard` the share of gates within .01 of 0 or 1; `seconds` and `forwards` of the search, its trials
    included. `progress` holds the progress events; `curve` rises in time.
    """

    found: float
    retrained: float
    away: float
    kept_before: int
    near_hard: float
    seconds: float
    forwards: int
    epochs: float
    is_cut: bool  # by the clock, before its last epoch
    keep: list[int]
    n: int
    N: int
    image_shape: tuple[int, ...] | None
    last_crossed: list[int]
    steps: int
    curve: list[Point]
    progress: list[dict[str, Any]]
    config: dict[str, Any]
    notes: list[str]


def read_run(folder: Path, spent: tuple[float, int] = (0.0, 0)) -> RunFigures:
    """Return the figures of a run's folder; `spent` are seconds and forwards that went into it before it began.

    Raises
    ------
    FolderError
        The folder has no finished run.
    """
    result = read_result(folder)
    try:
        lines = (folder / EVENTS).read_text(encoding="utf-8").splitlines()
        told = [json.loads(line) for line in lines]
        rows = {row["name"]: row["accuracy"] for row in result["rows"]}
        harden, start = result["harden"], next(event for event in told if event["event"] == "start")
        progress = [event for event in told if event["event"] == "progress"]
        last = progress[-1]
        curve = [
            Point(event["seconds"] + spent[0], event["forwards"] + spent[1], event["validation_at_n"])
            for event in progress
            if event["validation_at_n"] is not None
        ]
        end = (last["seconds"] + spent[0], last["forwards"] + spent[1])
        if harden["validation_accuracy"] is not None:
            curve.append(Point(*end, harden["validation_accuracy"]))
        return RunFigures(
            found=rows["hard mask, as found"],
            retrained=rows["hard mask, retrained"],
            away=harden["away"],
            kept_before=harden["kept_before"],
            near_hard=harden["near_hard"],
            seconds=end[0],
            forwards=harden["forwards"] + spent[1],
            epochs=last["epoch"],
            is_cut=any(event["event"] == "stopped" for event in told),
            keep=result["keep"],
            n=result["n"],
            N=result["N"],
            image_shape=tuple(result["image_shape"]) if result["image_shape"] else None,
            last_crossed=harden["last_crossed"],
            steps=harden["steps"],
            curve=curve,
            progress=progress,
            config=start["config"],
            notes=[event["text"] for event in told if event["event"] == "note"],
        )
    except (
        ArithmeticError, AttributeError, LookupError, OSError, RecursionError, StopIteration, TypeError, ValueError,
    ) as error:  # fmt: skip
        why = f"{type(error).__name__}: {brief(error)}"
        raise FolderError(
            f"the run in {str(folder)!r} cannot be read ({why}); remove that folder and run again"
        ) from None


def reached(curve: Iterable[Point], accuracy: float) -> Point | None:
    """Return the first point of a curve whose accuracy is at least the given one, None if there is none."""
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
    """Return the epochs at which the gates were told, and the gates (times, N), a byte each: 255 is 1."""
    shown = [event for event in run.progress if event.get("gates")]
    rows = [np.frombuffer(base64.b64decode(event["gates"]), np.uint8) for event in shown]
    gates = np.stack(rows) if rows else np.zeros((0, run.N), np.uint8)
    return [event["epoch"] for event in shown], gates
