"""The comparison of the chain with every variant of the gradient path: its runs, and the row of each method in its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypedDict

from mcprune.config.measures import MEASURES
from mcprune.errors import ConfigError
from mcprune.storage.run_metrics import RunFigures, mean, overlap, reached, spread
from mcprune.studies.base import Options
from mcprune.studies.jobs import Job

# Each method with its options; everything else is at its default.
METHODS: dict[str, Options] = {
    "markov": {"method": "markov"},
    **{
        schedule: {"method": "gradient", "alpha": schedule}
        for schedule in ("fixed", "ratio", "mu-lambda", "decade", "stall", "ramp")
    },
    **{
        kind: {"method": "gradient", "alpha": "ramp", "gates": kind}
        for kind in ("annealed", "hard-concrete", "straight-through")
    },
    "auto": {"method": "gradient", "alpha": "auto"},
}
# Contenders by request: each measure in rounds, after which the classifier recovers.
IMPORTANCE: dict[str, Options] = {name: {"method": "importance", "measure": name} for name in MEASURES}
CONTENDERS = {**METHODS, **IMPORTANCE}
# Options of `run` that hold for all methods.
SHARED = (
    "data", "target", "sample_weight", "test", "validation", "scale", "sites", "hidden", "activation", "dropout", "batch_size",
    "learning_rate", "weight_decay", "retrain_epochs", "device", "threads", "max_memory",
)  # fmt: skip


class TimeRow(TypedDict):
    """When a method reached an accuracy: means over the `count` runs that did, None where none did."""

    accuracy: float
    count: int
    seconds: float | None
    forwards: float | None


class MethodRow(TypedDict):
    """A method at one n: means over its finished seeds, see `RunFigures`; None where there is no value."""

    method: str
    n: int
    seeds: int
    hardened: float
    retrained: float
    retrained_spread: float | None
    away: float
    kept_before: list[int]
    near_hard: float
    seconds: float
    forwards: float
    epochs: float
    least_epochs: float
    is_settled: bool
    cut: int
    times: list[TimeRow]
    overlap: float | None


@dataclass(frozen=True)
class Bench:
    """A comparison.

    Attributes
    ----------
    methods : dict
        Options of each method by its name.
    keeps, seeds : tuple of int
        Every method runs for each n and each seed.
    seconds : float
        For each search; epochs and schedules are scaled to it.
    accuracies : tuple of float
        Validation accuracies; the time until each is reached is listed.
    shared : dict
        Options that all runs have.
    """

    methods: dict[str, Options] = field(default_factory=lambda: dict(METHODS))
    keeps: tuple[int, ...] = (50,)
    seeds: tuple[int, ...] = (0, 1, 2)
    seconds: float = 180.0
    accuracies: tuple[float, ...] = (0.9, 0.94, 0.96)
    shared: Options = field(default_factory=dict)

    def jobs(self) -> list[Job]:
        """Return the runs, seed by seed, so that an interrupted comparison has all methods for the first seeds.

        Raises
        ------
        ConfigError
            There is nothing to run, or something twice.
        """
        for name, values in (("methods", list(self.methods)), ("keep", self.keeps), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                text = ",".join(map(str, values)) or "nothing"
                raise ConfigError(f"--{name} needs a list without repetitions, but got {text}. Name each value once")
        return [
            Job(
                f"n{keep}-{method}-seed{seed}",
                {**self.shared, "compare": "no", "search_time": self.seconds, **options, "keep": keep, "seed": seed},
                {"method": method, "n": keep, "seed": seed},
            )
            for seed in self.seeds
            for keep in self.keeps
            for method, options in self.methods.items()
        ]


def summary(bench: Bench, jobs: Sequence[Job], runs: Mapping[str, RunFigures]) -> list[MethodRow]:
    """Return a row for each n and method: means over the seeds that are finished.

    `retrained_spread` is a sample standard deviation; `times` holds, for each of `accuracies`, the mean seconds and forwards of the seeds
    that reached it and how many did; `overlap` is the mean Jaccard overlap of the masks of two seeds.
    """
    rows = []
    for keep in bench.keeps:
        for method in bench.methods:
            mine = [
                runs[job.name]
                for job in jobs
                if job.about["method"] == method and job.about["n"] == keep and job.name in runs
            ]
            if mine:
                rows.append(_row(method, keep, mine, bench.accuracies))
    return rows


def _row(method: str, keep: int, mine: Sequence[RunFigures], accuracies: Sequence[float]) -> MethodRow:
    times: list[TimeRow] = []
    for accuracy in accuracies:
        points = [point for run in mine if (point := reached(run.curve, accuracy)) is not None]
        seconds, forwards = mean([point.seconds for point in points]), mean([point.forwards for point in points])
        times.append({"accuracy": accuracy, "count": len(points), "seconds": seconds, "forwards": forwards})
    return {
        "method": method,
        "n": keep,
        "seeds": len(mine),
        "hardened": fmean(run.hardened for run in mine),
        "retrained": fmean(run.retrained for run in mine),
        "retrained_spread": spread([run.retrained for run in mine]),
        "away": fmean(run.away for run in mine),
        "kept_before": [run.kept_before for run in mine],
        "near_hard": fmean(run.near_hard for run in mine),
        "seconds": fmean(run.seconds for run in mine),
        "forwards": fmean(run.forwards for run in mine),
        "epochs": fmean(run.epochs for run in mine),
        "least_epochs": min(run.epochs for run in mine),
        "is_settled": all(run.is_settled for run in mine),
        "cut": sum(run.is_cut for run in mine),
        "times": times,
        "overlap": overlap([run.keep for run in mine]),
    }


def missed_counts(rows: Sequence[MethodRow], keep: int) -> str:
    """Return which methods had another number of gates above one half than n before hardening."""
    missed = []
    for row in rows:
        before = row["kept_before"]
        if row["n"] == keep and any(count != keep for count in before):
            low, high = min(before), max(before)
            missed.append(f"{row['method']} {low}" + (f"-{high}" if high > low else ""))
    return f"n = {keep}: not at n before hardening: {', '.join(missed) or 'none'}"
