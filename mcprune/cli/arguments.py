"""The command line of `run`, made from the one declaration of the options (config/options.py)."""

from __future__ import annotations

import argparse
import re
from typing import Any, get_origin

from mcprune.cli.parser import Parser
from mcprune.config.files import read_options
from mcprune.config.options import OPTIONS, SECTIONS, Option, expanded, option
from mcprune.config.parsing import shown
from mcprune.config.presets import PRESETS

DESCRIPTION = (
    "Choose which inputs, units or channels of a classifier to keep: backprop trains the classifier while a Markov "
    "chain, which needs no gradient, decides about the sites."
)
SCREEN = ("config", "quiet", "json")


def placeholder(entry: Option) -> str:
    """Return what stands for the value in the help: the choices, or the kind of value."""
    if (named := entry.extra("placeholder")) is not None:
        return str(named)
    if entry.choices:
        return "{" + ",".join(entry.choices) + "}"
    kind = entry.kinds[0]
    if kind is str:
        is_schedule = entry.is_read_from_text and entry.name not in ("data", "out")
        return "NUMBER|SCHEDULE" if is_schedule else "TEXT"
    if kind is int:
        return "SIZE" if entry.is_read_from_text else "INTEGER"
    if get_origin(kind) is tuple:
        return "INTEGER,..."
    return "MOVE=SHARE,..." if get_origin(kind) is dict else "NUMBER"


def meaning(entry: Option) -> str:
    """Return the help of an option: meaning and default (`[...]` in a description: what None becomes)."""
    text = entry.info.description or ""
    bracket = re.fullmatch(r"(.*?) \[([^\]]*)\]", text)
    if bracket:
        text, default = bracket[1], bracket[2]
    elif entry.info.default is None:
        default = "none"
    else:
        default = shown(entry.name, entry.info.default)
    # argparse formats its help with %, so a literal one is doubled.
    return f"{text} (default: {default})".replace("%", "%%")


def run_parser(command: str = "run", description: str = DESCRIPTION) -> Parser:
    """Return the parser of `mcprune run`: the options by section, then the screen's own.

    Another command of the same options has its own name and description.
    """
    parser = Parser(
        f"mcprune {command}",
        description,
        epilog=presets_text() + " A TOML file holds the same options in sections (docs/options.md).",
        stray="; every value follows the name of its option, as in --data digits",
        usage=f"mcprune {command} [--data NAME|FILE|FOLDER] [--keep N] [options]",
    )
    groups = {title: parser.add_argument_group(title) for title in SECTIONS}
    for name, entry in OPTIONS.items():
        common: dict[str, Any] = {
            "dest": name,
            "group": groups[entry.section or "search"],
            "default": argparse.SUPPRESS,
            "help": meaning(entry),
        }
        if entry.is_flag:
            parser.option(entry.flag, action=argparse.BooleanOptionalAction, **common)
        else:
            parser.option(entry.flag, metavar=placeholder(entry), **common)
    screen = parser.add_argument_group("file and screen")
    parser.option(
        "--config",
        metavar="FILE.toml",
        group=screen,
        help="options from a file; the command line overrides it (default: none)",
    )
    if command == "run":
        parser.option(
            "--replay",
            metavar="FOLDER",
            group=screen,
            default=argparse.SUPPRESS,
            help="repeat a steered run: its options, the changes of its knobs, its end (default: none)",
        )
    parser.option(
        "--quiet",
        action="store_true",
        group=screen,
        help="print errors and, at the end, the run's folder; nothing else (default: no)",
    )
    parser.option(
        "--json",
        action="store_true",
        group=screen,
        help="print the events as JSON lines, nothing else (default: no)",
    )
    return parser


def presets_text() -> str:
    """Say what the presets set."""
    parts = []
    for preset, options in PRESETS.items():
        if options:
            parts.append(
                f"--preset {preset}: "
                + " ".join(f"{option(key)} {shown(key, value)}" for key, value in options.items())
                + "."
            )
    return " ".join(parts).replace("%", "%%")


def run_options(arguments: list[str], parser: Parser | None = None) -> tuple[dict[str, Any], bool, bool]:
    """Read the command line of `run` and the file that it names.

    Returns
    -------
    options : dict
        What was given by flat name, the command line over the file, unchecked: texts from the command line, TOML's values
        from the file.
    quiet, json : bool

    Raises
    ------
    ConfigError
        A command line that cannot be read, or a file.
    """
    given = vars(parsed := (parser or run_parser()).read(arguments))
    options = {name: value for name, value in given.items() if name not in SCREEN}
    replay = options.pop("replay", None)
    options = expanded(options) | ({} if replay is None else {"replay": replay})
    # A preset on the command line stands above the file, as every option there does.
    preset = PRESETS.get(options.get("preset", ""), {})
    return (
        {**(read_options(parsed.config) if parsed.config is not None else {}), **preset, **options},
        parsed.quiet,
        parsed.json,
    )
