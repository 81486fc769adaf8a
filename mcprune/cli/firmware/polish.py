"""`mcprune polish`: fewer signed digits of a fixed-point network, to an exact budget."""

from __future__ import annotations

import json as json_text
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mcprune.cli.parser import Parser
from mcprune.errors import ConfigError, FolderError
from mcprune.report.screens.status_line import StatusLine

if TYPE_CHECKING:
    from mcprune.cli.firmware.start import Start
    from mcprune.firmware.polish.polish import Polished, Standing
    from mcprune.firmware.polish.run import AdderCount, PolishState
    from mcprune.firmware.polish.settings import PolishSettings

DESCRIPTION = (
    "Lower a fixed-point network to an exact budget of signed digits (about its adders in firmware) by a Markov chain over the digits of "
    "its weights. Every decision is by the loss of the bit-exact network; its result never costs more than the budget. FOLDER is a "
    "finished run, whose classifier is rounded first, or a fixed-point network, which needs --data. The same command goes on with a "
    "polish that was cut off."
)
DATA = ("data", "target", "test", "validation", "scale", "sample_weight")  # options of run that say what the data are
NUMBERS = {
    "keep": int,
    "proposals": int,
    "blocks": int,
    "drops": int,
    "seed": int,
    "temperature": float,
    "descent": float,
}
NAMES = {"keep": "budget", "budget_in": "unit"}  # of settings that the command line calls otherwise
OUT = "polished"  # in the folder of the start
REPORT = "polish.json"


def polish_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser("mcprune polish", DESCRIPTION)
    parser.option("folder", metavar="FOLDER", help="a finished run, such as runs/jets, or a fixed-point network")
    for name, metavar, text in (
        ("--keep", "N", "the budget: the result costs at most so much"),
        (
            "--budget-in",
            "UNIT",
            "digits, digit-bits (a digit times the bits of its input), ebops, adders (default: digits)",
        ),
        (
            "--objective",
            "TEXT",
            "what is minimised, as in mcprune run, such as rejection:0.5:W (default: cross-entropy)",
        ),
        ("--proposals", "N", "candidates in all (default: 400000)"),
        ("--temperature", "T", "of the mean loss at the start; it falls to 0 (default: 3e-5)"),
        ("--drops", "N", "units and inputs that a block tries to drop as a whole (default: 1)"),
        ("--blocks", "N", "blocks of the chain, between which units and bits are tried (default: 40)"),
        ("--descent", "SHARE", "part of the blocks over which the budget falls to N (default: 0.5)"),
        ("--seed", "N", "of the chain (default: 0); rows are split as in the training of the network"),
        ("--bits", "N", "bits of each weight of a classifier that is rounded first (default: 8)"),
        ("--signal-bits", "N", "bits of its inputs and activations (default: 8)"),
        ("--data", "NAME|FILE", "the data of a fixed-point network"),
        ("--target", "NAME", "its column of classes"),
        ("--sample-weight", "NAME", "its column of weights"),
        ("--test", "SHARE", "part of its rows that is for the test alone (default: as mcprune run)"),
        ("--validation", "SHARE", "part of its rows for validation (default: as mcprune run)"),
        ("--scale", "KIND", "scaling of a network that brings none along (default: auto)"),
        ("--out", "FOLDER", "where to write (default: polished, in FOLDER)"),
    ):
        parser.option(name, metavar=metavar, help=text)
    parser.option("--force", action="store_true", help="replace a network that is there (default: no)")
    parser.option("--quiet", action="store_true", help="print errors and the result alone (default: no)")
    parser.option("--json", action="store_true", help="print one JSON object alone (default: no)")
    return parser


