"""The command lines of `bench` and `reproduce`: many runs, a table, a page."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcprune.cli.help import meaning, placeholder
from mcprune.cli.parser import Parser, nearest
from mcprune.config.measures import MEASURES
from mcprune.config.options import OPTIONS
from mcprune.errors import ConfigError

QUICK: dict[str, Any] = {"data": "digits", "keep": "16", "time": 1.5}
FULL: dict[str, Any] = {"data": "mnist", "keep": "50", "time": 180.0}
QUICK_RETRAIN = "60"
METHODS = "markov,fixed,ratio,mu-lambda,decade,stall,ramp,annealed,hard-concrete,straight-through,auto"
SHARED = (
    "data", "target", "test", "validation", "scale", "sites", "hidden", "activation", "dropout", "batch_size", "learning_rate",
    "weight_decay", "retrain_epochs", "device", "threads", "max_memory",
)  # fmt: skip


def bench_parser() -> Parser:
    """Return the parser of `mcprune bench`."""
    parser = Parser(
        "mcprune bench",
        "Compare the chain with every variant of the gradient path: the same data, classifier and time for each search, "
        "several seeds, epochs and schedules scaled to the time. Each run lies in its own folder below --out, with results.json "
        "and page.html, one page that needs no network. The same command goes on where it stopped. By default MNIST, n = 50, "
        "180 s a search: 11 methods and 3 seeds take close to two hours.",
        stray="; every value follows the name of its option, as in --data digits",
    )
    parser.option("--keep", metavar="INTEGER,...", help="n, or several (default: 50, with --quick 16)")
    parser.option("--time", metavar="SECONDS", type=_seconds, help="for each search (default: 180, with --quick 1.5)")
    parser.option("--seeds", metavar="INTEGER,...", default="0,1,2", help="a run for each (default: 0,1,2)")
    parser.option(
        "--methods",
        metavar="NAME,...",
        default=METHODS,
        help=f"what is compared; besides these the importance measures {', '.join(MEASURES)} (default: {METHODS})",
    )
    parser.option(
        "--variant",
        metavar="NAME:OPTION=VALUE;...",
        action="append",
        default=[],
        help="one more method, such as 'plain chain:method=markov;keep_schedule=geometric,regrow=0'; may be repeated (default: none)",
    )
    parser.option(
        "--accuracies",
        metavar="SHARE,...",
        default="0.9,0.94,0.96",
        help="validation accuracies whose time is told (default: 0.9,0.94,0.96)",
    )
    _common(parser, "runs/bench-NAME")
    shared = parser.add_argument_group("options of run that hold for all methods")
    for name in SHARED:
        entry = OPTIONS[name]
        text = meaning(entry)
        if name == "data":
            text = text.replace("(default: digits)", "(default: mnist, with --quick digits)")
        if name == "retrain_epochs":
            text = text.removesuffix(")") + f", with --quick {QUICK_RETRAIN})"
        more: dict[str, Any] = {"dest": name, "group": shared, "default": argparse.SUPPRESS, "help": text}
        parser.option(entry.flag, metavar=placeholder(entry), **more)
    return parser


def reproduce_parser() -> Parser:
    """Return the parser of `mcprune reproduce`."""
    parser = Parser(
        "mcprune reproduce",
        "Measure what a source states: slides are the deepPP slides of May 2023 that proposed the pruner, in their own setting where "
        "they give it. Each statement becomes a row with what was run, what was measured, a threshold and a verdict (holds, does not "
        "hold, unclear). Runs lie below --out, with results.json and page.html; the same command goes on where it stopped. By "
        "default MNIST, n = 50, 160 epochs a run: 19 runs, about an hour on one core. obd is a post that tried Optimal Brain "
        "Damage on MNIST: weights pruned in one shot, by magnitude and by second derivatives (minutes), and by the chain, which takes "
        "hours in all.",
    )
    parser.option(
        "source", metavar="SOURCE", help="slides, obd, or flow, which has options of its own: reproduce flow --help"
    )
    parser.option("--data", metavar="TEXT", help="data set (default: mnist, with --quick digits)")
    parser.option("--keep", metavar="INTEGER", help="n, of slides only (default: 50, with --quick 16)")
    parser.option(
        "--seeds", metavar="INTEGER,...", help="every run for each; verdicts want all alike (default: 0, of obd 0,1,2)"
    )
    parser.option(
        "--chain",
        metavar="PERCENT,...",
        help="of obd only: the percentages dropped at which the chain searches too, minutes each (default: 10 to 98)",
    )
    parser.option("--threads", metavar="INTEGER", help="of torch and numba (default: as run)")
    _common(parser, "runs/reproduce-SOURCE")
    return parser


def _common(parser: Parser, out: str) -> None:
    parser.option("--quick", action="store_true", help="digits, and little time (default: no)")
    parser.option("--out", metavar="FOLDER", help=f"folder of the runs, the table and the page (default: {out})")
    parser.option("--force", action="store_true", help="replace finished runs that had other options (default: no)")
    parser.option("--quiet", action="store_true", help="print errors and, at the end, the folder (default: no)")


def bench(arguments: list[str]) -> int:
    """Run `mcprune bench` and return its exit code: 0, or 1 if a method failed."""
    given = bench_parser().read(arguments)
    usual = QUICK if given.quick else FULL
    shared = {name: getattr(given, name) for name in SHARED if hasattr(given, name)}
    shared.setdefault("data", usual["data"])
    if given.quick:
        shared.setdefault("retrain_epochs", QUICK_RETRAIN)
    keeps = integers("--keep", given.keep if given.keep is not None else str(usual["keep"]), 1)
    seeds = integers("--seeds", given.seeds, 0)
    seconds = given.time if given.time is not None else float(usual["time"])
    accuracies = shares("--accuracies", given.accuracies)
    wanted = [name for part in given.methods.split(",") if (name := part.strip())]
    variants: dict[str, dict[str, Any]] = {}
    for name, options in map(_variant, given.variant):
        if name in variants or name in wanted:
            raise ConfigError(f"--variant: there is another method {name!r}; give this one a name of its own")
        variants[name] = options

    from mcprune.studies.bench import runs as comparison
    from mcprune.studies.bench.table import lines, table
    from mcprune.studies.jobs import Jobs

    methods: dict[str, dict[str, Any]] = {}
    for name in wanted:
        if name not in comparison.CONTENDERS:
            known = list(comparison.CONTENDERS)
            raise ConfigError(
                f"there is no method {name!r}{nearest(name, known) or '; the methods are ' + ', '.join(known)}"
            )
        methods[name] = comparison.CONTENDERS[name]
    what = comparison.Bench({**methods, **variants}, keeps, seeds, seconds, accuracies, shared)
    root = folder_of(given.out, f"runs/bench-{Path(shared['data']).name.split('.')[0] or 'data'}")
    jobs = Jobs(root, "bench", what.jobs(), force=given.force)

    def conclude(final: bool) -> None:
        runs = comparison.finished_runs(jobs)
        found = comparison.write_results(root, what, jobs, runs)
        if final and not given.quiet:
            table(found, sys.stdout)
        if runs:
            from mcprune.studies.bench.page import write_page

            write_page(root / "page.html", what, jobs, runs, found)

    code = _work(jobs, shared["data"], shared.get("target"), given.quiet, lines, conclude)
    return _end(jobs, root, code)


def reproduce(arguments: list[str]) -> int:
    """Run `mcprune reproduce` and return its exit code: 0, or 1 if a run failed."""
    if arguments[:1] == ["flow"]:  # options of its own
        from mcprune.cli.reproduce_flow import reproduce_flow

        return reproduce_flow(arguments[1:])
    given = reproduce_parser().read(arguments)
    if given.source == "flow":
        raise ConfigError("flow has options of its own and comes first, as in: mcprune reproduce flow --quick")
    sources = ["slides", "obd", "flow"]
    if given.source not in sources:
        raise ConfigError(
            f"there is no source {given.source!r} to reproduce{nearest(given.source, sources)}; the sources are "
            f"{', '.join(sources)}"
        )
    if given.source == "obd":
        from mcprune.cli.reproduce_obd import reproduce_obd

        return reproduce_obd(given)
    data = given.data or str((QUICK if given.quick else FULL)["data"])
    if given.chain is not None:
        raise ConfigError("--chain belongs to reproduce obd: the slides give their own searches; leave it out")
    keep = integers("--keep", given.keep or str((QUICK if given.quick else FULL)["keep"]), 1)
    if len(keep) > 1:
        raise ConfigError(f"--keep needs one number here, met {given.keep}; run it again with another --out")
    seeds = integers("--seeds", given.seeds or "0", 0)

    from mcprune.studies.bench.table import claim_lines, lines
    from mcprune.studies.jobs import Jobs
    from mcprune.studies.reproduce.slides import runs as slides

    setting = slides.Setting(data=data, keep=keep[0], seeds=seeds, quick=given.quick, threads=given.threads)
    root = folder_of(given.out, "runs/reproduce-slides")
    jobs = Jobs(root, "reproduce slides", slides.jobs(setting), force=given.force)

    def conclude(final: bool) -> None:
        found, runs = slides.write_results(root, setting, jobs)
        if final and not given.quiet:
            claim_lines(found, sys.stdout)
        if final:
            from mcprune.studies.reproduce.slides.page import write_page

            write_page(root / "page.html", jobs, runs, found)

    code = _work(jobs, data, None, given.quiet, lines, conclude)
    return _end(jobs, root, code)


def _work(
    jobs: Any, data: str, target: str | None, quiet: bool, lines: Callable[..., None], conclude: Callable[[bool], None]
) -> int:
    """Make the runs, tell of each, and write what there is, even where Ctrl-C ends it early."""
    from mcprune.data.load import load

    dataset = load(data, target=target)
    jobs.check(dataset)
    is_over = False
    try:
        for number, told in enumerate(jobs.run(dataset), 1):
            if not quiet:
                lines(jobs, number, told, sys.stdout)
        is_over = True
    finally:
        conclude(is_over)
    return 1 if jobs.failures() else 0


def _end(jobs: Any, root: Path, code: int) -> int:
    for name, message in jobs.failures().items():
        print(f"mcprune: failed: {name}: {message}", file=sys.stderr)
    if code:
        print("mcprune: the other runs are finished; the same command tries the failed ones again", file=sys.stderr)
    print(root / "page.html")
    return code


def folder_of(out: str | None, usual: str) -> Path:
    """Return the folder of a study: the one that was given, or the usual one.

    Raises
    ------
    ConfigError
        An empty name was given.
    """
    if out is not None and not out.strip():
        raise ConfigError(f"--out is empty; name a folder, or leave it out for {usual}")
    return Path(usual if out is None else out)


# What a comparison gives to all its methods: another value would be another question, or would not be used.
COMMON = {
    "data",
    "target",
    "test",
    "validation",
    "keep",
    "seed",
    "max_time",
    "compare",
    "out",
    "force",
    "checkpoint_every",
}


def _variant(text: str) -> tuple[str, dict[str, Any]]:
    name, colon, rest = text.partition(":")
    parts = [part.partition("=") for part in rest.split(";") if part.strip()]
    if not name.strip() or not colon or not parts or not all(equals for _, equals, _ in parts):
        raise ConfigError(f"--variant needs NAME:OPTION=VALUE;OPTION=VALUE, met {text!r}")
    if not all(letter.isalnum() or letter in " -_.,+" for letter in name) or name.strip(".") == "":
        raise ConfigError(f"--variant: the name {name!r} becomes a folder's; use letters, digits, spaces and - _ . , +")
    options = {key.strip().replace("-", "_"): value.strip() for key, _, value in parts}
    if common := sorted(COMMON & set(options)):
        raise ConfigError(
            f"--variant {name.strip()!r} sets {common[0]}, which all methods of a comparison have alike; leave it out of the variant"
        )
    return name.strip(), options


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number of seconds is needed, met {text!r}") from None
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"it must be above 0 and finite, met {text!r}")
    return value


def integers(name: str, text: str, least: int) -> tuple[int, ...]:
    """Read whole numbers with commas between, none below `least`; a ConfigError names the option."""
    try:
        values = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"{name} needs whole numbers with commas between, met {text!r}") from None
    if not values or min(values) < least:
        raise ConfigError(f"{name} needs numbers of at least {least}, met {text!r}")
    return values


def shares(name: str, text: str) -> tuple[float, ...]:
    """Read shares with commas between, above 0 and at most 1, in order; a ConfigError names the option."""
    try:
        values = tuple(sorted(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise ConfigError(f"{name} needs shares with commas between, such as 0.9,0.95; met {text!r}") from None
    if not values or not all(0 < value <= 1 for value in values):
        raise ConfigError(f"{name} needs shares above 0 and at most 1, met {text!r}")
    return values
