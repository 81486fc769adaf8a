"""`mcprune bench` as a study: its runs below a folder, the tables, the rankings, the page."""

from __future__ import annotations

from pathlib import Path

from mcprune.data.base import Dataset
from mcprune.report.terminal import Output
from mcprune.studies.base import Results
from mcprune.studies.bench.ranking import ranking
from mcprune.studies.bench.runs import Bench, missed_counts, summary
from mcprune.studies.bench.table import print_tables
from mcprune.studies.job_study import JobStudy

# Figures of each run in results.json.
RECORDED = (
    "hardened", "retrained", "away", "kept_before", "near_hard", "seconds", "forwards", "epochs", "is_cut", "keep",
)  # fmt: skip


class BenchStudy(JobStudy):
    """A comparison below a folder.

    Parameters
    ----------
    root : Path
    bench : Bench
    dataset : Dataset
    force : bool
        Finished runs that had other options are replaced.

    Raises
    ------
    ConfigError, FolderError
        As of `Jobs`.
    """

    def __init__(self, root: Path, bench: Bench, dataset: Dataset, *, force: bool = False) -> None:
        super().__init__(root, "bench", bench.jobs(), dataset, force=force)
        self.bench = bench
        self.threads = bench.shared.get("threads")

    def results(self) -> Results:
        """See `Study.results`."""
        bench, runs = self.bench, self.finished_runs()
        table = summary(bench, self.jobs.jobs, runs)
        rankings = {keep: ranking(table, keep, bench.seconds, bench.seeds) for keep in bench.keeps}
        return {
            "setting": {
                "methods": bench.methods,
                "keep": list(bench.keeps),
                "seeds": list(bench.seeds),
                "seconds": bench.seconds,
                "accuracies": list(bench.accuracies),
                "shared": bench.shared,
            },
            "table": table,
            "ranking": [{"n": keep, "order": list(one.order), "text": one.text} for keep, one in rankings.items()],
            "misses": [missed_counts(table, keep) for keep in bench.keeps],
            "runs": [
                {
                    "name": job.name,
                    **job.about,
                    **{name: getattr(run, name) for name in RECORDED},
                    "curve": [list(point) for point in run.curve],
                }
                for job in self.jobs.jobs
                if (run := runs.get(job.name)) is not None
            ],
        }

    def report(self, results: Results, output: Output) -> None:
        """See `Study.report`."""
        print_tables(results, output)

    def write_page(self, path: Path, results: Results) -> None:
        """See `Study.write_page`."""
        runs = self.finished_runs()
        if runs:
            from mcprune.studies.bench.page import write_page

            write_page(path, self.bench, self.jobs, runs, results)
