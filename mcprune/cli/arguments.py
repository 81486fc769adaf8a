"""The command line of `run`, made from the one declaration of the options (config/options.py)."""

from __future__ import annotations

import argparse

from mcprune.cli.help import (
    FIRST,
    group_title,
    group_titles,
    is_listed,
    meaning,
    placeholder,
    presets_text,
    short_meaning,
    short_placeholder,
)
from mcprune.cli.parser import Parser
from mcprune.config.files import read_options
from mcprune.config.options import OPTIONS, expanded
from mcprune.config.schema import PRESETS

DESCRIPTION = (
    "Choose which inputs, units, channels or weights of a classifier to keep: backprop trains the classifier while a Markov chain, "
    "which needs no gradient, decides about the sites."
)
SCREEN = ("config", "quiet", "json", "help_all")
WIDTH, TEXT_AT = 100, 30


class Formatter(argparse.HelpFormatter):
    """Help of at most 100 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=TEXT_AT)
        self._width = min(self._width, WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, argparse.BooleanOptionalAction):
            return (
                action.option_strings[0].replace("--", "--[no-]", 1)
                if action.default is None
                else action.option_strings[0]
            )
        return super()._format_action_invocation(action)


class RunParser(Parser):
    """The parser of `run` and of the commands that take its options: a first page of help, and one of every option."""

    def __init__(self, prog: str, description: str, *, epilog: str, stray: str, usage: str) -> None:
        super().__init__(
            prog, description, stray=stray, epilog=epilog, usage=usage, add_help=False, formatter_class=Formatter
        )
        self.option(
            "-h", "--help", action="help", group=self.add_argument_group("help"), help="show this page and exit"
        )
        self.option("--help-all", action=HelpAll, group=self._action_groups[-1], help="explain every option and exit")

    def format_help(self) -> str:
        """Return the first page: the options that a user meets first, and those of the command itself."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        by_name = {action.dest: action for action in self._actions}
        formatter.start_section("options")
        for name in FIRST:
            action = by_name[name]
            if action.help is not argparse.SUPPRESS:
                is_own = action.help != meaning(OPTIONS[name]).replace("%", "%%")  # worded by the command
                formatter.add_argument(_first_page(action, str(action.help) if is_own else short_meaning(name)))
        formatter.end_section()
        own = [group for group in self._action_groups if group.title not in group_titles()]
        for group in own:
            formatter.start_section(group.title)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        return formatter.format_help()

    def format_all(self) -> str:
        """Return the help of every option."""
        return super().format_help()


def _first_page(action: argparse.Action, text: str) -> argparse.Action:
    entry = OPTIONS[action.dest]
    metavar = None if entry.is_flag else short_placeholder(entry)
    return argparse.Action([entry.flag], action.dest, nargs=0 if entry.is_flag else None, metavar=metavar, help=text)


class HelpAll(argparse.Action):
    """Prints the help of every option and leaves."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print, and leave."""
        assert isinstance(parser, RunParser)
        print(parser.format_all(), end="")
        parser.exit()


def run_parser(command: str = "run", description: str = DESCRIPTION) -> Parser:
    """Return the parser of `mcprune run`: the options by section, then the screen's own.

    Another command of the same options has its own name and description.
    """
    parser = RunParser(
        f"mcprune {command}",
        description,
        epilog=f"{presets_text()} A TOML file holds the same options in sections (docs/options.md).".replace("%", "%%"),
        stray="; every value follows the name of its option, as in --data digits",
        usage=f"mcprune {command} [--data NAME|FILE|FOLDER] [--keep N] [options]",
    )
    groups = {title: parser.add_argument_group(title) for title in group_titles()}
    for name, entry in OPTIONS.items():
        # argparse formats its help with %, so a literal one is doubled.
        text = meaning(entry).replace("%", "%%") if is_listed(entry) else argparse.SUPPRESS
        group, nothing = groups[group_title(entry)], argparse.SUPPRESS
        if entry.is_flag:
            kind = argparse.BooleanOptionalAction
            parser.option(entry.flag, action=kind, dest=name, group=group, default=nothing, help=text)
        else:
            parser.option(entry.flag, metavar=placeholder(entry), dest=name, group=group, default=nothing, help=text)
    _add_screen(parser, command)
    return parser


def _add_screen(parser: Parser, command: str) -> None:
    screen = parser.add_argument_group("file and screen")
    parser.option(
        "--config", metavar="FILE", group=screen, help="options from a TOML file; the command line overrides it"
    )
    if command == "run":
        parser.option(
            "--replay",
            metavar="FOLDER",
            group=screen,
            default=argparse.SUPPRESS,
            help="repeat a steered run: its options, its changes, its end",
        )
        parser.option(
            "--budget-in",
            metavar="UNIT",
            group=screen,
            default=argparse.SUPPRESS,
            help="with --sites digits, of --keep: digits, digit-bits, ebops, adders, luts (docs/firmware.md)",
        )
    parser.option("--quiet", action="store_true", group=screen, help="print errors and the run's folder alone")
    parser.option("--json", action="store_true", group=screen, help="print the events as JSON lines alone")


def run_options(arguments: list[str], parser: Parser | None = None) -> tuple[dict[str, object], bool, bool]:
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
    values = vars(parsed := (parser or run_parser()).read(arguments))
    options = {name: value for name, value in values.items() if name not in SCREEN}
    own = {name: options.pop(name) for name in tuple(options) if name not in OPTIONS}  # of the command, not of a run
    options = expanded(options) | own
    # A preset on the command line overrides the file, as every option there does.
    preset = PRESETS.get(str(options.get("preset", "")), {})
    return (
        {**(read_options(parsed.config) if parsed.config is not None else {}), **preset, **options},
        parsed.quiet,
        parsed.json,
    )
