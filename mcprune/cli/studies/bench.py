"""The command line of `bench`: the methods side by side, a table, a page."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import NamedTuple

from mcprune.cli.help import meaning, placeholder
from mcprune.cli.parser import Parser, nearest
from mcprune.cli.studies.values import integers, shares, study_options
from mcprune.config.measures import MEASURES
from mcprune.config.options import OPTIONS
from mcprune.errors import ConfigError


class Size(NamedTuple):
    """The data, n and the seconds of a search, where the command line does not name them."""

    data: str
    keep: str
    time: float


QUICK, FULL = Size("digits", "16", 1.5), Size("mnist", "50", 180.0)
QUICK_RETRAIN = "60"
METHODS = "markov,fixed,ratio,mu-lambda,decade,stall,ramp,annealed,hard-concrete,straight-through,auto"
SHARED = (
    "data", "target", "sample_weight", "test", "validation", "scale", "sites", "hidden", "activation", "dropout", "batch_size",
    "learning_rate", "weight_decay", "retrain_epochs", "device", "threads", "max_memory",
)  # fmt: skip


def bench_parser() -> Parser:
    """Return the parser of `mcprune bench`."""
    parser = Parser(
        "mcprune bench",
        "Compare the chain with every variant of the gradient path: the same data, classifier and time for each search, "
        "several seeds, epochs and schedules scaled to the time. Methods are ranked only where each had at least 3 "
        "epochs and 2 seeds. Each run lies in its own folder below --out, with results.json "
        "and page.html, one page that needs no network. The same command continues where it stopped. By default MNIST, n = 50, "
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
        help="validation accuracies; the time until each is reached is listed (default: 0.9,0.94,0.96)",
    )
    study_options(parser, "runs/bench-NAME")
    shared = parser.add_argument_group("options of run that hold for all methods")
    for name in SHARED:
        entry = OPTIONS[name]
        text = meaning(entry)
        if name == "data":
            text = text.replace("(default: digits)", "(default: mnist, with --quick digits)")
        if name == "retrain_epochs":
            text = text.removesuffix(")") + f", with --quick {QUICK_RETRAIN})"
        parser.option(
            entry.flag, metavar=placeholder(entry), dest=name, group=shared, default=argparse.SUPPRESS, help=text
        )
    return parser


def bench(arguments: list[str]) -> int:
    """Run `mcprune bench` and return its exit code: 0, or 1 if a method failed."""
    parsed = bench_parser().read(arguments)
    defaults = QUICK if parsed.quick else FULL
    shared = {name: getattr(parsed, name) for name in SHARED if hasattr(parsed, name)}
    shared.setdefault("data", defaults.data)
    if parsed.quick:
        shared.setdefault("retrain_epochs", QUICK_RETRAIN)
    keeps = integers("--keep", parsed.keep if parsed.keep is not None else defaults.keep, 1)
    seeds = integers("--seeds", parsed.seeds, 0)
    seconds = parsed.time if parsed.time is not None else defaults.time
    accuracies = shares("--accuracies", parsed.accuracies)
    names = [name for part in parsed.methods.split(",") if (name := part.strip())]
    variants: dict[str, dict[str, str]] = {}
    for name, options in map(_variant, parsed.variant):
        if name in variants or name in names:
            raise ConfigError(f"--variant: there is another method {name!r}. Choose another name for the variant")
        variants[name] = options

    from mcprune.data.load import load
    from mcprune.studies.base import study_folder
    from mcprune.studies.bench.runs import CONTENDERS, Bench
    from mcprune.studies.bench.study import BenchStudy

    for name in names:
        if name not in CONTENDERS:
            known = list(CONTENDERS)
            raise ConfigError(
                f"there is no method {name!r}{nearest(name, known) or '; the methods are ' + ', '.join(known)}"
            )
    methods = {name: CONTENDERS[name] for name in names}
    comparison = Bench({**methods, **variants}, keeps, seeds, seconds, accuracies, shared)
    comparison.jobs()  # refused before the data are loaded
    root = study_folder(parsed.out, f"runs/bench-{Path(shared['data']).name.split('.')[0] or 'data'}")
    data = load(shared["data"], target=shared.get("target"), sample_weight=shared.get("sample_weight"))
    study = BenchStudy(root, comparison, data, force=parsed.force)
    return study.conduct(quiet=parsed.quiet, stdout=sys.stdout, stderr=sys.stderr)


# Options that all methods of a comparison share: another value would be another question, or would not be used.
COMMON = {
    "data",
    "target",
    "sample_weight",
    "test",
    "validation",
    "keep",
    "seed",
    "max_time",
    "search_time",
    "compare",
    "out",
    "force",
    "checkpoint_every",
}


def _variant(text: str) -> tuple[str, dict[str, str]]:
    name, colon, rest = text.partition(":")
    parts = [part.partition("=") for part in rest.split(";") if part.strip()]
    if not name.strip() or not colon or not parts or not all(equals for _, equals, _ in parts):
        raise ConfigError(f"--variant needs NAME:OPTION=VALUE;OPTION=VALUE, but got {text!r}")
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
        raise argparse.ArgumentTypeError(f"a number of seconds is needed, but got {text!r}") from None
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"it must be above 0 and finite, but got {text!r}")
    return value
