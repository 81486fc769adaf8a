"""The command line of `reproduce flow`: networks pruned early in training, a table, a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mcprune.cli.parser import Parser
from mcprune.errors import ConfigError

NETWORKS, QUICK_NETWORKS = "vgg13,mobilenet_v1,resnet56", "vgg13"
FRACTIONS = "0.25,0.5,0.75"
OUT = "runs/reproduce-flow"


def flow_parser() -> Parser:
    """Return the parser of `mcprune reproduce flow`."""
    parser = Parser(
        "mcprune reproduce flow",
        "Measure the observations of 'A Gradient Flow Framework for Analyzing Network Pruning' (Lubana and Dick, ICLR 2021): channels "
        "are dropped early in training by six importance measures, and training goes on. Each observation becomes a row with what was "
        "run, what was measured, a threshold and a verdict (holds, does not hold, unclear). Runs lie below --out, with results.json and "
        "page.html; the same command goes on where it stopped. --scale small are narrow networks on 5,000 images of CIFAR-10, "
        "three quarters of an hour on one core; --scale paper is the paper's size, for a GPU, and has not been run yet.",
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
    parser.option("--threads", metavar="INTEGER", type=_threads, help="of torch (default: the cores at hand)")
    parser.option("--quick", action="store_true", help="digits and one narrow network, about a minute (default: no)")
    parser.option(
        "--out", metavar="FOLDER", default=OUT, help=f"folder of the runs, the table and the page (default: {OUT})"
    )
    parser.option("--force", action="store_true", help="replace finished runs that had other options (default: no)")
    parser.option("--quiet", action="store_true", help="print errors and, at the end, the folder (default: no)")
    return parser


def reproduce_flow(arguments: list[str]) -> int:
    """Run `mcprune reproduce flow` and return its exit code: 0, or 1 if a run failed."""
    from mcprune.cli.studies import integers, shares

    given = flow_parser().read(arguments)
    if given.quick and given.scale:
        raise ConfigError("--quick and --scale exclude each other; give one of them")
    seeds = integers("--seeds", given.seeds, 0)
    fractions = shares("--fractions", given.fractions)
    if fractions[-1] >= 1:
        raise ConfigError(f"--fractions needs shares below 1, since something must be left; met {given.fractions}")
    names = [name.strip() for name in (given.networks or (QUICK_NETWORKS if given.quick else NETWORKS)).split(",")]

    from mcprune.data.load import load
    from mcprune.environment import cores, pick_device
    from mcprune.studies.bench.table import claim_lines
    from mcprune.studies.reproduce.flow import runs as flow
    from mcprune.studies.reproduce.flow.setting import Setting, check_networks, make_rows

    pick_device(given.device)
    setting = Setting(
        scale="quick" if given.quick else given.scale or "small",
        data=given.data or ("digits" if given.quick else "cifar-10"),
        networks=check_networks([name for name in names if name]),
        seeds=tuple(dict.fromkeys(seeds)),
        fractions=tuple(dict.fromkeys(fractions)),
        device=given.device,
        threads=given.threads or cores(),
    )
    if not setting.networks:
        raise ConfigError(f"--networks names none; choose from {NETWORKS}")
    root = Path(given.out)
    store = flow.Store(root, setting, force=given.force)
    dataset = load(setting.data)
    for network in setting.networks:  # refused now rather than when its turn has come
        make_rows(dataset, setting.size, network)

    is_over = False
    try:
        for number, (unit, status) in enumerate(store.run(dataset), 1):
            if not given.quiet:
                _tell(store, number, unit, status)
        is_over = True
    finally:
        found = flow.write_results(store)
        if is_over:
            if not given.quiet:
                claim_lines(found, sys.stdout)
                _table(found)
            from mcprune.studies.reproduce.flow.page import write_page

            write_page(root / "page.html", store.finished(), found)
    for name, message in store.failed.items():
        print(f"mcprune: failed: {name}: {message}", file=sys.stderr)
    if store.failed:
        print("mcprune: the other runs are finished; the same command tries the failed ones again", file=sys.stderr)
    print(root / "page.html")
    return 1 if store.failed else 0


def _tell(store: Any, number: int, unit: Any, status: str) -> None:
    from mcprune.report.terminal import write

    run = store.found(unit)
    if run is None:
        words = f"failed: {status}"
    else:
        left = f"{run['kept']:,} of {run['sites']:,} channels" if unit.measure else f"{run['sites']:,} channels"
        words = f"{left}, accuracy {run['accuracy']:.4f}, {run['seconds']:.1f} s"
        words += ", finished before" if status == "kept" else ""
    write(sys.stdout, f"[{number}/{len(store.units)}] {unit.name}: {words}\n")


def _table(found: dict[str, Any]) -> None:
    from mcprune.report.terminal import choose
    from mcprune.studies.reproduce.flow.page import accuracy_table

    output = choose(sys.stdout)
    output.lines(["test accuracy after training"])
    output.table(*accuracy_table(found))


def _threads(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number is needed, met {text!r}") from None
    if not 1 <= value <= 4096:
        raise argparse.ArgumentTypeError(f"1 to 4096 threads, met {text!r}")
    return value
