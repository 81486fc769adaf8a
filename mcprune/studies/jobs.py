"""Many runs, one after the other, each in its own folder.

A finished run is kept, a run that was cut off continues from its checkpoint, and a failure does not stop the others.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mcprune.config.schema import Config, make_config
from mcprune.config.sections.gradient import Alpha
from mcprune.config.sections.importance import Rounds
from mcprune.config.unused import check_options
from mcprune.data.base import Dataset
from mcprune.errors import ConfigError, FolderError, McpruneError
from mcprune.session.build.planner import make_plan
from mcprune.session.checkpoints.open_run import OpenRun, open_run
from mcprune.session.fill_time import Filling, fitting_epochs
from mcprune.session.interrupt import CODES
from mcprune.session.loop import run_on
from mcprune.session.resume import resume_run
from mcprune.storage.events import Event, Hardened, RunDone, Stopped
from mcprune.storage.layout import RESULT, check_free, read_json
from mcprune.studies.base import (
    Options,
    Outcome,
    changed_options,
    error_text,
    interrupted,
    read_index,
    write_json,
)

JOBS, RUNS = "jobs.json", "runs"
WARM = 2.0  # seconds of the search before all others; a chain's has one block at n in any case


@dataclass(frozen=True)
class Job:
    """A run of a study.

    Attributes
    ----------
    name : str
        The name of its folder.
    options : dict
        As `make_config` takes them, without `out` and `force`. With `search_time` and no `epochs` as many epochs are planned
        as fit into the time: by the run itself on the gradient path, from short trials (a part of the time) for a chain.
    about : dict
        What the job is to its study: method, n, seed.
    """

    name: str
    options: Options
    about: Options = field(default_factory=dict)

    def config(self, folder: Path | None = None) -> Config:
        """Return the configuration of the run.

        Raises
        ------
        ConfigError
            Options that cannot be run.
        """
        config = make_config(**self.options, **({} if folder is None else {"out": str(folder), "force": True}))
        check_options(config)
        return config

    def key(self) -> Options:
        """Return the options in JSON's types, by which a finished run is recognised."""
        options: Options = self.config().set_options()
        return options


