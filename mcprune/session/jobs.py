"""Many runs, one after the other, each in its own folder: what is finished is not repeated, what fails does not stop the rest."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcprune.data.base import Dataset
from mcprune.errors import ConfigError, FolderError, McpruneError
from mcprune.session import events
from mcprune.session.config import RunConfig, make_config
from mcprune.session.interrupt import CODES
from mcprune.session.loop import run_on
from mcprune.session.options_gradient import check_options
from mcprune.session.pilots import MOST
from mcprune.session.plan import make_plan
from mcprune.session.plan_defaults import EPOCHS, SEARCH_STEPS
from mcprune.session.records import RESULT, check_free, read_json

JOBS, RUNS = "jobs.json", "runs"
# Of a chain's time: what its trials may take to learn how long an epoch lasts, and what its epochs are planned to fill, with room for a
# machine that gets slower: a chain that meets the clock may be in the middle of a wave of n(t).
TRIAL, FILLED = 0.08, 0.9
TRIALS = 4  # at most: the first are short, and tell little where an epoch is a few steps


@dataclass(frozen=True)
class Job:
    """A run that is to be made.

    Attributes
    ----------
    name : str
        Of its folder.
    options : dict
        As `make_config` takes them, without `out` and `force`. With `max_time` and no `epochs` as many epochs are planned
        as fit into the time: by the run itself on the gradient path, from short trials (a part of the time) for a chain.
    about : dict
        What the job is to those who made it: method, n, seed.
    """

    name: str
    options: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)

    def config(self, folder: Path | None = None) -> RunConfig:
        """Return the configuration of the run.

        Raises
        ------
        ConfigError
            Options that cannot be run.
        """
        given = {**self.options, **({} if folder is None else {"out": str(folder), "force": True})}
        config = make_config(**given)
        check_options(config)
        return config

    def key(self) -> dict[str, Any]:
        """Return the given options in JSON's types, which tell whether a finished run is this one."""
        found: dict[str, Any] = json.loads(self.config().model_dump_json(exclude_unset=True))
        return found


@dataclass(frozen=True)
class Told:
    """What became of a job: `made` now, `kept` from before, or `failed`; with the message of the failure."""

    job: Job
    status: str
    message: str = ""


