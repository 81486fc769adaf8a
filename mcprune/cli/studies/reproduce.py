"""The command line of `reproduce`: what a source states, measured: the slides, a post on OBD, a paper on gradient flow."""

from __future__ import annotations

import argparse
import sys

from mcprune.cli.parser import Parser, nearest
from mcprune.cli.studies.values import integers, shares, study_options, threads
from mcprune.errors import ConfigError

SOURCES = ("slides", "obd", "flow")
QUICK, FULL = {"data": "digits", "keep": "16"}, {"data": "mnist", "keep": "50"}
NETWORKS, QUICK_NETWORKS = "vgg13,mobilenet_v1,resnet56", "vgg13"
FRACTIONS = "0.25,0.5,0.75"


def flow_parser() -> Parser:
    """Return the parser of `mcprune reproduce flow`."""
    parser = Parser(
        "mcprune reproduce flow",
        "Measure the observations of 'A Gradient Flow Framework for Analyzing Network Pruning' (Lubana and Dick, ICLR 2021): channels "
        "are dropped early in training by six importance measures, and training goes on. Each observation becomes a row with what was "
        "run, what was measured, a threshold and a verdict (holds, does not hold, unclear). Runs lie below --out, with results.json and "
        "page.html; the same command continues where it stopped. --scale small are narrow networks on 5,000 images of CIFAR-10, "
        "three quarters of an hour on one core, with --quick digits and one narrow "
        "network, about a minute; --scale paper is the paper's size, for a GPU, and has not been run yet.",
    )
    parser.option("--scale", choices=("small", "paper"), help="how large (default: small)")
    parser.option("--data", metavar="TEXT", help="data set of square images (default: cifar-10, with --quick digits)")
    parser.option(
        "--networks", metavar="NAME,...", help=f"which of {NETWORKS} (default: all, with --quick {QUICK_NETWORKS})"
    )
    parser.option(
        "--fractions",
        metavar="SHARE,...",
        default=FRACTIONS,
        help=f"of the channels that are dropped (default: {FRACTIONS})",
    )
    parser.option("--seeds", metavar="INTEGER,...", default="0", help="every run for each (default: 0)")
    parser.option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto, a GPU if any)")
    parser.option("--threads", metavar="INTEGER", type=threads, help="of torch (default: the usable cores)")
    study_options(parser, "runs/reproduce-flow")
    return parser


def reproduce_parser() -> Parser:
    """Return the parser of `mcprune reproduce`."""
    parser = Parser(
        "mcprune reproduce",
        "Measure what a source states: slides are the deepPP slides of May 2023 that proposed the pruner, in their own setting where "
        "they give it. Each statement becomes a row with what was run, what was measured, a threshold and a verdict (holds, does not "
        "hold, unclear). Runs lie below --out, with results.json and page.html; the same command continues where it stopped. By "
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
        "--seeds",
        metavar="INTEGER,...",
        help="every run for each; a verdict needs all of them alike (default: 0, of obd 0,1,2)",
    )
    parser.option(
        "--chain",
        metavar="PERCENT,...",
        help="of obd only: the percentages dropped at which the chain searches too, minutes each (default: 10 to 98)",
    )
    parser.option("--threads", metavar="INTEGER", help="of torch and numba (default: as run)")
    study_options(parser, "runs/reproduce-SOURCE")
    return parser


def reproduce(arguments: list[str]) -> int:
    """Run `mcprune reproduce` and return its exit code: 0, or 1 if a run failed."""
    if arguments[:1] == ["flow"]:  # options of its own
        return _flow(arguments[1:])
    parsed = reproduce_parser().read(arguments)
    if parsed.source == "flow":
        raise ConfigError("flow has options of its own and comes first, as in: mcprune reproduce flow --quick")
    if parsed.source not in SOURCES:
        raise ConfigError(
            f"there is no source {parsed.source!r} to reproduce{nearest(parsed.source, list(SOURCES))}; the sources are "
            f"{', '.join(SOURCES)}"
        )
    return _obd(parsed) if parsed.source == "obd" else _slides(parsed)