class Jobs:
    """The jobs below one folder.

    Parameters
    ----------
    root : Path
        Runs go to root/runs/NAME; root/jobs.json has the options of each.
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
                    raise changed_options(root, name, other, key)
                self.known[name] = {}
        self._keys = keys

    def folder(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.root / RUNS / name

    def finished(self, name: str) -> bool:
        """Whether the run has ended, with the options in jobs.json."""
        if not self.known.get(name) or not (self.folder(name) / RESULT).exists():
            return False
        try:
            return read_json(self.folder(name), RESULT)["cut_short_by"] is None
        except (FolderError, KeyError):  # half written: run again
            return False

    def failures(self) -> dict[str, str]:
        """Return the message of each job that failed when it was last tried."""
        errors = {job.name: self.known.get(job.name, {}).get("error") for job in self.jobs}
        return {name: error for name, error in errors.items() if error}

    def check(self, dataset: Dataset) -> None:
        """Refuse, before anything runs, what no job could do with the data: an n above the sites, for instance.

        Raises
        ------
        McpruneError
            For some n no job that is left can be planned; the error of the first of them. There are no test rows.
        """
        left: dict[object, list[Job]] = {}
        for job in self.jobs:
            if not self.finished(job.name):
                left.setdefault(job.options.get("keep"), []).append(job)
        for alike in left.values():
            first: McpruneError | None = None
            for job in alike:
                try:
                    plan = make_plan(job.config(), dataset)
                    if not len(plan.splits.test.targets):
                        raise ConfigError(
                            "test=0 leaves no test rows, by which the runs are compared. Give --test above 0."
                        )
                    break
                except McpruneError as error:
                    first = first or error
            else:
                assert first is not None
                raise first

    def run(self, dataset: Dataset) -> Iterator[Outcome]:
        """Run what is not finished, in order; a run that was cut off continues from its last checkpoint.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C; the current run continues from its last checkpoint the next time.
        """
        for job in self.jobs:
            if self.finished(job.name):
                yield Outcome(job.name, "kept")
                continue
            record: Options = {"options": self._keys[job.name]}
            try:
                record |= self._run(job, dataset)
            except KeyboardInterrupt:
                raise interrupted(self.root) from None
            except Exception as error:
                # Whatever it is, the other methods still have their turn.
                record["error"] = error_text(error)
                if not isinstance(error, McpruneError):
                    record["traceback"] = traceback.format_exc()
            self.known[job.name] = record
            self._write()
            yield Outcome(job.name, "failed" if "error" in record else "new", record.get("error", ""))

    def spent(self, name: str) -> tuple[float, int]:
        """Return the seconds and the sample-forwards that a run's trials took before it."""
        record = self.known.get(name, {})
        return float(record.get("trial_seconds", 0.0)), int(record.get("trial_forwards", 0))

    def _run(self, job: Job, dataset: Dataset) -> Options:
        config = job.config(self.folder(job.name))
        folder = self.folder(job.name)
        kind = "/".join(
            map(
                str,
                (config.method, config.chain.moves, config.problem.sites, config.model.name, config.problem.objective),
            )
        )
        if kind not in self._warm:  # compiling and loading are not part of a run's time
            _warm_up(config, dataset)
            self._warm.add(kind)
        opened = self._cut_off(job.name)
        if opened is not None:
            for event in resume_run(opened, dataset):
                _refuse_interrupt(event)
            return {name: value for name, value in self.known[job.name].items() if name.startswith("trial_")}
        began = time.monotonic()
        record: Options = {}
        controller = None
        if config.method == "markov" and config.runtime.search_time is not None and config.train.epochs is None:
            fitted = fitting_epochs(config, dataset)
            spent = time.monotonic() - began
            update = {"epochs": fitted.epochs, "search_time": _time_left(config.runtime.search_time, spent)}
            config = config.replace(**update)
            record = {"trial_seconds": spent, "trial_forwards": fitted.forwards}
            controller = Filling(fitted.most)
        # Written first: a run that is killed here differs from one with other options.
        self.known[job.name] = {"options": self._keys[job.name], **record}
        self._write()
        (folder / RESULT).unlink(missing_ok=True)
        check_free(folder, force=True)
        for event in run_on(config, dataset, folder, controller=controller):
            _refuse_interrupt(event)
        return record

    def _cut_off(self, name: str) -> OpenRun | None:
        """Return the run of that name, locked, if one with these options was cut off after a checkpoint that can be read; else None."""
        record = self.known.get(name, {})
        if not record.get("options") or "error" in record:
            return None
        for older in (False, True):
            with suppress(FolderError):
                opened = open_run(self.folder(name), older=older)
                if opened.checkpoint is not None and _is_of(opened.options, self._keys[name], record):
                    return opened
                opened.folder.close()
        return None

    def _read(self) -> dict[str, Options]:
        index = read_index(self.root, JOBS, self.kind)
        if index is None:
            return {}
        known = index.get("jobs")
        if not isinstance(known, dict) or not all(_is_record(record) for record in known.values()):
            raise FolderError(
                f"{str(self.root / JOBS)!r} was changed: its records of runs are broken. Choose another --out"
            )
        return known

    def _write(self) -> None:
        write_json(self.root / JOBS, {"kind": self.kind, "jobs": self.known})


def _is_of(started: Options, options: Options, record: Options) -> bool:
    """Whether a run that was started is that of the job's options: a kill may have left an earlier run in its place."""
    expected = dict(options)
    if "trial_seconds" in record:
        left = _time_left(options["search_time"], record["trial_seconds"])
        expected |= {"epochs": started.get("epochs"), "search_time": left}
    return {name: value for name, value in started.items() if name != "force"} == expected


def _time_left(seconds: float, spent: float) -> float:
    """Return what trials have left of a search's time."""
    return max(seconds - spent, 0.05 * seconds)


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


def _warm_up(config: Config, dataset: Dataset) -> None:
    """Search for an epoch, or for `WARM` seconds, and write nothing: afterwards everything is compiled and loaded."""
    short: Options = {"epochs": 1, "search_time": WARM, "out": None, "force": False}
    # Windows and rounds may be longer than the search.
    if config.method == "gradient":
        alpha = config.gradient.alpha
        short["alpha"] = Alpha() if alpha.kind == "auto" else alpha.but(window=None, epochs=None)
    elif config.method == "importance":
        short["rounds"] = Rounds()
    running = run_on(config.replace(**short), dataset, None)
    try:
        for event in running:
            _refuse_interrupt(event)
            if isinstance(event, Hardened):
                break
    finally:
        running.close()  # type: ignore[attr-defined]


def _refuse_interrupt(event: Event) -> None:
    is_stopped = isinstance(event, Stopped) and event.reason in CODES
    if is_stopped or (isinstance(event, RunDone) and not event.is_complete):
        raise KeyboardInterrupt
