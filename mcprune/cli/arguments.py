"""The command line of `run`, made from the one declaration of the options (config/schema.py)."""

from __future__ import annotations

import argparse
import re
from typing import Any, Literal, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from mcprune.cli.parser import Parser
from mcprune.config.parsing import shown
from mcprune.config.presets import PRESETS
from mcprune.config.schema import RunConfig, option, read_options

DESCRIPTION = (
    "Choose which inputs, units or channels of a classifier to keep: backprop trains the classifier while a Markov "
    "chain, which needs no gradient, decides about the sites."
)
SCREEN = ("config", "quiet", "json")
GROUPS = ("data", "sites", "classifier", "chain", "gradient", "importance", "run")  # in the order of the help


def placeholder(field: FieldInfo) -> str:
    """Return what stands for the value in the help: the choices, or the kind of value."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "placeholder" in extra:
        return str(extra["placeholder"])
    kinds = [part for part in get_args(field.annotation) if part is not type(None)]
    kind = kinds[0] if type(None) in get_args(field.annotation) else field.annotation
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    read_from_text = any(isinstance(part, BeforeValidator) for part in field.metadata)
    if kind is str:
        return "NUMBER|SCHEDULE" if read_from_text else "TEXT"
    if kind is int:
        return "SIZE" if read_from_text else "INTEGER"
    if get_origin(kind) is tuple:
        return "INTEGER,..."
    return "MOVE=SHARE,..." if get_origin(kind) is dict else "NUMBER"


def meaning(name: str, field: FieldInfo) -> str:
    """Return the help of an option: meaning and default (`[...]` in a description: what None becomes)."""
    text = field.description or ""
    found = re.fullmatch(r"(.*?)\s*\[([^\]]*)\]", text)
    if field.default is None:
        text, default = (found[1], found[2]) if found else (text, "none")
    else:
        default = "no" if field.default is False else shown(name, field.default)
    # argparse formats its help with %, so a literal one is doubled.
    return f"{text} (default: {default})".replace("%", "%%")


def run_parser(command: str = "run", description: str = DESCRIPTION) -> Parser:
    """Return the parser of `mcprune run`: the fields of RunConfig in their groups, then the screen's own.

    Another command of the same options has its own name and description.
    """
    parser = Parser(
        f"mcprune {command}",
        description,
        epilog=presets_text() + " A TOML file holds the same options with _ for -, such as batch_size = 256.",
        stray="; every value follows the name of its option, as in --data digits",
        usage=f"mcprune {command} [--data NAME|FILE|FOLDER] [--keep N] [options]",
    )
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for name, field in RunConfig.model_fields.items():
        extra = field.json_schema_extra
        title = str(extra["group"]) if isinstance(extra, dict) and "group" in extra else "run"
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        common: dict[str, Any] = {"dest": name, "group": groups[title], "default": argparse.SUPPRESS}
        if field.annotation is bool:
            parser.option(option(name), action=argparse.BooleanOptionalAction, help=meaning(name, field), **common)
        else:
            parser.option(option(name), metavar=placeholder(field), help=meaning(name, field), **common)
    screen = parser.add_argument_group("file and screen")
    parser.option(
        "--config",
        metavar="FILE.toml",
        group=screen,
        help="options from a file; the command line stands above it (default: none)",
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
        What was given, the command line over the file, unchecked: texts from the command line, TOML's values
        from the file.
    quiet, json : bool

    Raises
    ------
    ConfigError
        A command line that cannot be read, or a file.
    """
    given = vars(parsed := (parser or run_parser()).read(arguments))
    options = {name: value for name, value in given.items() if name not in SCREEN}
    # A preset on the command line stands above the file, as every option there does.
    preset = PRESETS.get(options.get("preset", ""), {})
    return (
        {**(read_options(parsed.config) if parsed.config is not None else {}), **preset, **options},
        parsed.quiet,
        parsed.json,
    )
