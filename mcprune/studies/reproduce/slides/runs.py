"""`reproduce slides`: the runs in the slides' own setting, and their statements as rows with verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcprune.data.base import Dataset
from mcprune.storage.run_metrics import RunFigures
from mcprune.studies.base import ClaimStudy, Options, Results
from mcprune.studies.claims import Claim
from mcprune.studies.job_study import JobStudy
from mcprune.studies.jobs import Job
from mcprune.studies.reproduce.slides.claims import Runs, claims

# Figures of each run in results.json.
RECORDED = ("kept_before", "near_hard", "away", "hardened", "retrained", "seconds", "epochs")
ALPHAS = ("0.1", "1", "10", "100", "1000")
LAMBDAS = ("1e5", "1e6", "1e7")
# 20 epochs for each of lambda = 1 ... 1e7; means over 10 epochs; gates start at sigmoid(4) = .982 and have no wall.
EPOCHS, DECADE, WINDOW, START, NO_WALL = 160, 20, 10, 4.0, 1000.0
# Adam's usual step; digits make a tenth of the steps of MNIST in an epoch, and get ten times the step.
RATES = {"digits": 1e-2}
RATE = 1e-3
CHAIN_SECONDS, CHAIN_SECONDS_QUICK = 180.0, 4.0


@dataclass(frozen=True)
class Setting:
    """What is reproduced on which data; `threads` as `run` takes it."""

    data: str
    keep: int
    seeds: tuple[int, ...] = (0,)
    quick: bool = False
    threads: str | None = None

    @property
    def rate(self) -> float:
        """The pruner's learning rate."""
        return RATES.get(self.data, RATE)

    def description(self) -> str:
        """Return what the setting is, and which part of it the slides do not give."""
        seconds = CHAIN_SECONDS_QUICK if self.quick else CHAIN_SECONDS
        return (
            f"{self.data}, n = {self.keep}, seeds {', '.join(map(str, self.seeds))}. As on the slides: gates sigmoid(w) close to 1 at "
            f"the start (w = {START:g}), L_tot = L_cla + alpha L_pru, lambda x10 every {DECADE} epochs from 1 to 1e7 (so {EPOCHS} epochs "
            f"for every run of the gradient path), means over the last {WINDOW} epochs, no wall for the weights. Not on the slides, so "
            f"chosen here: the data, n, the classifier (an MLP of 128 and 64 units), Adam for both, {self.rate:g} as the pruner's step "
            f"and 2e-3, decaying at the end, as the classifier's, and the {seconds:g} s that each chain gets."
        )


def jobs(setting: Setting) -> list[Job]:
    """Return every run of the setting: for each seed the gradient path's, then the two chains."""
    listed = []
    for seed in setting.seeds:
        shared: Options = {"data": setting.data, "keep": setting.keep, "seed": seed, "compare": "no"}
        if setting.threads is not None:
            shared["threads"] = setting.threads
        for name, options in _gradient(setting.rate).items():
            listed.append(Job(f"{name}-seed{seed}", {**shared, **options}, {"run": name, "seed": seed}))
        seconds = CHAIN_SECONDS_QUICK if setting.quick else CHAIN_SECONDS
        for name, options in {"chain-slides": {"preset": "slides"}, "chain": {}}.items():
            listed.append(
                Job(f"{name}-seed{seed}", {**shared, **options, "search_time": seconds}, {"run": name, "seed": seed})
            )
    return listed


def _gradient(rate: float) -> dict[str, Options]:
    """Return the gradient path's runs by name."""
    window = f"window={WINDOW}"
    plain: dict[str, Options] = {
        **{f"fixed-{alpha}": {"alpha": alpha} for alpha in ALPHAS},
        "fixed-1-modified": {"alpha": "1", "rejection": "modified"},
        "ratio": {"alpha": f"ratio:{window}"},
        "ratio-slow": {"alpha": f"ratio:{window}", "gate_optimizer": f"adam:{rate / 4!r}"},
        "ratio-fast": {"alpha": f"ratio:{window}", "gate_optimizer": f"adam:{rate * 4!r}"},
        "ratio-modified": {"alpha": f"ratio:{window}", "rejection": "modified"},
        **{f"lambda-{value}": {"alpha": f"mu-lambda:lambda={value},{window}"} for value in LAMBDAS},
        "decade": {"alpha": f"decade:epochs={DECADE},{window}"},
        "decade-literal": {"alpha": f"decade:epochs={DECADE},{window},window_kind=literal"},
        "stall": {"alpha": f"stall:{window}"},
        "ramp": {"alpha": "ramp"},
    }
    common: Options = {
        "method": "gradient", "epochs": EPOCHS, "start_weight": START, "weight_bound": NO_WALL, "gate_optimizer": f"adam:{rate!r}",
    }  # fmt: skip
    return {name: {**common, **options} for name, options in plain.items()}


class SlidesStudy(JobStudy, ClaimStudy):
    """The slides' runs below a folder, and their claims.

    Parameters
    ----------
    root : Path
    setting : Setting
    dataset : Dataset
    force : bool
        Finished runs that had other options are replaced.

    Raises
    ------
    ConfigError, FolderError
        As of `Jobs`.
    """

    source = "deepPP slides of May 2023"
    source_says = "the slides say"

    def __init__(self, root: Path, setting: Setting, dataset: Dataset, *, force: bool = False) -> None:
        super().__init__(root, "reproduce slides", jobs(setting), dataset, force=force)
        self.setting, self.threads = setting, setting.threads

    def by_seed(self) -> Runs:
        """Return the finished runs: by name, then by seed."""
        runs: dict[str, dict[int, RunFigures]] = {}
        finished = self.finished_runs()
        for job in self.jobs.jobs:
            if job.name in finished:
                runs.setdefault(job.about["run"], {})[job.about["seed"]] = finished[job.name]
        return runs

    def claims(self) -> list[Claim]:
        """See `ClaimStudy.claims`."""
        return claims(self.by_seed(), self.setting.keep)

    def results(self) -> Results:
        """See `Study.results`."""
        setting = self.setting
        return {
            **super().results(),
            "setting": {
                "data": setting.data, "keep": setting.keep, "seeds": list(setting.seeds), "quick": setting.quick,
                "description": setting.description(),
            },
            "runs": [
                {"run": name, "seed": seed, **{key: getattr(run, key) for key in RECORDED}}
                for name, by_seed in self.by_seed().items()
                for seed, run in by_seed.items()
            ],
        }  # fmt: skip

    def write_page(self, path: Path, results: Results) -> None:
        """See `Study.write_page`."""
        from mcprune.studies.reproduce.slides.page import write_page

        write_page(path, self.by_seed(), results)
