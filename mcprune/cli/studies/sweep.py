"""The command line of `sweep`: a line for each trial, the best of them as a table, what mattered, the page."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mcprune.cli.arguments import run_options, run_parser
from mcprune.cli.parser import Parser
from mcprune.cli.studies.values import integers
from mcprune.config.options import option
from mcprune.config.parsing import shown
from mcprune.config.schema import make_config
from mcprune.errors import ConfigError
from mcprune.report.terminal import choose, write
from mcprune.report.text import wrapped
from mcprune.studies.base import Results, study_folder
from mcprune.studies.sweep import vary
from mcprune.studies.sweep.table import best_trials, cells, command, header, summary

if TYPE_CHECKING:
    from mcprune.studies.sweep.runs import TrialResult

OWN = ("vary", "trials", "seeds", "score", "prune")
# Options of run that make no sense here, and what to do instead.
REFUSED = {
    "seed": "give --seeds, which takes one or several",
    "force": "a sweep replaces nothing: choose another --out, or remove its folder",
    "compare": "a sweep compares trials with each other; leave it out",
}
DESCRIPTION = (
    "Try values of options with Optuna (TPE) and rank them by validation accuracy; no test row is looked at, and the parts of the data are "
    "drawn by the first of --seeds in every search. All options of run hold for every trial but those that --vary names. The journal in "
    "--out is shared: the same command in several processes, or on several machines with the folder in common, works on one sweep; "
    "after an end or an interruption it continues. Failed trials are recorded and count. It needs the extra sweep (optuna)."
)


def sweep_parser() -> Parser:
    """Return the parser of `mcprune sweep`: its own options and those of `run`."""
    parser = run_parser("sweep", DESCRIPTION)
    parser.usage = "mcprune sweep --vary NAME=LOW:HIGH [--vary ...] [--trials N] [options of run]"
    for action in parser._actions:
        if action.dest in REFUSED or action.dest == "json":
            action.help = argparse.SUPPRESS
        elif action.dest == "out":
            action.help = "folder of the sweep, shared by its processes (default: sweeps/NAME)"
        elif action.dest == "quiet":
            action.help = "print errors and, at the end, the page; nothing else (default: no)"
    own = parser.add_argument_group("sweep")
    parser.option(
        "--vary", metavar="NAME=VALUES", action="append", default=[], group=own,
        help="an option and its values: LOW:HIGH, log:LOW:HIGH, or a list ONE,OTHER (ONE|OTHER where a value has commas), as in "
        "--vary temperature=log:1e-5:1e-2 --vary mask_noise=0:0.3 --vary gates=hard,sharpened; give it once for each (default: none)",
    )  # fmt: skip
    parser.option(
        "--trials", metavar="INTEGER", default="20", group=own, help="of all processes together (default: 20)"
    )
    parser.option(
        "--seeds", metavar="INTEGER,...", group=own, help="a search for each in a trial; the mean counts (default: 0, or that of --config)"
    )  # fmt: skip
    parser.option(
        "--score", metavar="{retrained,not-retrained}", choices=("retrained", "not-retrained"), default="retrained", group=own,
        help="validation accuracy of the pruned model, retrained as in a run but on the training rows alone; or of the hard mask with "
        "the classifier of the search, which costs less (default: retrained)",
    )  # fmt: skip
    parser.option(
        "--prune", action="store_true", group=own,
        help="end a trial whose mean over its first seeds is below the median of earlier trials (default: no)",
    )  # fmt: skip
    return parser


def sweep(arguments: list[str]) -> int:
    """Run `mcprune sweep` and return its exit code: 0, or 1 if no trial came to its end."""
    parser = sweep_parser()
    options, quiet, json = run_options(arguments, parser)
    typed = vars(parser.read(arguments))
    own = argparse.Namespace(**{name: options.pop(name) for name in OWN})
    for name, remedy in REFUSED.items():
        if name in typed:
            raise ConfigError(f"{option(name)} is not for mcprune sweep: {remedy}")
    # The file may be the config.toml of a run: its seed becomes the seed of the sweep, and an option that varies replaces its value.
    file_seed = str(options.get("seed", 0))
    varying = {vary.read(text).name for text in own.vary}
    options = {
        name: value for name, value in options.items() if name in typed or not (name in REFUSED or name in varying)
    }
    if json:
        raise ConfigError("--json is for mcprune run; a sweep writes results.json")
    trials = integers("--trials", own.trials, 1)
    if len(trials) > 1:
        raise ConfigError(f"--trials needs one number, but got {own.trials!r}")
    seeds = integers("--seeds", own.seeds if own.seeds is not None else file_seed, 0)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds needs different numbers, but got {own.seeds!r}")
    if own.prune and len(seeds) < 2:
        raise ConfigError("--prune ends a trial after a part of its seeds, so it needs at least two of --seeds")

    out = options.pop("out", None)
    for seed in seeds:
        config = make_config(**options, seed=seed)
    varied = vary.read_all(own.vary, options)
    root = study_folder(None if out is None else str(out), f"sweeps/{config.data_name()}")
    from mcprune.studies.sweep.study import import_optuna

    import_optuna()  # before torch and the data are waited for

    from mcprune.session.build.dataset import load_dataset
    from mcprune.studies.base import PAGE
    from mcprune.studies.sweep.page import write_page
    from mcprune.studies.sweep.runs import Sweep, Sweeper, with_own_name

    what = Sweep(options, varied, seeds, own.score, own.prune)
    sweeper = Sweeper(what, load_dataset(config), root)
    is_over = False
    try:
        for result in sweeper.run(trials[0]):
            if not quiet:
                write(sys.stdout, _line(result, trials[0]) + "\n")
        is_over = True
    finally:
        results = sweeper.write_results()
        with_own_name(root / PAGE, lambda path: write_page(path, results))
        if is_over and not quiet:
            report(results)
    print(root / PAGE)
    return 0 if results["best"] is not None else 1


def _line(result: TrialResult, trials: int) -> str:
    words = ", ".join(f"{name} {shown(name, value)}" for name, value in result.values.items())
    score = "" if result.score is None else f"{result.score:.4f}"
    what = {"complete": score, "pruned": f"pruned at {score}", "failed": f"failed: {result.message}"}[result.state]
    return f"[{result.place + 1}/{trials}] {what}; {words}; {result.seconds:.1f} s"


def report(results: Results) -> None:
    """Write the best trials, the importances, the failures and the command line of the best."""
    output = choose(sys.stdout)
    output.lines([""])
    if results["best"] is not None:
        output.table(header(results), [cells(trial) for trial in best_trials(results)])
        output.lines([""])
    for text in summary(results):
        output.lines(wrapped(text, output.width, ""))
    if results["best"] is not None:
        output.lines(
            ["the best was chosen by validation rows; its test accuracy is that of", f"  {command(results)}", ""]
        )
    for trial in results["trials"]:
        if trial["state"] == "failed":
            output.lines(wrapped(f"failed: trial {trial['place'] + 1}: {trial['message']}", output.width, ""))
