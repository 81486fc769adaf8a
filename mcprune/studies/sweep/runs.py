"""Offline tuning: which options give the best masks by validation accuracy, chosen by Optuna in a folder that processes share."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mcprune.config.options import expanded
from mcprune.config.schema import make_config
from mcprune.data.base import Dataset
from mcprune.errors import ConfigError, McpruneError
from mcprune.session.build.planner import make_plan
from mcprune.session.finish.retrain import Refit
from mcprune.session.interrupt import Interrupt, deferred_signals
from mcprune.session.loop import search
from mcprune.studies.base import RESULTS, Options, Results, error_text, machine, write_json
from mcprune.studies.sweep.study import Study, Taken
from mcprune.studies.sweep.vary import Vary, corners
from mcprune.training.metrics import accuracy

OBJECTIVES = {
    "retrained": "validation accuracy of the pruned model, retrained as in a run, but on the training rows alone",
    "not-retrained": "validation accuracy of the hard mask with the classifier of the search",
}


@dataclass(frozen=True)
class Sweep:
    """The setting of a sweep.

    Attributes
    ----------
    options : dict
        Options of `run` that stay, unchecked as `make_config` takes them, without seed, out and force.
    varied : tuple of Vary
    seeds : tuple of int
        A search for each in every trial; the parts of the data are drawn by the first alone, so that no search
        sees test rows of another.
    objective : str
        A name of `OBJECTIVES`.
    prune : bool
        A trial whose mean over its first seeds is below the median of the trials before it ends there.
    """

    options: Options
    varied: tuple[Vary, ...]
    seeds: tuple[int, ...] = (0,)
    objective: str = "retrained"
    prune: bool = False

    def setting(self) -> Options:
        """Return, in JSON's types, what all processes of a sweep must share."""
        config = make_config(**self.options)
        return {
            "options": {name: value for name, value in config.set_options().items() if name in expanded(self.options)},
            "vary": {vary.name: vary.plain() for vary in self.varied},
            "seeds": list(self.seeds),
            "objective": self.objective,
            "prune": self.prune,
        }


class TrialResult(NamedTuple):
    """A finished trial: `complete`, `pruned` or `failed`; the mean over seeds, each score, the seconds, the message."""

    place: int  # among the trials that count, from 0
    number: int
    state: str
    values: Options
    score: float | None
    scores: list[float]
    seconds: float
    message: str = ""


@dataclass
class Sweeper:
    """The trials of a sweep that this process runs.

    Parameters
    ----------
    sweep : Sweep
    dataset : Dataset
    root : Path
        The folder that the processes share.

    Raises
    ------
    ConfigError
        Options that cannot be run with the data, another sweep in the folder, or Optuna missing.
    FolderError
        The folder holds something else or cannot be written.
    """

    sweep: Sweep
    dataset: Dataset
    root: Path
    study: Study = field(init=False)

    def __post_init__(self) -> None:
        first = next(corners(self.sweep.varied))
        config = make_config(**{**self.sweep.options, **first, "seed": self.sweep.seeds[0]})
        plan = make_plan(config, self.dataset)  # an n above the sites, for instance: refused before any trial
        if not len(plan.splits.validation.targets):
            raise ConfigError("no row is left for validation, by which trials are judged; give a larger --validation")
        self.study = Study(self.root, self.sweep.setting(), self.sweep.varied)

    def run(self, trials: int) -> Iterator[TrialResult]:
        """Run trials until the sweep has so many, those of other processes included, and yield each.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C; the current trial does not count, and the next process runs it again.
        """
        taken = None
        try:
            while True:
                with deferred_signals():  # an interrupt inside comes when the trial that was taken is known here
                    taken = self.study.take(trials)
                if taken is None:
                    break
                yield self._try(taken)
        except KeyboardInterrupt:
            if taken is not None:
                self.study.give_up(taken)
            raise KeyboardInterrupt(f"; finished trials stay in {self.root}, and the same command continues") from None

    def _try(self, taken: Taken) -> TrialResult:
        start = time.monotonic()
        scores: list[float] = []
        try:
            for seed in self.sweep.seeds:
                scores.append(self._score(taken.values, seed))
                if self.sweep.prune and len(scores) < len(self.sweep.seeds) and taken.is_hopeless(scores):
                    return self._finish(taken, "pruned", scores, start)
        except Exception as error:
            # Whatever it is, the other trials still have their turn.
            message = error_text(error)
            trace = "" if isinstance(error, McpruneError) else traceback.format_exc()
            return self._finish(taken, "failed", scores, start, message, trace)
        return self._finish(taken, "complete", scores, start)

    def _finish(
        self, taken: Taken, state: str, scores: list[float], start: float, message: str = "", trace: str = ""
    ) -> TrialResult:
        score = float(np.mean(scores)) if scores and state != "failed" else None
        result = TrialResult(
            taken.place, taken.number, state, taken.values, score, scores, time.monotonic() - start, message
        )
        self.study.record(taken, result._asdict(), trace)
        return result

    def _score(self, values: Options, seed: int) -> float:
        """Return the validation accuracy of one search; no test row has a part in it.

        `max_time` is that of the search and the training of its pruned model.
        """
        began = time.monotonic()
        config = make_config(**{**self.sweep.options, **values, "seed": seed, "compare": "no"})
        with Interrupt() as interrupt:
            plan, mask, validation_accuracy = search(config, self.dataset, interrupt, split_seed=self.sweep.seeds[0])
            if self.sweep.objective == "not-retrained":
                assert validation_accuracy is not None  # __post_init__ has checked that there are validation rows
                return validation_accuracy
            refit = Refit(plan, lambda: interrupt.should_stop, began + plan.runtime.max_time, rows=plan.splits.train)
            validation = plan.splits.validation
            rows = refit.columns(plan.rows(validation.features), mask)
            targets = torch.from_numpy(validation.targets).to(plan.device)
            return accuracy(refit.pruned(mask, seed), rows, targets, weights=validation.weights, row_loss=plan.row_loss)

    def results(self) -> Results:
        """Return the content of results.json: the setting, every trial of every process, the best first, importances."""
        trials = self.study.trials()
        ranked = sorted(
            (trial for trial in trials if trial["state"] == "complete"),
            key=lambda trial: (-trial["score"], trial["place"]),
        )
        return {
            "setting": self.sweep.setting(),
            "objective": OBJECTIVES[self.sweep.objective],
            "machine": machine(self.sweep.options.get("threads")),
            "best": ranked[0] if ranked else None,
            "ranking": [trial["number"] for trial in ranked],
            "importances": self.study.importances(),
            "trials": trials,
        }

    def write_results(self) -> Results:
        """Write results.json and return its content."""
        results = self.results()
        with_own_name(self.root / RESULTS, lambda path: write_json(path, results))
        return results


def with_own_name(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file under a name of this process beside `path`, then rename it: others may write it as well."""
    own = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    with deferred_signals():
        write(own)
        own.replace(path)