def _slides(parsed: argparse.Namespace) -> int:
    defaults = QUICK if parsed.quick else FULL
    if parsed.chain is not None:
        raise ConfigError("--chain belongs to reproduce obd: the slides have their own searches. Leave it out")
    keep = integers("--keep", parsed.keep or defaults["keep"], 1)
    if len(keep) > 1:
        raise ConfigError(f"--keep needs one number here, but got {parsed.keep}. Run it again with another --out")
    seeds = integers("--seeds", parsed.seeds or "0", 0)

    from mcprune.data.load import load
    from mcprune.studies.base import study_folder
    from mcprune.studies.reproduce.slides.runs import Setting, SlidesStudy

    data = parsed.data or defaults["data"]
    setting = Setting(data=data, keep=keep[0], seeds=seeds, quick=parsed.quick, threads=parsed.threads)
    root = study_folder(parsed.out, "runs/reproduce-slides")
    study = SlidesStudy(root, setting, load(data), force=parsed.force)
    return study.conduct(quiet=parsed.quiet, stdout=sys.stdout, stderr=sys.stderr)


def _obd(parsed: argparse.Namespace) -> int:
    if parsed.keep is not None:
        raise ConfigError("--keep belongs to reproduce slides: obd prunes at fixed percentages. Leave it out")
    seeds = integers("--seeds", parsed.seeds or "0,1,2", 0)

    from mcprune.data.load import load
    from mcprune.studies.base import study_folder
    from mcprune.studies.reproduce.obd import setting as obd
    from mcprune.studies.reproduce.obd.runs import ObdStudy

    data = parsed.data or ("digits" if parsed.quick else "mnist")
    options = dict(obd.QUICK if parsed.quick else {})
    if parsed.chain is not None:
        options["chain_percents"] = _percents(parsed.chain)
    setting = obd.Setting(
        data=data, seeds=tuple(dict.fromkeys(seeds)), quick=parsed.quick, threads=parsed.threads, **options
    )
    setting.config(0)  # refused before the data are loaded
    root = study_folder(parsed.out, "runs/reproduce-obd")
    study = ObdStudy(root, setting, load(data), force=parsed.force)
    return study.conduct(quiet=parsed.quiet, stdout=sys.stdout, stderr=sys.stderr)


def _flow(arguments: list[str]) -> int:
    parsed = flow_parser().read(arguments)
    if parsed.quick and parsed.scale:
        raise ConfigError("--quick and --scale exclude each other. Choose one of them")
    seeds = integers("--seeds", parsed.seeds, 0)
    fractions = shares("--fractions", parsed.fractions)
    if fractions[-1] >= 1:
        raise ConfigError(f"--fractions needs shares below 1, since channels must be left, but got {parsed.fractions}")
    networks = parsed.networks or (QUICK_NETWORKS if parsed.quick else NETWORKS)

    from mcprune.data.load import load
    from mcprune.environment import cores, pick_device
    from mcprune.studies.base import study_folder
    from mcprune.studies.reproduce.flow.runs import FlowStudy
    from mcprune.studies.reproduce.flow.setting import Setting, check_networks

    pick_device(parsed.device)
    setting = Setting(
        scale="quick" if parsed.quick else parsed.scale or "small",
        data=parsed.data or ("digits" if parsed.quick else "cifar-10"),
        networks=check_networks([name for part in networks.split(",") if (name := part.strip())]),
        seeds=tuple(dict.fromkeys(seeds)),
        fractions=tuple(dict.fromkeys(fractions)),
        device=parsed.device,
        threads=parsed.threads or cores(),
    )
    if not setting.networks:
        raise ConfigError(f"--networks is empty. Choose from {NETWORKS}")
    root = study_folder(parsed.out, "runs/reproduce-flow")
    study = FlowStudy(root, setting, load(setting.data), force=parsed.force)
    return study.conduct(quiet=parsed.quiet, stdout=sys.stdout, stderr=sys.stderr)


def _percents(text: str) -> tuple[int, ...]:
    """Return the percentages of --chain, ascending."""
    percents = tuple(sorted(set(integers("--chain", text, 1))))
    if percents[-1] > 99:
        raise ConfigError(f"--chain takes percentages from 1 to 99, but got {percents[-1]}. Choose at most 99")
    return percents
