"""`mcprune polish`: fewer signed digits of a fixed-point network, to an exact budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcprune.cli.parser import Parser
from mcprune.cli.tune import PAGE, add_page_options, check_page
from mcprune.errors import ConfigError
from mcprune.storage.layout import check_network_folder

if TYPE_CHECKING:
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
    "input_noise": float,
}
NAMES = {"keep": "budget", "budget_in": "unit"}  # of settings that the command line calls otherwise
OUT = "polished"  # in the folder of the start


def polish_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser("mcprune polish", DESCRIPTION)
    parser.option("folder", metavar="FOLDER", help="a finished run, such as runs/jets, or a fixed-point network")
    for name, metavar, text in (
        ("--keep", "N", "the budget: the result costs at most so much"),
        (
            "--budget-in",
            "UNIT",
            "digits, digit-bits (a digit times the bits of its input), ebops, adders, luts (default: digits)",
        ),
        (
            "--objective",
            "TEXT",
            "what is minimised, as in mcprune run, such as rejection:0.5:W (default: cross-entropy)",
        ),
        ("--proposals", "N", "proposals in all, each of one or more candidates (default: 400000)"),
        (
            "--temperature",
            "T",
            "of the mean loss at the start; it falls to 0, and is lower for more than 128 digits (default: 3e-5)",
        ),
        ("--drops", "N", "units and inputs that a block tries to drop as a whole (default: 1)"),
        ("--blocks", "N", "blocks of the chain, between which units and bits are tried (default: 40)"),
        ("--descent", "SHARE", "part of the blocks over which the budget falls to N (default: 0.5)"),
        (
            "--input-noise",
            "DEVIATION",
            "each training row decides twice, once with normal noise on its scaled inputs: against overfitting of few rows (default: 0)",
        ),
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
    page = parser.add_argument_group("page")
    parser.option(
        "--live", action="store_true", group=page, help="serve a page that shows the chain and steers it (default: no)"
    )
    add_page_options(parser, page)
    return parser


def polish(arguments: list[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    options = vars(polish_parser().read(arguments))
    if options["keep"] is None:
        raise ConfigError("There is no budget. Give --keep N, such as --keep 80 for 80 signed digits.")
    settings = _settings(options)
    folder = Path(options["folder"])
    out = folder / OUT if options["out"] is None else Path(options["out"])

    own = {name: options.pop(name) for name in ("live", *PAGE)}
    check_page(own)

    from mcprune.cli.firmware.polishing import Screen, polish_start
    from mcprune.cli.firmware.start import RoundingRule, read_start
    from mcprune.firmware.network_files import is_network

    check_network_folder(out, force=options["force"])
    if is_network(folder):
        for name in ("bits", "signal_bits"):
            if options[name] is not None:
                raise ConfigError(
                    f"--{name.replace('_', '-')} is for a classifier that is rounded, but {str(folder)!r} holds a fixed-point network. "
                    "Leave it out."
                )
    rule = RoundingRule(*(_bits(options, name, 8) for name in ("bits", "signal_bits")))
    data = {name: options[name] for name in DATA if options[name] is not None}
    if "data" in data:
        data["seed"] = settings.seed
    start = read_start(folder, data, rule)
    screen = Screen(options["quiet"], options["json"], own if own["live"] else None)
    polish_start(start, settings, options["objective"] or "cross-entropy", out, screen)
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
