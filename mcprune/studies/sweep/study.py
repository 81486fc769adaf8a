"""Optuna's part of a sweep: one study in a journal in a folder, from which processes and machines take trials."""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcprune.errors import ConfigError, FolderError, brief
from mcprune.session.interrupt import deferred_signals
from mcprune.storage.events import plain
from mcprune.storage.layout import check_free
from mcprune.studies.base import Options
from mcprune.studies.sweep.vary import Vary

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

JOURNAL, NAME = "journal.log", "sweep"
STARTUP = 8  # random trials before the model of the sampler
MEDIAN_OF = 4  # finished trials before one can be pruned
# A trial of another machine that is silent for so long, in seconds, is taken for dead; on this machine the process is looked up.
DEAD_AFTER = 86_400.0
LEAST_TRIALS = 4  # for importances


@dataclass
class Taken:
    """A trial that this process has taken."""

    trial: Trial
    place: int  # among those that count; it seeds the sampler
    number: int
    values: Options

    @deferred_signals()
    def is_hopeless(self, scores: Sequence[float]) -> bool:
        """Report the mean over the seeds so far, and return whether it is below the median of earlier trials'."""
        self.trial.report(float(np.mean(scores)), len(scores))
        return bool(self.trial.should_prune())


class Study:
    """The study of a folder.

    Trials that were interrupted, whose process died, or that were one too many where two processes took the last one at once,
    are failed in the journal and count for nothing. What the sampler proposes is a function of the seed, the
    place of the trial and the finished trials: a sweep that was stopped proposes what it would have proposed.
    Every method is finished before a signal is delivered, since Optuna's lock of the journal does not outlive an exception.

    Parameters
    ----------
    root : Path
    setting : mapping
        What all processes must share, in JSON's types.
    varied : sequence of Vary

    Raises
    ------
    ConfigError
        Optuna is missing, or the folder holds a sweep of another setting.
    FolderError
        The folder holds something else or cannot be written.
    """

    @deferred_signals()
    def __init__(self, root: Path, setting: Options, varied: Sequence[Vary]) -> None:
        self.optuna = import_optuna()
        self.root, self.setting, self.varied, self.seed = root, setting, varied, int(setting["seeds"][0])
        path = root / JOURNAL
        if not path.exists():
            try:
                check_free(root, force=False)
            except FolderError:
                if not path.exists():  # else another process of this sweep wrote the journal since
                    raise
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.optuna.logging.set_verbosity(self.optuna.logging.ERROR)
        pruner = self.optuna.pruners.MedianPruner(n_startup_trials=MEDIAN_OF, n_warmup_steps=0)
        try:
            root.mkdir(parents=True, exist_ok=True)
            self.study = self.optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path))),
                study_name=NAME, direction="maximize", pruner=pruner, load_if_exists=True,
            )  # fmt: skip
            recorded = self.study.user_attrs.get("setting")
            if recorded is None:
                self.study.set_user_attr("setting", recorded := dict(setting))
            self._check(recorded)
        except OSError as error:
            raise FolderError(
                f"{str(root)!r} cannot be written: {error.strerror or error}; choose another --out"
            ) from None
        except Exception as error:  # Optuna replays whatever the journal holds
            raise FolderError(
                f"{str(path)!r} is no journal of a sweep ({brief(error)}); choose another --out"
            ) from None
        _check_same(root, recorded, setting)

    def _check(self, setting: object) -> None:
        """Refuse what no sweep writes: the rest of mcprune takes the attributes as they are."""
        if not isinstance(setting, dict):
            raise ValueError("its setting is no table")
        for trial in self._counted():
            if trial.state.name == "COMPLETE":
                float(trial.value)
            by, result = trial.user_attrs.get("by", {"host": "", "pid": 0}), trial.user_attrs.get("result")
            is_valid = result is None or (
                isinstance(result, dict)
                and {"place", "number", "state", "values", "score", "scores"} <= result.keys()
                and isinstance(result["values"], dict)
                and (result["state"] != "complete" or type(result["score"]) in (int, float))
            )
            if not (is_valid and type(trial.user_attrs.get("place", 0)) is int and type(by["pid"]) is int):
                raise ValueError(f"trial {trial.number} is none of a sweep")

    @deferred_signals()
    def take(self, trials: int) -> Taken | None:
        """Take the next trial; None where `trials` are finished or running.

        Raises
        ------
        ConfigError
            A process that began at the same time has written another setting.
        """
        _check_same(self.root, self.study.user_attrs["setting"], self.setting)
        self._bury()
        if len(self._counted()) >= trials:
            return None
        from optuna.trial import TrialState

        trial = self.study.ask()
        trial.set_user_attr("by", _me())
        # The journal orders the trials: of two processes that took the last one, the higher number steps back.
        before = [other for other in self._counted() if other.number < trial.number]
        if len(before) >= trials:
            trial.set_user_attr("void", "one too many")
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        place = _free_place(before)
        trial.set_user_attr("place", place)
        # Set after asking, which draws nothing: values are drawn one by one below.
        self.study.sampler = self.optuna.samplers.TPESampler(
            seed=(10_007 * self.seed + place) % 2**32, n_startup_trials=STARTUP, multivariate=False
        )
        return Taken(trial, place, trial.number, {vary.name: _suggest(trial, vary) for vary in self.varied})

    @deferred_signals()
    def record(self, taken: Taken, result: Options, trace: str) -> None:
        """Record a finished trial."""
        from optuna.trial import TrialState

        taken.trial.set_user_attr("result", plain({**result, "traceback": trace} if trace else dict(result)))
        state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[
            result["state"]
        ]
        value = result["score"] if result["state"] == "complete" else None
        self.study.tell(taken.trial, value, state=state, skip_if_finished=True)

    @deferred_signals()
    def give_up(self, taken: Taken) -> None:
        """Record that a trial was interrupted: it does not count, and another one takes its place."""
        self._void(taken.number, "interrupted")

    @deferred_signals()
    def trials(self) -> list[Options]:
        """Return every finished trial that counts, in their order, of all processes."""
        return [trial.user_attrs["result"] for trial in self._counted() if "result" in trial.user_attrs]

    @deferred_signals()
    def importances(self) -> dict[str, float] | None:
        """Return each varied option's share of the variance that a forest of trees on the trials explains (fANOVA), highest first.

        None where fewer than 4 trials are complete, or all have the same score.
        """
        from optuna.trial import TrialState

        values = [trial.value for trial in self.study.get_trials(states=(TrialState.COMPLETE,))]
        if len(values) < LEAST_TRIALS or len(set(values)) < 2:
            return None
        evaluator = self.optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {str(name): float(share) for name, share in shares.items()}

    def _counted(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if "void" not in trial.user_attrs]

    def _bury(self) -> None:
        """Fail trials whose process has ended."""
        for trial in self._counted():
            if trial.state.is_finished():
                continue
            by = trial.user_attrs.get("by", {"host": "", "pid": 0})
            here = by["host"] == platform.node()
            if not _lives(by["pid"]) if here else time.time() - trial.datetime_start.timestamp() > DEAD_AFTER:
                self._void(trial.number, "its process ended")

    def _void(self, number: int, why: str) -> None:
        from optuna.trial import Trial, TrialState

        # Trials of other processes are known as frozen ones alone, so a trial object is made from the id.
        frozen = self.study.get_trials(deepcopy=False)[number]
        if not frozen.state.is_finished():
            Trial(self.study, frozen._trial_id).set_user_attr("void", why)
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def import_optuna() -> Any:
    """Return Optuna.

    Raises
    ------
    ConfigError
        It is not installed; the message has the line that installs it.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "mcprune sweep needs optuna, which is not installed. Install it: pip install optuna"
        ) from None
    return optuna


def _suggest(trial: Trial, vary: Vary) -> object:
    if vary.kind == "choice":
        return trial.suggest_categorical(vary.name, vary.choices)
    if vary.kind == "int":
        return int(trial.suggest_int(vary.name, int(vary.low), int(vary.high), log=vary.is_log))
    return float(trial.suggest_float(vary.name, vary.low, vary.high, log=vary.is_log))


def _me() -> dict[str, str | int]:
    return {"host": platform.node(), "pid": os.getpid()}


def _free_place(before: Sequence[FrozenTrial]) -> int:
    """Return the lowest place that no trial of a lower number has; one without a place yet takes the lowest free one."""
    taken = {trial.user_attrs["place"] for trial in before if "place" in trial.user_attrs}
    free = (place for place in itertools.count() if place not in taken)
    silent = sum("place" not in trial.user_attrs for trial in before)
    return next(itertools.islice(free, silent, None))


def _lives(pid: int) -> bool:
    if os.name == "nt":  # there signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _check_same(root: Path, recorded: Options, setting: Options) -> None:
    """Refuse a folder that holds a sweep of another setting."""
    for part, new in setting.items():
        old = recorded.get(part)
        if old == new:
            continue
        name, old_value, new_value = part, old, new
        if isinstance(new, Mapping) and isinstance(old, Mapping):
            option = next(key for key in {**old, **new} if old.get(key) != new.get(key))
            name, old_value, new_value = (
                f"{part} {option}", old.get(option, "its default"), new.get(option, "its default"),
            )  # fmt: skip
        raise ConfigError(
            f"{str(root)!r} holds a sweep with {name} = {old_value}, not {new_value}. Choose another --out"
        )
