"""The base of studies that are made of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mcprune.data.base import Dataset
from mcprune.storage.run_metrics import RunFigures, read_run
from mcprune.studies.base import Outcome, Study
from mcprune.studies.jobs import Job, Jobs


class JobStudy(Study):
    """A study made of runs.

    Parameters
    ----------
    root : Path
    kind : str
    jobs : sequence of Job
    dataset : Dataset
    force : bool
        Finished runs that had other options are replaced.

    Raises
    ------
    ConfigError, FolderError
        As of `Jobs`.
    McpruneError
        What no run of some n could do with the data.
    """

    def __init__(self, root: Path, kind: str, jobs: Sequence[Job], dataset: Dataset, *, force: bool = False) -> None:
        self.root, self.dataset = root, dataset
        self.jobs = Jobs(root, kind, jobs, force=force)
        self.jobs.check(dataset)

    @property
    def size(self) -> int:
        """See `Study.size`."""
        return len(self.jobs.jobs)

    def run(self) -> Iterator[Outcome]:
        """See `Study.run`."""
        yield from self.jobs.run(self.dataset)

    def failures(self) -> dict[str, str]:
        """See `Study.failures`."""
        return self.jobs.failures()

    def figures(self, name: str) -> RunFigures:
        """Return the figures of a finished run."""
        return read_run(self.jobs.folder(name), self.jobs.spent(name))

    def finished_runs(self) -> dict[str, RunFigures]:
        """Return the figures of every finished run by its name."""
        return {job.name: self.figures(job.name) for job in self.jobs.jobs if self.jobs.finished(job.name)}

    def describe(self, name: str) -> str:
        """See `Study.describe`."""
        run = self.figures(name)
        return (
            f"{run.hardened:.4f} not retrained, {run.retrained:.4f} retrained, {run.kept_before:,} of {run.n:,} kept before hardening, "
            f"{run.seconds:.1f} s"
        )