class Jobs:
    """The jobs below one folder.

    Parameters
    ----------
    root : Path
        Runs go to root/runs/NAME; root/jobs.json remembers what each was asked for.
    kind : str
        What the runs are for: a folder of another kind is refused.
    jobs : sequence of Job
    force : bool
        Runs of the same name that had other options are replaced; else they are refused.

    Raises
    ------
    ConfigError
        A job whose options cannot be run, or a finished run of the same name had other options.
    FolderError
        The folder holds something else, or cannot be written.
    """

    def __init__(self, root: Path, kind: str, jobs: Sequence[Job], *, force: bool = False) -> None:
        self.root, self.kind, self.jobs = root, kind, list(jobs)
        self._warm: set[str] = set()
        keys = {job.name: job.key() for job in self.jobs}  # refuses what cannot be run before anything is
        self.known = self._read()
        for name, key in keys.items():
            other = self.known.get(name, {}).get("options")
            if other is not None and other != key:
                if not force and self.finished(name):
                    raise ConfigError(_difference(root, name, other, key))
                self.known[name] = {}
        self._keys = keys

    def folder(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.root / RUNS / name

    def finished(self, name: str) -> bool:
        """Tell whether the run has come to its end, with the options that jobs.json remembers."""
        if not self.known.get(name) or not (self.folder(name) / RESULT).exists():
            return False
        try:
            return not read_json(self.folder(name), RESULT)["is_cut_short"]
        except (FolderError, KeyError):  # half written: made again
            return False

    def failures(self) -> dict[str, str]:
        """Return the message of each job that failed when it was last tried."""
        found = {job.name: self.known.get(job.name, {}).get("error") for job in self.jobs}
        return {name: error for name, error in found.items() if error}

    def check(self, dataset: Dataset) -> None:
        """Refuse, before anything runs, what no job could do with the data: an n above the sites, for instance.

        Raises
        ------
        McpruneError
            For some n no job that is left can be planned; the error of the first of them.
        """
        left: dict[Any, list[Job]] = {}
        for job in self.jobs:
            if not self.finished(job.name):
                left.setdefault(job.options.get("keep"), []).append(job)
        for alike in left.values():
            first: McpruneError | None = None
            for job in alike:
                try:
                    make_plan(job.config(), dataset)
                    break
                except McpruneError as error:
                    first = first or error
            else:
                assert first is not None
                raise first

    def run(self, dataset: Dataset) -> Iterator[Told]:
        """Make what is not finished, in order.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C; the run that went on is made anew the next time.
        """
        for job in self.jobs:
            if self.finished(job.name):
                yield Told(job, "kept")
                continue
            record: dict[str, Any] = {"options": self._keys[job.name]}
            try:
                record |= self._make(job, dataset)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"; finished runs stay in {self.root}, and the same command goes on with the others"
                ) from None
            except Exception as error:
                # Whatever it is, the other methods still have their turn.
                record["error"] = str(error) if isinstance(error, McpruneError) else f"{type(error).__name__}: {error}"
                if not isinstance(error, McpruneError):
                    record["traceback"] = traceback.format_exc()
            self.known[job.name] = record
            self._write()
            yield Told(job, "failed" if "error" in record else "made", record.get("error", ""))

    def spent(self, name: str) -> tuple[float, int]:
        """Return the seconds and the sample-forwards that a run's trials took before it."""
        record = self.known.get(name, {})
        return float(record.get("trial_seconds", 0.0)), int(record.get("trial_forwards", 0))

    def _make(self, job: Job, dataset: Dataset) -> dict[str, Any]:
        config = job.config(self.folder(job.name))
        if config.method not in self._warm:  # compiling and loading is nobody's work
            _trial(config, dataset, 1)
            self._warm.add(config.method)
        began = time.monotonic()
        forwards, record = 0, {}
        if config.method == "markov" and config.max_time is not None and config.epochs is None:
            epochs, forwards = fitting_epochs(config, dataset)
            spent = time.monotonic() - began
            left = max(config.max_time - spent, 0.05 * config.max_time)
            config = config.model_copy(update={"epochs": epochs, "max_time": left})
            record = {"trial_seconds": spent, "trial_forwards": forwards}
        folder = self.folder(job.name)
        # Written first: a run that is killed here is told apart from one with other options.
        self.known[job.name] = {"options": self._keys[job.name], **record}
        self._write()
        (folder / RESULT).unlink(missing_ok=True)
        check_free(folder, force=True)
        for event in run_on(config, dataset, folder):
            _refuse_interrupt(event)
        return record

    def _read(self) -> dict[str, dict[str, Any]]:
        path = self.root / JOBS
        if not path.exists():
            check_free(self.root, force=False)
            return {}
        held = read_json(self.root, JOBS)
        known = held.get("jobs")
        if held.get("kind") != self.kind or not isinstance(known, dict):
            raise FolderError(
                f"the folder {str(self.root)!r} holds runs of {str(held.get('kind'))!r}, not of {self.kind!r}; choose another --out"
            )
        if not all(_is_record(record) for record in known.values()):
            raise FolderError(f"{str(path)!r} was changed: its records of runs are broken; choose another --out")
        return known

    def _write(self) -> None:
        write_json(self.root / JOBS, {"kind": self.kind, "jobs": self.known})