def polish(arguments: list[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    options = vars(polish_parser().read(arguments))
    if options["keep"] is None:
        raise ConfigError("There is no budget. Give --keep N, such as --keep 80 for 80 signed digits.")
    settings = _settings(options)
    folder = Path(options["folder"])
    out = folder / OUT if options["out"] is None else Path(options["out"])

    from mcprune.cli.firmware.start import RoundingRule, read_start
    from mcprune.firmware.network_files import is_network
    from mcprune.firmware.polish.polish import polish as polish_network
    from mcprune.report.terminal import write

    if is_network(out) and not options["force"]:
        raise FolderError(f"{str(out)!r} holds a network already. Choose another --out, or --force to replace it.")
    rule = RoundingRule(*(_bits(options, name, 8) for name in ("bits", "signal_bits")))
    data = {name: options[name] for name in DATA if options[name] is not None}
    if "data" in data:
        data["seed"] = settings.seed
    start = read_start(folder, data, rule)
    watch = None if options["quiet"] or options["json"] else Watch(settings)
    result = polish_network(
        start.network,
        start.splits,
        settings,
        objective=options["objective"] or "cross-entropy",
        count_adders=_solver() if settings.unit == "adders" else None,
        folder=out,
        on_block=watch,
    )
    if watch is not None:
        watch.line.close()
    content = report_json(result, start)
    (out / REPORT).write_text(json_text.dumps(content, indent=1) + "\n")
    if options["json"]:
        write(sys.stdout, json_text.dumps(content, allow_nan=False) + "\n")
    else:
        write(sys.stdout, "".join(f"{line}\n" for line in report_lines(result, start, out)))
    return 0


def _settings(options: dict[str, object]) -> PolishSettings:
    from mcprune.firmware.polish.settings import PolishSettings

    values: dict[str, object] = {}
    for name, kind in NUMBERS.items():
        if options[name] is not None:
            values[NAMES.get(name, name)] = _number(name, options[name], kind)
    if options["budget_in"] is not None:
        values["unit"] = options["budget_in"]
    return PolishSettings(**values)  # type: ignore[arg-type]  # each was read as its kind


def _number(name: str, value: object, kind: type[float] | type[int]) -> float | int:
    try:
        return kind(str(value))
    except ValueError:
        what = "whole number" if kind is int else "number"
        raise ConfigError(
            f"--{name.replace('_', '-')} takes a {what}, but got {str(value)!r}. See mcprune polish --help."
        ) from None


def _bits(options: dict[str, object], name: str, default: int) -> int:
    return default if options[name] is None else int(_number(name, options[name], int))


def _solver() -> AdderCount | None:
    """Return the adder count of the optional solver, or None where it is not installed."""
    from mcprune.firmware.solver import has_solver, solve_layers

    if not has_solver():
        return None
    return lambda network: sum(solved.adders for solved in solve_layers(network))


def report_lines(result: Polished, start: Start, out: Path) -> list[str]:
    """Return the result as a table of text."""
    from mcprune.report.text import columns

    before, after = result.before, result.after
    rows = [
        ["inputs and units", "-".join(map(str, before.widths)), "-".join(map(str, after.widths))],
        *(
            [name, f"{one:,}", f"{other:,}"]
            for name, one, other in zip(
                ("weights", "digits", "digit-bits", "EBOPs", "adders at most"), before.costs, after.costs, strict=True
            )
        ),
        ["training loss", f"{before.loss:.4f}", f"{after.loss:.4f}"],
        *(
            [f"{part} accuracy", f"{value:.4f}", f"{after.accuracies[part]:.4f}"]
            for part, value in before.accuracies.items()
        ),
    ]
    used, budget = after.costs.of(result.settings.unit), result.settings.budget
    return [
        f"{start.description}; budget {budget:,} {result.settings.unit}, used {used:,}",
        "",
        *columns(["", "before", "after"], rows),
        "",
        f"{result.evaluated:,} candidates in {result.seconds:.1f} s of the processor; {result.dropped} units or inputs dropped as a whole",
        f"written: {out}",
    ]


def report_json(result: Polished, start: Start) -> dict[str, object]:
    """Return the result as JSON-able data."""
    return {
        "start": start.description,
        "settings": asdict(result.settings),
        "before": _standing_json(result.before),
        "after": _standing_json(result.after),
        "evaluated": result.evaluated,
        "dropped": result.dropped,
        "bits_moved": result.bits_moved,
        "moves": [move._asdict() for move in result.moves],
        "seconds": result.seconds,
    }


def _standing_json(standing: Standing) -> dict[str, object]:
    return {
        **standing.costs._asdict(),
        "widths": list(standing.widths),
        "loss": standing.loss,
        "accuracies": standing.accuracies,
    }


class Watch:
    """Shows where the chain is."""

    def __init__(self, settings: PolishSettings) -> None:
        self.settings = settings
        self.line = StatusLine(time.monotonic())

    def __call__(self, state: PolishState) -> None:
        """Show it where a line is due."""
        from mcprune.firmware.costs import costs

        if not self.line.is_due(time.monotonic()):
            return
        cost = costs(state.network).of(self.settings.unit)
        text = f"block {state.block} of {self.settings.blocks}  {cost:,} {self.settings.unit}"
        if state.best is not None:
            text += f"  best within the budget {state.best_value:.4f} on the validation rows"
        self.line.show(text)