def _is_record(record: object) -> bool:
    """Whether a value of jobs.json is one that `Jobs` writes."""
    return (
        isinstance(record, dict)
        and isinstance(record.get("options", {}), dict)
        and isinstance(record.get("error", ""), str)
        and all(
            type(number := record.get(name, 0)) in (int, float) and 0 <= number < 1e15
            for name in ("trial_seconds", "trial_forwards")
        )
    )


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file in one step: beside it, then renamed.

    Raises
    ------
    FolderError
        It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        beside.write_text(json.dumps(events.plain(dict(value)), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise FolderError(
            f"{str(path)!r} cannot be written: {error.strerror or error}; make room, or choose another --out"
        ) from None


def fitting_epochs(config: RunConfig, dataset: Dataset) -> tuple[int, int]:
    """Return how many epochs of a chain fit into `max_time`, learned from whole runs of few epochs, and their forwards.

    A short run has all phases of a long one: n(t) falling on small evaluation batches, then exchanges on large ones.
    No more epochs are planned than the gradient path would plan, which stops at 8 times the usual ones.

    Parameters
    ----------
    config : RunConfig
        With max_time, without epochs.
    dataset : Dataset
    """
    assert config.max_time is not None
    began = time.monotonic()
    epochs, forwards = 1, 0
    made: list[tuple[int, float]] = []  # epochs and seconds of a trial
    for _ in range(TRIALS):
        usual, setup, each, rows = _trial(config, dataset, epochs)
        forwards += rows
        made.append((epochs, each * epochs))
        wanted = min(math.floor(TRIAL * config.max_time / each), MOST * usual)
        if wanted < 2 * epochs:
            if len(made) > 1 or 2 * each > 2 * TRIAL * config.max_time:
                break
            wanted = 2
        epochs = wanted
    fixed, each = _fixed_and_each(made)
    left = FILLED * config.max_time - (time.monotonic() - began) - setup - fixed
    return max(1, min(MOST * usual, math.floor(left / each))), forwards


def _fixed_and_each(made: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return the seconds that any search takes, as its waves of n(t) do, and those that an epoch adds, from the last two trials."""
    epochs, seconds = made[-1]
    mean = seconds / epochs
    if len(made) == 1:
        return 0.0, mean
    before, earlier = made[-2]
    # One slow trial must not make an epoch look free.
    each = min(max((seconds - earlier) / (epochs - before), mean / 5.0), mean)
    return seconds - each * epochs, each


def _trial(config: RunConfig, dataset: Dataset, epochs: int) -> tuple[int, float, float, int]:
    """Search for a few epochs and write nothing: the usual number of epochs, seconds before the first, for each, forwards."""
    short: dict[str, Any] = {"epochs": epochs, "max_time": None, "out": None, "force": False}
    if config.schedule == "auto":
        short |= {"schedule": None, "pilot_share": None}
    for name in (
        "window_epochs",
        "decade_epochs",
        "stall_epochs",
        "rounds",
        "counts",
        "recover",
    ):  # they may be longer than the trial
        short[name] = None
    short_config = config.model_copy(update=short)
    points: list[dict[str, Any]] = []
    usual = EPOCHS
    running = run_on(short_config, dataset, None)
    try:
        for event in running:
            _refuse_interrupt(event)
            if event.kind == events.START:
                steps = event.data["blocks"] * event.data["config"]["train_steps"] / epochs
                usual = max(EPOCHS, math.ceil(SEARCH_STEPS / max(steps, 1.0)))
            elif event.kind == events.PROGRESS:
                points.append(event.data)
            elif event.kind == events.HARDEN:
                break
    finally:
        running.close()  # type: ignore[attr-defined]
    first, last = points[0], points[-1]
    if len(points) == 1:
        return usual, 0.0, max(last["seconds"] / last["epoch"], 1e-6), last["forwards"]
    each = max((last["seconds"] - first["seconds"]) / (last["epoch"] - first["epoch"]), 1e-6)
    return usual, max(0.0, first["seconds"] - each * first["epoch"]), each, last["forwards"]


def _refuse_interrupt(event: events.Event) -> None:
    asked = event.kind == events.STOPPED and event.data["reason"] in CODES
    if asked or (event.kind == events.DONE and event.data["is_cut_short"]):
        raise KeyboardInterrupt


def _difference(root: Path, name: str, met: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    different = next(key for key in {**met, **wanted} if met.get(key) != wanted.get(key))
    return (
        f"{str(root)!r} holds the run {name!r} with {different} = {met.get(different, 'its default')}, not "
        f"{wanted.get(different, 'its default')}; choose another --out, or replace such runs with --force"
    )
